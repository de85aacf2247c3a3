/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/arrival.c - see migrate/arrival.h. */
#include "migrate/arrival.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>

#include "base/clock.h"

#define RETRY_MS 100 /* somebody raises a limit or frees something meanwhile */
#define BUSY_MS 1    /* the urgent thread reads the event, the VMM's thread goes on */
#define BUSY_TRIES 64

int pf_arrival_gather(const struct pf_arrival *arrival, const struct pf_frame *frame,
		      const uint8_t **body, struct pf_err *err)
{
	return pf_assembly_take(arrival->assembly, &arrival->guest->table, frame, body, err);
}

static void tell_trouble(struct pf_arrival *arrival, const struct pf_run *run, int sys)
{
	struct pf_mail_page mail = {
		.region = run->region, .sys = (uint32_t)sys, .page = run->first};
	uint64_t now = pf_now_ns(), *next_ns = &arrival->trouble_ns[pf_place_wants_room(sys)];

	if (now < *next_ns)
		return;
	*next_ns = now + PF_NS_PER_S;
	(void)pf_mail_post(arrival->inbox, 0, PF_MAIL_TROUBLE, 0, &mail, sizeof(mail));
}

/* Tells main what it has to know; true: the run has to be tried again. */
static bool failed(struct pf_arrival *arrival, const struct pf_run *run,
		   enum pf_place_result result, const struct pf_err *err)
{
	switch (result) {
	case PF_PLACE_NOMEM:
		tell_trouble(arrival, run, err->sys);
		return true;
	case PF_PLACE_FAILED:
		/* Which page it is of several, shows when a bulk thread goes through them. */
		if (!arrival->told && !(arrival->maps && run->count > 1))
			tell_trouble(arrival, run, err->sys);
		return true;
	case PF_PLACE_GONE:
		(void)pf_mail_post(arrival->inbox, 0, PF_MAIL_VMM_GONE, 0, NULL, 0);
		return false;
	default:
		return false;
	}
}

static bool stopped_while_waiting(const struct pf_arrival *arrival, int ms)
{
	(void)poll(NULL, 0, ms);
	return atomic_load(arrival->stop);
}

/* A bulk thread's page; false: as many are waited for as may be. */
static bool hand_on(const struct pf_arrival *arrival, const struct pf_run *page)
{
	if (!pf_requests_reserve(arrival->owed))
		return false;
	if (!pf_mail_post_surely(arrival->maps, 0, PF_MAIL_STUCK, 0, page, sizeof(*page),
				 arrival->stop))
		pf_requests_release(arrival->owed, 1);
	return true;
}

/*
 * A bulk thread's pages, which are FILLED: the urgent thread maps them, or keeps them until they can be.  Its box
 * can be full for a moment, never for long: it takes all of it each time around.
 */
static void have_mapped(const struct pf_arrival *arrival, const struct pf_run *run)
{
	pf_requests_map_begin(arrival->owed, run->count);
	pf_requests_overbook(arrival->owed, run->count);
	if (!pf_mail_post_surely(arrival->maps, 0, PF_MAIL_MAP, 0, run, sizeof(*run), arrival->stop)) {
		/* Stopped: whoever stops a thread has all who wait trap again. */
		pf_requests_release(arrival->owed, run->count);
		pf_requests_map_forget(arrival->owed, run->count);
		return;
	}
	/* Behind it: somebody may wait for one of these, and the room may not come. */
	while (pf_requests_overbooked(arrival->owed) && !stopped_while_waiting(arrival, RETRY_MS))
		continue;
}

/* It did not work, and main is told why; true: it is to be tried again at once. */
static bool again_after_waiting(struct pf_arrival *arrival, const struct pf_run *run,
				enum pf_place_result result, const struct pf_err *err)
{
	if (!failed(arrival, run, result, err) || !arrival->maps)
		return false;
	if (result == PF_PLACE_FAILED && (run->count > 1 || hand_on(arrival, run)))
		return false;
	return !stopped_while_waiting(arrival, RETRY_MS);
}

