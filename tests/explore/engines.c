/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/engines.c - see tests/explore/engines.h.
 *
 * Mirrors migrate/source_actions.c and migrate/destination_actions.c.
 */
#include "tests/explore/engines.h"

#include <string.h>

#include "wire/frame.h"

struct agent *pf_agent_of(struct making *m, enum pf_side side)
{
	return &m->world->side[side];
}

static void broken(struct making *m, const char *why)
{
	if (!m->why)
		m->why = why;
}

/* ---- processes, connections, messages ---- */

static void put(struct making *m, enum pf_side to, uint8_t frame)
{
	struct world *w = m->world;
	uint8_t *queue = to == PF_SOURCE ? w->to_source : w->to_destination;

	if (!w->side[to == PF_SOURCE ? PF_DESTINATION : PF_SOURCE].linked)
		return;
	/* Into a connection that is cut already, or that nobody reads any more. */
	if (w->link != LINK_STANDS || !w->side[to].linked)
		return;
	for (unsigned i = 0; i < URGENT_MAX; i++) {
		if (queue[i] == 0) {
			queue[i] = frame;
			return;
		}
	}
	broken(m, "the model's queue is too short");
}

/* This side has no connection any more; the other one may still read what it was sent. */
void pf_unlink(struct world *w, enum pf_side side)
{
	w->side[side].linked = false;
	if (side == PF_SOURCE) {
		memset(w->to_source, 0, sizeof(w->to_source));
	} else {
		memset(w->to_destination, 0, sizeof(w->to_destination));
		w->bulk = 0;
		w->theirs = false;
	}
	w->link = w->side[PF_SOURCE].linked || w->side[PF_DESTINATION].linked ? LINK_CUT : LINK_NONE;
}

void pf_stop_process(struct world *w, enum pf_side side, enum proc proc)
{
	struct agent *agent = &w->side[side];

	pf_unlink(w, side);
	agent->proc = (uint8_t)proc;
	agent->met = VMM_ABSENT;
	memset(agent->late, 0, sizeof(agent->late));
	agent->state = 0;
	if (side == PF_SOURCE) {
		w->guest_paused = w->heard_resumed = false;
	} else {
		w->resumed = false;
		w->loads = 0;
		w->answer = ANSWER_NONE;
	}
}

static void end(struct making *m, enum pf_side side)
{
	struct agent *agent = pf_agent_of(m, side);

	agent->proc = PROC_ENDING;
	memset(agent->late, 0, sizeof(agent->late));
}

/* What an action does: this frame to the other side, something more, this word on the owner. */
struct effect {
	uint8_t frame;
	void (*also)(struct making *m);
	enum said said;
	bool ends;
};

/* ---- raising an event ---- */

static enum raised write_record(struct making *m, enum pf_side side, enum pf_record record)
{
	struct agent *agent = pf_agent_of(m, side);

	if (record == 0 || record == agent->record)
		return RAISED;
	m->wrote = true;
	if (m->mode == WRITE_FAILS && !m->used) {
		m->used = true;
		return NOT_WRITTEN;
	}
	if (!pf_record_may_follow(side, agent->record, record))
		broken(m, "a record that may not follow the one before");
	agent->record = (uint8_t)record;
	return RAISED;
}

/* Behind a write. */
static bool crashes_here(struct making *m, enum pf_side side)
{
	m->wrote = true;
	if (m->mode != CRASH_BEHIND_WRITE || m->used)
		return false;
	m->used = true;
	pf_stop_process(m->world, side, PROC_DEAD);
	return true;
}

enum raised pf_raise(struct making *m, enum pf_side side, uint8_t event)
{
	const struct pf_machine *machine = m->tables->machine[side];
	struct agent *agent = pf_agent_of(m, side);
	enum pf_record before = agent->record;
	const char *why;
	const struct pf_transition *row = pf_machine_look(machine, agent->state, event, &why);

	if (!row)
		return IGNORED;
	if (write_record(m, side, machine->action_record[row->action]) == NOT_WRITTEN)
		return NOT_WRITTEN;
	m->tables->followed[side][row - machine->row]++;
	agent->state = row->to;
	if (agent->record != before && crashes_here(m, side))
		return RAISED;
	pf_act(m, side, row->action);
	return RAISED;
}

