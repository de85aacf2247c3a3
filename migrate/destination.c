/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination.c - the destination's engine: the actions of core/destination_table.c.
 *
 * Main thread only; never blocks but for joining threads that were told to end.  The one write that
 * commits a migration is the record RUN, which pf_agent_raise() makes before act_run() tells
 * anybody.
 */
#include "migrate/destination_engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/agent_main.h"
#include "migrate/destination_exits.h"
#include "migrate/report.h"

/* ---- sending ---- */

static void send_frame(struct destination *destination, enum pf_frame_type type, const void *body,
		       size_t length)
{
	if (destination->urgent_up)
		pf_pager_send(&destination->pager, destination->agent.epoch, type, body, length);
}

static void send_verdict(struct destination *destination, enum pf_frame_type type,
			 const char *reason)
{
	struct pf_msg_verdict verdict = {
		.epoch = destination->agent.epoch,
		.record = destination->agent.record,
	};
	uint8_t body[512];
	size_t length;

	snprintf(verdict.reason, sizeof(verdict.reason), "%s", reason);
	length = pf_msg_pack_verdict(&verdict, body, sizeof(body));
	send_frame(destination, type, body, length);
}

/* ---- frames ---- */

static int take_regions(struct destination *destination, const struct pf_mail *mail,
			struct pf_err *err)
{
	if (destination->theirs_known || !destination->link_up)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "REGIONS twice, or before every bulk connection stands");
	if (pf_msg_unpack_regions(mail->data, mail->length, &destination->theirs, err) ||
	    pf_table_check(&destination->theirs, err))
		return -1;
	destination->theirs_known = true;
	pf_agent_note(&destination->agent, PF_DE_REGIONS);
	return 0;
}

/* The source's word on its record, which must be one of the two. */
static int check_verdict(const struct destination *destination, const struct pf_mail *mail,
			 enum pf_record record, enum pf_record or_record, struct pf_err *err)
{
	uint32_t epoch = destination->agent.epoch;
	struct pf_msg_verdict verdict;

	if (pf_msg_unpack_verdict(mail->data, mail->length, &verdict, err))
		return -1;
	if (verdict.epoch == epoch && (verdict.record == record || verdict.record == or_record))
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "%s with record %s of epoch %u in epoch %u",
			  pf_frame_name((uint8_t)mail->number), pf_record_name(verdict.record),
			  verdict.epoch, epoch);
}

static int take_commit(struct destination *destination, const struct pf_mail *mail,
		       struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_err failed = {0};

	if (check_verdict(destination, mail, PF_RECORD_OFFERED, PF_RECORD_OFFERED, err))
		return -1;
	/* A record that cannot be written is no RUN: the tombstone gives the guest back. */
	if (pf_agent_raise_in_turn(agent, PF_DE_COMMIT, &failed) && failed.class != PF_ERR_STATE)
		pf_agent_fail(agent, PF_DE_FAILED, &failed);
	return 0;
}

static int take_abort(struct destination *destination, const struct pf_mail *mail,
		      struct pf_err *err)
{
	if (check_verdict(destination, mail, PF_RECORD_NONE, PF_RECORD_OFFERED, err))
		return -1;
	pf_agent_note(&destination->agent, PF_DE_ABORT);
	return 0;
}

static int take_failure(const struct pf_mail *mail, struct pf_err *err)
{
	char reason[PF_REASON_MAX + 1];

	if (pf_msg_unpack_failure(mail->data, mail->length, reason, err))
		return -1;
	return pf_err_set(err, PF_ERR_UNREACHABLE, "the source gave up: %s", reason);
}

static int take_frame(struct destination *destination, const struct pf_mail *mail,
		      struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;

	switch (mail->number) {
	case PF_FRAME_REGIONS:
		return take_regions(destination, mail, err);
	case PF_FRAME_PAUSED:
		pf_agent_note(agent, PF_DE_PAUSED);
		return 0;
	case PF_FRAME_COMMIT:
		return take_commit(destination, mail, err);
	case PF_FRAME_ABORT:
		return take_abort(destination, mail, err);
	case PF_FRAME_COMPLETE_ACK:
		pf_agent_note(agent, PF_DE_ACK);
		return 0;
	case PF_FRAME_FAILURE:
		return take_failure(mail, err);
	default:
		return pf_err_set(err, PF_ERR_PROTOCOL, "the source sent %s",
				  pf_frame_name((uint8_t)mail->number));
	}
}

