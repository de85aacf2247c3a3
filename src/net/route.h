/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/route.h - by which interface an address would be reached now; rtnetlink(7), libnl-route.
 *
 * Any thread; blocks only for the kernel's answer.  PF_ERR_UNREACHABLE: there is no route.
 */
#ifndef PF_NET_ROUTE_H
#define PF_NET_ROUTE_H

#include "net/addr.h"

#define PF_ROUTE_NAME_MAX 32u

struct pf_route {
	char device[PF_ROUTE_NAME_MAX];
	char gateway[PF_HOST_MAX + 1]; /* "": it is on the link */
	uint32_t mtu; /* bytes of an IP packet: the route's own, else the device's */
	bool carrier;
};

PF_MUST_USE int pf_route_to(const struct sockaddr_storage *to, struct pf_route *out,
			    struct pf_err *err);

#endif
