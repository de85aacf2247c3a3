/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/route.c - see net/route.h; RTM_GETROUTE and RTM_GETLINK in rtnetlink(7). */
#include "net/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <string.h>

/* An address as the kernel routes it. */
struct bare {
	uint8_t family;
	uint8_t length; /* bytes; 0: none */
	uint8_t bytes[16];
	uint16_t port; /* as it travels */
	uint32_t scope; /* the interface of a link-local address, or 0 */
};

/* An IPv4 connection that a socket of IPv6 accepted goes by the routes of IPv4. */
static void unmap(struct bare *bare)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (bare->family != AF_INET6 || memcmp(bare->bytes, mapped, sizeof(mapped)) != 0)
		return;
	bare->family = AF_INET;
	bare->length = 4;
	memmove(bare->bytes, bare->bytes + sizeof(mapped), 4);
}

static struct bare bare_address(const struct sockaddr_storage *from)
{
	struct bare bare = {.family = (uint8_t)from->ss_family};
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (from->ss_family == AF_INET) {
		memcpy(&in, from, sizeof(in));
		bare.length = sizeof(in.sin_addr);
		memcpy(bare.bytes, &in.sin_addr, sizeof(in.sin_addr));
		bare.port = in.sin_port;
	} else if (from->ss_family == AF_INET6) {
		memcpy(&in6, from, sizeof(in6));
		bare.length = sizeof(in6.sin6_addr);
		memcpy(bare.bytes, &in6.sin6_addr, sizeof(in6.sin6_addr));
		bare.port = in6.sin6_port;
		bare.scope = in6.sin6_scope_id;
		unmap(&bare);
	}
	return bare;
}

static int no_memory(struct pf_err *err)
{
	return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a netlink message");
}

static struct nl_msg *question(const struct bare *peer, const struct bare *local)
{
	bool bound = local->length > 0 && local->family == peer->family;
	struct rtmsg head = {.rtm_family = peer->family,
			     .rtm_dst_len = (unsigned char)(peer->length * 8),
			     .rtm_src_len = bound ? (unsigned char)(local->length * 8) : 0};
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_REQUEST);
	bool whole = msg && nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) == 0 &&
		     nla_put(msg, RTA_DST, peer->length, peer->bytes) == 0;

	if (whole && bound)
		whole = nla_put(msg, RTA_SRC, local->length, local->bytes) == 0;
	if (whole && peer->scope)
		whole = nla_put_u32(msg, RTA_OIF, peer->scope) == 0;
	if (whole && bound && peer->port && local->port)
		whole = nla_put_u8(msg, RTA_IP_PROTO, IPPROTO_TCP) == 0 &&
			nla_put_u16(msg, RTA_SPORT, local->port) == 0 &&
			nla_put_u16(msg, RTA_DPORT, peer->port) == 0;
	if (whole)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

/* What an earlier question left behind, whose answer was not read to its end. */
static void drop_stale(struct nl_sock *rtnl)
{
	char ignored[64];

	while (recv(nl_socket_get_fd(rtnl), ignored, sizeof(ignored), MSG_DONTWAIT) >= 0)
		;
}

struct answer {
	struct rtnl_route *route;
	int sys;
};

static int on_route(struct nl_msg *msg, void *opaque)
{
	struct answer *answer = opaque;

	if (!answer->route && rtnl_route_parse(nlmsg_hdr(msg), &answer->route) < 0)
		answer->sys = EBADMSG;
	return NL_OK;
}

/* libnl's own errors tell ENETUNREACH from nothing else. */
static int on_refusal(struct sockaddr_nl *from, struct nlmsgerr *refusal, void *opaque)
{
	struct answer *answer = opaque;

	(void)from;
	answer->sys = -refusal->error;
	return NL_STOP;
}

static int exchange(struct nl_sock *rtnl, struct nl_msg *msg, struct answer *answer,
		    struct pf_err *err)
{
	struct nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
	int code;

	if (!callbacks)
		return no_memory(err);
	nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_route, answer);
	nl_cb_err(callbacks, NL_CB_CUSTOM, on_refusal, answer);
	code = nl_send_auto(rtnl, msg);
	if (code >= 0)
		code = nl_recvmsgs(rtnl, callbacks);
	nl_cb_put(callbacks);
	if (code >= 0 || answer->sys)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "asking the kernel for a route: %s", nl_geterror(code));
}

/* fib_lookup() says these; EINVAL also where the local address is nobody's (any more). */
static bool leads_nowhere(int sys)
{
	return sys == ENETUNREACH || sys == EHOSTUNREACH || sys == EACCES || sys == EINVAL ||
	       sys == ENETDOWN || sys == ENODEV || sys == EADDRNOTAVAIL;
}

static int judge(const struct answer *answer, struct pf_err *err)
{
	uint8_t type = answer->route ? rtnl_route_get_type(answer->route) : RTN_UNSPEC;

	if (answer->sys) {
		errno = answer->sys;
		pf_err_sys(err, "looking up the route");
		if (leads_nowhere(answer->sys))
			err->class = PF_ERR_UNREACHABLE;
		return -1;
	}
	if (!answer->route)
		return pf_err_set(err, PF_ERR_SYSTEM, "the kernel did not answer for a route");
	if (type == RTN_UNREACHABLE || type == RTN_BLACKHOLE || type == RTN_PROHIBIT ||
	    !rtnl_route_nexthop_n(answer->route, 0))
		return pf_err_set(err, PF_ERR_UNREACHABLE, "the route leads nowhere");
	return 0;
}

