/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/place.h - from bytes to a mapped page: claim, write, FILLED, map.
 *
 * A page is claimed only when its whole plaintext is here: FILLING lasts one write, never a network
 * stall.  A run is claimed, written with one pwrite and mapped with one CONTINUE for each stretch
 * that was ours.  Whoever cannot claim drops his copy and counts it.  Any thread; blocks only in
 * pwrite(2) of page cache; allocates nothing.
 *
 * A page that can never come is LOST: claimed like any other, and poison takes the place of its bytes.
 */
#ifndef PF_MEMORY_PLACE_H
#define PF_MEMORY_PLACE_H

#include "memory/row.h"

/* From good to bad: a run's result is its worst page's. */
enum pf_place_result {
	PF_PLACE_OK,
	PF_PLACE_ASKED,	 /* as OK; somebody whom no userfaultfd wakes may wait for one of these pages: the
			    urgent thread answers him */
	PF_PLACE_BUSY,	 /* visible at once rows: what was not placed is unclaimed again, the same
			    call is to be made when pending uffd events have been read */
	PF_PLACE_AGAIN,	 /* FILLED, but mapping must wait until pending uffd events are read, or did
			    not work: the urgent thread maps it with pf_map_run() after draining */
	PF_PLACE_NOMEM,	 /* out of memory, room or quota (err->sys), do the same again later: pf_place_run()
			    has unclaimed what is not placed, for pf_map_run() it is FILLED as before */
	PF_PLACE_GONE,	 /* the VMM's process is gone; what was ours is FILLED or unclaimed again */
	PF_PLACE_FAILED, /* err is filled, and says: unclaimed again, or, for pf_map_run(), FILLED and
			    not mapped */
};

/* Whether it is one of the errors of PF_PLACE_NOMEM: ENOMEM, ENOSPC, EDQUOT. */
bool pf_place_wants_room(int sys);
/*
 * Places run (checked against the table) from bytes, or zeros where bytes is NULL, and maps it in
 * every mapping.  *out_placed: pages that were ours and are FILLED now, whether mapping them
 * succeeded or not; the others were duplicates, counted once nothing of the run is left to place.  A
 * page of private memory that was claimed and is there already is unexpected, and FILLED with what it
 * holds.  What is unclaimed again and was REQUESTED is woken in every mapping: a waiter that met
 * FILLING, for whom nobody asks, traps again and meets ABSENT.
 */
enum pf_place_result pf_place_run(struct pf_guest *guest, const struct pf_run *run,
				  const uint8_t *bytes, uint32_t *out_placed, struct pf_err *err);
/*
 * The source cannot read this page: unless somebody has it, or is about to, it is poisoned in every
 * mapping and then LOST, since completion disarms, and who waits then reads zeros.  *out_lost: by this call.
 * Not OK: it is ABSENT again, BUSY as with pf_place_run(), also of memory files.  For a region that
 * poisons.
 */
enum pf_place_result pf_lose_page(struct pf_guest *guest, uint32_t region, uint64_t page,
				  bool *out_lost, struct pf_err *err);
/*
 * Maps the FILLED pages of a run of any length in every mapping: CONTINUE, and WAKE where one was
 * mapped already, or where the mapping no longer has it.  The trap may be older than the page: only
 * EFAULT from CONTINUE proves that it was punched; then it gets zeros, never overwriting.  Pages
 * that are not FILLED are passed over: whoever fills them maps them.  LOST ones are poisoned again.
 */
enum pf_place_result pf_map_run(struct pf_guest *guest, const struct pf_run *run,
				struct pf_err *err);
/*
 * Lets vCPUs into pages that are FILLED, where the mappings have nothing to do with that: clears their
 * bits.  PF_PLACE_OK or PF_PLACE_FAILED; part of placing and mapping.
 */
enum pf_place_result pf_let_in(struct pf_guest *guest, const struct pf_run *run, struct pf_err *err);
#endif