static void on_state(struct destination *destination, const struct pf_mail_state *state)
{
	pf_close_fd(&destination->state.fd);
	destination->state = *state;
	pf_agent_note(&destination->agent, PF_DE_STATE);
}

static void maybe_filled(struct destination *destination)
{
	/* The journal is asked, not the mail: a mail can be older than a restart. */
	if (destination->armed && destination->resumed &&
	    pf_journal_complete(&destination->guest.journal))
		pf_agent_note(&destination->agent, PF_DE_FILLED);
}

static json_t *page_object(const struct pf_mail_page *page)
{
	return json_pack("{s:i, s:I, s:i, s:s}", "region", (int)page->region, "page",
			 (json_int_t)page->page, "errno", (int)page->sys, "error",
			 strerror((int)page->sys));
}

/* A source can say so of every page as often as it likes. */
static void tell_lost(struct destination *destination, const struct pf_mail_page *page)
{
	uint64_t untold;
	json_t *data;

	if (!pf_ration_take(&destination->losses, &untold))
		return;
	data = page_object(page);
	json_object_set_new(data, "untold", json_integer((json_int_t)untold));
	pf_agent_emit(&destination->agent, "PAGE_LOST", data);
}

static void vmm_lost(void *engine, const struct pf_err *why);

/* Tried again and again while it lasts, told now and then.  What memory would not mend needs somebody. */
static void tell_trouble(struct destination *destination, const struct pf_mail_page *page)
{
	bool memory = page->sys == ENOMEM; /* ENOSPC and EDQUOT too: enum pf_place_result */
	uint64_t now = pf_now_ns();

	if (now < destination->trouble_ns[memory])
		return;
	destination->trouble_ns[memory] = now + PF_NS_PER_S;
	pf_agent_emit(&destination->agent, memory ? "OUT_OF_MEMORY" : "PAGE_STUCK", page_object(page));
}

/*
 * A page that was there before it came holds nobody knows what.  Before the commit that ends the
 * migration: nothing is lost yet.  Afterwards it can only be told.
 */
static void tell_unexpected(struct destination *destination, const struct pf_mail_page *page)
{
	uint64_t now = pf_now_ns();
	struct pf_err err;

	if (!pf_destination_may_run(destination->agent.record)) {
		pf_err_set(&err, PF_ERR_PROTOCOL,
			   "page %llu of region %u was present before it came, and its VMM had not "
			   "declared that",
			   (unsigned long long)page->page, page->region);
		pf_err_hint(&err, "hand over memory that nobody has touched");
		pf_agent_fail(&destination->agent, PF_DE_FAILED, &err);
		return;
	}
	if (now < destination->unexpected_ns)
		return;
	destination->unexpected_ns = now + PF_NS_PER_S;
	pf_agent_emit(&destination->agent, "UNEXPECTED_PAGE",
		      json_pack("{s:i, s:I}", "region", (int)page->region, "page",
				(json_int_t)page->page));
}

/* From a thread that is of no session. */
static bool take_own_mail(struct destination *destination, struct pf_mail *mail)
{
	struct pf_stranger *stranger = mail->data;
	struct pf_err err;

	switch ((enum pf_mail_kind)mail->kind) {
	case PF_MAIL_GREETING:
		pf_session_greeting(destination, mail->data);
		return true;
	case PF_MAIL_STRANGER:
		pf_session_stranger(destination, stranger->address, &stranger->why);
		return true;
	case PF_MAIL_FILLED:
		maybe_filled(destination);
		return true;
	case PF_MAIL_VMM_GONE:
		pf_err_set(&err, PF_ERR_SYSTEM, "its address space is gone");
		vmm_lost(destination, &err);
		return true;
	case PF_MAIL_TROUBLE:
		tell_trouble(destination, mail->data);
		return true;
	case PF_MAIL_PAGE_LOST:
		tell_lost(destination, mail->data);
		return true;
	case PF_MAIL_UNEXPECTED:
		tell_unexpected(destination, mail->data);
		return true;
	case PF_MAIL_VMM_WRONG:
		pf_vmm_broke(destination->agent.vmm, mail->data);
		return true;
	case PF_MAIL_OUTSIDE:
		pf_agent_emit(&destination->agent, "FAULT_OUTSIDE",
			      json_pack("{s:I}", "address", *(json_int_t *)mail->data));
		return true;
	case PF_MAIL_RESET_FAILED:
		pf_agent_fail(&destination->agent, PF_DE_FAILED, mail->data);
		return true;
	default:
		return false;
	}
}

