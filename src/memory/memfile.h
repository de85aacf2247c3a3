/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/memfile.h - is this descriptor the guest memory that it is said to be?
 *
 * The checks that the source's reader and the destination's guest share.  Any thread; looks at the
 * file, never at its bytes, and does not block.
 */
#ifndef PF_MEMORY_MEMFILE_H
#define PF_MEMORY_MEMFILE_H

#include "base/page.h"

/*
 * Kind (fstatfs), page size, alignment of offset, length, access mode; seals too if it is to be
 * written.  PF_ERR_PROTOCOL says what is wrong and what to do; the caller prefixes the region.
 */
PF_MUST_USE int pf_memfile_check(int fd, enum pf_memory_kind kind, uint64_t offset,
				 const struct pf_region_shape *shape, bool writable,
				 struct pf_err *err);

/*
 * A userfault bitmap, before anything else is asked of it: only files of tmpfs and hugetlbfs have seals, while
 * fstat(2) of one on FUSE waits for whoever serves it.
 */
PF_MUST_USE int pf_memfile_check_bitmap(int fd, struct pf_err *err);
int pf_memfile_refuse_bitmap(struct pf_err *err);

/* What the kernel calls it, as in /proc/self/fd; nobody who serves the file is asked. */
void pf_memfile_name(int fd, char *out, size_t size);

struct pf_memfile_stock {
	uint64_t pages;	      /* present in the region */
	uint64_t first, last; /* the first range of them, inclusive; page indexes of the region */
};

/* Pages that were found, in ascending order. */
void pf_memfile_count(struct pf_memfile_stock *stock, uint64_t first, uint64_t count);
/*
 * Which of the pages [first, first + count) of the region at offset hold data, in memory or in swap:
 * SEEK_DATA (mincore(2) does not see swap).  Pages that were allocated by fallocate(2) and never
 * written are not data.  Adds to *out, which begins as zero and is asked in ascending order.
 */
PF_MUST_USE int pf_memfile_take_stock(int fd, uint64_t offset, uint32_t page_size, uint64_t first,
				      uint64_t count, struct pf_memfile_stock *out,
				      struct pf_err *err);
/* The same, but stops at the first range, which is all that *out then holds. */
PF_MUST_USE int pf_memfile_next_data(int fd, uint64_t offset, uint32_t page_size, uint64_t first,
				     uint64_t count, struct pf_memfile_stock *out,
				     struct pf_err *err);

#endif
