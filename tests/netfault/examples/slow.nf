# A long thin line that gets worse.  For a network to play with, have it take commands after that:
#
#   pageferry-netfault --commands slow.nf

seed 1
namespace a
namespace b
link a:wan0 b:wan0
address a:wan0 192.0.2.1/24
address b:wan0 192.0.2.2/24
address a:wan0 2001:db8::1/64
address b:wan0 2001:db8::2/64
mtu a:wan0 1400
mtu b:wan0 1400
rate a:wan0 20mbit burst 64K queue 100ms
rate b:wan0 20mbit burst 64K queue 100ms

at 2s drop a:wan0 1%
at 4s drop a:wan0 10%
at 6s heal a:wan0 drop
