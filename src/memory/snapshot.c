/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/snapshot.c - see memory/snapshot.h. */
#include "memory/snapshot.h"

#include <stdlib.h>

static uint64_t words_of(uint64_t pages)
{
	return (pages + 63) / 64;
}

int pf_snapshot_init(struct pf_snapshot *snapshot, const struct pf_region_table *table,
		     struct pf_err *err)
{
	*snapshot = (struct pf_snapshot){.regions = table->count};
	for (uint32_t i = 0; i < table->count; i++) {
		uint64_t words = words_of(pf_region_pages(&table->region[i]));

		snapshot->bits[i] = calloc(words, sizeof(uint64_t));
		if (snapshot->bits[i])
			continue;
		pf_snapshot_done(snapshot);
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "out of memory for the received bitmap of region %u", i);
	}
	return 0;
}

void pf_snapshot_done(struct pf_snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->regions; i++)
		free(snapshot->bits[i]);
	*snapshot = (struct pf_snapshot){0};
}

void pf_snapshot_take(struct pf_snapshot *snapshot, const struct pf_journal *journal)
{
	for (uint32_t i = 0; i < snapshot->regions; i++)
		for (uint64_t w = 0; w < words_of(journal->region[i].pages); w++)
			atomic_store_explicit(&snapshot->bits[i][w],
					      pf_journal_filled(journal, i, w * 64),
					      memory_order_relaxed);
}

uint32_t pf_snapshot_count(const struct pf_snapshot *snapshot, const struct pf_run *run)
{
	uint32_t count = 0;

	if (snapshot->regions == 0)
		return 0;
	for (uint64_t page = run->first; page < run->first + run->count; page++) {
		uint64_t word = atomic_load_explicit(&snapshot->bits[run->region][page / 64],
						     memory_order_relaxed);

		count += (uint32_t)(word >> page % 64 & 1);
	}
	return count;
}
