/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm/faults.h - a destination VMM's stage-2 exits: the fault socket, and which vCPU waits for what.
 *
 * A socket of its own, so that a vCPU's thread and the agent's thread that resolves faults talk
 * without anybody between them.  Any number of vCPU threads ask, one at a time dispatches; what they
 * share is atomics.  Who waits is noted here, so that each fault that was taken is answered just once:
 * by RESOLVED, or by `complete`, whichever comes first.
 */
#ifndef PF_VMM_FAULTS_H
#define PF_VMM_FAULTS_H

#include <stdatomic.h>

#include "vmm/pageferry-vmm.h"
#include "wire/vmm_msg.h"

/* Of a region where a page may be lost: after COMPLETE a bit that is set is that of a lost one. */
struct pf_vmm_bitmap {
	struct pf_region_shape shape;
	int fd; /* the library's own: the VMM may close its one after `complete` */
};

struct pf_vmm_faults {
	int fd; /* -1: no memory of this VMM has stage-2 exits */
	_Atomic bool complete;
	_Atomic uint64_t open[PF_VMM_VCPUS_MAX]; /* a page's GPA, and bit 0; 0: it does not wait */
	/* Low half: the vCPU from which on an agent that is new has to be told; high half: which one it is. */
	_Atomic uint64_t repeat;
	uint32_t bitmaps;
	struct pf_vmm_bitmap bitmap[PF_REGIONS_MAX]; /* not changed once anybody can ask */
	struct pf_err err; /* the dispatching thread's */
};

/* Makes the socket; *out_agents: the end to send away, the caller's. */
PF_MUST_USE int pf_vmm_faults_open(struct pf_vmm_faults *faults, int *out_agents,
				   struct pf_err *err);
/* Keeps the bitmaps of those regions that have machine_checks; fds: what the indices mean. */
PF_MUST_USE int pf_vmm_faults_keep_bitmaps(struct pf_vmm_faults *faults, const struct pf_vmm_regions *regions,
					   const int *fds, struct pf_err *err);
void pf_vmm_faults_close(struct pf_vmm_faults *faults);
/*
 * For another agent: the same descriptor is the end of another socket.  Then, once that agent can have its end,
 * who waits is asked for again: what finds no room, when there is some, by pf_vmm_faults_dispatch().
 */
PF_MUST_USE int pf_vmm_faults_reopen(struct pf_vmm_faults *faults, int *out_agents,
				     struct pf_err *err);
void pf_vmm_faults_repeat(struct pf_vmm_faults *faults);
bool pf_vmm_faults_unsent(const struct pf_vmm_faults *faults);
/* pageferry_vmm_fault(): 0, 1, 2, or -1 with errno. */
int pf_vmm_faults_ask(struct pf_vmm_faults *faults, uint32_t vcpu, uint64_t gpa);
/* Takes every answer that waits; -1 with faults->err. */
int pf_vmm_faults_dispatch(struct pf_vmm_faults *faults, const struct pageferry_vmm_ops *ops,
			   void *opaque);
/* Every page is there, or lost, as its bit says: answers who waits now, and who would. */
void pf_vmm_faults_complete(struct pf_vmm_faults *faults, const struct pageferry_vmm_ops *ops,
			    void *opaque);

#endif
