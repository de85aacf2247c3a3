/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/place.h - from bytes to a mapped page: claim, write, FILLED, map.
 *
 * A page is claimed only when its whole plaintext is here: FILLING lasts one write, never a network
 * stall.  A run is claimed, written with one pwrite and mapped with one CONTINUE for each stretch
 * that was ours.  Whoever cannot claim drops his copy and counts it.  Any thread; blocks only in
 * pwrite(2) of page cache; allocates nothing.
 */
#ifndef PF_MEMORY_PLACE_H
#define PF_MEMORY_PLACE_H

#include "memory/guest.h"

/* A memory row's way (DESIGN.md section 3.1). */
struct pf_placer {
	const char *name;
	uint64_t modes; /* UFFDIO_REGISTER modes */
	/* Puts bytes into the file at pages [first, first + count); returns the pages complete (short
	 * counts are progress), or -1 with errno. */
	int (*populate)(const struct pf_guest_region *region, uint64_t first, uint32_t count,
			const uint8_t *bytes);
};

extern const struct pf_placer pf_placer_memfd;

enum pf_place_result {
	PF_PLACE_OK,
	PF_PLACE_AGAIN,	 /* FILLED, but mapping must wait until pending uffd events are read: the
			    urgent thread maps it with pf_map_run() after draining */
	PF_PLACE_NOMEM,	 /* out of memory or quota: unclaimed again, try later */
	PF_PLACE_GONE,	 /* the VMM's process is gone */
	PF_PLACE_FAILED, /* err is filled; unclaimed again */
};

/*
 * Places run (count <= PF_RUN_PAGES_MAX, checked against the table) from bytes, or zeros where bytes
 * is NULL.  *out_placed: pages that were ours.  Maps in every mapping.
 */
enum pf_place_result pf_place_run(struct pf_guest *guest, const struct pf_run *run,
				  const uint8_t *bytes, uint32_t *out_placed, struct pf_err *err);
/* Maps FILLED pages in every mapping: CONTINUE, and WAKE where one was mapped already. */
enum pf_place_result pf_map_run(struct pf_guest *guest, const struct pf_run *run,
				struct pf_err *err);
/* A FILLED page that the file no longer has: it was punched.  Places zeros, never overwriting. */
enum pf_place_result pf_place_hole(struct pf_guest *guest, uint32_t region, uint64_t page,
				   struct pf_err *err);

#endif
