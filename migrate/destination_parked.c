/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_parked.c - pages that can be neither placed nor mapped now.
 *
 * For want of memory, mostly, which may come from a madvise(2) that stands until its event is read: so the
 * urgent thread never waits for it, but tries again later.  And what a bulk thread could not write and has
 * handed on, so that the pages behind it need not wait.  The urgent thread's own; does not block.
 */
#include "base/clock.h"
#include "migrate/destination_exits.h"
#include "migrate/destination_pager.h"

#define RETRY_NS (100 * PF_NS_PER_MS) /* somebody raises a limit or frees something meanwhile */

static void retry_later(struct pf_pager *pager, uint64_t now)
{
	if (pager->retry_ns == 0)
		pager->retry_ns = now + RETRY_NS;
}

void pf_pager_keep(struct pf_pager *pager, uint32_t region, uint64_t page)
{
	uint64_t now = pf_now_ns();

	pf_requests_park(&pager->requests, region, page, now);
	if (pf_journal_state(&pager->guest->journal, region, page) == PF_PAGE_FILLED)
		pf_requests_unmapped(&pager->requests, region, page);
	retry_later(pager, now);
}

void pf_pager_park(struct pf_pager *pager, uint32_t region, uint64_t page)
{
	pf_requests_open(&pager->requests, region, page, pf_now_ns());
	pf_pager_keep(pager, region, page);
}

void pf_pager_take_stuck(struct pf_pager *pager, const struct pf_run *page)
{
	uint64_t now = pf_now_ns();

	/* Else it came on urgent meanwhile: whoever filled it has mapped it, or will. */
	if (pf_journal_state(&pager->guest->journal, page->region, page->first) == PF_PAGE_FILLED) {
		pf_requests_release(&pager->requests, 1);
		return;
	}
	pf_requests_hand_on(&pager->requests, page->region, page->first, now);
	retry_later(pager, now);
}

/* A bulk thread has filled it, and nobody may ever trap there: it is tried again all the same. */
static void map_or_keep(struct pf_pager *pager, const struct pf_run *page)
{
	if (pf_pager_map(pager, page)) {
		pf_requests_release(&pager->requests, 1);
		return;
	}
	pf_requests_hand_on(&pager->requests, page->region, page->first, pf_now_ns());
	pf_requests_unmapped(&pager->requests, page->region, page->first);
	retry_later(pager, pf_now_ns());
}

void pf_pager_take_map(struct pf_pager *pager, const struct pf_run *run)
{
	bool mapped;

	pager->arrival.told = true; /* page by page, main hears which it is */
	mapped = pf_pager_map(pager, run);
	pager->arrival.told = false;
	if (mapped) {
		pf_requests_release(&pager->requests, run->count);
	} else {
		for (uint32_t i = 0; i < run->count; i++) {
			const struct pf_run page = {
				.region = run->region, .first = run->first + i, .count = 1};

			map_or_keep(pager, &page);
		}
		/* Woken, whoever waits traps again, and that trap is parked. */
		pf_pager_wake(pager, run);
	}
	pf_requests_map_end(&pager->requests, run->count);
	(void)pf_exits_answer(pager, run);
}

void pf_pager_tell_mapped(struct pf_pager *pager)
{
	if (!pager->requests.mapped_all)
		return;
	pager->requests.mapped_all = false;
	if (!pager->guest || !pf_requests_all_mapped(&pager->requests))
		return;
	/* Main may have been told that all are FILLED, and waits for this since. */
	atomic_store(pager->filled_told, false);
	pf_arrival_tell_filled(&pager->arrival);
}

/* A parked page that has come meanwhile, by whichever way, only has to be mapped. */
static enum pf_retry judge_parked(void *opaque, const struct pf_request *request)
{
	struct pf_pager *pager = opaque;
	struct pf_run run = {.region = request->region, .first = request->page, .count = 1};
	bool mapped, let_in;

	switch (pf_journal_state(&pager->guest->journal, run.region, run.first)) {
	case PF_PAGE_ABSENT:
		pf_exits_ask(pager, &run);
		return PF_RETRY_SEND;
	case PF_PAGE_FILLING:
		return PF_RETRY_KEEP;
	case PF_PAGE_FILLED:
		break;
	}
	/* One that holds the end of the migration is told again: else nobody might know of it. */
	pager->arrival.told = request->handed && !request->unmapped;
	mapped = pf_pager_map(pager, &run);
	/* Whatever the mapping does: vCPUs do not go through it. */
	let_in = pf_exits_answer(pager, &run);
	if (!mapped)
		return PF_RETRY_UNMAPPED;
	if (!let_in)
		return PF_RETRY_KEEP;
	if (!request->handed)
		pf_hist_record(&pager->latency_ns, pf_now_ns() - request->since_ns);
	return PF_RETRY_DONE;
}

static void retry(struct pf_pager *pager, uint64_t now)
{
	pf_requests_retry(&pager->requests, now, judge_parked, pager);
	pager->arrival.told = false;
	pager->retry_ns = pager->requests.parked ? pf_now_ns() + RETRY_NS : 0;
}

void pf_pager_retry(struct pf_pager *pager)
{
	uint64_t now;

	if (pager->retry_ns != 0 && (now = pf_now_ns()) >= pager->retry_ns)
		retry(pager, now);
}

/* What came by another way meanwhile is mapped, and must not be asked for: it is in what the source is told. */
void pf_pager_sort_out(struct pf_pager *pager)
{
	uint64_t now = pf_now_ns();

	pf_requests_park_all(&pager->requests, now);
	retry(pager, now);
}
