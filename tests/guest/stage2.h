/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/stage2.h - vCPUs that KVM stopped before a page that has not come, and their agent.
 *
 * A vCPU's thread asks and waits; the main thread dispatches the answers, and comes and goes with the
 * connection.  A vCPU that is kicked while it waits parks with its fault open, and waits on when it
 * runs again: it must not enter the guest before.
 *
 * After `complete` nobody is asked, and there may be nobody: the connection is closed soon.  A vCPU that
 * left the guest just before its bit was cleared, and whose thread comes here only now, enters again.  One
 * that came for a page that is lost never does: this guest has no handler for a machine check.
 */
#ifndef PF_GUEST_STAGE2_H
#define PF_GUEST_STAGE2_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/guest/layout.h"

struct pageferry_vmm;

struct pf_stage2 {
	/* Shared by who asks, exclusive for who gives the connection up: it is not closed meanwhile. */
	pthread_rwlock_t connection;
	struct pageferry_vmm *agent; /* NULL: there is none to ask */

	pthread_mutex_t lock; /* within the one above */
	pthread_cond_t changed;
	struct {
		enum { PF_STAGE2_NONE, PF_STAGE2_NEW, PF_STAGE2_ASKED, PF_STAGE2_LOST } fault;
		uint64_t gpa;
	} vcpu[PF_GUEST_VCPUS_MAX];
	bool complete;		 /* every page is there, or lost */
	_Atomic uint64_t faults; /* how often a vCPU was stopped */
};

void pf_stage2_init(struct pf_stage2 *stage2);
void pf_stage2_done(struct pf_stage2 *stage2);
/* Main thread: whom to ask from now on; NULL before the connection is closed.  Open faults are asked
 * for again. */
void pf_stage2_connect(struct pf_stage2 *stage2, struct pageferry_vmm *agent);
/* Main thread: the agent's answer. */
void pf_stage2_resolved(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa);
/* Main thread: the agent's other answer. */
void pf_stage2_lost(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa);
/* Main thread: every page is there, or lost, for good. */
void pf_stage2_complete(struct pf_stage2 *stage2);
/* Whoever has told a vCPU to park: it looks at *parks again. */
void pf_stage2_kick(struct pf_stage2 *stage2);

/* Is the page's bit set now?  Called only once all is complete, and under the lock. */
typedef bool pf_stage2_traps(const void *opaque, uint64_t gpa);
/* The vCPU's thread: KVM has stopped it. */
void pf_stage2_fault(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa, pf_stage2_traps *traps,
		     const void *opaque);
/* Returns when it has no open fault (true), or *parks is not 0 (false). */
bool pf_stage2_wait(struct pf_stage2 *stage2, uint32_t vcpu, const volatile uint8_t *parks);

#endif
