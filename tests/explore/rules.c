/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/rules.c - what must hold in every world, and a world in words.
 *
 * The rules look at who really runs, never at what a table's state is called.
 */
#include "tests/explore/world.h"

#include <stdio.h>

#include "base/side.h"
#include "wire/frame.h"

static bool source_runs(const struct world *w)
{
	return w->source_vmm == SV_RUNS;
}

static bool destination_runs(const struct world *w)
{
	return w->destination_vmm == DV_RUNS;
}

static bool said(const struct world *w, enum pf_side side, enum said what)
{
	return w->side[side].said == what;
}

const char *pf_world_broken(const struct world *w)
{
	const struct agent *s = &w->side[PF_SOURCE], *d = &w->side[PF_DESTINATION];

	if (source_runs(w) && destination_runs(w))
		return "both run";
	if (source_runs(w) && w->ran_there && !w->fenced)
		return "the source runs a past that the guest has left behind";
	if (source_runs(w) && !s->lost && !pf_source_may_run(s->record, true))
		return "the source runs and its record does not allow it";
	if (destination_runs(w) && !d->lost && !pf_destination_may_run(d->record))
		return "the destination runs and its record does not allow it";
	if (destination_runs(w) && (said(w, PF_SOURCE, SAID_INTACT) ||
				    said(w, PF_DESTINATION, SAID_INTACT)))
		return "source-intact was said, and the guest runs at the destination";
	if (w->source_vmm == SV_RELEASED &&
	    (said(w, PF_SOURCE, SAID_INTACT) || said(w, PF_DESTINATION, SAID_INTACT)))
		return "source-intact was said, and the source's memory is released";
	if (said(w, PF_SOURCE, SAID_COMPLETED) && !w->completed && !w->whole)
		return "completed was said, and pages are missing";
	/* Nobody else's word can make it so: it is this side that counts them. */
	if (said(w, PF_DESTINATION, SAID_COMPLETED) && !w->whole)
		return "the destination says completed, and pages are missing";
	if (!w->proven && !s->lost && !d->lost && !w->given_up &&
	    (s->record == PF_RECORD_OFFERED || s->record == PF_RECORD_GONE))
		return "the guest was offered, no directory was lost, and the destination has forgotten it";
	return NULL;
}

bool pf_world_stands(const struct world *w)
{
	return w->source_vmm == SV_STANDS && !destination_runs(w) && !w->given_up;
}

const char *pf_world_unnamed(const struct world *w)
{
	const struct agent *s = &w->side[PF_SOURCE], *d = &w->side[PF_DESTINATION];

	/* Two directories of two lost: no claim is made, and only the VMMs can tell. */
	if (s->lost && d->lost)
		return NULL;
	if (destination_runs(w) && !w->given_up && !said(w, PF_DESTINATION, SAID_THERE) &&
	    !said(w, PF_DESTINATION, SAID_COMPLETED) && !said(w, PF_DESTINATION, SAID_LOST) &&
	    !said(w, PF_SOURCE, SAID_THERE) && !said(w, PF_SOURCE, SAID_DOUBT) &&
	    !said(w, PF_SOURCE, SAID_COMPLETED))
		return "the guest runs at the destination, and nobody says so";
	/* Who has fenced a guest whose every page was there knows better than its agent. */
	if (source_runs(w) && !w->fenced && d->proc == PROC_ALIVE && said(w, PF_DESTINATION, SAID_THERE))
		return "the guest runs at the source, and the destination says that it has it";
	if (source_runs(w) && s->record != PF_RECORD_NONE && s->proc != PROC_ALIVE &&
	    !said(w, PF_SOURCE, SAID_INTACT))
		return "the guest runs at the source, and nobody says so";
	if (pf_world_stands(w) && w->link == LINK_STANDS && s->linked && d->linked)
		return "nobody runs, and both wait for each other";
	if (pf_world_stands(w) && s->said == SAID_NOTHING && d->said == SAID_NOTHING &&
	    s->proc != PROC_ENDED)
		return "nobody runs, nobody is named, and no question is asked";
	return NULL;
}

/* ---- in words ---- */

static void print_agent(const struct tables *tables, const struct world *w, enum pf_side side,
			char *out, size_t length)
{
	static const char *const procs[] = {"crashed", NULL, "ending", "ended"};
	static const char *const saids[] = {"", " says source-intact", " says it is there",
					    " says in-doubt", " says lost", " says completed"};
	const struct agent *agent = &w->side[side];
	const char *name = procs[agent->proc];

	snprintf(out, length, "%s [%s%s]%s%s", name ? name : tables->machine[side]->state_name[agent->state],
		 pf_record_name(agent->record), agent->marks & PF_MARK_SEEN ? "" : ", new",
		 agent->linked ? " linked" : "", saids[agent->said]);
}

static size_t print_queue(const uint8_t queue[URGENT_MAX], char *out, size_t length)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < URGENT_MAX && queue[i] && at < length; i++)
		at += (size_t)snprintf(out + at, length - at, " %s", pf_frame_name(queue[i]));
	return at;
}

void pf_world_print(const struct tables *tables, const struct world *w, char *out, size_t length)
{
	static const char *const links[] = {"no link", "link", "cut"};
	static const char *const source_vmms[] = {"runs", "stands", "is dead", "is released"};
	static const char *const destination_vmms[] = {"is unused", "loads", "is loaded",
						       "runs", "has refused", "is dead"};
	char source[128], destination[128], there[96], here[96];

	print_agent(tables, w, PF_SOURCE, source, sizeof(source));
	print_agent(tables, w, PF_DESTINATION, destination, sizeof(destination));
	print_queue(w->to_destination, there, sizeof(there));
	print_queue(w->to_source, here, sizeof(here));
	snprintf(out, length, "S %s, guest %s | D %s, guest %s | %s:%s%s >%s <%s", source,
		 source_vmms[w->source_vmm], destination, destination_vmms[w->destination_vmm],
		 links[w->link], w->proven ? "" : " strangers", w->bulk ? " bulk" : "", there, here);
}