static int on_door(sd_event_source *event_source, int fd, uint32_t events, void *opaque)
{
	struct destination *destination = opaque;
	struct pf_mail mail;

	(void)event_source, (void)fd, (void)events;
	while (!destination->agent.ending && pf_mailbox_take(&destination->door, &mail)) {
		(void)take_own_mail(destination, &mail);
		free(mail.data);
	}
	return 0;
}

static void destination_mail(void *engine, struct pf_mail *mail)
{
	struct destination *destination = engine;
	struct pf_err err;

	if (take_own_mail(destination, mail))
		return;
	if (mail->origin != destination->agent.epoch || !destination->urgent_up) {
		if (mail->kind == PF_MAIL_STATE_HERE)
			pf_close_fd(&((struct pf_mail_state *)mail->data)->fd);
		return; /* from a connection that is gone */
	}
	if (mail->kind == PF_MAIL_DOWN && mail->number > 0)
		/* The last word on urgent may not have been read yet: the session ends behind it. */
		pf_pager_tell(&destination->pager, PF_MAIL_DETACH, mail->data, mail->length);
	else if (mail->kind == PF_MAIL_DOWN)
		pf_session_down(destination, mail->data);
	else if (mail->kind == PF_MAIL_STATE_HERE)
		on_state(destination, mail->data);
	else if (mail->kind == PF_MAIL_FRAME && take_frame(destination, mail, &err))
		pf_session_down(destination, &err);
}

/* ---- the VMM ---- */

static int vmm_regions(void *engine, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_agent *agent = &destination->agent;
	struct pf_guest *guest = &destination->guest;
	const uint32_t *tids;
	uint32_t vcpus;

	if (destination->armed)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said REGIONS twice");
	/* Before its memory is judged: that it came unused is known, also if the memory will not do. */
	pf_agent_note(agent, PF_DE_VMM_REGIONS);
	if (pf_vmm_guest(regions, fds, guest, err) || pf_guest_arm(guest, agent->dir.fd, err)) {
		pf_guest_done(guest);
		return pf_err_prefix(err, "its memory");
	}
	destination->armed = true;
	pf_fault(PF_FAULT_ARMED);
	tids = pf_vmm_vcpus(agent->vmm, &vcpus);
	pf_pager_know_vcpus(&destination->pager, tids, vcpus);
	pf_pager_tell(&destination->pager, PF_MAIL_GUEST, &guest, sizeof(guest));
	pf_vmm_say(agent->vmm, PF_VMM_REGIONS_ACCEPTED);
	pf_agent_note(agent, PF_DE_VMM_REGIONS);
	return 0;
}

/* Every LOAD has one READY; that of a load which was dropped must not pass for the next one's. */
static int vmm_ready(void *engine, struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_err failed = {0};

	if (destination->readies == destination->loads)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said READY without LOAD");
	destination->readies++;
	if (destination->readies != destination->loads)
		return 0;
	pf_fault(PF_FAULT_LOADED);
	if (pf_agent_raise_in_turn(&destination->agent, PF_DE_VMM_READY, &failed) &&
	    failed.class != PF_ERR_STATE)
		pf_agent_fail(&destination->agent, PF_DE_FAILED, &failed);
	return 0;
}

static void vmm_resumed(void *engine)
{
	pf_agent_note(&((struct destination *)engine)->agent, PF_DE_VMM_RESUMED);
}

static void vmm_refused(void *engine, const char *reason)
{
	struct destination *destination = engine;
	struct pf_err err;

	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination VMM refused to resume: %s", reason);
	pf_agent_fail(&destination->agent, PF_DE_VMM_REFUSED, &err);
}

