/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/page.h - regions and pages: the words every layer shares.
 *
 * A region is one contiguous piece of guest memory with one page size.  The region table is what
 * both sides agree on in set-up: sorted by GPA, and a region is named by its index in it.  A page
 * is named by (region, page index within the region); a run is several neighbouring pages.
 */
#ifndef PF_BASE_PAGE_H
#define PF_BASE_PAGE_H

#include <stdint.h>

#include "base/err.h"

#define PF_REGIONS_MAX 64
#define PF_POPULATED_RANGES_MAX 256u /* in all regions together */
#define PF_RUN_BYTES_MAX (64u * 1024) /* raw page bytes in one frame, DESIGN.md section 3.4 */
#define PF_RUN_PAGES_MAX 16u	      /* PF_RUN_BYTES_MAX in pages of 4 KiB */

enum pf_memory_kind {
	PF_MEMORY_MEMFD = 1, /* memfd or tmpfs, shared */
	PF_MEMORY_GUEST_MEMFD,
	PF_MEMORY_HUGETLBFS,
	PF_MEMORY_PRIVATE, /* private anonymous */
};

/* What is in memory already when it is handed over (proto/WIRE.md section 8.2). */
enum pf_populated { PF_POPULATED_NONE = 1, PF_POPULATED_PREALLOCATED, PF_POPULATED_LIST };

struct pf_region_shape {
	uint64_t gpa;	    /* bytes, multiple of page_size */
	uint64_t size;	    /* bytes, multiple of page_size, > 0 */
	uint32_t page_size; /* bytes: 4096 or 2 MiB */
};

struct pf_region_table {
	uint32_t count; /* 1..PF_REGIONS_MAX */
	struct pf_region_shape region[PF_REGIONS_MAX];
};

struct pf_run {
	uint32_t region;
	uint32_t count; /* pages */
	uint64_t first; /* page index within the region */
};

static inline uint64_t pf_region_pages(const struct pf_region_shape *shape)
{
	return shape->size / shape->page_size;
}

/* 1 to PF_RUN_PAGES_MAX pages, all of them in one region of the table. */
PF_MUST_USE bool pf_run_valid(const struct pf_region_table *table, const struct pf_run *run);

uint64_t pf_table_pages(const struct pf_region_table *table);

/*
 * Checks a table that came from outside: count, page sizes, alignment, order by GPA, no overlap,
 * no wrap-around.  PF_ERR_PROTOCOL names the first region that is wrong.
 */
PF_MUST_USE int pf_table_check(const struct pf_region_table *table, struct pf_err *err);

/* 0 if both describe the same memory; else PF_ERR_PROTOCOL naming the first difference. */
PF_MUST_USE int pf_table_compare(const struct pf_region_table *mine,
				 const struct pf_region_table *theirs, struct pf_err *err);

#endif