/* As pf_backlog_add(). */
static void add_late(struct making *m, enum pf_side side, uint8_t event)
{
	uint8_t *late = pf_agent_of(m, side)->late;

	for (unsigned i = 0; i < LATE_MAX; i++) {
		if (late[i] == 0)
			late[i] = (uint8_t)(1 + event);
		if (late[i] == 1 + event)
			return;
	}
	broken(m, "the model's backlog is too short");
}

bool pf_catch_up(struct making *m, enum pf_side side)
{
	uint8_t *late = pf_agent_of(m, side)->late;
	bool more = late[0] != 0;

	while (late[0] && pf_raise(m, side, (uint8_t)(late[0] - 1)) != NOT_WRITTEN) {
		memmove(late, late + 1, LATE_MAX - 1);
		late[LATE_MAX - 1] = 0;
	}
	return more;
}

enum raised pf_raise_in_turn(struct making *m, enum pf_side side, uint8_t event)
{
	return pf_agent_of(m, side)->late[0] ? IGNORED : pf_raise(m, side, event);
}

void pf_cut(struct making *m, enum pf_side side, uint8_t event)
{
	if (pf_raise(m, side, event) == NOT_WRITTEN)
		add_late(m, side, event);
}

void pf_note(struct making *m, enum pf_side side, uint8_t event)
{
	if (pf_agent_of(m, side)->late[0] && !m->acting)
		add_late(m, side, event);
	else
		pf_cut(m, side, event);
}

/* ---- the source's actions ---- */

static void continue_guest(struct making *m)
{
	struct world *w = m->world;
	struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (!w->guest_paused || agent->met != VMM_HERE)
		return;
	if (!pf_source_may_run(agent->record, true)) {
		broken(m, "the source continues its guest where it may not");
		return;
	}
	w->guest_paused = false;
	w->pause_asked = false;
	if (w->source_vmm == SV_STANDS)
		w->source_vmm = SV_RUNS;
}

static void check_intact(struct making *m, enum pf_side side)
{
	enum pf_record record = pf_agent_of(m, side)->record;

	if (side == PF_SOURCE && record != PF_RECORD_NONE && record != PF_RECORD_KEPT)
		broken(m, "the source says source-intact without a record that says so");
	if (side == PF_SOURCE && record == PF_RECORD_KEPT && m->world->guest_paused &&
	    pf_agent_of(m, side)->met == VMM_LEFT)
		broken(m, "source-intact was said of a guest that died where it stood");
	if (side == PF_DESTINATION && (record == PF_RECORD_RUN || record == PF_RECORD_READY))
		broken(m, "the destination says source-intact without a record that says so");
	if (!(pf_agent_of(m, side)->marks & PF_MARK_SEEN) && record == PF_RECORD_NONE)
		broken(m, "source-intact out of a state directory that knows nothing");
}

static void release(struct making *m)
{
	struct world *w = m->world;

	if (!w->whole && !w->completed)
		broken(m, "the source releases its memory before COMPLETE or resolve");
	pf_agent_of(m, PF_SOURCE)->marks |= PF_MARK_COMPLETE;
	if (crashes_here(m, PF_SOURCE))
		return;
	put(m, PF_DESTINATION, PF_FRAME_COMPLETE_ACK);
	if (w->source_vmm == SV_STANDS)
		w->source_vmm = SV_RELEASED;
	pf_agent_of(m, PF_SOURCE)->said = SAID_COMPLETED;
	end(m, PF_SOURCE);
}

static void propose(struct making *m)
{
	struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (agent->linked && agent->met != VMM_ABSENT)
		put(m, PF_DESTINATION, PF_FRAME_REGIONS);
}

static void adopt_source(struct making *m)
{
	pf_agent_of(m, PF_SOURCE)->marks |= PF_MARK_SEEN;
	propose(m);
}

static void retake(struct making *m)
{
	continue_guest(m);
	propose(m);
}

