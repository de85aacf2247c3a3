/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_actions.c - the actions of core/source_table.c.
 *
 * Main thread; none blocks.  What the source says about the guest is its record's word: nothing here
 * resumes the guest but CONTINUE_SOURCE in KEPT, or in NONE after giving the attempt up.
 */
#include "migrate/source_engine.h"

#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/outage.h"
#include "migrate/report.h"

#define STAYS "the guest stays here"
#define STAYS_SOMEWHERE "the guest stays where it is" /* which a new state directory cannot tell */

bool pf_source_continue_guest(struct source *source)
{
	if (!source->guest_paused)
		return true;
	/* The rule of DESIGN.md section 4.1, asked once more where it matters. */
	if (!pf_source_may_run(source->agent.record, true) || source->stood_vmm_gone)
		return false;
	source->guest_paused = false;
	return pf_vmm_say(source->agent.vmm, PF_VMM_CONTINUE_SOURCE);
}

/* Its last message: without one it would wait for another agent, section 8.5 of WIRE.md. */
static void tell_end(struct source *source, const char *who, const char *reason)
{
	struct pf_err why = {0};

	pf_err_set(&why, PF_ERR_STATE, "%s: %s", who, reason);
	pf_vmm_say_why(source->agent.vmm, &why);
}

static void act_propose(struct source *source)
{
	uint8_t body[PF_URGENT_BODY_MAX];
	size_t length;

	if (!source->link_up || !source->vmm_described || !source->vmm_known)
		return;
	length = pf_msg_pack_regions(&source->service.reader.table, body, sizeof(body));
	pf_link_agree(&source->urgent, &source->service.reader.table);
	pf_link_send(&source->urgent, PF_FRAME_REGIONS, body, length);
}

static void act_adopt(struct source *source)
{
	(void)pf_agent_mark(&source->agent, PF_MARK_SEEN);
	act_propose(source);
}

static void act_pause(struct source *source)
{
	pf_fault(PF_FAULT_PAUSE);
	source->pauses_asked++;
	source->guest_paused = true;
	pf_agent_emit(&source->agent, "NEED_PAUSE", NULL);
	pf_vmm_say(source->agent.vmm, PF_VMM_PAUSE);
}

static void act_send_state(struct source *source)
{
	pf_fault(PF_FAULT_STANDS);
	pf_link_tell(&source->urgent, PF_MAIL_SERVE, NULL, 0);
	pf_link_tell(&source->bulk[0], PF_MAIL_STATE, &source->state, sizeof(source->state));
}

void pf_source_wake_pushers(struct source *source)
{
	if (source->agent.state != PF_S_SERVING || !source->map_known)
		return;
	for (uint32_t i = 0; i < source->agent.options->channels; i++)
		pf_link_tell(&source->bulk[i], PF_MAIL_PUSH, NULL, 0);
}

static void act_gone(struct source *source)
{
	pf_fault(PF_FAULT_GONE);
	pf_source_wake_pushers(source);
	pf_agent_outcome(&source->agent, NULL, "destination", false);
}

static void act_downtime(struct source *source)
{
	/* Without paused_ns it was a process before this one that saw it.  RESUMED is said again when a
	 * session is taken up: what lies between is an outage, in which the guest runs. */
	if (source->paused_ns > 0 && source->downtime_ns == 0)
		source->downtime_ns = pf_now_ns() - source->paused_ns;
}

static void act_complete(struct source *source)
{
	/* Before the VMM may give its memory up: a later process must not keep a guest whose memory may be gone.  And
	 * before COMPLETE_ACK: its peer ends at that, and a later process could ask nobody any more. */
	bool marked = pf_agent_mark(&source->agent, PF_MARK_COMPLETE) == 0;

	pf_fault(PF_FAULT_RELEASE);
	if (source->link_up)
		pf_link_send(&source->urgent, PF_FRAME_COMPLETE_ACK, NULL, 0);
	pf_fault(PF_FAULT_ACKED);
	if (marked)
		pf_vmm_say(source->agent.vmm, PF_VMM_RELEASE);
	/* Another connection would take the place of this one.  But a race that was won makes its bulk connections, and
	 * one that ends is the end of the link: behind the last word. */
	if (!source->met)
		pf_source_stop_race(source);
	pf_source_settle(source, true);
	pf_agent_finish(&source->agent, 0, "completed", "destination");
}

