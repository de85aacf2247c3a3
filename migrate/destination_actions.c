/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_actions.c - the actions of core/destination_table.c.
 *
 * Main thread; none blocks.  The one write that commits a migration is the record RUN, which
 * pf_agent_raise() makes before act_run() tells anybody.
 */
#include "migrate/destination_engine.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/destination_exits.h"
#include "migrate/outage.h"
#include "migrate/report.h"

/* Before the source may send a page: what a thread needs for it is not made on the page's way. */
static int make_assemblies(struct destination *destination, struct pf_err *err)
{
	for (uint32_t i = 0; i <= destination->channels; i++)
		if (pf_assembly_init(&destination->assembly[i], &destination->guest.table, err))
			return -1;
	return 0;
}

static void act_compare(struct destination *destination)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_err err;

	if (!destination->armed || !destination->theirs_known)
		return;
	if (pf_table_compare(&destination->guest.table, &destination->theirs, &err) ||
	    make_assemblies(destination, &err))
		pf_agent_fail(agent, PF_DE_FAILED, &err);
	else
		pf_agent_note(agent, PF_DE_AGREED);
}

static void act_adopt(struct destination *destination)
{
	(void)pf_agent_mark(&destination->agent, PF_MARK_SEEN);
	act_compare(destination);
}

static void act_accept(struct destination *destination)
{
	const struct pf_region_table *table = &destination->guest.table;

	/* Every thread knows the table before the source can learn that it may use it. */
	for (uint32_t i = 0; i < destination->channels; i++)
		pf_link_agree(&destination->bulk[i], table);
	pf_pager_agree(&destination->pager, destination->agent.epoch, table);
}

static void act_restart(struct destination *destination)
{
	destination->session_known = false;
	pf_close_fd(&destination->state.fd);
	pf_pager_tell(&destination->pager, PF_MAIL_RESET, NULL, 0);
}

static void act_here(struct destination *destination)
{
	pf_agent_outcome(&destination->agent, NULL, "destination", false);
}

static void act_intact(struct destination *destination)
{
	pf_agent_outcome(&destination->agent, "source-intact", "source", false);
}

static void act_leave(struct destination *destination)
{
	struct pf_agent *agent = &destination->agent;

	pf_agent_finish(agent, 130, agent->outcome, agent->owner);
}

static void act_receive(struct destination *destination)
{
	destination->paused_ns = pf_now_ns();
}

static void act_load(struct destination *destination)
{
	pf_agent_emit(&destination->agent, "NEED_DEVICE_LOAD",
		      json_pack("{s:I}", "size", (json_int_t)destination->state.size));
	pf_fault(PF_FAULT_LOAD);
	destination->loads++;
	pf_vmm_load(destination->agent.vmm, destination->state.fd, destination->state.size);
}

static void act_ready(struct destination *destination)
{
	pf_fault(PF_FAULT_READY);
	pf_destination_verdict(destination, PF_FRAME_READY, "");
}

static void act_run(struct destination *destination)
{
	/* The rule of DESIGN.md section 4.1, asked once more where it matters. */
	if (!pf_destination_may_run(destination->agent.record))
		return;
	for (uint32_t i = 0; i < destination->channels; i++)
		if (destination->bulk[i].started)
			atomic_store(&destination->receiver[i]->may_push, true);
	pf_fault(PF_FAULT_RUN);
	if (!pf_vmm_say(destination->agent.vmm, PF_VMM_RESUME)) {
		pf_destination_vmm_refused(destination, "it is gone, and was not told RESUME");
		return;
	}
	pf_fault(PF_FAULT_RESUME);
	pf_destination_verdict(destination, PF_FRAME_RUN, "");
	pf_agent_emit(&destination->agent, "RUN_GRANTED", NULL);
	pf_agent_outcome(&destination->agent, NULL, "destination", false);
}

/* It may have heard it from a process before this one, and then passes it over. */
static void act_resume_again(struct destination *destination)
{
	if (pf_destination_may_run(destination->agent.record))
		pf_vmm_say(destination->agent.vmm, PF_VMM_RESUME);
	act_here(destination);
}

static void act_resumed(struct destination *destination)
{
	destination->resumed = true;
	if (destination->paused_ns > 0) /* else it was a process before this one that saw it */
		destination->downtime_ns = pf_now_ns() - destination->paused_ns;
	pf_fault(PF_FAULT_RESUMED);
	pf_destination_send(destination, PF_FRAME_RESUMED, NULL, 0);
	pf_destination_maybe_filled(destination);
}

static void act_refused(struct destination *destination)
{
	pf_fault(PF_FAULT_REFUSED);
	pf_destination_verdict(destination, PF_FRAME_REFUSED, destination->agent.why.text);
	pf_report("destination", &destination->agent.why);
	pf_agent_finish(&destination->agent, 130, "source-intact", "source");
}

static void act_outage(struct destination *destination)
{
	pf_outage_tell(&destination->agent, pf_destination_blocked(destination));
}

/* The urgent thread asks already; that the guest runs, the source may not have heard. */
static void act_go_on(struct destination *destination)
{
	if (destination->resumed)
		pf_destination_send(destination, PF_FRAME_RESUMED, NULL, 0);
	pf_destination_maybe_filled(destination);
}

static void act_conflict(struct destination *destination)
{
	if (destination->conflict_told)
		return;
	destination->conflict_told = true;
	pf_agent_conflict(&destination->agent, pf_record_name(destination->peer_record),
			  "the guest runs here, and the source has kept it: it was resolved as fenced");
}

