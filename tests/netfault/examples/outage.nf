# Two hosts on a switch.  Their link fails for three seconds, then only one direction of it does, then
# every connection is reset.  What is started here is ended with the rest.
#
#   pageferry-netfault outage.nf

namespace a
namespace b
namespace switch
link a:eth0 switch:a
link b:eth0 switch:b
bridge switch:br0 switch:a switch:b
address a:eth0 192.0.2.1/24
address b:eth0 192.0.2.2/24
start b python3 -m http.server --bind 192.0.2.2 8000

at 1s down a:eth0
at 4s up a:eth0
at 5s cut b:eth0             # b hears a, a does not hear b
at 6s heal b:eth0
at 7s reset a port 8000
at 8s end
