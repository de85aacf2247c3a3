/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/lost.h - which pages are lost, from one migration of a guest to the next.
 *
 * A page that the source could not read is absent from the destination's memory file, and nothing of the file
 * tells it from a page of zeros: the poison is in the mappings of a VMM, and guest_memfd has its bits set.  So
 * the VMM hands over a bitmap, a memfd in which bit i is page i as in a userfault bitmap, and hands the same on
 * when its guest leaves again.  The destination's agent writes it once every page has come; the source's reads
 * it, and says of those pages what was said of them before.
 *
 * Any thread; blocks in reading and writing a memfd only; fails with the reason.
 */
#ifndef PF_MEMORY_LOST_H
#define PF_MEMORY_LOST_H

#include "memory/guest.h"

/* Copies the bitmap of a region of so many pages into *out, to be freed; NULL if no page of it is lost. */
PF_MUST_USE int pf_lost_load(int fd, uint64_t pages, unsigned long **out, struct pf_err *err);
/* The first lost page in [first, end), or end.  bits: as loaded. */
uint64_t pf_lost_next(const unsigned long *bits, uint64_t first, uint64_t end);

/* A memfd, and long enough for the region. */
PF_MUST_USE int pf_lost_check(int fd, uint64_t pages, struct pf_err *err);
/* Sets the bits of the pages that the journal says are LOST; leaves those of others as they are. */
PF_MUST_USE int pf_lost_store(const struct pf_guest *guest, uint32_t region, struct pf_err *err);

#endif
