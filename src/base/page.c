/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/page.c - see base/page.h. */
#include "base/page.h"

#include <inttypes.h>
#include <stddef.h>

#define PAGE_4K UINT32_C(4096)
#define PAGE_2M (UINT32_C(2) * 1024 * 1024)
#define SAME_MEMORY "start the destination's VMM with the memory of the source's"

bool pf_run_valid(const struct pf_region_table *table, const struct pf_run *run)
{
	uint64_t pages;

	if (run->region >= table->count || run->count == 0 || run->count > PF_RUN_PAGES_MAX)
		return false;
	pages = pf_region_pages(&table->region[run->region]);
	return run->first < pages && run->count <= pages - run->first;
}

uint64_t pf_table_pages(const struct pf_region_table *table)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < table->count; i++)
		pages += pf_region_pages(&table->region[i]);
	return pages;
}

static const char *shape_fault(const struct pf_region_shape *shape, uint64_t lowest_gpa)
{
	uint64_t end;

	if (shape->page_size != PAGE_4K && shape->page_size != PAGE_2M)
		return "its page size is neither 4096 nor 2097152";
	if (shape->size == 0 || shape->size % shape->page_size != 0)
		return "its size is not a positive multiple of its page size";
	if (shape->gpa % shape->page_size != 0)
		return "its GPA is not a multiple of its page size";
	if (__builtin_add_overflow(shape->gpa, shape->size, &end))
		return "it wraps around the end of the address space";
	if (shape->gpa < lowest_gpa)
		return "it overlaps the region before it, or the table is not sorted by GPA";
	return NULL;
}

int pf_table_check(const struct pf_region_table *table, struct pf_err *err)
{
	uint64_t lowest = 0, total = 0;

	if (table->count == 0 || table->count > PF_REGIONS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a region table of %" PRIu32
				  " regions; 1 to %d are allowed", table->count, PF_REGIONS_MAX);
	for (uint32_t i = 0; i < table->count; i++) {
		const struct pf_region_shape *shape = &table->region[i];
		const char *fault = shape_fault(shape, lowest);

		if (!fault && __builtin_add_overflow(total, shape->size, &total))
			fault = "the sizes together exceed 64 bits";
		if (fault)
			return pf_err_set(err, PF_ERR_PROTOCOL, "region %" PRIu32 " (GPA 0x%" PRIx64
					  ", %" PRIu64 " bytes, pages of %" PRIu32 "): %s", i,
					  shape->gpa, shape->size, shape->page_size, fault);
		lowest = shape->gpa + shape->size;
	}
	return 0;
}

int pf_table_compare(const struct pf_region_table *mine, const struct pf_region_table *theirs,
		     struct pf_err *err)
{
	if (mine->count != theirs->count) {
		pf_err_set(err, PF_ERR_PROTOCOL, "the region tables differ: %" PRIu32
			   " regions here, %" PRIu32 " at the peer", mine->count, theirs->count);
		return pf_err_hint(err, SAME_MEMORY);
	}
	for (uint32_t i = 0; i < mine->count; i++) {
		const struct pf_region_shape *a = &mine->region[i], *b = &theirs->region[i];

		if (a->gpa == b->gpa && a->size == b->size && a->page_size == b->page_size)
			continue;
		pf_err_set(err, PF_ERR_PROTOCOL, "the region tables differ: region %" PRIu32
			   " is GPA 0x%" PRIx64 ", %" PRIu64 " bytes, pages of %" PRIu32
			   " here; GPA 0x%" PRIx64 ", %" PRIu64 " bytes, pages of %" PRIu32
			   " at the peer", i, a->gpa, a->size, a->page_size, b->gpa, b->size,
			   b->page_size);
		return pf_err_hint(err, SAME_MEMORY);
	}
	return 0;
}
