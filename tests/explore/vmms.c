/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/vmms.c - what the two VMMs do, and the pages between them, one step each.
 *
 * What is assumed of VMMs is WIRE.md section 8: a VMM reads its old connection to the end before it
 * comes back, and then says how its guest is.
 */
#include "tests/explore/engines.h"

/* ---- the source's VMM ---- */

bool pf_step_source_vmm_comes(struct making *m)
{
	struct world *w = m->world;
	struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (!pf_is_alive(w, PF_SOURCE) || agent->met != VMM_ABSENT || w->pause_asked ||
	    w->source_vmm > SV_STANDS)
		return false;
	agent->met = VMM_HERE;
	if (w->source_vmm == SV_STANDS) {
		w->guest_paused = true;
		pf_source_notes(m, PF_SE_VMM_STANDS);
	} else {
		pf_source_notes(m, PF_SE_VMM_REGIONS);
	}
	return true;
}

/* It greets and goes before it has said how its guest is: dead or alive, and whoever it was. */
static bool goes_untold(struct making *m, enum pf_side side, uint32_t states, uint8_t event)
{
	struct agent *agent = pf_agent_of(m, side);

	if (m->world->deaths == 0 || !pf_is_alive(m->world, side) || !(states >> agent->state & 1) ||
	    agent->met != VMM_ABSENT)
		return false;
	m->world->deaths--;
	pf_note(m, side, event);
	return true;
}

bool pf_step_source_vmm_goes_untold(struct making *m)
{
	return goes_untold(m, PF_SOURCE, 1u << PF_S_NEW, PF_SE_VMM_LOST);
}

bool pf_step_source_vmm_pauses(struct making *m)
{
	struct world *w = m->world;

	if (!w->pause_asked || w->source_vmm != SV_RUNS)
		return false;
	w->pause_asked = false;
	w->source_vmm = SV_STANDS;
	if (pf_is_alive(w, PF_SOURCE) && w->side[PF_SOURCE].met == VMM_HERE && w->guest_paused)
		pf_source_notes(m, PF_SE_VMM_PAUSED);
	return true;
}

bool pf_step_source_vmm_dies(struct making *m)
{
	struct world *w = m->world;

	if (w->deaths == 0 || w->source_vmm > SV_STANDS)
		return false;
	w->deaths--;
	w->source_vmm = SV_DEAD;
	w->pause_asked = false;
	return true;
}

bool pf_step_source_vmm_missed(struct making *m)
{
	struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (!pf_is_alive(m->world, PF_SOURCE) || agent->met != VMM_HERE || m->world->source_vmm != SV_DEAD)
		return false;
	agent->met = VMM_LEFT;
	pf_source_notes(m, PF_SE_VMM_LOST);
	return true;
}

/* ---- the destination's VMM ---- */

bool pf_step_destination_vmm_comes(struct making *m)
{
	struct world *w = m->world;
	struct agent *agent = pf_agent_of(m, PF_DESTINATION);
	static const int events[] = {
		[DV_UNUSED] = PF_DE_VMM_REGIONS,   [DV_LOADING] = -1,
		[DV_LOADED] = PF_DE_VMM_LOADED,	   [DV_RUNS] = PF_DE_VMM_RUNS,
		[DV_REFUSED] = PF_DE_VMM_REFUSED,  [DV_DEAD] = -1,
	};
	int event = events[w->destination_vmm];

	if (!pf_is_alive(w, PF_DESTINATION) || agent->met != VMM_ABSENT || w->told || event < 0 ||
	    w->resume_asked)
		return false;
	/* One that has given the guest up comes only to say so. */
	if (w->destination_vmm == DV_REFUSED && agent->state != PF_D_AWAY_RUN &&
	    agent->state != PF_D_AWAY_RUN_UP)
		return false;
	if (agent->state == PF_D_TOMBSTONE)
		return false;
	agent->met = VMM_HERE;
	pf_destination_notes(m, (enum pf_destination_event)event);
	return true;
}

bool pf_step_destination_vmm_goes_untold(struct making *m)
{
	static const uint32_t states = 1u << PF_D_NEW | 1u << PF_D_AWAY_READY |
				       1u << PF_D_AWAY_READY_UP;

	return goes_untold(m, PF_DESTINATION, states, PF_DE_VMM_LOST);
}

/* A new VMM in the place of one that died while its agent was away. */
bool pf_step_destination_vmm_replaced(struct making *m)
{
	struct world *w = m->world;
	struct agent *agent = pf_agent_of(m, PF_DESTINATION);

	if (!pf_is_alive(w, PF_DESTINATION) || agent->met != VMM_ABSENT || w->destination_vmm != DV_DEAD)
		return false;
	if (agent->state < PF_D_AWAY_READY || agent->state > PF_D_AWAY_RUN_UP ||
	    (agent->state > PF_D_AWAY_READY_UP && agent->state < PF_D_AWAY_RUN))
		return false;
	agent->met = VMM_HERE;
	w->destination_vmm = DV_UNUSED;
	pf_destination_notes(m, PF_DE_VMM_REGIONS);
	return true;
}

