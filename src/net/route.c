/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/route.c - see net/route.h; RTM_GETROUTE in rtnetlink(7). */
#include "net/route.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <string.h>

static int nl_fail(struct pf_err *err, int code, const char *what)
{
	return pf_err_set(err, PF_ERR_SYSTEM, "%s: %s", what, nl_geterror(code));
}

static struct nl_addr *bare_address(const struct sockaddr_storage *to)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (to->ss_family == AF_INET) {
		memcpy(&in, to, sizeof(in));
		return nl_addr_build(AF_INET, &in.sin_addr, sizeof(in.sin_addr));
	}
	memcpy(&in6, to, sizeof(in6));
	return nl_addr_build(AF_INET6, &in6.sin6_addr, sizeof(in6.sin6_addr));
}

static int describe_link(struct nl_sock *rtnl, int index, struct pf_route *out, struct pf_err *err)
{
	struct rtnl_link *link = NULL;
	int code = rtnl_link_get_kernel(rtnl, index, NULL, &link);
	const char *name;

	if (code < 0)
		return nl_fail(err, code, "looking at the interface of the route");
	name = rtnl_link_get_name(link);
	snprintf(out->device, sizeof(out->device), "%s", name ? name : "?");
	out->carrier = rtnl_link_get_carrier(link) != 0;
	if (out->mtu == 0)
		out->mtu = rtnl_link_get_mtu(link);
	rtnl_link_put(link);
	return 0;
}

static int describe(struct nl_sock *rtnl, struct rtnl_route *route, struct pf_route *out,
		    struct pf_err *err)
{
	struct rtnl_nexthop *hop = rtnl_route_nexthop_n(route, 0);
	struct nl_addr *gateway;

	if (!hop || rtnl_route_get_type(route) == RTN_UNREACHABLE ||
	    rtnl_route_get_type(route) == RTN_BLACKHOLE ||
	    rtnl_route_get_type(route) == RTN_PROHIBIT)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "the route leads nowhere");
	gateway = rtnl_route_nh_get_gateway(hop);
	if (gateway)
		nl_addr2str(gateway, out->gateway, sizeof(out->gateway));
	if (rtnl_route_get_metric(route, RTAX_MTU, &out->mtu) < 0)
		out->mtu = 0;
	return describe_link(rtnl, rtnl_route_nh_get_ifindex(hop), out, err);
}

int pf_route_to(const struct sockaddr_storage *to, struct pf_route *out, struct pf_err *err)
{
	struct nl_sock *rtnl = nl_socket_alloc();
	struct nl_addr *address = bare_address(to);
	struct rtnl_route *route = NULL;
	int code = rtnl && address ? nl_connect(rtnl, NETLINK_ROUTE) : -NLE_NOMEM, failed;

	*out = (struct pf_route){0};
	if (code >= 0)
		code = rtnl_route_lookup(rtnl, address, &route);
	if (code < 0) {
		failed = nl_fail(err, code, "looking up the route");
		err->class = PF_ERR_UNREACHABLE;
	} else {
		failed = describe(rtnl, route, out, err);
	}
	rtnl_route_put(route);
	nl_addr_put(address);
	nl_socket_free(rtnl);
	return failed;
}
