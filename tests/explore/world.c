/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/world.c - what can happen on the network, to the processes and by people, one step
 * each; and the list of all steps.
 */
#include "tests/explore/engines.h"

#include <string.h>

#include "wire/frame.h"

static uint8_t take(uint8_t queue[URGENT_MAX])
{
	uint8_t frame = queue[0];

	memmove(queue, queue + 1, URGENT_MAX - 1);
	queue[URGENT_MAX - 1] = 0;
	return frame;
}

/* ---- steps: each returns whether it was possible ---- */

static bool source_hears(struct making *m)
{
	struct world *w = m->world;
	uint8_t frame;

	if (!pf_is_alive(w, PF_SOURCE) || !w->side[PF_SOURCE].linked || w->to_source[0] == 0)
		return false;
	frame = take(w->to_source);
	switch (frame) {
	case PF_FRAME_REGIONS_OK:
		pf_source_notes(m, PF_SE_REGIONS_OK);
		break;
	case PF_FRAME_READY:
		/* OFFERED that cannot be written: nothing was offered, so nothing is lost. */
		if (pf_raise_in_turn(m, PF_SOURCE, PF_SE_READY) == NOT_WRITTEN)
			pf_source_notes(m, PF_SE_FAILURE);
		break;
	case PF_FRAME_RUN:
		pf_source_notes(m, PF_SE_RUN);
		break;
	case PF_FRAME_RESUMED:
		w->heard_resumed = true;
		pf_source_notes(m, PF_SE_RESUMED);
		break;
	case PF_FRAME_REFUSED:
		if (w->heard_resumed)
			w->link = LINK_CUT; /* it breaks the protocol: a lost link, and no more */
		else
			pf_source_notes(m, PF_SE_REFUSED);
		break;
	case PF_FRAME_ABORTED:
		pf_source_notes(m, PF_SE_ABORTED);
		break;
	case PF_FRAME_COMPLETE:
		pf_source_notes(m, PF_SE_COMPLETE);
		break;
	default:
		pf_source_notes(m, PF_SE_FAILURE);
		break;
	}
	return true;
}

static bool destination_hears(struct making *m)
{
	struct world *w = m->world;

	if (!pf_is_alive(w, PF_DESTINATION) || !w->side[PF_DESTINATION].linked || w->to_destination[0] == 0)
		return false;
	switch (take(w->to_destination)) {
	case PF_FRAME_REGIONS:
		w->theirs = true;
		pf_destination_notes(m, PF_DE_REGIONS);
		break;
	case PF_FRAME_COMMIT:
		/* A record that cannot be written is no RUN: the tombstone gives the guest back. */
		if (pf_raise_in_turn(m, PF_DESTINATION, PF_DE_COMMIT) == NOT_WRITTEN)
			pf_destination_notes(m, PF_DE_FAILED);
		break;
	case PF_FRAME_ABORT:
		pf_destination_notes(m, PF_DE_ABORT);
		break;
	default:
		pf_destination_notes(m, PF_DE_ACK);
		if (w->destination_vmm == DV_RUNS && !w->told && !pf_is_alive(w, PF_DESTINATION))
			m->why = "the destination ends, and its VMM has not heard COMPLETE";
		break;
	}
	return true;
}

static bool destination_hears_bulk(struct making *m)
{
	struct world *w = m->world;

	if (!pf_is_alive(w, PF_DESTINATION) || !w->side[PF_DESTINATION].linked || w->bulk == 0)
		return false;
	pf_destination_notes(m, w->bulk-- == 2 ? PF_DE_PAUSED : PF_DE_STATE);
	return true;
}

static bool cut(struct making *m)
{
	if (m->world->link != LINK_STANDS || m->world->cuts == 0)
		return false;
	m->world->cuts--;
	m->world->link = LINK_CUT;
	return true;
}

static void loses_link(struct making *m, enum pf_side side)
{
	pf_unlink(m->world, side);
	pf_cut(m, side, side == PF_SOURCE ? PF_SE_LINK_DOWN : PF_DE_LINK_DOWN);
}

