/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/mishaps.c - see migrate/demo/mishaps.h. */
#include "migrate/demo/mishaps.h"

#include <string.h>

#include "base/clock.h"

#define CUT_NS (5 * PF_NS_PER_S)
/* Generous, as all deadlines of the demo: a slow machine is no failure. */
#define RECOVER_NS (60 * PF_NS_PER_S)
/* What is measured is as exact as this. */
#define LOOK_CLOSELY_NS (1 * PF_NS_PER_MS)
#define LOOK_NS (5 * PF_NS_PER_MS)

/* Early: the guest walks with a stride, and where push has followed its requests for long enough it asks
 * for nothing any more, so that there would be no first page to measure to. */
const struct pf_mishap pf_mishap_table[PF_MISHAPS] = {
	{"the link is cut for 5 s", "cut-healed-to-page-ms", 250, 1, 64, PF_MISHAP_CUT, 0},
	{"the source's worker is killed", "source-killed-to-page-ms", 100, 2, 64, PF_MISHAP_KILL,
	 PF_SOURCE},
	{"the destination's worker is killed", "destination-killed-to-page-ms", 100, 3, 64,
	 PF_MISHAP_KILL, PF_DESTINATION},
};

const struct pf_mishap *pf_mishaps_now(const struct pf_mishaps *mishaps)
{
	if (mishaps->turn == PF_MISHAPS || mishaps->phase == PF_MISHAP_AWAITED)
		return NULL;
	return &pf_mishap_table[mishaps->turn];
}

enum pf_side pf_mishaps_stuck(const struct pf_mishaps *mishaps)
{
	if (!mishaps->source.back)
		return PF_SOURCE;
	return mishaps->destination.back ? 0 : PF_DESTINATION;
}

/* Nothing more is waited for: it is the next one's turn. */
static void end_turn(struct pf_mishaps *mishaps)
{
	if (mishaps->phase != PF_MISHAP_MENDING || pf_mishaps_stuck(mishaps) != 0 ||
	    mishaps->course[mishaps->turn].page_ns == 0)
		return;
	mishaps->turn++;
	mishaps->phase = PF_MISHAP_AWAITED;
}

void pf_mishaps_event(struct pf_mishaps *mishaps, enum pf_side side, const char *event)
{
	struct pf_mishap_side *it = side == PF_SOURCE ? &mishaps->source : &mishaps->destination;

	if (!pf_mishaps_now(mishaps))
		return;
	if (strcmp(event, "OUTAGE") == 0 || strcmp(event, "WORKER_RESTARTED") == 0)
		*it = (struct pf_mishap_side){.hit = true};
	else if (strcmp(event, "RECOVERED") == 0)
		it->back = it->hit;
	end_turn(mishaps);
}

void pf_mishaps_pages(struct pf_mishaps *mishaps, const struct pf_mishap_pages *pages,
		      uint64_t now_ns)
{
	const struct pf_mishap *mishap = pf_mishaps_now(mishaps);
	struct pf_mishap_course *course;

	/* What comes before the destination has noticed came by the connection that was. */
	if (!mishap || !mishaps->destination.hit)
		return;
	course = &mishaps->course[mishaps->turn];
	if (!mishaps->counted || mishaps->phase == PF_MISHAP_CUT_OFF) {
		/* A new worker counts from 0. */
		mishaps->requested = mishap->victim == PF_DESTINATION ? 0 : pages->requested;
		mishaps->counted = true;
	}
	if (mishaps->phase != PF_MISHAP_MENDING || pages->requested <= mishaps->requested)
		return;
	if (course->page_ns == 0)
		course->page_ns = now_ns;
	end_turn(mishaps);
}

static enum pf_mishap_due due_at(const struct pf_mishap *mishap,
				 const struct pf_mishap_pages *pages)
{
	if (pages->total == 0 || pages->filled * mishap->of < pages->total * mishap->part)
		return PF_DUE_NOTHING;
	return mishap->kind == PF_MISHAP_CUT ? PF_DUE_CUT : PF_DUE_KILL;
}

enum pf_mishap_due pf_mishaps_due(const struct pf_mishaps *mishaps,
				  const struct pf_mishap_pages *pages, uint64_t now_ns)
{
	const struct pf_mishap_course *course;

	if (mishaps->turn == PF_MISHAPS)
		return mishaps->let_go ? PF_DUE_NOTHING : PF_DUE_LET_GO;
	course = &mishaps->course[mishaps->turn];
	switch (mishaps->phase) {
	case PF_MISHAP_AWAITED:
		return due_at(&pf_mishap_table[mishaps->turn], pages);
	case PF_MISHAP_CUT_OFF:
		/* An agent that has noticed nothing yet is waited for: else nothing was shown. */
		if (now_ns - course->struck_ns >= RECOVER_NS)
			return PF_DUE_LATE;
		return mishaps->source.hit && mishaps->destination.hit && mishaps->counted &&
				       now_ns - course->struck_ns >= CUT_NS
			       ? PF_DUE_HEAL
			       : PF_DUE_NOTHING;
	case PF_MISHAP_MENDING:
		return now_ns - course->mended_ns >= RECOVER_NS ? PF_DUE_LATE : PF_DUE_NOTHING;
	}
	return PF_DUE_NOTHING;
}

static void strike(struct pf_mishaps *mishaps, enum pf_mishap_phase phase, uint64_t now_ns)
{
	mishaps->phase = phase;
	mishaps->source = mishaps->destination = (struct pf_mishap_side){false, false};
	mishaps->counted = false;
	mishaps->course[mishaps->turn].struck_ns = now_ns;
}

void pf_mishaps_done(struct pf_mishaps *mishaps, enum pf_mishap_due due, uint64_t now_ns)
{
	switch (due) {
	case PF_DUE_CUT:
		strike(mishaps, PF_MISHAP_CUT_OFF, now_ns);
		return;
	case PF_DUE_KILL:
		strike(mishaps, PF_MISHAP_MENDING, now_ns);
		mishaps->course[mishaps->turn].mended_ns = now_ns;
		return;
	case PF_DUE_HEAL:
		mishaps->phase = PF_MISHAP_MENDING;
		mishaps->course[mishaps->turn].mended_ns = now_ns;
		return;
	case PF_DUE_LET_GO:
		mishaps->let_go = true;
		return;
	case PF_DUE_NOTHING:
	case PF_DUE_LATE:
		return;
	}
}

uint64_t pf_mishaps_look_again_ns(const struct pf_mishaps *mishaps)
{
	if (mishaps->turn == PF_MISHAPS)
		return 0;
	return mishaps->phase == PF_MISHAP_MENDING ? LOOK_CLOSELY_NS : LOOK_NS;
}
