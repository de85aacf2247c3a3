/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/names.h - the addresses of a host, for who has a deadline and may be told to leave.
 *
 * Any thread.  getaddrinfo(3) waits for a name server as long as resolv.conf(5) says, and nothing ends it: so a
 * thread of its own does that, one for each name however many wait for it, and who waits leaves when he must.  What a
 * name led to last is kept: a network that fails takes its name server along, and the host that was to be reached is
 * where it was.
 */
#ifndef PF_NET_NAMES_H
#define PF_NET_NAMES_H

#include "net/addr.h"

#define PF_NAMES_ADDRESSES 8u /* of one host */

struct pf_addresses {
	uint32_t count;
	struct sockaddr_storage address[PF_NAMES_ADDRESSES];
};

/*
 * *out: at least one, with the endpoint's port.  Waits until the deadline, or until cancel_fd (or -1) is readable;
 * where the name has led somewhere before, for a moment only, and then that counts.
 */
PF_MUST_USE int pf_names_find(const struct pf_endpoint *endpoint, uint64_t deadline_ns, int cancel_fd,
			      struct pf_addresses *out, struct pf_err *err);
/* From somebody who had looked it up: it counts until the name server says otherwise. */
void pf_names_know(const char *host, const struct sockaddr_storage *address);

#endif