static void drop_link(struct making *m)
{
	if (pf_agent_of(m, PF_SOURCE)->linked)
		pf_unlink(m->world, PF_SOURCE);
}

static void ask_pause(struct making *m)
{
	m->world->pause_asked = m->world->guest_paused = true;
}

static void send_state(struct making *m)
{
	bool heard = pf_agent_of(m, PF_SOURCE)->linked && m->world->link == LINK_STANDS;

	m->world->bulk = heard ? 2 : 0;
}

static void keep(struct making *m)
{
	const struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (agent->met == VMM_ABSENT)
		return;
	/* Whether it was missed before, or is found gone as it is told. */
	pf_note(m, PF_SOURCE, m->world->source_vmm == SV_DEAD ? PF_SE_VMM_LOST : PF_SE_VMM_TOLD);
}

static const struct effect source_effects[PF_SA_ACTIONS_] = {
	[PF_SA_ADOPT] = {.also = adopt_source},
	[PF_SA_PROPOSE] = {.also = propose},
	[PF_SA_RETAKE] = {.also = retake},
	[PF_SA_ADMIT] = {.also = drop_link, .said = SAID_DOUBT},
	[PF_SA_TAKE_BACK] = {.also = continue_guest},
	[PF_SA_PAUSE] = {.also = ask_pause},
	[PF_SA_SEND_STATE] = {.also = send_state},
	[PF_SA_COMMIT] = {.frame = PF_FRAME_COMMIT},
	[PF_SA_ASK_ABORT] = {.frame = PF_FRAME_ABORT},
	[PF_SA_GONE] = {.said = SAID_THERE},
	[PF_SA_GONE_CUT] = {.said = SAID_THERE},
	[PF_SA_GO_ON] = {.said = SAID_THERE},
	[PF_SA_KEEP] = {.also = keep},
	[PF_SA_INTACT] = {.said = SAID_INTACT},
	[PF_SA_SETTLE] = {.also = continue_guest, .said = SAID_INTACT, .ends = true},
	[PF_SA_OUTAGE] = {.said = SAID_THERE},
	[PF_SA_DOUBT] = {.said = SAID_DOUBT},
	[PF_SA_COMPLETE] = {.also = release},
	[PF_SA_RELEASE] = {.also = release},
	[PF_SA_CANCEL] = {PF_FRAME_ABORT, continue_guest, SAID_INTACT, true},
	[PF_SA_WITHDRAW] = {.frame = PF_FRAME_ABORT, .ends = true},
	[PF_SA_FAIL] = {PF_FRAME_ABORT, continue_guest, SAID_INTACT, true},
	[PF_SA_FAIL_NEW] = {.frame = PF_FRAME_ABORT, .ends = true},
	[PF_SA_LOSE] = {.said = SAID_LOST, .ends = true},
	[PF_SA_LEAVE_DOUBT] = {.said = SAID_DOUBT, .ends = true},
	[PF_SA_LEAVE_PAUSED] = {.said = SAID_THERE, .ends = true},
};

/* ---- the destination's actions ---- */

static void compare(struct making *m)
{
	if (pf_agent_of(m, PF_DESTINATION)->met == VMM_ABSENT || !m->world->theirs)
		return;
	if (m->world->differ)
		pf_note(m, PF_DESTINATION, PF_DE_FAILED);
	else
		pf_note(m, PF_DESTINATION, PF_DE_AGREED);
}

static void resume(struct making *m)
{
	if (!pf_destination_may_run(pf_agent_of(m, PF_DESTINATION)->record)) {
		broken(m, "the destination resumes its guest where it may not");
		return;
	}
	m->world->resume_asked = m->world->destination_vmm != DV_DEAD;
}

/* A VMM that is gone was not told RESUME: as if it had refused, and the source need not hear of RUN. */
static void run(struct making *m)
{
	resume(m);
	if (m->world->resume_asked)
		put(m, PF_SOURCE, PF_FRAME_RUN);
	else
		pf_note(m, PF_DESTINATION, PF_DE_VMM_REFUSED);
}

