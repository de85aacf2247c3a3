/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/received.h - the received bitmap as it travels: run lengths, in parts.  proto/WIRE.md, "Received".
 *
 * A part is one RECEIVED frame: `count` pages of a region from `page` on.  Its body are the lengths of
 * runs that take turns, absent pages first, each in the shortest base-128 varint.  Parts follow each
 * other without a gap from the first page of the first region to the last of the last one.  Pure: no
 * state but the cursor, no allocation; any thread.
 */
#ifndef PF_WIRE_RECEIVED_H
#define PF_WIRE_RECEIVED_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/frame.h"

#define PF_RECEIVED_ROOM 10u /* bytes that a part needs at least: two lengths */

/* How far the parts have come; begins zeroed.  Done when region is the table's count. */
struct pf_received_cursor {
	uint32_t region;
	uint64_t page;
};

static inline bool pf_received_done(const struct pf_received_cursor *cursor,
				    const struct pf_region_table *table)
{
	return cursor->region >= table->count;
}

/*
 * The sender's: codes the pages of the cursor's region from there on, as many as fit into out, and moves
 * the cursor.  bits: one a page of that region, set where it was received.  size: at least
 * PF_RECEIVED_ROOM, so that no part is empty.  *out_frame is ready to be sent.
 */
void pf_received_pack(struct pf_received_cursor *cursor, const struct pf_region_table *table,
		      const uint64_t *bits, uint8_t *out, size_t size, struct pf_frame *out_frame);

/*
 * The receiver's: checks the whole part, then calls `received` for each run of received pages and moves
 * the cursor.  PF_ERR_PROTOCOL: not the part that comes next, or its lengths are not those of its pages.
 */
PF_MUST_USE int pf_received_take(struct pf_received_cursor *cursor,
				 const struct pf_region_table *table, const struct pf_frame *frame,
				 const uint8_t *body,
				 void (*received)(void *opaque, uint32_t region, uint64_t first,
						  uint64_t count),
				 void *opaque, struct pf_err *err);

#endif
