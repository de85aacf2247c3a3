/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/reader.h - the source's guest memory, read only: a page's bytes by (region, page).
 *
 * By pread(2): a hole costs nothing and a file that its owner shrank is a short count instead of a
 * SIGBUS.  hugetlbfs too: through a mapping its holes would take pages from the pool just to be read
 * as zeros, or be a SIGBUS where the pool is empty.  guest_memfd has no pread(2), and is copied out of a
 * mapping under the guard of memory/touch.h; its absent pages are zeros that are not touched.  What was lost on
 * the way here is a hole too, and no zeros: the VMM's bitmap says which pages those are.  Owns the
 * descriptors.  Set up by the main thread, then read only; any number of threads may read at once.
 */
#ifndef PF_MEMORY_READER_H
#define PF_MEMORY_READER_H

#include <stddef.h>

#include "base/page.h"

struct pf_reader {
	struct pf_region_table table; /* sorted by GPA */
	struct {
		int fd; /* owned */
		int seek_fd; /* owned: the same file, with a file offset of its own */
		bool seeks;  /* seek_fd is there */
		uint8_t *map; /* owned: guest_memfd */
		bool has_lost; /* lost_fd is there */
		int lost_fd;   /* owned: the VMM's bitmap of the pages that are lost (memory/lost.h) */
		unsigned long *lost; /* owned: a copy of it, where it has any */
		uint64_t offset;
		uint32_t id;
		enum pf_memory_kind kind;
	} region[PF_REGIONS_MAX];
};

/* Checks each file against its region (kind, length), and maps what can only be read that way.
 * PF_ERR_PROTOCOL says what and what to do. */
PF_MUST_USE int pf_reader_check(struct pf_reader *reader, struct pf_err *err);
/* Reads a run (checked against the table) into out; -1: errno says why (EIO: the file is short; EHWPOISON: a
 * page of it was lost before). */
PF_MUST_USE int pf_reader_read(const struct pf_reader *reader, const struct pf_run *run,
			       uint8_t *out);
/* From now on pf_reader_hole() sees holes, where the file can be opened once more. */
void pf_reader_seek_holes(struct pf_reader *reader);
/* Pages from this one on that are a hole in the file, not lost, and so zero; 0: it has data, or nobody knows. */
uint64_t pf_reader_hole(const struct pf_reader *reader, uint32_t region, uint64_t page);
/* Reads some bytes of a page; the same. */
struct pf_part {
	uint32_t region;
	uint64_t page;
	uint32_t offset, length; /* bytes, within the page */
};
PF_MUST_USE int pf_reader_read_part(const struct pf_reader *reader, const struct pf_part *part,
				    uint8_t *out);
void pf_reader_done(struct pf_reader *reader);
/* true if length bytes (a multiple of 64, 64-byte aligned not required) are all zero. */
bool pf_all_zero(const uint8_t *bytes, size_t length);

#endif