static void complete(struct making *m)
{
	struct agent *agent = pf_agent_of(m, PF_DESTINATION);
	agent->marks |= PF_MARK_COMPLETE;
	if (crashes_here(m, PF_DESTINATION))
		return;
	m->world->told = true;
	agent->marks |= PF_MARK_TOLD;
	put(m, PF_SOURCE, PF_FRAME_COMPLETE);
}

static void restart(struct making *m)
{
	m->world->whole = m->world->filled = m->world->resumed = false;
}

static void load(struct making *m)
{
	struct world *w = m->world;

	if (w->loads < 3)
		w->loads++;
	if (w->destination_vmm != DV_DEAD)
		w->destination_vmm = DV_LOADING;
}

static void adopt_destination(struct making *m)
{
	pf_agent_of(m, PF_DESTINATION)->marks |= PF_MARK_SEEN;
	compare(m);
}

static void note_resumed(struct making *m)
{
	m->world->resumed = true;
}

static void say_failure(struct making *m)
{
	put(m, PF_SOURCE, PF_FRAME_FAILURE);
}

static const struct effect destination_effects[PF_DA_ACTIONS_] = {
	[PF_DA_ADOPT] = {.also = adopt_destination},
	[PF_DA_COMPARE] = {.also = compare},
	[PF_DA_ACCEPT] = {.frame = PF_FRAME_REGIONS_OK},
	[PF_DA_RESTART] = {.also = restart},
	[PF_DA_LOAD] = {.also = load},
	[PF_DA_READY] = {.frame = PF_FRAME_READY},
	[PF_DA_RUN] = {.also = run, .said = SAID_THERE},
	[PF_DA_RESUME] = {.also = resume, .said = SAID_THERE},
	[PF_DA_RESUMED] = {.frame = PF_FRAME_RESUMED, .also = note_resumed, .said = SAID_THERE},
	[PF_DA_GO_ON] = {.frame = PF_FRAME_RESUMED, .said = SAID_THERE},
	[PF_DA_REFUSED] = {PF_FRAME_REFUSED, NULL, SAID_INTACT, true},
	[PF_DA_OUTAGE] = {.said = SAID_THERE},
	[PF_DA_COMPLETE] = {.also = complete},
	[PF_DA_REPEAT] = {.frame = PF_FRAME_COMPLETE},
	[PF_DA_FINISH] = {.said = SAID_COMPLETED, .ends = true},
	[PF_DA_ABORT] = {PF_FRAME_ABORTED, NULL, SAID_INTACT, true},
	[PF_DA_WITHDRAW] = {.frame = PF_FRAME_ABORTED, .ends = true},
	[PF_DA_FAIL] = {PF_FRAME_FAILURE, NULL, SAID_INTACT, true},
	[PF_DA_FAIL_NEW] = {.frame = PF_FRAME_FAILURE, .ends = true},
	[PF_DA_FAIL_READY] = {PF_FRAME_ABORTED, say_failure, SAID_INTACT, true},
	[PF_DA_HERE] = {.said = SAID_THERE},
	[PF_DA_INTACT] = {.said = SAID_INTACT},
	[PF_DA_LEAVE] = {.ends = true},
	[PF_DA_LOST] = {.said = SAID_LOST, .ends = true},
	[PF_DA_LEAVE_PAUSED] = {.said = SAID_THERE, .ends = true},
};

void pf_act(struct making *m, enum pf_side side, uint8_t action)
{
	const struct effect *effect = side == PF_SOURCE ? &source_effects[action] :
							  &destination_effects[action];
	struct agent *agent = pf_agent_of(m, side);

	if (effect->frame)
		put(m, side == PF_SOURCE ? PF_DESTINATION : PF_SOURCE, effect->frame);
	if (effect->also) {
		m->acting++;
		effect->also(m);
		m->acting--;
	}
	if (agent->proc == PROC_DEAD)
		return; /* it crashed on the way */
	if (effect->said == SAID_INTACT)
		check_intact(m, side);
	if (effect->said != SAID_NOTHING)
		agent->said = (uint8_t)effect->said;
	if (effect->ends)
		end(m, side);
}