static void act_repeat(struct destination *destination)
{
	pf_destination_send(destination, PF_FRAME_COMPLETE, NULL, 0);
}

static void mark_told(void *opaque, bool all)
{
	struct destination *destination = opaque;

	if (all)
		(void)pf_agent_mark(&destination->agent, PF_MARK_TOLD);
}

static void act_complete(struct destination *destination)
{
	struct pf_err err;

	pf_fault(PF_FAULT_DRAIN);
	/* Before the VMM hears of it and goes: a later process must not wait for it. */
	(void)pf_agent_mark(&destination->agent, PF_MARK_COMPLETE);
	/* Every page is here and mapped, or is when the VMM closes its uffd at COMPLETE. */
	if (pf_guest_disarm(&destination->guest, &err))
		pf_report("destination", &err);
	pf_exits_answer_all(&destination->guest);
	pf_fault(PF_FAULT_DISARMED);
	pf_vmm_say(destination->agent.vmm, PF_VMM_COMPLETE);
	pf_vmm_when_sent(destination->agent.vmm, mark_told, destination);
	pf_destination_send(destination, PF_FRAME_COMPLETE, NULL, 0);
}

static void act_finish(struct destination *destination)
{
	struct pf_agent *agent = &destination->agent;
	uint64_t lost = destination->guest.journal.lost;

	if (lost > 0) {
		pf_err_set(&agent->why, PF_ERR_STATE,
			   "%llu of its pages could not be read at the source, and are lost",
			   (unsigned long long)lost);
		pf_err_hint(&agent->why, "who touches one gets SIGBUS, a vCPU what its VMM injects; "
					 "PAGE_LOST has named them");
		agent->noted = true;
	}
	/* A page is FILLED before its thread has counted it. */
	pf_session_settle(destination);
	pf_agent_finish(agent, 0, "completed", "destination");
}

static void abort_with(struct destination *destination, const char *outcome, const char *owner)
{
	struct pf_err why;

	pf_fault(PF_FAULT_ABORTED);
	pf_destination_verdict(destination, PF_FRAME_ABORTED, "cancelled");
	pf_err_set(&why, PF_ERR_STATE, "the guest stays at the source: cancelled");
	pf_vmm_hang_up(destination->agent.vmm, &why);
	pf_agent_finish(&destination->agent, 130, outcome, owner);
}

static void act_abort(struct destination *destination)
{
	abort_with(destination, "source-intact", "source");
}

/* No VMM has come: whether the guest runs here, a new state directory cannot tell. */
static void act_withdraw(struct destination *destination)
{
	abort_with(destination, NULL, NULL);
}

static void fail(struct destination *destination, const char *outcome, const char *owner)
{
	struct pf_err why = destination->agent.why;
	char reason[PF_REASON_MAX + 1];
	uint8_t body[512];
	size_t length;

	pf_err_print(&why, reason, sizeof(reason));
	length = pf_msg_pack_failure(reason, body, sizeof(body));
	pf_destination_send(destination, PF_FRAME_FAILURE, body, length);
	if (owner)
		pf_err_prefix(&why, "the guest stays at the %s", owner);
	pf_vmm_hang_up(destination->agent.vmm, &why);
	pf_agent_finish_failed(&destination->agent, outcome, owner);
}

static void act_fail(struct destination *destination)
{
	fail(destination, "source-intact", "source");
}

static void act_fail_new(struct destination *destination)
{
	fail(destination, NULL, NULL);
}

/* A source that may have offered the guest already asks for the record, not for reasons. */
static void act_fail_ready(struct destination *destination)
{
	pf_fault(PF_FAULT_ABORTED);
	pf_destination_verdict(destination, PF_FRAME_ABORTED, destination->agent.why.text);
	act_fail(destination);
}

static void act_lost(struct destination *destination)
{
	pf_agent_finish(&destination->agent, 65, "lost", NULL);
}

static void act_leave_paused(struct destination *destination)
{
	pf_agent_finish(&destination->agent, 75, "paused", "destination");
}

static void (*const acts[PF_DA_ACTIONS_])(struct destination *destination) = {
	[PF_DA_ADOPT] = act_adopt, [PF_DA_WITHDRAW] = act_withdraw, [PF_DA_FAIL_NEW] = act_fail_new,
	[PF_DA_COMPARE] = act_compare, [PF_DA_ACCEPT] = act_accept, [PF_DA_RESTART] = act_restart,
	[PF_DA_RECEIVE] = act_receive, [PF_DA_LOAD] = act_load, [PF_DA_READY] = act_ready,
	[PF_DA_RUN] = act_run, [PF_DA_RESUMED] = act_resumed, [PF_DA_REFUSED] = act_refused,
	[PF_DA_OUTAGE] = act_outage, [PF_DA_GO_ON] = act_go_on,
	[PF_DA_CONFLICT] = act_conflict, [PF_DA_REPEAT] = act_repeat, [PF_DA_COMPLETE] = act_complete, [PF_DA_FINISH] = act_finish,
	[PF_DA_ABORT] = act_abort, [PF_DA_FAIL] = act_fail, [PF_DA_FAIL_READY] = act_fail_ready,
	[PF_DA_LOST] = act_lost, [PF_DA_RESUME] = act_resume_again, [PF_DA_HERE] = act_here,
	[PF_DA_INTACT] = act_intact, [PF_DA_LEAVE] = act_leave,
	[PF_DA_LEAVE_PAUSED] = act_leave_paused,
};

void pf_destination_act(void *engine, uint8_t action)
{
	if (acts[action])
		acts[action](engine);
}
