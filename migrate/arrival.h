/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/arrival.h - what a PAGES or ZERO frame does at the destination: placed, whatever it takes.
 *
 * Shared by the urgent and the bulk threads; each has one of its own, pointing at the same guest.
 * Out of memory, or a file that refuses, is an event and a retry, never the end.  For want of memory a
 * bulk thread waits and tries again (nothing tells when it is there), since the source does not push a
 * page twice, and looks whether it has been stopped.  What more memory would not mend concerns a page and
 * not those behind it: the bulk thread hands that page on to the urgent thread, which asks for it again
 * and again; only once half of the window is such pages it waits too.  The urgent thread must not wait:
 * the VMM's madvise(2) that would free the memory stands until that thread has read its event.
 */
#ifndef PF_MIGRATE_ARRIVAL_H
#define PF_MIGRATE_ARRIVAL_H

#include "memory/place.h"
#include "migrate/assembly.h"
#include "migrate/link.h"
#include "migrate/requests.h"

struct pf_arrival {
	struct pf_guest *guest;
	struct pf_mailbox *inbox; /* main's */
	const _Atomic bool *stop; /* main wants the thread to end */
	_Atomic bool *filled_told; /* one for all threads: PF_MAIL_FILLED was posted */
	struct pf_mailbox *maps;   /* of a bulk thread: the urgent thread's; else NULL */
	struct pf_requests *owed;  /* beside it: where room for a page that is handed on is reserved */
	/* Of the urgent thread: reads pending events; false: a ring is full.  Else NULL. */
	bool (*drain)(void *opaque);
	void *opaque;
	bool told; /* main knows that what is to be placed now is stuck */
	uint64_t trouble_ns[2]; /* main is told of trouble then at the earliest; [1]: want of memory */
	struct pf_assembly *assembly; /* of the thread's connection: pages that come in parts */
	uint64_t placed, zero;	   /* pages, for the thread's own counting */
};

/* 1: the pages of a PAGES or ZERO frame are whole, *body has them; 0: a part was kept; -1: it breaks
 * the protocol. */
PF_MUST_USE int pf_arrival_gather(const struct pf_arrival *arrival, const struct pf_frame *frame,
				  const uint8_t **body, struct pf_err *err);
/*
 * Places the frame's pages, which are whole; the result is the worst run's.  PF_PLACE_OK: FILLED and mapped, or a bulk
 * thread has asked the urgent thread to map them, or to ask for them again.  For the urgent thread also PF_PLACE_AGAIN: FILLED,
 * to be mapped by pf_arrival_map() once it has read its events; PF_PLACE_BUSY: some are ABSENT again,
 * since a discard is not through; PF_PLACE_NOMEM, PF_PLACE_FAILED: main was told, and some are.  PF_PLACE_GONE: main was told that the VMM is gone.
 */
enum pf_place_result pf_arrival_place(struct pf_arrival *arrival, const struct pf_frame *frame,
				      const uint8_t *body);
/*
 * PAGE_ERROR: pages that are absent are LOST, and main is told of each; never are they given zeros.
 * Absent they stay on guest_memfd and on a kernel without poison, and where it did not work now: a bulk
 * thread hands them on.
 */
void pf_arrival_lost(struct pf_arrival *arrival, const struct pf_frame *frame);
/* The urgent thread's: maps pages that are FILLED; results as above. */
enum pf_place_result pf_arrival_map(struct pf_arrival *arrival, const struct pf_run *run);
/* Tells main of a page that was there before it came, if one was noted. */
void pf_arrival_tell_unexpected(const struct pf_arrival *arrival);
/* Tells main once every page is FILLED; for whoever fills pages by other ways. */
void pf_arrival_tell_filled(struct pf_arrival *arrival);

#endif