static bool notices(struct making *m, enum pf_side side)
{
	if (!pf_is_alive(m->world, side) || !m->world->side[side].linked || m->world->link != LINK_CUT)
		return false;
	loses_link(m, side);
	return true;
}

static bool source_notices(struct making *m)
{
	return notices(m, PF_SOURCE);
}

static bool destination_notices(struct making *m)
{
	return notices(m, PF_DESTINATION);
}

/* ---- connecting ---- */

static bool wants_link(const struct world *w)
{
	static const uint32_t states = 1u << PF_S_NEW | 1u << PF_S_SETUP | 1u << PF_S_IN_DOUBT |
				       1u << PF_S_RETRACTING | 1u << PF_S_OUTAGE | 1u << PF_S_KEPT;

	return pf_is_alive(w, PF_SOURCE) && !w->side[PF_SOURCE].linked &&
	       (states >> w->side[PF_SOURCE].state & 1);
}

/* Who says HELLO. */
enum caller { LIVES, DIED };

/* The destination has the connection, and so has the source, as far as the destination knows. */
static void join(struct world *w, enum caller caller)
{
	w->side[PF_DESTINATION].linked = true;
	if (caller == LIVES)
		w->side[PF_SOURCE].linked = true;
	w->link = caller == LIVES ? LINK_STANDS : LINK_CUT;
	w->put_off = false;
}

/* As is_put_off() in migrate/destination_session.c. */
static bool is_put_off(struct world *w, enum pf_record said)
{
	if (said != PF_RECORD_NONE)
		return false;
	w->put_off = w->side[PF_DESTINATION].record == PF_RECORD_READY && !w->put_off;
	return w->put_off;
}

/* The destination judges the hello, lets go of what it had, and answers. */
static void destination_meets(struct making *m, enum pf_meeting meeting, enum caller caller)
{
	struct world *w = m->world;
	uint8_t event = m->tables->machine[PF_DESTINATION]->meeting_event[meeting];

	if (event == PF_DE_EVENTS_)
		return;
	if (w->side[PF_DESTINATION].linked)
		loses_link(m, PF_DESTINATION);
	if (meeting == PF_MEET_FRESH) {
		w->proven = caller == LIVES; /* the secret of who died is in no directory of the source */
		w->late_proves = false;
	}
	if (pf_meeting_links(meeting))
		join(w, caller);
	pf_note(m, PF_DESTINATION, event);
}

/* What the two are to each other; the destination has acted on it. */
static enum pf_meeting meet(struct making *m)
{
	struct world *w = m->world;
	const struct agent *s = &w->side[PF_SOURCE], *d = &w->side[PF_DESTINATION];
	enum pf_meeting meeting;

	/* A session that began before the VMM had come proves nothing about what was offered. */
	if (s->record != PF_RECORD_NONE && !(w->proven && (s->marks & PF_MARK_SEEN)))
		return pf_record_meet_stranger((enum pf_record)s->record);
	meeting = pf_record_meet((enum pf_record)s->record, (enum pf_record)d->record);
	destination_meets(m, meeting, LIVES);
	return meeting;
}

static bool connect(struct making *m, bool heard)
{
	struct world *w = m->world;
	const struct agent *d = &w->side[PF_DESTINATION];
	enum pf_meeting meeting;

	if (!wants_link(w) || !pf_is_alive(w, PF_DESTINATION))
		return false;
	if (is_put_off(w, (enum pf_record)w->side[PF_SOURCE].record))
		return true;
	meeting = meet(m);
	/* Its record could not be written, or it crashed behind the write: there is no WELCOME. */
	if (pf_meeting_links(meeting) && (!d->linked || d->late[0]))
		heard = false;
	if (heard)
		pf_note(m, PF_SOURCE, m->tables->machine[PF_SOURCE]->meeting_event[meeting]);
	else
		pf_unlink(w, PF_SOURCE);
	return true;
}

static bool connects(struct making *m)
{
	return connect(m, true);
}

static bool connects_half(struct making *m)
{
	if (m->world->halves == 0)
		return false;
	m->world->halves--;
	return connect(m, false);
}

