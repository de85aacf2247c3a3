/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/netns.h - two hosts on one machine: network namespaces joined by a veth pair.
 *
 * The namespaces have no name and live as long as their descriptors and the processes in them:
 * nothing is left behind, whatever ends the demo, and the machine's own network is not touched.
 * The calling thread visits them and comes back; the caller must not have other threads that
 * expect it to stay.  Blocks only for netlink.
 */
#ifndef PF_MIGRATE_DEMO_NETNS_H
#define PF_MIGRATE_DEMO_NETNS_H

#include <stdbool.h>

#include "base/err.h"

/* TEST-NET-1, RFC 5737: no address of a real network. */
#define PF_NETNS_SOURCE "192.0.2.1"
#define PF_NETNS_DESTINATION "192.0.2.2"

struct nl_sock;

struct pf_netns {
	int source; /* for setns(2); -1: none */
	int destination;
	struct nl_sock *rtnl; /* speaks to the source's from anywhere; NULL: none */
};

/*
 * Loopback and link are up when it returns 0.  1: this process may not, or the kernel cannot, and
 * err says why; the caller decides whether that matters.  -1: anything else.
 */
PF_MUST_USE int pf_netns_make(struct pf_netns *out, struct pf_err *err);
/* The link between them, down or up again: at the source's end, so that the other loses its carrier. */
PF_MUST_USE int pf_netns_switch(const struct pf_netns *netns, bool up, struct pf_err *err);
void pf_netns_done(struct pf_netns *netns);

#endif
