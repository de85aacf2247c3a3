/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/slots.h - who waits outside of every userfaultfd: a slot for each vCPU, in a file.
 *
 * A vCPU that has left KVM_RUN is told to enter again by a message, and there is no WAKE that would have
 * it fault once more: so what it waits for is in a shared file mapping before its message is taken off
 * the socket, and the next process answers it or asks for it again if this one dies (DESIGN.md section
 * 3.3).  A slot is one word, so that it is there or not.
 *
 * One thread sets slots; any may look and clear.  Only create and open do I/O and can fail.
 */
#ifndef PF_MEMORY_SLOTS_H
#define PF_MEMORY_SLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PF_SLOTS 1024u /* vCPUs are numbered below this */

struct pf_slots {
	_Atomic uint64_t *slot; /* PF_SLOTS, mapped from dirfd/vcpu.slots */
	_Atomic uint32_t used;	/* none at or above this one was ever set */
};

/* Creates dirfd/vcpu.slots, empty; one that is there is replaced. */
PF_MUST_USE int pf_slots_create(struct pf_slots *slots, int dirfd, struct pf_err *err);
/* Opens what create() made, or creates it. */
PF_MUST_USE int pf_slots_open(struct pf_slots *slots, int dirfd, struct pf_err *err);
/* Unmaps; the file stays.  Takes a zeroed struct. */
void pf_slots_close(struct pf_slots *slots);

/* vCPU number `vcpu` waits for the page of 4 KiB at gpa, a multiple of that, and for no other any more.  It may
 * have done so already: then nothing changes. */
void pf_slots_set(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa);
/* That it waits for this page is counted now, once, whichever process does so.  false: it was, or it waits for
 * another page now. */
bool pf_slots_count(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa);
/* The first vCPU at or after *vcpu that waits, and the GPA of its page.  false: none does. */
bool pf_slots_next(const struct pf_slots *slots, uint32_t *vcpu, uint64_t *out_gpa);
/* It was answered.  false: somebody else has, or it waits for another page now. */
bool pf_slots_clear(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa);

#endif
