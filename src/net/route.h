/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/route.h - by which interface an address is reached now, and how that interface is; rtnetlink(7),
 * libnl-route, RFC 2863 for the operational state.
 *
 * Any thread, one at a time for each socket; waits for nobody but the kernel, whose answer is there
 * when the question has been sent.  No privileges are needed.
 */
#ifndef PF_NET_ROUTE_H
#define PF_NET_ROUTE_H

#include "net/addr.h"

#define PF_ROUTE_NAME_MAX 32u
#define PF_ROUTE_ADDR_MAX 64u

struct nl_sock;

/* What is routed.  With both ports the kernel answers for the one connection, where several ways are
 * used by turns. */
struct pf_flow {
	struct sockaddr_storage local; /* ss_family 0: whatever the kernel would choose */
	struct sockaddr_storage peer;
};

struct pf_route {
	int index; /* of the interface; 0: none */
	bool local; /* the address is this host's own */
	char gateway[PF_ROUTE_ADDR_MAX]; /* "": it is on the link */
	char source[PF_ROUTE_ADDR_MAX];	 /* "": the kernel did not say */
	uint32_t mtu; /* of the route itself, or of a path that was found to be narrower; 0: none */
};

struct pf_interface {
	char name[PF_ROUTE_NAME_MAX];
	uint32_t mtu; /* bytes of an IP packet */
	bool up;      /* as its administrator wants it */
	bool carrier;
	bool running; /* operational state up, or unknown (loopback, tunnels) */
	char operstate[16]; /* "up", "dormant", ... */
};

/* A socket for the two questions below; nl_socket_free(). */
PF_MUST_USE int pf_route_open(struct nl_sock **out, struct pf_err *err);
/* PF_ERR_UNREACHABLE: there is no route.  PF_ERR_SYSTEM: it could not be asked. */
PF_MUST_USE int pf_route_ask(struct nl_sock *rtnl, const struct pf_flow *flow, struct pf_route *out,
			     struct pf_err *err);
/* PF_ERR_UNREACHABLE: there is no such interface (any more). */
PF_MUST_USE int pf_interface_ask(struct nl_sock *rtnl, int index, struct pf_interface *out,
				 struct pf_err *err);
/* "192.0.2.2 via 198.51.100.1 from 203.0.113.7" */
void pf_route_print(const struct pf_flow *flow, const struct pf_route *route, char *out, size_t size);

/* All of it at once, for one look.  The MTU of the interface is the route's where that has its own. */
PF_MUST_USE int pf_route_to(const struct sockaddr_storage *to, struct pf_route *out,
			    struct pf_interface *out_interface, struct pf_err *err);

#endif
