/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row.h - the rows of DESIGN.md section 3.1: how a kind of memory is populated and mapped.
 *
 * One constant for each kind, in a file of its own; what all rows share is in memory/place.c.  The
 * steps get the guest and a region's index, so that a row can reach the file, the userfaultfds and
 * the mappings, whichever it needs.  Any thread; they allocate nothing.
 */
#ifndef PF_MEMORY_ROW_H
#define PF_MEMORY_ROW_H

#include "memory/guest.h"
#include "memory/memfile.h"

struct pf_placer {
	const char *name;
	uint64_t modes;	   /* UFFDIO_REGISTER modes */
	uint64_t ioctls;   /* what must be offered for them */
	const char *empty; /* what to do about memory that should have no page yet and has */
	/* Makes what the row needs before anything is trapped; undone by pf_row_detach().  NULL:
	 * nothing. */
	int (*attach)(struct pf_guest *guest, uint32_t region, struct pf_err *err);
	/* Adds which of the pages [first, first + count) are there; asked in ascending order. */
	int (*take_stock)(const struct pf_guest *guest, uint32_t region, uint64_t first,
			  uint64_t count, struct pf_memfile_stock *out, struct pf_err *err);
	/*
	 * Populating is mapping: a page can be seen as soon as populate() has returned, in the one
	 * mapping there is, and map() is only for pages that were taken away again.
	 */
	bool visible_at_once;
	/* A page can be mapped by whoever touches it, without an event, from populate() on. */
	bool shows_unasked;
	/*
	 * The kernel may make huge pages of the file, and what a mapping's page table says goes with the table, poison
	 * too (retract_page_tables(), mm/khugepaged.c): a lost page stays trapped until its VMM bars it (vmm/bar.h).
	 */
	bool collapses;
	/*
	 * Puts bytes, or zeros where they are NULL, into the claimed pages [first, first + count).
	 * Returns the pages complete, at least one (short counts are progress, called again for the
	 * rest), or -1 with errno: EEXIST: the first page was there and is left alone; of a row that
	 * is visible at once also EAGAIN (pending events must be read first), ENOENT (it is not mapped any more),
	 * ESRCH (the process is gone).
	 */
	int (*populate)(const struct pf_guest *guest, uint32_t region, uint64_t first,
			uint32_t count, const uint8_t *bytes);
	/* Makes populated pages visible in one mapping; *out_pages before it stopped. */
	enum pf_map_result (*map)(const struct pf_guest *guest, uint32_t region, uint32_t mapping,
				  uint64_t first, uint32_t count, uint32_t *out_pages);
	/*
	 * Ends, or begins again, the trap that is not a mapping's: the bits of these pages, any number
	 * of them.  0, or -1 with errno.  NULL: there is none.
	 */
	int (*set_traps)(const struct pf_guest *guest, uint32_t region, uint64_t first,
			 uint64_t count, bool on);
	/* Gives an absent page zeros and leaves one that is present alone, atomically; 0, or -1
	 * with errno. */
	int (*fill_hole)(const struct pf_guest *guest, uint32_t region, uint64_t page);
	/*
	 * Takes every page of the region away again, from all mappings: a later access traps.  What was
	 * preallocated is reserved again, or that is the error.
	 * Called before the journal is cleared.
	 */
	int (*drop)(struct pf_guest *guest, uint32_t region, struct pf_err *err);
};

extern const struct pf_placer pf_placer_memfd, pf_placer_gmem, pf_placer_hugetlb, pf_placer_private;

/* NULL: no row of this version serves such memory. */
const struct pf_placer *pf_placer_of(enum pf_memory_kind kind);

#define PF_ROW_CONTINUE (UINT64_C(1) << _UFFDIO_CONTINUE)

extern const uint8_t pf_row_zeros[PF_RUN_BYTES_MAX];

/* Undoes attach(), for each row; takes a region that was never attached. */
void pf_row_detach(struct pf_guest *guest, uint32_t region);

/* What rows with a memory file share: where a page is in it, and the file emptied. */
uint64_t pf_row_file_offset(const struct pf_guest *guest, uint32_t region, uint64_t page);
/* fallocate(2) of one page: zeros where there was none, else nothing; 0, or -1 with errno. */
int pf_row_file_allocate(const struct pf_guest *guest, uint32_t region, uint64_t page);
/* pwrite(2) of pages, as populate() does it. */
int pf_row_file_write(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		      const uint8_t *bytes);
/* Where there is no write(2): one page through the agent's own mapping, whole or not at all, also where its
 * owner takes it away meanwhile.  NULL: zeros.  0, or -1 with errno; EBUSY: it is taken away again and again. */
int pf_row_map_write(const struct pf_guest *guest, uint32_t region, uint64_t page, const uint8_t *bytes);
int pf_row_file_drop(struct pf_guest *guest, uint32_t region, struct pf_err *err);
/* UFFDIO_CONTINUE, for every row whose pages are populated through the file. */
enum pf_map_result pf_row_file_map(const struct pf_guest *guest, uint32_t region, uint32_t mapping,
				   uint64_t first, uint32_t count, uint32_t *out_pages);

#endif
