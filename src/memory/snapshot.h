/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/snapshot.h - which pages were here when the session was taken up: what the source is told.
 *
 * One bit a page, of memory that nothing is spent on before an outage.  Taken by one thread at a time,
 * asked by any: a bit that is there is of a page that was FILLED before the question.
 */
#ifndef PF_MEMORY_SNAPSHOT_H
#define PF_MEMORY_SNAPSHOT_H

#include "memory/journal.h"

struct pf_snapshot {
	uint32_t regions;
	_Atomic uint64_t *bits[PF_REGIONS_MAX];
};

PF_MUST_USE int pf_snapshot_init(struct pf_snapshot *snapshot, const struct pf_region_table *table,
				 struct pf_err *err);
/* Takes a zeroed struct. */
void pf_snapshot_done(struct pf_snapshot *snapshot);
/* Of every page that is FILLED now; FILLING is not there yet. */
void pf_snapshot_take(struct pf_snapshot *snapshot, const struct pf_journal *journal);
/* How many of these pages are in it. */
uint32_t pf_snapshot_count(const struct pf_snapshot *snapshot, const struct pf_run *run);

#endif