/* It has said HELLO, nobody has heard it, and the network will bring it in its own time. */
static bool crashes_behind_hello(struct making *m)
{
	struct world *w = m->world;
	const struct agent *s = &w->side[PF_SOURCE];

	if (!wants_link(w) || w->lates == 0 || w->crashes == 0)
		return false;
	w->lates--;
	w->crashes--;
	w->late_hello = (uint8_t)(1 + s->record);
	w->late_proves = w->proven && (s->marks & PF_MARK_SEEN);
	pf_stop_process(w, PF_SOURCE, PROC_DEAD);
	return true;
}

/* The destination takes it for its source's, and has a link that nobody holds the other end of. */
static bool late_hello_comes(struct making *m)
{
	struct world *w = m->world;
	enum pf_record said = (enum pf_record)(w->late_hello - 1);
	enum pf_record record = (enum pf_record)w->side[PF_DESTINATION].record;

	if (w->late_hello == 0 || !pf_is_alive(w, PF_DESTINATION))
		return false;
	w->late_hello = 0;
	if (!is_put_off(w, said) && (said == PF_RECORD_NONE || w->late_proves))
		destination_meets(m, pf_record_meet(said, record), DIED);
	return true;
}

static bool gives_up(struct making *m)
{
	const struct agent *agent = pf_agent_of(m, PF_SOURCE);

	if (!wants_link(m->world) || agent->record != PF_RECORD_NONE)
		return false;
	pf_source_notes(m, PF_SE_GIVE_UP);
	return true;
}

/* ---- processes ---- */

static bool crash(struct making *m, enum pf_side side)
{
	if (m->world->crashes == 0 || pf_agent_of(m, side)->proc == PROC_DEAD ||
	    pf_agent_of(m, side)->proc == PROC_ENDED)
		return false;
	m->world->crashes--;
	pf_stop_process(m->world, side, PROC_DEAD);
	return true;
}

static bool source_crashes(struct making *m)
{
	return crash(m, PF_SOURCE);
}

static bool destination_crashes(struct making *m)
{
	return crash(m, PF_DESTINATION);
}

static bool lose_directory(struct making *m, enum pf_side side)
{
	struct world *w = m->world;
	struct agent *agent = pf_agent_of(m, side);

	if (w->losses == 0 || (agent->proc != PROC_DEAD && agent->proc != PROC_ENDED))
		return false;
	w->losses--;
	agent->record = PF_RECORD_NONE;
	agent->marks = 0;
	agent->lost = true;
	w->proven = w->late_proves = false;
	if (side == PF_DESTINATION)
		w->filled = false;
	return true;
}

static bool source_directory(struct making *m)
{
	return lose_directory(m, PF_SOURCE);
}

static bool destination_directory(struct making *m)
{
	return lose_directory(m, PF_DESTINATION);
}

static bool start(struct making *m, enum pf_side side, enum proc from)
{
	struct agent *agent = pf_agent_of(m, side);
	const struct pf_start *begin;

	if (agent->proc != from)
		return false;
	begin = pf_machine_start(m->tables->machine[side], agent->record, agent->marks);
	agent->proc = PROC_ALIVE;
	agent->state = begin->state;
	agent->said = SAID_NOTHING;
	pf_act(m, side, begin->action);
	return true;
}

static bool source_restarts(struct making *m)
{
	return start(m, PF_SOURCE, PROC_DEAD);
}

static bool destination_restarts(struct making *m)
{
	return start(m, PF_DESTINATION, PROC_DEAD);
}

static bool source_started_again(struct making *m)
{
	return start(m, PF_SOURCE, PROC_ENDED);
}

static bool destination_started_again(struct making *m)
{
	return start(m, PF_DESTINATION, PROC_ENDED);
}

static bool exits(struct making *m, enum pf_side side)
{
	struct world *w = m->world;
	enum pf_side other = side == PF_SOURCE ? PF_DESTINATION : PF_SOURCE;
	uint8_t link = w->link;

	if (pf_agent_of(m, side)->proc != PROC_ENDING)
		return false;
	pf_stop_process(w, side, PROC_ENDED);
	/* It says goodbye: what it sent is read before the other side notices. */
	if (w->side[other].linked && link == LINK_STANDS)
		w->link = LINK_CUT;
	return true;
}