static void vmm_lost(void *engine, const struct pf_err *why)
{
	pf_agent_vmm_lost(&((struct destination *)engine)->agent, PF_DE_VMM_LOST, why);
}

static const struct pf_vmm_callbacks vmm_callbacks = {
	.regions = vmm_regions,
	.ready = vmm_ready,
	.resumed = vmm_resumed,
	.refused = vmm_refused,
	.lost = vmm_lost,
};

/* ---- actions ---- */

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
	pf_close_fd(&destination->state.fd);
	pf_pager_tell(&destination->pager, PF_MAIL_RESET, NULL, 0);
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
	send_verdict(destination, PF_FRAME_READY, "");
}

static void act_run(struct destination *destination)
{
	/* The rule of DESIGN.md section 4.1, asked once more where it matters. */
	if (!pf_destination_may_run(destination->agent.record))
		return;
	for (uint32_t i = 0; i < destination->channels; i++)
		atomic_store(&destination->receiver[i]->may_push, true);
	pf_fault(PF_FAULT_RUN);
	if (!pf_vmm_say(destination->agent.vmm, PF_VMM_RESUME)) {
		vmm_refused(destination, "it is gone, and was not told RESUME");
		return;
	}
	pf_fault(PF_FAULT_RESUME);
	send_verdict(destination, PF_FRAME_RUN, "");
	pf_agent_emit(&destination->agent, "RUN_GRANTED", NULL);
	pf_agent_outcome(&destination->agent, NULL, "destination", false);
}

static void act_resumed(struct destination *destination)
{
	destination->resumed = true;
	destination->downtime_ns = pf_now_ns() - destination->paused_ns;
	pf_fault(PF_FAULT_RESUMED);
	send_frame(destination, PF_FRAME_RESUMED, NULL, 0);
	maybe_filled(destination);
}

static void act_refused(struct destination *destination)
{
	pf_fault(PF_FAULT_REFUSED);
	send_verdict(destination, PF_FRAME_REFUSED, destination->agent.why.text);
	pf_report("destination", &destination->agent.why);
	pf_agent_finish(&destination->agent, 130, "source-intact", "source");
}

static void act_outage(struct destination *destination)
{
	pf_agent_outage(&destination->agent);
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
	(void)pf_agent_mark(&destination->agent, PF_MARK_TOLD);
	send_frame(destination, PF_FRAME_COMPLETE, NULL, 0);
}

static void act_finish(struct destination *destination)
{
	struct pf_agent *agent = &destination->agent;
	uint64_t lost = destination->guest.journal.lost;

	if (lost > 0) {
		pf_err_set(&agent->why, PF_ERR_STATE,
			   "%llu of its pages could not be read at the source, and are lost",
			   (unsigned long long)lost);
		pf_err_hint(&agent->why, "whoever touches one gets SIGBUS; PAGE_LOST has named them");
		agent->noted = true;
	}
	pf_agent_finish(agent, 0, "completed", "destination");
}

static void abort_with(struct destination *destination, const char *outcome, const char *owner)
{
	struct pf_err why;

	pf_fault(PF_FAULT_ABORTED);
	send_verdict(destination, PF_FRAME_ABORTED, "cancelled");
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
	send_frame(destination, PF_FRAME_FAILURE, body, length);
	pf_err_prefix(&why, "the guest stays at the source");
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
	send_verdict(destination, PF_FRAME_ABORTED, destination->agent.why.text);
	act_fail(destination);
}

static void act_lost(struct destination *destination)
{
	pf_agent_finish(&destination->agent, 65, "lost", NULL);
}

/* RESUME, GO_ON, CONFLICT, REPEAT, HERE, INTACT and LEAVE wait for the engine that is connected to again after READY and takes
 * a record of an earlier process up: nothing raises their events yet. */