bool pf_step_destination_vmm_loads(struct making *m)
{
	struct world *w = m->world;

	if (w->destination_vmm != DV_LOADING)
		return false;
	if (w->loads > 1) {
		w->loads--; /* READY for a load that was dropped: the agent counts */
		return true;
	}
	w->destination_vmm = DV_LOADED;
	w->loads = 0;
	if (!pf_is_alive(w, PF_DESTINATION) || w->side[PF_DESTINATION].met != VMM_HERE)
		return true;
	if (pf_raise_in_turn(m, PF_DESTINATION, PF_DE_VMM_READY) == NOT_WRITTEN)
		pf_destination_notes(m, PF_DE_FAILED);
	return true;
}

static bool answer_resume(struct making *m, enum answer answer)
{
	struct world *w = m->world;

	w->resume_asked = false;
	if (pf_is_alive(w, PF_DESTINATION) && w->side[PF_DESTINATION].met == VMM_HERE)
		w->answer = (uint8_t)answer;
	return true;
}

bool pf_step_destination_vmm_resumes(struct making *m)
{
	struct world *w = m->world;

	if (!w->resume_asked || (w->destination_vmm != DV_LOADED && w->destination_vmm != DV_RUNS))
		return false;
	w->destination_vmm = DV_RUNS;
	w->ran_there = true;
	return answer_resume(m, ANSWER_RESUMED);
}

bool pf_step_destination_vmm_refuses(struct making *m)
{
	if (!m->world->resume_asked || m->world->destination_vmm != DV_LOADED)
		return false;
	m->world->destination_vmm = DV_REFUSED;
	return answer_resume(m, ANSWER_REFUSED);
}

bool pf_step_destination_vmm_answers(struct making *m)
{
	struct world *w = m->world;
	enum answer answer = w->answer;

	if (!pf_is_alive(w, PF_DESTINATION) || answer == ANSWER_NONE)
		return false;
	w->answer = ANSWER_NONE;
	pf_destination_notes(m, answer == ANSWER_RESUMED ? PF_DE_VMM_RESUMED : PF_DE_VMM_REFUSED);
	return true;
}

bool pf_step_destination_vmm_dies(struct making *m)
{
	struct world *w = m->world;

	if (w->deaths == 0 || w->destination_vmm == DV_DEAD)
		return false;
	w->deaths--;
	w->destination_vmm = DV_DEAD;
	w->resume_asked = false;
	w->answer = ANSWER_NONE; /* it had run, perhaps, and had not said so yet */
	return true;
}

/* After it had run; it says so with the message that is for a VMM that never ran. */
bool pf_step_destination_vmm_gives_up(struct making *m)
{
	struct world *w = m->world;

	if (w->deaths == 0 || w->destination_vmm != DV_RUNS || w->answer != ANSWER_NONE || w->told ||
	    w->side[PF_DESTINATION].met != VMM_HERE || !pf_is_alive(w, PF_DESTINATION))
		return false;
	w->deaths--;
	w->destination_vmm = DV_DEAD;
	w->answer = ANSWER_REFUSED;
	return true;
}

/* A process that was started again has its connection, or waits for a new one, which does not come. */
bool pf_step_destination_vmm_missed(struct making *m)
{
	static const uint32_t away = 1u << PF_D_AWAY_READY | 1u << PF_D_AWAY_READY_UP |
				     1u << PF_D_AWAY_RUN | 1u << PF_D_AWAY_RUN_UP |
				     1u << PF_D_AWAY_DONE;
	struct agent *agent = pf_agent_of(m, PF_DESTINATION);
	bool asked = agent->met == VMM_ABSENT && (away >> agent->state & 1);

	if (!pf_is_alive(m->world, PF_DESTINATION) || (agent->met != VMM_HERE && !asked) ||
	    m->world->destination_vmm != DV_DEAD || m->world->answer != ANSWER_NONE)
		return false;
	agent->met = VMM_LEFT;
	pf_destination_notes(m, PF_DE_VMM_LOST);
	return true;
}

/* Its journal, say, or its traps: something before RUN that cannot be mended. */
bool pf_step_destination_fails(struct making *m)
{
	struct world *w = m->world;

	if (!pf_is_alive(w, PF_DESTINATION) || w->failures == 0 ||
	    w->side[PF_DESTINATION].state > PF_D_LOADING)
		return false;
	w->failures--;
	pf_destination_notes(m, PF_DE_FAILED);
	return true;
}

/* ---- pages ---- */

/* Asked for, if not pushed: a source answers before it has written down that the destination has the guest. */
bool pf_step_last_page_arrives(struct making *m)
{
	static const uint32_t answering = 1u << PF_S_OFFERED | 1u << PF_S_ABORTING | 1u << PF_S_SERVING;
	struct world *w = m->world;
	const struct agent *s = &w->side[PF_SOURCE], *d = &w->side[PF_DESTINATION];

	if (w->link != LINK_STANDS || !pf_is_alive(w, PF_SOURCE) || !pf_is_alive(w, PF_DESTINATION) ||
	    !(answering >> s->state & 1) || s->met == VMM_ABSENT || d->record != PF_RECORD_RUN ||
	    d->met == VMM_ABSENT || w->filled)
		return false;
	w->whole = w->filled = true;
	return true;
}

bool pf_step_filled_is_heard(struct making *m)
{
	struct world *w = m->world;

	if (!pf_is_alive(w, PF_DESTINATION) || !w->filled || !w->resumed ||
	    w->side[PF_DESTINATION].met == VMM_ABSENT ||
	    w->side[PF_DESTINATION].state == PF_D_LINGERING)
		return false; /* said once */
	pf_destination_notes(m, PF_DE_FILLED);
	return true;
}
