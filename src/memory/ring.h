/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/ring.h - the event ring: userfaultfd events in a file, read in place.
 *
 * A fault that was read is not delivered again, and a REMOVE never: so read(2) puts them directly
 * into a shared file mapping, and they are there for the next process if this one dies between the
 * read and the handling (DESIGN.md section 3.3).  A slot with a zero event byte is empty; the
 * kernel fills slots in order, the consumer zeroes one when it has dealt with it.  So no position
 * needs to be stored: replay starts anywhere and visits every slot that is not empty, oldest first.
 * One slot is always left empty: in a ring without a gap nobody could tell which is the oldest.
 *
 * One ring for each userfaultfd.  One owner thread; pf_ring_read() never blocks.
 */
#ifndef PF_MEMORY_RING_H
#define PF_MEMORY_RING_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PF_RING_SLOTS 1024u /* 32 KiB: more than the threads that fault at once */

struct pf_ring {
	struct uffd_msg *slot; /* PF_RING_SLOTS, mapped from dirfd/uffd-<index>.ring */
	uint32_t head;	       /* next to fill; positions run freely, modulo PF_RING_SLOTS */
	uint32_t tail;	       /* oldest not yet dealt with */
};

/* Creates dirfd/uffd-<index>.ring, empty; one that is there is replaced. */
PF_MUST_USE int pf_ring_create(struct pf_ring *ring, int dirfd, unsigned index,
			       struct pf_err *err);
/*
 * Creates dirfd/uffd-<index>.ring, or opens one that is there and finds head and tail in it.
 * PF_ERR_CONFIG: it was not left by pf_ring_read() and pf_ring_pop().
 */
PF_MUST_USE int pf_ring_open(struct pf_ring *ring, int dirfd, unsigned index, struct pf_err *err);
/* Unmaps; the file stays.  Takes a zeroed struct. */
void pf_ring_close(struct pf_ring *ring);

enum pf_ring_read { PF_RING_EVENTS, PF_RING_EMPTY, PF_RING_FULL, PF_RING_GONE, PF_RING_FAILED };
/*
 * One read into the free slots.  EMPTY: nothing was waiting.  FULL: no free slot, deal with some
 * first.  GONE: the VMM's address space is gone (ESRCH; Linux 6.18 says EMPTY for ever instead and
 * tells of it only by the ioctls).  FAILED: errno is set.
 */
enum pf_ring_read pf_ring_read(struct pf_ring *ring, int uffd);
/* The oldest event that is not dealt with, or NULL; it stays in the ring until pf_ring_pop(). */
const struct uffd_msg *pf_ring_peek(const struct pf_ring *ring);
void pf_ring_pop(struct pf_ring *ring);

#endif
