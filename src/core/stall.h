/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/stall.h - whether what a connection has sent is still acknowledged, by the other side's kernel.
 *
 * For a bulk connection, by the thread that owns it: no heartbeats go there, and its path can be lost while that of
 * urgent lives (another flow of the same hosts: a balanced link, a firewall's table).  TCP itself gives up after a
 * quarter of an hour.  Any acknowledgement is a sign of life, of old bytes too: a lossy path is no lost one, and a
 * receiver that takes nothing more says so.  That is why it is not TCP_USER_TIMEOUT, which ends a connection
 * whose receiver stands still as well.  What is on its way for a round trip has been told nothing yet.
 * *Suspected* and *silent* mean what they do in core/pulse.h.  Pure; time is the caller's.
 */
#ifndef PF_CORE_STALL_H
#define PF_CORE_STALL_H

#include "core/pulse.h"

/* What the kernel says of a connection. */
struct pf_flight {
	bool waits;	 /* something was sent, and is not acknowledged */
	uint64_t age_ns; /* since any acknowledgement came */
	uint64_t rtt_ns; /* what a round trip may take */
};

struct pf_stall {
	const _Atomic uint64_t *timeout_ns; /* a parameter; NULL or 0: no judgement */
	uint64_t looked_ns, since_ns; /* since_ns: it waits at least since then; 0: it does not */
	uint64_t sent;
	bool suspected;
};

/* Whether to ask the kernel now: not more often than there are heartbeats; so many bytes were sent so far. */
bool pf_stall_due(const struct pf_stall *stall, uint64_t now_ns, uint64_t sent);
enum pf_pulse_news pf_stall_look(struct pf_stall *stall, uint64_t now_ns, uint64_t sent,
				 const struct pf_flight *flight);
/* When to look again at the latest; 0: never, while nothing more is sent. */
uint64_t pf_stall_wake_ns(const struct pf_stall *stall, uint64_t sent);

#endif