static void (*const acts[PF_DA_ACTIONS_])(struct destination *destination) = {
	[PF_DA_ADOPT] = act_adopt, [PF_DA_WITHDRAW] = act_withdraw, [PF_DA_FAIL_NEW] = act_fail_new,
	[PF_DA_COMPARE] = act_compare, [PF_DA_ACCEPT] = act_accept, [PF_DA_RESTART] = act_restart,
	[PF_DA_RECEIVE] = act_receive, [PF_DA_LOAD] = act_load, [PF_DA_READY] = act_ready,
	[PF_DA_RUN] = act_run, [PF_DA_RESUMED] = act_resumed, [PF_DA_REFUSED] = act_refused,
	[PF_DA_OUTAGE] = act_outage, [PF_DA_COMPLETE] = act_complete, [PF_DA_FINISH] = act_finish,
	[PF_DA_ABORT] = act_abort, [PF_DA_FAIL] = act_fail, [PF_DA_FAIL_READY] = act_fail_ready,
	[PF_DA_LOST] = act_lost,
};

static void destination_act(void *engine, uint8_t action)
{
	if (acts[action])
		acts[action](engine);
}

/* ---- parameters and main ---- */

static int destination_set(void *engine, const char *name, const json_t *value, bool apply,
			   struct pf_err *err)
{
	(void)engine, (void)value, (void)apply;
	return pf_err_set(err, PF_ERR_USAGE, "'%s' is the source's, or cannot be changed in this version",
			  name);
}

static const struct pf_agent_ops destination_ops = {
	.set = destination_set,
	.act = destination_act,
	.mail = destination_mail,
	.status = pf_destination_status,
};

static void destination_close(struct destination *destination)
{
	pf_acceptor_stop(destination->acceptor);
	/* Urgent first: a source that saw a bulk connection close would not wait for the last word. */
	pf_pager_stop(&destination->pager, true);
	pf_session_stop_bulk(destination, true);
	pf_pager_done(&destination->pager);
	pf_agent_close(&destination->agent);
	pf_mailbox_done(&destination->door);
	if (destination->armed)
		pf_guest_done(&destination->guest);
	pf_close_fd(&destination->state.fd);
	explicit_bzero(destination->secret, sizeof(destination->secret));
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		free(destination->receiver[i]);
	for (uint32_t i = 0; i <= PF_CHANNELS_MAX; i++)
		pf_assembly_done(&destination->assembly[i]);
	free(destination);
}

static int open_door(struct destination *destination, struct sockaddr_storage *out_bound,
		     struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;

	if (pf_mailbox_init(&destination->door, err))
		return -1;
	if (sd_event_add_io(agent->loop, NULL, destination->door.event_fd, EPOLLIN, on_door,
			    destination) < 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "watching the mailbox of the accept thread");
	return pf_acceptor_open(agent->options, &destination->door, &destination->acceptor,
				out_bound, err);
}

static int destination_open(struct destination *destination, const struct pf_options *options,
			    struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct sockaddr_storage bound;
	char address[PF_ENDPOINT_TEXT_MAX];

	if (pf_agent_open(agent, options, &pf_destination_machine, &destination_ops, destination,
			  &vmm_callbacks, err))
		return -1;
	agent->spin_limit_ns = &destination->pager.spin.limit_ns;
	atomic_store(agent->spin_limit_ns, agent->spin_ns);
	if (open_door(destination, &bound, err) || pf_agent_confine(agent, err) ||
	    pf_pager_start(&destination->pager, &agent->inbox, &destination->filled_told,
			   &destination->assembly[0], err) ||
	    pf_acceptor_start(destination->acceptor, err)) {
		pf_pager_stop(&destination->pager, false);
		pf_pager_done(&destination->pager);
		pf_acceptor_stop(destination->acceptor);
		pf_agent_close(agent);
		pf_mailbox_done(&destination->door);
		return -1;
	}
	pf_sockaddr_print(&bound, address);
	pf_agent_emit(agent, "LISTENING", json_pack("{s:s}", "address", address));
	return 0;
}

int pf_destination_main(const struct pf_options *options)
{
	struct destination *destination = calloc(1, sizeof(*destination));
	struct pf_err err;
	int code;

	if (!destination) {
		pf_err_set(&err, PF_ERR_SYSTEM, "out of memory");
		pf_report("destination", &err);
		return pf_err_exit_code(&err);
	}
	destination->state.fd = -1;
	if (destination_open(destination, options, &err)) {
		free(destination);
		pf_report("destination", &err);
		return pf_err_exit_code(&err);
	}
	code = pf_agent_run(&destination->agent);
	destination_close(destination);
	return code;
}
