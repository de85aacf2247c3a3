/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/push.h - the order of pages that nobody has asked for (DESIGN.md section 3.4).
 *
 * From the latest fault outwards, then a sweep from the first page on; each page at most once.  What
 * was requested is marked here too, so that push skips it.  The urgent thread marks and hints, the
 * bulk threads take: marks are atomic, taking has a lock that no system call is made under.
 */
#ifndef PF_CORE_PUSH_H
#define PF_CORE_PUSH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/page.h"

struct pf_push {
	const struct pf_region_table *table; /* borrowed */
	_Atomic uint64_t *sent[PF_REGIONS_MAX]; /* one bit a page: pushed or answered, or received */
	_Atomic uint64_t *received[PF_REGIONS_MAX]; /* said to be there, when the session was taken up */
	_Atomic uint64_t hint; /* latest fault: region << 48 | page, or all ones: none yet */
	pthread_mutex_t lock;
	/* Under the lock: */
	uint64_t pivot;	       /* the hint that up and down belong to */
	uint64_t up, down;     /* next page to look at above, first page looked at below */
	bool turn_down;	       /* which of the two is next */
	uint32_t sweep_region;
	uint64_t sweep_page;
};

/* Allocates the bitmaps: 2 bits a page.  The table is borrowed. */
PF_MUST_USE int pf_push_init(struct pf_push *push, const struct pf_region_table *table,
			     struct pf_err *err);
/* Nothing has been sent: the destination starts again with no page.  No thread uses it meanwhile. */
void pf_push_reset(struct pf_push *push);
/* Takes a zeroed struct. */
void pf_push_done(struct pf_push *push);
/* The destination has these pages: they are not sent.  Any thread. */
void pf_push_received(struct pf_push *push, uint32_t region, uint64_t first, uint64_t count);
/* How many pages of a run, which is about to be sent, were received. */
uint32_t pf_push_resent(const struct pf_push *push, const struct pf_run *run);
/* A page was answered on urgent: push skips it and goes on around it. */
void pf_push_requested(struct pf_push *push, uint32_t region, uint64_t page);
/*
 * Takes the next run of neighbouring unsent pages of one region, at most max_bytes and at least one
 * page, and marks it sent.  false: everything has been sent.
 */
PF_MUST_USE bool pf_push_next(struct pf_push *push, uint32_t max_bytes, struct pf_run *out);
/*
 * Takes the unsent pages directly behind *run, at most `most` of them, and adds them to it.  false:
 * the next one is not there, or not unsent.  Lock free.
 */
PF_MUST_USE bool pf_push_extend(struct pf_push *push, struct pf_run *run, uint64_t most);

#endif
