/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/room.h - a network namespace that has no name: held by a descriptor, furnished by rtnetlink.
 *
 * It lives as long as the descriptor and the processes in it, so that nothing is left behind
 * whatever ends its maker, and the machine's own network is not touched.  For the demo and for
 * tests; agents make none.  The calling thread visits a room and comes back; a descriptor that it
 * opened there stays there.  Blocks only for netlink.  network_namespaces(7), veth(4), libnl-route.
 */
#ifndef PF_NET_ROOM_H
#define PF_NET_ROOM_H

#include <stdint.h>

#include "base/err.h"

struct nl_sock;

struct pf_room {
	int fd;		      /* for setns(2); -1: there is none */
	struct nl_sock *rtnl; /* speaks to that namespace from anywhere */
	const char *name;     /* for errors: "the source"; borrowed */
};

#define PF_ROOM_NONE ((struct pf_room){.fd = -1})

/*
 * Loopback is up when it returns 0.  1: this process may not, or the kernel cannot, and err says
 * why.  -1: anything else.
 */
PF_MUST_USE int pf_room_make(const char *name, struct pf_room *out, struct pf_err *err);
/* Enters it; *out_home is for pf_room_leave(), which can only fail if the caller closed that. */
PF_MUST_USE int pf_room_visit(const struct pf_room *room, int *out_home, struct pf_err *err);
PF_MUST_USE int pf_room_leave(int *home, struct pf_err *err);
/* A veth pair, both ends made where they belong: neither is ever seen outside. */
PF_MUST_USE int pf_room_join(struct pf_room *a, const char *a_link, const struct pf_room *b,
			     const char *b_link, struct pf_err *err);
/* Sets it up or down. */
PF_MUST_USE int pf_room_switch(struct pf_room *room, const char *link, bool up, struct pf_err *err);
/* "192.0.2.1/24"; IPv6 is usable at once, without duplicate address detection. */
PF_MUST_USE int pf_room_address(struct pf_room *room, const char *link, const char *address,
				struct pf_err *err);
PF_MUST_USE int pf_room_index(struct pf_room *room, const char *link, int *out, struct pf_err *err);
/* For what else is asked of a room's rtnetlink: says it by libnl's code; -1, or 1 as above. */
int pf_room_fail(const struct pf_room *room, int code, const char *what, struct pf_err *err);
void pf_room_done(struct pf_room *room);

#endif
