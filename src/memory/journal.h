/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/journal.h - the life of every page: ABSENT, FILLING, FILLED, and who waits for it.
 *
 * Four bits a page (state 2, REQUESTED 1, a mark 1) in a shared file mapping under the state
 * directory, allocated up front, since running out of tmpfs later would be a SIGBUS; it survives
 * the process that writes it.  REQUESTED is in the same word as the state, so that "set REQUESTED,
 * read state" and "set FILLED, read REQUESTED" cannot miss each other (DESIGN.md section 3.2).
 *
 * The mark of a FILLED page is LOST: it can never come, and an access to it is an error.  That of any
 * other is TRIED: a write of ours, or of a process before, may have reached it, so that its being there
 * is no news.
 *
 * Any thread, lock free; only create and open do I/O and can fail.
 */
#ifndef PF_MEMORY_JOURNAL_H
#define PF_MEMORY_JOURNAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/page.h"

enum pf_page_state { PF_PAGE_ABSENT = 0, PF_PAGE_FILLING = 1, PF_PAGE_FILLED = 2 };

struct pf_journal {
	void *map;
	size_t length;
	uint32_t regions;
	struct {
		_Atomic uint64_t *word; /* 16 pages each */
		uint64_t pages;
	} region[PF_REGIONS_MAX];
	uint64_t total;		  /* pages */
	_Atomic uint64_t filled; /* pages FILLED; equals total when nothing more has to come */
	_Atomic uint64_t lost;	 /* pages LOST, among them */
};

/* Creates dirfd/journal for the table; refuses (PF_ERR_CONFIG, with the bytes needed) if the
 * file system has no room for it. */
PF_MUST_USE int pf_journal_create(struct pf_journal *journal, int dirfd,
				  const struct pf_region_table *table, struct pf_err *err);
/* Opens what create() made, after a crash; the table must be the same (PF_ERR_CONFIG). */
PF_MUST_USE int pf_journal_open(struct pf_journal *journal, int dirfd,
				const struct pf_region_table *table, struct pf_err *err);
/* Unmaps; the file stays.  Takes a zeroed struct. */
void pf_journal_close(struct pf_journal *journal);

enum pf_page_state pf_journal_state(const struct pf_journal *journal, uint32_t region,
				    uint64_t page);
/*
 * One atomic step: sets REQUESTED and returns the state at that moment.  *out_first: this call set
 * it (the page must now be asked for, if ABSENT).
 */
enum pf_page_state pf_journal_request(struct pf_journal *journal, uint32_t region, uint64_t page,
				      bool *out_first);
/*
 * Claims (ABSENT -> FILLING) what can be claimed of count <= PF_RUN_PAGES_MAX pages from first.
 * Bit i of the result: page first + i is ours to write.
 */
uint32_t pf_journal_claim(struct pf_journal *journal, uint32_t region, uint64_t first,
			  uint32_t count);
bool pf_journal_lost(const struct pf_journal *journal, uint32_t region, uint64_t page);
/* A claim that was given back, or died, may have left something in this page, which is not FILLED. */
bool pf_journal_tried(const struct pf_journal *journal, uint32_t region, uint64_t page);
/* ABSENT and not TRIED: whatever is there is not our work. */
bool pf_journal_untouched(const struct pf_journal *journal, uint32_t region, uint64_t page);
/* FILLING -> FILLED and LOST for a claimed page.  true: it was REQUESTED. */
PF_MUST_USE bool pf_journal_lose(struct pf_journal *journal, uint32_t region, uint64_t page);
/* FILLING -> FILLED for the claimed pages in mask (release order: the bytes are complete before).
 * Bit i of the result: page first + i was REQUESTED. */
uint32_t pf_journal_fill(struct pf_journal *journal, uint32_t region, uint64_t first,
			 uint32_t mask);
/*
 * FILLING -> ABSENT for claimed pages that could not be written; tried: a part of them may have been.  Bit i of the result: page first +
 * i is REQUESTED, perhaps by a trap that met FILLING (PF_TRAP_WAIT), so that nobody asks for it.
 */
PF_MUST_USE uint32_t pf_journal_unclaim(struct pf_journal *journal, uint32_t region, uint64_t first,
					uint32_t mask, bool tried);
/*
 * ABSENT -> FILLED without data: the owner has discarded these pages (any count of them).  true: one
 * of them was REQUESTED, and whoever waits for it must be woken.
 */
PF_MUST_USE bool pf_journal_discard(struct pf_journal *journal, uint32_t region, uint64_t first,
				    uint64_t count);
/* The next page from first on that is LOST or TRIED; the region's pages where there is none. */
uint64_t pf_journal_next_marked(const struct pf_journal *journal, uint32_t region, uint64_t first);
/* Which of the 64 pages from `first` on, a multiple of 64, are FILLED: one bit each. */
uint64_t pf_journal_filled(const struct pf_journal *journal, uint32_t region, uint64_t first);
/* Every page ABSENT, unrequested and not LOST again; nobody else may use the journal meanwhile. */
void pf_journal_clear(struct pf_journal *journal);
/* true once every page of every region is FILLED: here, or LOST. */
bool pf_journal_complete(const struct pf_journal *journal);

#endif