static bool source_exits(struct making *m)
{
	return exits(m, PF_SOURCE);
}

static bool destination_exits(struct making *m)
{
	return exits(m, PF_DESTINATION);
}

static bool retry(struct making *m, enum pf_side side)
{
	if (!pf_is_alive(m->world, side) || pf_agent_of(m, side)->late[0] == 0)
		return false;
	pf_catch_up(m, side);
	return true;
}

static bool source_retries(struct making *m)
{
	return retry(m, PF_SOURCE);
}

static bool destination_retries(struct making *m)
{
	return retry(m, PF_DESTINATION);
}

/* ---- people ---- */

static bool can_command(struct making *m, enum pf_side side)
{
	const struct agent *agent = pf_agent_of(m, side);

	return agent->proc == PROC_ALIVE || agent->proc == PROC_ENDING;
}

static bool command(struct making *m, enum pf_side side, uint8_t event)
{
	bool more;

	if (!can_command(m, side))
		return false;
	more = pf_catch_up(m, side);
	return can_command(m, side) && (pf_raise(m, side, event) == RAISED || more);
}

static bool lose(struct making *m, enum pf_side side, uint8_t event)
{
	if (!command(m, side, event))
		return false;
	if (pf_agent_of(m, side)->said == SAID_LOST)
		m->world->given_up = true;
	return true;
}

static bool switchover(struct making *m)
{
	return command(m, PF_SOURCE, PF_SE_SWITCHOVER);
}

static bool cancel_source(struct making *m)
{
	return command(m, PF_SOURCE, PF_SE_CANCEL);
}

static bool cancel_destination(struct making *m)
{
	return command(m, PF_DESTINATION, PF_DE_CANCEL);
}

static bool lose_source(struct making *m)
{
	return lose(m, PF_SOURCE, PF_SE_LOSE);
}

static bool lose_destination(struct making *m)
{
	return lose(m, PF_DESTINATION, PF_DE_LOSE);
}

/* Whoever says "fenced" has fenced: the destination's VMM can run no more, whatever is answered. */
static bool fence(struct making *m)
{
	struct world *w = m->world;

	if (!can_command(m, PF_SOURCE))
		return false;
	w->fenced = true;
	w->destination_vmm = DV_DEAD;
	w->resume_asked = false;
	(void)command(m, PF_SOURCE, PF_SE_FENCED);
	return true;
}

/* Only said where it is true. */
static bool resolve_completed(struct making *m)
{
	struct world *w = m->world;

	if (!w->whole || !w->told || !can_command(m, PF_SOURCE))
		return false;
	w->completed = true;
	return command(m, PF_SOURCE, PF_SE_DEST_COMPLETED);
}

static bool quit_source(struct making *m)
{
	return command(m, PF_SOURCE, PF_SE_QUIT);
}

static bool quit_destination(struct making *m)
{
	return command(m, PF_DESTINATION, PF_DE_QUIT);
}

static bool quit_kept_destination(struct making *m)
{
	return command(m, PF_DESTINATION, PF_DE_QUIT_KEPT);
}