/*
 * A discard has begun and its event was not read, or its thread has not gone on since: whoever reads
 * events does so, and lets that thread run; the others come again a little later.
 */
static bool again_when_busy(const struct pf_arrival *arrival, unsigned *tries)
{
	if (arrival->maps)
		return !stopped_while_waiting(arrival, BUSY_MS);
	(void)sched_yield();
	return (*tries)++ < BUSY_TRIES && arrival->drain(arrival->opaque);
}

/* Private memory keeps what was placed of a run that failed: that part is not to be placed again. */
static void skip_placed(const struct pf_guest *guest, struct pf_run *run, const uint8_t **bytes)
{
	while (run->count > 0 && guest->region[run->region].placer->visible_at_once &&
	       pf_journal_state(&guest->journal, run->region, run->first) == PF_PAGE_FILLED) {
		run->first++;
		run->count--;
		if (*bytes)
			*bytes += guest->region[run->region].shape.page_size;
	}
}

void pf_arrival_tell_unexpected(const struct pf_arrival *arrival)
{
	struct pf_mail_page mail = {.sys = EEXIST};

	/* A VMM that has touched thousands of pages must not make the source's next frame look like a
	 * flood.  What is not told now is told with the next one, or not: it is news once a second. */
	if (!pf_mailbox_half_full(arrival->inbox) &&
	    pf_guest_take_unexpected(arrival->guest, &mail.region, &mail.page))
		(void)pf_mail_post(arrival->inbox, 0, PF_MAIL_UNEXPECTED, 0, &mail, sizeof(mail));
}

static enum pf_place_result try_run(struct pf_arrival *arrival, const struct pf_run *run,
				    const uint8_t *bytes)
{
	enum pf_place_result result = PF_PLACE_OK;
	struct pf_run left = *run;
	struct pf_err err = {0};
	unsigned tries = 0;
	bool again = true;

	while (again && left.count > 0) {
		uint32_t placed = 0;

		result = pf_place_run(arrival->guest, &left, bytes, &placed, &err);
		arrival->placed += placed;
		arrival->zero += bytes ? 0 : placed;
		if (result == PF_PLACE_BUSY)
			again = again_when_busy(arrival, &tries);
		else
			again = again_after_waiting(arrival, run, result, &err);
		if (again)
			skip_placed(arrival->guest, &left, &bytes);
		if (again && left.count == 0)
			result = PF_PLACE_OK;
	}
	pf_arrival_tell_unexpected(arrival);
	if (result == PF_PLACE_ASKED) {
		if (arrival->maps)
			pf_mail_post_surely(arrival->maps, 0, PF_MAIL_ANSWER, 0, run, sizeof(*run),
					    arrival->stop);
		return PF_PLACE_OK; /* the urgent thread looks at its slots after each answer */
	}
	if (result != PF_PLACE_AGAIN || !arrival->maps)
		return result;
	have_mapped(arrival, run);
	return PF_PLACE_OK;
}

/* A bulk thread goes on behind a page that cannot be written: the run's other pages need not wait for it. */
static enum pf_place_result place_run(struct pf_arrival *arrival, const struct pf_run *run,
				      const uint8_t *bytes)
{
	enum pf_place_result result = try_run(arrival, run, bytes);
	struct pf_run left = *run;

	if (result != PF_PLACE_FAILED || !arrival->maps || run->count == 1)
		return result;
	for (skip_placed(arrival->guest, &left, &bytes); left.count > 0;
	     skip_placed(arrival->guest, &left, &bytes)) {
		const struct pf_run page = {.region = run->region, .first = left.first, .count = 1};

		result = try_run(arrival, &page, bytes);
		if (result != PF_PLACE_OK && result != PF_PLACE_FAILED)
			break;
		left.first++;
		left.count--;
		if (bytes)
			bytes += arrival->guest->region[run->region].shape.page_size;
	}
	return result;
}