/* A VMM that has not come to this process yet is told when it does.  One that had come, and is gone: the guest
 * that both records leave here went with it. */
static void act_keep(struct source *source)
{
	struct pf_agent *agent = &source->agent;
	struct pf_err err;

	pf_fault(PF_FAULT_KEPT);
	if (!source->vmm_here)
		return;
	if (pf_source_continue_guest(source)) {
		pf_agent_note(agent, PF_SE_VMM_TOLD);
		return;
	}
	pf_err_set(&err, PF_ERR_SYSTEM,
		   "nobody has the guest: its destination will not run it, and the source VMM was "
		   "lost while it stood");
	pf_report("source", &err);
	agent->failed = true;
	pf_agent_fail(agent, PF_SE_VMM_LOST, &err);
}

/* Once more, also where it was told before: by a process that is gone, perhaps. */
static void act_settle(struct source *source)
{
	(void)pf_source_continue_guest(source);
	tell_end(source, STAYS, "its destination will not run it");
	pf_agent_finish(&source->agent, 130, "source-intact", "source");
}

static void act_cancel(struct source *source)
{
	pf_source_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
	pf_source_continue_guest(source);
	tell_end(source, STAYS, "cancelled");
	pf_agent_finish(&source->agent, 130, "source-intact", "source");
}

static void fail(struct source *source, const char *outcome, const char *owner)
{
	struct pf_err why = source->agent.why;

	pf_source_verdict(source, PF_FRAME_ABORT, why.text);
	pf_source_continue_guest(source);
	pf_err_prefix(&why, owner ? STAYS : STAYS_SOMEWHERE);
	pf_vmm_say_why(source->agent.vmm, &why);
	pf_agent_finish_failed(&source->agent, outcome, owner);
}

static void act_fail(struct source *source)
{
	fail(source, "source-intact", "source");
}

/* No VMM has come: whether the guest is here, a new state directory cannot tell. */
static void act_fail_new(struct source *source)
{
	fail(source, NULL, NULL);
}

static void act_withdraw(struct source *source)
{
	pf_source_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
	tell_end(source, STAYS_SOMEWHERE, "cancelled");
	pf_agent_finish(&source->agent, 130, NULL, NULL);
}

/* Who is blocked there the destination knows. */
static void act_outage(struct source *source)
{
	pf_outage_tell(&source->agent, json_array());
	pf_source_race(source);
}

static void act_go_on(struct source *source)
{
	pf_source_wake_pushers(source);
}

/* Asked again at every meeting, and told once, and once more of a destination that knows nothing. */
#define STRANGER 0x80u
_Static_assert(PF_SA_ACTIONS_ < STRANGER, "a bit of its own");

static bool tell_once(struct source *source, enum pf_source_action action)
{
	uint8_t what = (uint8_t)((1 + action) | (source->stranger ? STRANGER : 0));
	bool first = source->told != what;

	source->told = what;
	return first;
}

static void act_conflict(struct source *source)
{
	bool known = source->peer_record != PF_RECORD_NONE;

	if (tell_once(source, PF_SA_CONFLICT))
		pf_agent_conflict(&source->agent,
				  known ? pf_record_name(source->peer_record) : NULL,
				  known ? "the two records cannot stand beside each other"
					: "the destination does not know this session: its state "
					  "directory is not the one that it ran with");
}

/* RUN was heard, but the record could not be written before the connection went. */
static void act_gone_cut(struct source *source)
{
	pf_fault(PF_FAULT_GONE);
	act_outage(source);
}

static void act_doubt(struct source *source)
{
	pf_outage_begin(&source->agent, false);
	pf_source_race(source);
	if (!tell_once(source, PF_SA_DOUBT))
		return;
	pf_agent_emit(&source->agent, "IN_DOUBT",
		      json_pack("{s:s, s:s}", "question",
				"Does the destination's record say RUN? If it runs there, leave this "
				"side alone; if it cannot run there any more, resolve "
				"--destination-fenced",
				"reason", source->stranger ?
					"the destination that answers does not know this session: its "
					"state directory is not the one that heard the offer" :
					source->agent.why.text));
	pf_agent_outcome(&source->agent, "in-doubt", NULL, false);
}

