/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/arrival.h - what a PAGES or ZERO frame does at the destination: placed, whatever it takes.
 *
 * Shared by the urgent and the bulk threads; each has one of its own, pointing at the same guest.
 * Out of memory is an event and a retry, never the end: the thread waits and tries again (nothing
 * tells when memory is there), and looks whether it has been stopped.  Allocates nothing.
 */
#ifndef PF_MIGRATE_ARRIVAL_H
#define PF_MIGRATE_ARRIVAL_H

#include "memory/place.h"
#include "migrate/assembly.h"
#include "migrate/link.h"

struct pf_arrival {
	struct pf_guest *guest;
	struct pf_mailbox *inbox; /* main's */
	const _Atomic bool *stop; /* main wants the thread to end */
	_Atomic bool *filled_told; /* one for all threads: PF_MAIL_FILLED was posted */
	struct pf_assembly *assembly; /* of the thread's connection: pages that come in parts */
	uint64_t placed, zero;	   /* pages, for the thread's own counting */
};

/* 1: the pages of a PAGES or ZERO frame are whole, *body has them; 0: a part was kept; -1: it breaks
 * the protocol. */
PF_MUST_USE int pf_arrival_gather(const struct pf_arrival *arrival, const struct pf_frame *frame,
				  const uint8_t **body, struct pf_err *err);

/*
 * Places the frame's pages, which are whole.  PF_PLACE_OK; PF_PLACE_AGAIN: FILLED, the urgent thread has to map them
 * once it has read its events; PF_PLACE_GONE, PF_PLACE_FAILED: main was told, and the pages are not
 * placed; PF_PLACE_NOMEM: stopped while waiting.
 */
enum pf_place_result pf_arrival_place(struct pf_arrival *arrival, const struct pf_frame *frame,
				      const uint8_t *body);
/* PAGE_ERROR: main is told of each page; they stay absent, and are never given zeros. */
void pf_arrival_lost(const struct pf_arrival *arrival, const struct pf_frame *frame);
/* The same care for pages that are FILLED and only have to be mapped. */
enum pf_place_result pf_arrival_map(struct pf_arrival *arrival, const struct pf_run *run);

#endif
