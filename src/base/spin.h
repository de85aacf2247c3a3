/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/spin.h - poll(2) that looks for a while before it sleeps: to wake up is dearer than a page.
 *
 * Bounded by a limit; adaptive in the way of KVM's halt polling (Documentation/virt/kvm/halt-polling.rst):
 * a wait that ended within the limit lets it look longer, one that took longer shorter; and off for a
 * while when between two looks this thread was away from its core, since then somebody else has work
 * for it.  That is read off the clock, which costs no system call.  One thread's own, but for the limit.
 */
#ifndef PF_BASE_SPIN_H
#define PF_BASE_SPIN_H

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>

#define PF_SPIN_US_DEFAULT 100u
#define PF_SPIN_US_MAX 10000u
/* Half a slice of an urgent thread (base/urgency.h): who was away for less has only let somebody pass,
 * perhaps the very thread whose page it has just mapped. */
#define PF_SPIN_AWAY_NS UINT64_C(50000)

struct pf_spin {
	_Atomic uint64_t limit_ns; /* 0: never; for any thread to set */
	uint64_t budget_ns;	   /* how long it looks now, up to the limit */
	uint64_t off_until_ns, off_ns; /* the core was wanted */
};

/* As ppoll(2) without a signal mask. */
int pf_spin_poll(struct pf_spin *spin, struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout);

/* What one wait teaches; pf_spin_poll() calls it, and tests do. */
void pf_spin_learn(struct pf_spin *spin, uint64_t limit_ns, uint64_t waited_ns);
/* A look has ended, and so long at most took one of its turns. */
void pf_spin_note_gap(struct pf_spin *spin, uint64_t now_ns, uint64_t gap_ns);

#endif