/* Asked for a local address the kernel does not repeat it. */
static void describe(struct rtnl_route *route, const struct bare *local, struct pf_route *out)
{
	struct rtnl_nexthop *hop = rtnl_route_nexthop_n(route, 0);
	struct nl_addr *gateway = rtnl_route_nh_get_gateway(hop);
	struct nl_addr *source = rtnl_route_get_pref_src(route);

	out->index = rtnl_route_nh_get_ifindex(hop);
	out->local = rtnl_route_get_type(route) == RTN_LOCAL;
	if (!gateway)
		gateway = rtnl_route_nh_get_via(hop); /* IPv4 by a gateway of IPv6, RFC 5549 */
	if (gateway)
		nl_addr2str(gateway, out->gateway, sizeof(out->gateway));
	if (source)
		nl_addr2str(source, out->source, sizeof(out->source));
	else if (local->length)
		inet_ntop(local->family, local->bytes, out->source, sizeof(out->source));
	if (rtnl_route_get_metric(route, RTAX_MTU, &out->mtu) < 0)
		out->mtu = 0;
}

int pf_route_open(struct nl_sock **out, struct pf_err *err)
{
	struct nl_sock *rtnl = nl_socket_alloc();
	int code = rtnl ? nl_connect(rtnl, NETLINK_ROUTE) : -NLE_NOMEM;

	if (code >= 0)
		code = nl_socket_set_nonblocking(rtnl);
	if (code < 0) {
		nl_socket_free(rtnl);
		return pf_err_set(err, PF_ERR_SYSTEM, "opening rtnetlink: %s", nl_geterror(code));
	}
	nl_socket_disable_auto_ack(rtnl);
	*out = rtnl;
	return 0;
}

int pf_route_ask(struct nl_sock *rtnl, const struct pf_flow *flow, struct pf_route *out,
		 struct pf_err *err)
{
	struct bare peer = bare_address(&flow->peer), local = bare_address(&flow->local);
	struct answer answer = {0};
	struct nl_msg *msg;
	int failed;

	*out = (struct pf_route){0};
	if (peer.length == 0)
		return pf_err_set(err, PF_ERR_USAGE, "not an address of IP");
	msg = question(&peer, &local);
	if (!msg)
		return no_memory(err);
	drop_stale(rtnl);
	failed = exchange(rtnl, msg, &answer, err);
	nlmsg_free(msg);
	if (!failed)
		failed = judge(&answer, err);
	if (!failed)
		describe(answer.route, &local, out);
	rtnl_route_put(answer.route);
	return failed;
}

/* Any byte but '/' and white space can be in it, and this one is shown. */
static void copy_name(const char *name, char out[PF_ROUTE_NAME_MAX])
{
	size_t i = 0;

	for (; name && name[i] && i + 1 < PF_ROUTE_NAME_MAX; i++)
		out[i] = name[i] > ' ' && name[i] <= '~' ? name[i] : '?';
	out[i] = '\0';
}

int pf_interface_ask(struct nl_sock *rtnl, int index, struct pf_interface *out, struct pf_err *err)
{
	struct rtnl_link *link = NULL;
	unsigned flags;
	int code;

	*out = (struct pf_interface){0};
	drop_stale(rtnl);
	code = rtnl_link_get_kernel(rtnl, index, NULL, &link);
	if (code < 0)
		return pf_err_set(err,
				  code == -NLE_NODEV || code == -NLE_OBJ_NOTFOUND ?
					  PF_ERR_UNREACHABLE : PF_ERR_SYSTEM,
				  "looking at interface %d: %s", index, nl_geterror(code));
	flags = rtnl_link_get_flags(link);
	copy_name(rtnl_link_get_name(link), out->name);
	out->mtu = rtnl_link_get_mtu(link);
	out->up = (flags & IFF_UP) != 0;
	out->carrier = rtnl_link_get_carrier(link) != 0;
	out->running = (flags & IFF_RUNNING) != 0;
	rtnl_link_operstate2str(rtnl_link_get_operstate(link), out->operstate,
				sizeof(out->operstate));
	rtnl_link_put(link);
	return 0;
}

void pf_route_print(const struct pf_flow *flow, const struct pf_route *route, char *out, size_t size)
{
	struct bare peer = bare_address(&flow->peer);
	char host[PF_ROUTE_ADDR_MAX] = "?";

	if (peer.length)
		inet_ntop(peer.family, peer.bytes, host, sizeof(host));
	snprintf(out, size, "%s%s%s%s%s", host, route->gateway[0] ? " via " : "", route->gateway,
		 route->source[0] ? " from " : "", route->source);
}

int pf_route_to(const struct sockaddr_storage *to, struct pf_route *out,
		struct pf_interface *out_interface, struct pf_err *err)
{
	struct pf_flow flow = {.peer = *to};
	struct nl_sock *rtnl = NULL;
	int failed;

	if (pf_route_open(&rtnl, err))
		return -1;
	failed = pf_route_ask(rtnl, &flow, out, err);
	if (!failed)
		failed = pf_interface_ask(rtnl, out->index, out_interface, err);
	if (!failed && out->mtu)
		out_interface->mtu = out->mtu;
	nl_socket_free(rtnl);
	return failed;
}
