/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/assembly.h - a page that travels in parts, until all of it is here.
 *
 * A page is claimed only when its whole plaintext is in this process (DESIGN.md section 3.2), so
 * the parts of a page larger than a frame are gathered first: one page at a time for each
 * connection, as WIRE.md section 2.1 has it.  This is the one place that judges their order.  The
 * buffer is made when the regions are agreed on and kept, what is in it belongs to the connection's
 * thread, and is forgotten with the connection.  Never blocks; nothing is allocated while pages
 * come.
 */
#ifndef PF_MIGRATE_ASSEMBLY_H
#define PF_MIGRATE_ASSEMBLY_H

#include "wire/frame.h"

struct pf_assembly {
	uint8_t *bytes;	    /* a page of `size` bytes, or NULL: none travels in parts */
	uint32_t size, got; /* got: of the page under way; 0: there is none */
	uint32_t region;
	uint64_t page;
};

/* Makes the buffer if the table has such pages and it is not there yet; takes a zeroed struct. */
PF_MUST_USE int pf_assembly_init(struct pf_assembly *assembly, const struct pf_region_table *table,
				 struct pf_err *err);
void pf_assembly_done(struct pf_assembly *assembly);

/* A new connection: half a page of the old one is nothing. */
void pf_assembly_forget(struct pf_assembly *assembly);
/*
 * Takes a PAGES or ZERO frame that pf_frame_check() has let through.  1: its pages are whole, and
 * *body is where their bytes are (untouched for a frame of whole pages); 0: a part was kept, more
 * of that page has to come; -1 (PF_ERR_PROTOCOL): it is not what must come next.
 */
PF_MUST_USE int pf_assembly_take(struct pf_assembly *assembly, const struct pf_region_table *table,
				 const struct pf_frame *frame, const uint8_t **body,
				 struct pf_err *err);
/* PAGE_ERROR for the page under way is its end. */
void pf_assembly_lost(struct pf_assembly *assembly, const struct pf_frame *frame);

#endif
