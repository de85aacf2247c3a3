/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/spin.h - poll(2) that looks for a while before it sleeps: to wake up is dearer than a page.
 *
 * Bounded by a limit; adaptive in the way of KVM's halt polling (Documentation/virt/kvm/halt-polling.rst):
 * a wait that ended within the limit lets it look longer, one that took longer shorter; and off for a
 * while when the scheduler took the core away meanwhile, since then somebody else wants it.  One
 * thread's own, but for the limit.
 */
#ifndef PF_BASE_SPIN_H
#define PF_BASE_SPIN_H

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>

#define PF_SPIN_US_DEFAULT 100u
#define PF_SPIN_US_MAX 10000u

struct pf_spin {
	_Atomic uint64_t limit_ns; /* 0: never; for any thread to set */
	uint64_t budget_ns;	   /* how long it looks now, up to the limit */
	uint64_t off_until_ns, off_ns; /* the core was wanted */
	long preempted;		   /* ru_nivcsw at the last look */
};

/* As ppoll(2) without a signal mask. */
int pf_spin_poll(struct pf_spin *spin, struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout);

/* What one wait teaches; pf_spin_poll() calls it, and tests do. */
void pf_spin_learn(struct pf_spin *spin, uint64_t limit_ns, uint64_t waited_ns);
/* The scheduler has taken the core away so often in all. */
void pf_spin_note_preemptions(struct pf_spin *spin, uint64_t now_ns, long preempted);

#endif