/* true: this page is lost now.  As place_run(): a bulk thread tries until it is known. */
static bool lose_page(struct pf_arrival *arrival, uint32_t region, uint64_t page)
{
	const struct pf_run run = {.region = region, .first = page, .count = 1};
	struct pf_err err = {0};
	bool lost = false, again = true;
	unsigned tries = 0;

	/* Where nobody can be told, it is not counted as here either: completion would be zeros. */
	if (!arrival->guest->region[region].poisons)
		return pf_journal_state(&arrival->guest->journal, region, page) == PF_PAGE_ABSENT;
	while (again) {
		enum pf_place_result result =
			pf_lose_page(arrival->guest, region, page, &lost, &err);

		if (result == PF_PLACE_BUSY)
			again = again_when_busy(arrival, &tries);
		else
			again = again_after_waiting(arrival, &run, result, &err);
	}
	return lost;
}

/* vCPUs that left for a page which a bulk thread has lost are answered by the urgent one. */
static void tell_exits(struct pf_arrival *arrival, const struct pf_mail_page *page)
{
	const struct pf_run run = {.region = page->region, .first = page->page, .count = 1};

	if (arrival->maps && arrival->guest->region[page->region].has_bitmap)
		pf_mail_post_surely(arrival->maps, 0, PF_MAIL_ANSWER, 0, &run, sizeof(run),
				    arrival->stop);
}

void pf_arrival_lost(struct pf_arrival *arrival, const struct pf_frame *frame)
{
	pf_assembly_lost(arrival->assembly, frame);
	for (uint32_t i = 0; i < frame->count; i++) {
		struct pf_mail_page mail = {
			.region = frame->region, .sys = frame->extra, .page = frame->page + i};

		/* What came on another connection, when it could still be read, is not lost. */
		if (!lose_page(arrival, mail.region, mail.page))
			continue;
		pf_mail_post_surely(arrival->inbox, 0, PF_MAIL_PAGE_LOST, 0, &mail, sizeof(mail),
				    arrival->stop);
		tell_exits(arrival, &mail);
	}
	pf_arrival_tell_filled(arrival);
}

enum pf_place_result pf_arrival_map(struct pf_arrival *arrival, const struct pf_run *run)
{
	struct pf_err err = {0};
	enum pf_place_result result = pf_map_run(arrival->guest, run, &err);

	(void)failed(arrival, run, result, &err);
	return result;
}

void pf_arrival_tell_filled(struct pf_arrival *arrival)
{
	if (!pf_journal_complete(&arrival->guest->journal) ||
	    atomic_exchange(arrival->filled_told, true))
		return;
	/* Stopped meanwhile: whoever stops a thread asks the journal, and others may tell it still. */
	if (!pf_mail_post_surely(arrival->inbox, 0, PF_MAIL_FILLED, 0, NULL, 0, arrival->stop))
		atomic_store(arrival->filled_told, false);
}

enum pf_place_result pf_arrival_place(struct pf_arrival *arrival, const struct pf_frame *frame,
				      const uint8_t *body)
{
	/* PAGES holds one run at most, ZERO may name many. */
	struct pf_run run = {.region = frame->region, .first = frame->page};
	enum pf_place_result worst = PF_PLACE_OK;
	uint32_t left = frame->count;

	/* A ZERO frame can name a whole region: stopping must not wait for that. */
	while (left > 0 && !atomic_load(arrival->stop)) {
		enum pf_place_result result;

		run.count = left < PF_RUN_PAGES_MAX ? left : PF_RUN_PAGES_MAX;
		result = place_run(arrival, &run, frame->type == PF_FRAME_PAGES ? body : NULL);
		worst = result > worst ? result : worst;
		if (result == PF_PLACE_GONE || result == PF_PLACE_NOMEM)
			break;
		run.first += run.count;
		left -= run.count;
	}
	pf_arrival_tell_filled(arrival);
	return worst;
}
