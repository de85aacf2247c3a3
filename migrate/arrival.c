/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/arrival.c - see migrate/arrival.h. */
#include "migrate/arrival.h"

#include <errno.h>
#include <poll.h>

#define RETRY_MS 100 /* out of memory: somebody raises a limit or frees something meanwhile */

static void tell_page(const struct pf_arrival *arrival, enum pf_mail_kind kind, uint32_t region,
		      uint64_t page, uint32_t sys)
{
	struct pf_mail_page mail = {.region = region, .sys = sys, .page = page};

	(void)pf_mail_post(arrival->inbox, 0, kind, 0, &mail, sizeof(mail));
}

int pf_arrival_gather(const struct pf_arrival *arrival, const struct pf_frame *frame,
		      const uint8_t **body, struct pf_err *err)
{
	return pf_assembly_take(arrival->assembly, &arrival->guest->table, frame, body, err);
}

void pf_arrival_lost(const struct pf_arrival *arrival, const struct pf_frame *frame)
{
	pf_assembly_lost(arrival->assembly, frame);
	for (uint32_t i = 0; i < frame->count; i++)
		tell_page(arrival, PF_MAIL_PAGE_LOST, frame->region, frame->page + i, frame->extra);
}

static bool stopped_while_waiting(const struct pf_arrival *arrival)
{
	(void)poll(NULL, 0, RETRY_MS);
	return atomic_load(arrival->stop);
}

/* What to do about a result: true to try again. */
static bool again(const struct pf_arrival *arrival, const struct pf_run *run,
		  enum pf_place_result result, const struct pf_err *err, bool *told)
{
	if (result == PF_PLACE_OK || result == PF_PLACE_AGAIN)
		return false;
	if (result == PF_PLACE_GONE) {
		(void)pf_mail_post(arrival->inbox, 0, PF_MAIL_VMM_GONE, 0, NULL, 0);
		return false;
	}
	if (!*told)
		tell_page(arrival, PF_MAIL_TROUBLE, run->region, run->first,
			  (uint32_t)(result == PF_PLACE_NOMEM ? ENOMEM : err->sys));
	*told = true;
	/* What is not for want of memory will not be better in a moment, and other faults wait. */
	return result == PF_PLACE_NOMEM && !stopped_while_waiting(arrival);
}

static enum pf_place_result place_run(struct pf_arrival *arrival, const struct pf_run *run,
				      const uint8_t *bytes)
{
	enum pf_place_result result;
	struct pf_err err = {0};
	uint32_t placed = 0;
	bool told = false;

	do {
		result = pf_place_run(arrival->guest, run, bytes, &placed, &err);
		arrival->placed += placed;
		arrival->zero += bytes ? 0 : placed;
	} while (again(arrival, run, result, &err, &told));
	return result;
}

enum pf_place_result pf_arrival_map(struct pf_arrival *arrival, const struct pf_run *run)
{
	enum pf_place_result result;
	struct pf_err err = {0};
	bool told = false;

	do
		result = pf_map_run(arrival->guest, run, &err);
	while (again(arrival, run, result, &err, &told));
	return result;
}

static void tell_when_filled(struct pf_arrival *arrival)
{
	if (pf_journal_complete(&arrival->guest->journal) &&
	    !atomic_exchange(arrival->filled_told, true))
		pf_mail_post_surely(arrival->inbox, 0, PF_MAIL_FILLED, 0, NULL, 0, arrival->stop);
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
	tell_when_filled(arrival);
	return worst;
}
