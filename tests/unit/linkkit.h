/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/linkkit.h - interfaces, addresses and routes of a network namespace that the test has for
 * itself, by libnl.
 *
 * Every helper that fails ends the test by a cmocka assertion.
 */
#ifndef PF_TESTS_LINKKIT_H
#define PF_TESTS_LINKKIT_H

#include <stdbool.h>
#include <stdint.h>

/* Leaves the namespace it is in for an empty one, in which loopback is up; false: this process may not. */
bool link_enter(void);

void link_veth(const char *name, const char *peer);
void link_bridge(const char *name);
/* false: this kernel has none. */
bool link_vlan(const char *name, const char *parent, uint16_t id);
bool link_macvlan(const char *name, const char *parent);
void link_enslave(const char *name, const char *bridge);
void link_delete(const char *name);
void link_set(const char *name, bool up);
/* Dormant, as a port that has to log in (IEEE 802.1X), or not any more. */
void link_dormant(const char *name, bool dormant);
void link_ipv6(const char *name, bool on);
void link_mtu(const char *name, uint32_t mtu);

/* "192.0.2.1/24"; IPv6 without duplicate address detection. */
void link_address(const char *name, const char *address, bool there);
/* gateway or name may be NULL, both: packets are dropped (blackhole).  mtu 0: the interface's. */
void link_route(const char *to, const char *gateway, const char *name, uint32_t mtu, bool there);
/* Packets to it are dropped by a rule, whatever the routes say; false: this kernel has no rules. */
bool link_rule(const char *to);

#endif
