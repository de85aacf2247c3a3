# Two hosts with two networks between them, and a relay on one that changes bytes which TCP's checksum
# does not find.  One network fails while the other stands; then the relay begins to lie.

namespace a
namespace b
link a:eth0 b:eth0
link a:eth1 b:eth1
address a:eth0 192.0.2.1/24
address b:eth0 192.0.2.2/24
address a:eth1 198.51.100.1/24
address b:eth1 198.51.100.2/24
relay liar a 198.51.100.1:4444 198.51.100.2:4444

at 1s down a:eth0
at 2s up a:eth0
at 3s garble liar forward 10000
at 4s stall liar back
at 5s flow liar