const struct step_kind pf_steps[] = {
	{"the source hears the next frame", PROGRESS, source_hears},
	{"the destination hears the next frame", PROGRESS, destination_hears},
	{"the destination hears bulk 1", PROGRESS, destination_hears_bulk},
	{"the source notices the lost connection", PROGRESS, source_notices},
	{"the destination notices the lost connection", PROGRESS, destination_notices},
	{"the source connects", PROGRESS, connects},
	{"the source gives up connecting", PROGRESS, gives_up},
	{"the source is started again after its crash", PROGRESS, source_restarts},
	{"the destination is started again after its crash", PROGRESS, destination_restarts},
	{"the source's process ends", PROGRESS, source_exits},
	{"the destination's process ends", PROGRESS, destination_exits},
	{"the source tries its write again", PROGRESS, source_retries},
	{"the destination tries its write again", PROGRESS, destination_retries},
	{"the source's VMM comes", PROGRESS, pf_step_source_vmm_comes},
	{"the source's VMM pauses", PROGRESS, pf_step_source_vmm_pauses},
	{"the source hears that its VMM is gone", PROGRESS, pf_step_source_vmm_missed},
	{"the destination's VMM comes", PROGRESS, pf_step_destination_vmm_comes},
	{"another VMM comes to the destination", PROGRESS, pf_step_destination_vmm_replaced},
	{"the destination's VMM has loaded", PROGRESS, pf_step_destination_vmm_loads},
	{"the destination's VMM resumes", PROGRESS, pf_step_destination_vmm_resumes},
	{"the destination's VMM refuses to resume", PROGRESS, pf_step_destination_vmm_refuses},
	{"the destination hears its VMM's answer", PROGRESS, pf_step_destination_vmm_answers},
	{"the destination hears that its VMM is gone", PROGRESS, pf_step_destination_vmm_missed},
	{"the last page arrives", PROGRESS, pf_step_last_page_arrives},
	{"the destination hears that every page is here", PROGRESS, pf_step_filled_is_heard},
	{"switchover", OPERATOR, switchover},
	{"cancel at the source", OPERATOR, cancel_source},
	{"cancel at the destination", OPERATOR, cancel_destination},
	{"cancel --lose-guest at the source", OPERATOR, lose_source},
	{"cancel --lose-guest at the destination", OPERATOR, lose_destination},
	{"resolve --destination-fenced", OPERATOR, fence},
	{"resolve --destination-completed", OPERATOR, resolve_completed},
	{"quit at the source", OPERATOR, quit_source},
	{"quit at the destination", OPERATOR, quit_destination},
	{"quit at the destination, whose manager keeps all", OPERATOR, quit_kept_destination},
	{"somebody starts the source again", OPERATOR, source_started_again},
	{"somebody starts the destination again", OPERATOR, destination_started_again},
	{"the connection is cut", FAULT, cut},
	{"the source connects and does not hear WELCOME", FAULT, connects_half},
	{"the source crashes, and its HELLO is on its way", FAULT, crashes_behind_hello},
	{"the HELLO of the crashed process comes", FAULT, late_hello_comes},
	{"the source crashes", FAULT, source_crashes},
	{"the destination crashes", FAULT, destination_crashes},
	{"the source's state directory is lost", FAULT, source_directory},
	{"the destination's state directory is lost", FAULT, destination_directory},
	{"the source's VMM dies", FAULT, pf_step_source_vmm_dies},
	{"the source's VMM goes before it said how its guest is", FAULT, pf_step_source_vmm_goes_untold},
	{"the destination's VMM goes before it said so", FAULT, pf_step_destination_vmm_goes_untold},
	{"the destination's VMM dies", FAULT, pf_step_destination_vmm_dies},
	{"the destination's memory fails it", FAULT, pf_step_destination_fails},
	{"the destination's VMM gives up after it had run", FAULT, pf_step_destination_vmm_gives_up},
};
const unsigned pf_step_count = sizeof(pf_steps) / sizeof(pf_steps[0]);

/* A step that fails in the middle, and had no middle to fail in, is not another step. */
enum outcome_of_step pf_world_step(const struct tables *tables, struct world *world, unsigned step,
				   enum mode mode, bool *out_wrote, const char **out_why)
{
	struct making m = {.tables = tables, .world = world, .mode = mode};

	if ((mode == WRITE_FAILS && world->failures == 0) ||
	    (mode == CRASH_BEHIND_WRITE && world->crashes == 0))
		return NOT_POSSIBLE;
	if (!pf_steps[step].make(&m) || (mode != AS_MEANT && !m.used))
		return NOT_POSSIBLE;
	if (mode == WRITE_FAILS)
		world->failures--;
	if (mode == CRASH_BEHIND_WRITE)
		world->crashes--;
	*out_wrote = m.wrote;
	*out_why = m.why;
	return m.why ? BROKEN : DONE;
}