/* It is not in doubt any more, or was not yet: the destination is asked. */
static void clear_doubt(struct source *source)
{
	if (source->agent.outcome)
		pf_agent_outcome(&source->agent, NULL, NULL, false);
}

static void act_commit(struct source *source)
{
	clear_doubt(source);
	pf_fault(PF_FAULT_OFFERED);
	pf_source_verdict(source, PF_FRAME_COMMIT, "");
}

static void act_ask_abort(struct source *source)
{
	clear_doubt(source);
	pf_source_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
}

static void act_take_back(struct source *source)
{
	pf_source_continue_guest(source);
	pf_source_connect_again(source);
}

static void act_lose(struct source *source)
{
	tell_end(source, "the guest is given up, and must not run here",
		 source->agent.failed ? source->agent.why.text : "cancelled");
	pf_agent_finish(&source->agent, 65, "lost", NULL);
}

static void act_leave_doubt(struct source *source)
{
	pf_agent_finish(&source->agent, 72, "in-doubt", NULL);
}

static void act_leave_paused(struct source *source)
{
	pf_agent_finish(&source->agent, 75, "paused", "destination");
}

static void act_retake(struct source *source)
{
	(void)pf_source_continue_guest(source);
	act_propose(source);
}

/* What paused it may have offered it: the record says so from here on. */
static void act_admit(struct source *source)
{
	pf_source_part(source, false);
	act_doubt(source);
}

/* Its memory is here again, or was kept: who is connected gets answers. */
static void act_rejoin(struct source *source)
{
	if (source->link_up) {
		pf_link_tell(&source->urgent, PF_MAIL_SERVE, NULL, 0);
		pf_source_wake_pushers(source);
	} else if (pf_source_is_cut(source)) {
		pf_source_race(source);
	}
}

static void act_intact(struct source *source)
{
	pf_source_race(source);
	pf_agent_outcome(&source->agent, "source-intact", "source", false);
}

static void (*const acts[PF_SA_ACTIONS_])(struct source *source) = {
	[PF_SA_ADOPT] = act_adopt,
	[PF_SA_PROPOSE] = act_propose,
	[PF_SA_RECONNECT] = pf_source_connect_again,
	[PF_SA_TAKE_BACK] = act_take_back,
	[PF_SA_PAUSE] = act_pause,
	[PF_SA_SEND_STATE] = act_send_state,
	[PF_SA_COMMIT] = act_commit,
	[PF_SA_ASK_ABORT] = act_ask_abort,
	[PF_SA_GONE] = act_gone,
	[PF_SA_GONE_CUT] = act_gone_cut,
	[PF_SA_DOWNTIME] = act_downtime,
	[PF_SA_KEEP] = act_keep,
	[PF_SA_SETTLE] = act_settle,
	[PF_SA_OUTAGE] = act_outage,
	[PF_SA_DOUBT] = act_doubt,
	[PF_SA_GO_ON] = act_go_on,
	[PF_SA_CONFLICT] = act_conflict,
	[PF_SA_COMPLETE] = act_complete,
	[PF_SA_RELEASE] = act_complete,
	[PF_SA_CANCEL] = act_cancel,
	[PF_SA_WITHDRAW] = act_withdraw,
	[PF_SA_FAIL] = act_fail,
	[PF_SA_FAIL_NEW] = act_fail_new,
	[PF_SA_LOSE] = act_lose,
	[PF_SA_LEAVE_DOUBT] = act_leave_doubt,
	[PF_SA_LEAVE_PAUSED] = act_leave_paused,
	[PF_SA_RETAKE] = act_retake,
	[PF_SA_ADMIT] = act_admit,
	[PF_SA_REJOIN] = act_rejoin,
	[PF_SA_INTACT] = act_intact,
};

void pf_source_act(void *engine, uint8_t action)
{
	if (acts[action])
		acts[action](engine);
}
