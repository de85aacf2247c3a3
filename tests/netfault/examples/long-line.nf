# What only a kernel with CONFIG_NET_SCH_NETEM can do: a packet that is late, lost, or sent twice.
namespace a
namespace b
link a:eth0 b:eth0
address a:eth0 192.0.2.1/24
address b:eth0 192.0.2.2/24
netem a:eth0 delay 50ms jitter 5ms loss 1%
netem b:eth0 delay 50ms jitter 5ms duplicate 0.1%
rate a:eth0 1gbit
at 10s heal a:eth0
