/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/linkkit.c - see linkkit.h. */
#include "linkkit.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/link/macvlan.h>
#include <netlink/route/link/vlan.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct nl_sock *rtnl;

static void must(int code, const char *what, const char *whom)
{
	if (code < 0)
		fail_msg("%s %s: %s", what, whom, nl_geterror(code));
}

bool link_enter(void)
{
	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	nl_socket_free(rtnl); /* of the namespace before, which ends with it */
	rtnl = nl_socket_alloc();
	if (!rtnl || nl_connect(rtnl, NETLINK_ROUTE) < 0)
		return false;
	link_set("lo", true);
	return true;
}

static struct rtnl_link *find(const char *name)
{
	struct rtnl_link *link = NULL;

	must(rtnl_link_get_kernel(rtnl, 0, name, &link), "finding", name);
	return link;
}

static int index_of(const char *name)
{
	struct rtnl_link *link = find(name);
	int index = rtnl_link_get_ifindex(link);

	rtnl_link_put(link);
	return index;
}

static void add(struct rtnl_link *link, const char *name)
{
	rtnl_link_set_name(link, name);
	must(rtnl_link_add(rtnl, link, NLM_F_CREATE | NLM_F_EXCL), "making", name);
	rtnl_link_put(link);
}

void link_veth(const char *name, const char *peer)
{
	struct rtnl_link *veth = rtnl_link_veth_alloc(), *other = rtnl_link_veth_get_peer(veth);

	rtnl_link_set_name(other, peer);
	rtnl_link_put(other);
	add(veth, name);
}

void link_bridge(const char *name)
{
	add(rtnl_link_bridge_alloc(), name);
}

bool link_vlan(const char *name, const char *parent, uint16_t id)
{
	struct rtnl_link *vlan = rtnl_link_vlan_alloc();
	int code;

	rtnl_link_set_link(vlan, index_of(parent));
	rtnl_link_vlan_set_id(vlan, id);
	rtnl_link_set_name(vlan, name);
	code = rtnl_link_add(rtnl, vlan, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(vlan);
	if (code != -NLE_OPNOTSUPP)
		must(code, "making", name);
	return code >= 0;
}

bool link_macvlan(const char *name, const char *parent)
{
	struct rtnl_link *macvlan = rtnl_link_macvlan_alloc();
	int code;

	rtnl_link_set_link(macvlan, index_of(parent));
	rtnl_link_set_name(macvlan, name);
	code = rtnl_link_add(rtnl, macvlan, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(macvlan);
	if (code != -NLE_OPNOTSUPP)
		must(code, "making", name);
	return code >= 0;
}

static void change(const char *name, struct rtnl_link *to)
{
	struct rtnl_link *link = find(name);

	must(rtnl_link_change(rtnl, link, to, 0), "changing", name);
	rtnl_link_put(link);
	rtnl_link_put(to);
}

void link_enslave(const char *name, const char *bridge)
{
	struct rtnl_link *to = rtnl_link_alloc();

	rtnl_link_set_master(to, index_of(bridge));
	change(name, to);
}

void link_delete(const char *name)
{
	struct rtnl_link *link = find(name);

	must(rtnl_link_delete(rtnl, link), "deleting", name);
	rtnl_link_put(link);
}

void link_set(const char *name, bool up)
{
	struct rtnl_link *to = rtnl_link_alloc();

	if (up)
		rtnl_link_set_flags(to, IFF_UP);
	else
		rtnl_link_unset_flags(to, IFF_UP);
	change(name, to);
}

void link_dormant(const char *name, bool dormant)
{
	struct rtnl_link *to = rtnl_link_alloc();

	rtnl_link_set_linkmode(to, dormant ? IF_LINK_MODE_DORMANT : IF_LINK_MODE_DEFAULT);
	rtnl_link_set_operstate(to, dormant ? IF_OPER_DORMANT : IF_OPER_UP);
	change(name, to);
}

void link_ipv6(const char *name, bool on)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(on ? "0" : "1", file) >= 0);
	assert_int_equal(fclose(file), 0);
}

void link_mtu(const char *name, uint32_t mtu)
{
	struct rtnl_link *to = rtnl_link_alloc();

	rtnl_link_set_mtu(to, mtu);
	change(name, to);
}

static struct nl_addr *parse(const char *text)
{
	struct nl_addr *address = NULL;

	must(nl_addr_parse(text, AF_UNSPEC, &address), "parsing", text);
	return address;
}

void link_address(const char *name, const char *text, bool there)
{
	struct rtnl_addr *address = rtnl_addr_alloc();
	struct nl_addr *local = parse(text);

	rtnl_addr_set_ifindex(address, index_of(name));
	must(rtnl_addr_set_local(address, local), "taking", text);
	if (nl_addr_get_family(local) == AF_INET6)
		rtnl_addr_set_flags(address, IFA_F_NODAD);
	must(there ? rtnl_addr_add(rtnl, address, 0) : rtnl_addr_delete(rtnl, address, 0), "setting",
	     text);
	nl_addr_put(local);
	rtnl_addr_put(address);
}

static struct rtnl_nexthop *next_hop(const char *gateway, const char *name)
{
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	struct nl_addr *via = gateway ? parse(gateway) : NULL;

	if (via)
		rtnl_route_nh_set_gateway(hop, via);
	if (name)
		rtnl_route_nh_set_ifindex(hop, index_of(name));
	nl_addr_put(via);
	return hop;
}

void link_route(const char *to, const char *gateway, const char *name, uint32_t mtu, bool there)
{
	struct rtnl_route *route = rtnl_route_alloc();
	struct nl_addr *destination = parse(to);

	rtnl_route_set_family(route, (uint8_t)nl_addr_get_family(destination));
	must(rtnl_route_set_dst(route, destination), "routing", to);
	rtnl_route_set_table(route, RT_TABLE_MAIN);
	if (gateway || name) {
		rtnl_route_set_scope(route, gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
		rtnl_route_add_nexthop(route, next_hop(gateway, name));
	} else {
		must(rtnl_route_set_type(route, RTN_BLACKHOLE), "routing", to);
	}
	if (mtu)
		must(rtnl_route_set_metric(route, RTAX_MTU, mtu), "narrowing", to);
	must(there ? rtnl_route_add(rtnl, route, NLM_F_EXCL) : rtnl_route_delete(rtnl, route, 0),
	     "routing", to);
	nl_addr_put(destination);
	rtnl_route_put(route);
}

bool link_rule(const char *to)
{
	struct rtnl_rule *rule = rtnl_rule_alloc();
	struct nl_addr *destination = parse(to);
	int code;

	rtnl_rule_set_family(rule, nl_addr_get_family(destination));
	must(rtnl_rule_set_dst(rule, destination), "ruling", to);
	rtnl_rule_set_action(rule, FR_ACT_BLACKHOLE);
	rtnl_rule_set_prio(rule, 1);
	code = rtnl_rule_add(rtnl, rule, NLM_F_EXCL);
	if (code != -NLE_OPNOTSUPP)
		must(code, "ruling", to);
	nl_addr_put(destination);
	rtnl_rule_put(rule);
	return code >= 0;
}
