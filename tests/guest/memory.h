/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/memory.h - guest memory: a memfd, its one mapping, and its userfaultfd.
 *
 * Owned by the main thread; the vCPUs access the mapping.  Only pf_memory_fill() takes long.
 */
#ifndef PF_GUEST_MEMORY_H
#define PF_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/replay.h"

#define PF_MEMORY_REGIONS_MAX 4

struct pf_guest_memory {
	uint64_t size;
	unsigned char *base;
	int fd;
	int uffd;
	/* Guest physical memory is contiguous; the pieces are so many slots and regions. */
	uint32_t region_count;
	uint64_t region_start[PF_MEMORY_REGIONS_MAX + 1]; /* the last one is the end */
};

/* A memfd full of holes, sealed against shrinking, and its mapping. */
PF_MUST_USE int pf_memory_create(struct pf_guest_memory *memory, uint64_t size, uint32_t regions,
				 struct pf_err *err);
/* Takes what pf_memory_create() left, whether it succeeded or not. */
void pf_memory_destroy(struct pf_guest_memory *memory);

/* Writes what the guest starts with. */
void pf_memory_fill(struct pf_guest_memory *memory, const struct pf_plan *plan);
/* Destination: makes the userfaultfd that the agent will register; it traps nothing yet. */
PF_MUST_USE int pf_memory_make_uffd(struct pf_guest_memory *memory, struct pf_err *err);

/* A vCPU's walk in guest memory: reading it on a destination may wait for its page. */
struct pf_walk *pf_memory_walk(const struct pf_guest_memory *memory, uint32_t vcpu);

#endif
