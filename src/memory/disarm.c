/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/disarm.c - pf_guest_disarm() of memory/guest.h: every page is there or lost, and the traps go.
 *
 * The main thread's; blocks in writing bitmaps only.
 */
#include <inttypes.h>

#include "memory/guest.h"
#include "memory/lost.h"
#include "memory/row.h"
#include "memory/uffd.h"

static int fail(const struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	return pf_err_prefix(err, "region %" PRIu32 " (id %" PRIu32 ")", r, guest->region[r].id);
}

/* The next page from `first` on that is lost, or the end of the region. */
static uint64_t next_lost(const struct pf_guest *guest, uint32_t r, uint64_t first)
{
	uint64_t pages = pf_region_pages(&guest->table.region[r]);

	if (atomic_load(&guest->journal.lost) == 0)
		return pages;
	while (first < pages && !pf_journal_lost(&guest->journal, r, first))
		first++;
	return first;
}

/*
 * No page is absent: so no bit that a late writer, or one that died, has left may stop a vCPU.  Those of lost
 * pages stay: a vCPU would read zeros.
 */
static int end_traps(const struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	const struct pf_placer *placer = guest->region[r].placer;
	uint64_t pages = pf_region_pages(&guest->table.region[r]), end;

	for (uint64_t first = 0; placer->set_traps && first < pages; first = end + 1) {
		end = next_lost(guest, r, first);
		if (placer->set_traps(guest, r, first, end - first, false) == 0)
			continue;
		pf_err_sys(err, "clearing its userfault bitmap");
		return fail(guest, r, err);
	}
	return 0;
}

/* The traps of one mapping, but those of lost pages where nothing else would hold them until the VMM does. */
static int disarm_mapping(const struct pf_guest *guest, uint32_t r, uint32_t m, struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];
	uint64_t page_size = guest->table.region[r].page_size;
	uint64_t pages = pf_region_pages(&guest->table.region[r]), end;

	for (uint64_t first = 0; first < pages; first = end + 1) {
		end = region->placer->collapses ? next_lost(guest, r, first) : pages;
		if (end > first &&
		    pf_uffd_unregister(guest->uffd[region->mapping[m].uffd].fd,
				       region->mapping[m].base + first * page_size, (end - first) * page_size,
				       err))
			return fail(guest, r, err);
	}
	return 0;
}

static int disarm_region(const struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	struct pf_err later;
	int failed = 0;

	for (uint32_t m = 0; m < guest->region[r].mappings; m++)
		if (disarm_mapping(guest, r, m, failed ? &later : err))
			failed = -1;
	return failed;
}

int pf_guest_disarm(struct pf_guest *guest, struct pf_err *err)
{
	struct pf_err later;
	int failed = 0;

	for (uint32_t r = 0; r < guest->table.count; r++) {
		if (end_traps(guest, r, failed ? &later : err))
			failed = -1;
		if (pf_lost_store(guest, r, failed ? &later : err))
			failed = -1;
	}
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (disarm_region(guest, r, failed ? &later : err))
			failed = -1;
	return failed;
}
