/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/memory.h - guest memory: what its regions are made of, their mappings, userfaultfds.
 *
 * One range of addresses for the vCPUs, cut into regions, each of its own kind.  All regions of a
 * kind share one file (in which a region is where it is in the guest) and one userfaultfd.  With a
 * mirror the files are mapped a second time, for nobody but the agent to trap and the verdict to
 * compare.  guest_memfd cannot be read(2): the verdict has a mapping of its own.
 *
 * Owned by the main thread; the vCPUs access the mapping.  Only filling and reading take long.
 */
#ifndef PF_GUEST_MEMORY_H
#define PF_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/gmem.h"
#include "tests/guest/replay.h"

#define PF_MEMORY_REGIONS_MAX 4

enum pf_backing {
	PF_BACKING_MEMFD,
	PF_BACKING_TMPFS,
	PF_BACKING_PRIVATE,
	PF_BACKING_HUGETLB, /* reserved when it is made: without the pages there is no guest */
	PF_BACKING_GMEM,
	PF_BACKING_GMEM_UNWRITABLE, /* made without the flag by which write(2) fills it */
	PF_BACKING_COUNT_
};

/* What a destination's files hold when they are handed over, and are declared to hold. */
enum pf_prepared {
	PF_PREPARED_NOT,
	/* every page, some of them written to where they can be written again, none mapped */
	PF_PREPARED_ALLOCATED,
	PF_PREPARED_LISTED,    /* the first PF_PREPARED_PAGES of each region, written and mapped */
};
#define PF_PREPARED_PAGES 3u

struct pf_memory_plan {
	uint64_t size;
	uint32_t region_count;
	enum pf_backing region[PF_MEMORY_REGIONS_MAX];
	const char *tmpfs; /* a folder on one */
	bool mirror;
	enum pf_prepared prepared;
};

struct pf_guest_memory {
	struct pf_memory_plan plan;
	unsigned char *base;
	unsigned char *mirror; /* NULL: there is none; where memory is private nothing is mapped */
	unsigned char *witness; /* mapped where guest_memfd is; nobody touches it before the verdict */
	struct pf_gmem_bitmap bitmap[PF_MEMORY_REGIONS_MAX]; /* destination: of guest_memfd */
	int fd[PF_BACKING_COUNT_];
	int uffd[PF_BACKING_COUNT_];
	int mirror_uffd;
	/* Guest physical memory is contiguous; the pieces are so many slots and regions. */
	uint64_t region_start[PF_MEMORY_REGIONS_MAX + 1]; /* the last one is the end */
};

/* As --kinds has them; NULL: there is no such kind. */
const char *pf_backing_name(enum pf_backing backing);
bool pf_backing_is_gmem(enum pf_backing backing);
uint32_t pf_backing_page_size(enum pf_backing backing);

/* Files full of holes (the memfd sealed against shrinking), and their mappings.  vm: whose
 * guest_memfd is; -1: it has none. */
PF_MUST_USE int pf_memory_create(struct pf_guest_memory *memory, const struct pf_memory_plan *plan,
				 int vm, struct pf_err *err);
/* Takes what pf_memory_create() left, whether it succeeded or not. */
void pf_memory_destroy(struct pf_guest_memory *memory);

/* Destination: puts bytes that no guest has into what is not private, as the plan says. */
PF_MUST_USE int pf_memory_prepare(struct pf_guest_memory *memory, struct pf_err *err);
/* Writes what the guest starts with. */
void pf_memory_fill(struct pf_guest_memory *memory, const struct pf_plan *plan);
/* Destination: makes the userfaultfds that the agent will register, which trap nothing yet, and the
 * userfault bitmaps, which do. */
PF_MUST_USE int pf_memory_make_traps(struct pf_guest_memory *memory, struct pf_err *err);
/* Closes the userfaultfds: they trap nothing any more. */
void pf_memory_close_uffds(struct pf_guest_memory *memory);
/*
 * Reads a page: from its file where it has one, so that nothing that a mapping may hide (a page
 * that is there but not mapped, a trap that is still armed) can help or hinder.
 */
PF_MUST_USE int pf_memory_read(const struct pf_guest_memory *memory, uint32_t page,
			       unsigned char *out, struct pf_err *err);
/* The page in the mirror, or NULL. */
const unsigned char *pf_memory_mirrored(const struct pf_guest_memory *memory, uint32_t page);

/* A vCPU's walk in guest memory: reading it on a destination may wait for its page. */
struct pf_walk *pf_memory_walk(const struct pf_guest_memory *memory, uint32_t vcpu);

#endif
