/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source.c - the source's engine: the actions of core/source_table.c.
 *
 * Main thread only; never blocks but for joining threads that were told to end.  What the source
 * says about the guest is its record's word: nothing here resumes the guest but CONTINUE_SOURCE in
 * KEPT, or in NONE after giving the attempt up.
 */
#include "migrate/source_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/agent_main.h"
#include "migrate/report.h"

#define STOOD_NS (5 * PF_NS_PER_S) /* a link that stood so long was a good one */

/* ---- connections ---- */

/* Urgent first: a destination that saw a bulk connection close would not wait for the last word.
 * Then all the others at once: a peer that does not part costs one patience, not eight. */
static void stop_links(struct source *source, bool goodbye)
{
	uint32_t channels = source->agent.options->channels;

	source->link_up = false;
	if (source->urgent.started) {
		source->sent_before += pf_channel_bytes(source->urgent.channel, false);
		source->received_before += pf_channel_bytes(source->urgent.channel, true);
	}
	pf_link_stop(&source->urgent, goodbye);
	for (uint32_t i = 0; i < channels; i++)
		pf_link_end(&source->bulk[i], goodbye);
	for (uint32_t i = 0; i < channels; i++) {
		if (source->bulk[i].started) {
			source->sent_before += pf_channel_bytes(source->bulk[i].channel, false);
			source->received_before += pf_channel_bytes(source->bulk[i].channel, true);
		}
		pf_link_stop(&source->bulk[i], goodbye);
	}
}

static void give_up(struct source *source, const struct pf_err *err)
{
	pf_agent_fail(&source->agent, PF_SE_GIVE_UP, err);
}

static void connect_until_deadline(struct source *source, bool again)
{
	struct pf_err err;

	pf_connector_stop(&source->connector);
	if (pf_connector_start(&source->connector, source->agent.options, &source->agent.inbox,
			       source->deadline_ns, again, &err))
		give_up(source, &err);
}

/* A destination that takes the connection and drops it at once gets no new --connect-timeout. */
static void connect_again(struct source *source)
{
	uint64_t now = pf_now_ns();

	if (now - source->connected_ns > STOOD_NS)
		source->deadline_ns =
			now + source->agent.options->connect_timeout_s * PF_NS_PER_S;
	connect_until_deadline(source, true);
}

static int start_bulk(struct source *source, uint32_t i, struct pf_channel *channel,
		      struct pf_err *err)
{
	struct pf_pusher *pusher = source->pusher[i];
	char name[16];

	if (!pusher)
		pusher = source->pusher[i] = malloc(sizeof(*pusher));
	if (!pusher) {
		pf_channel_free(channel);
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a bulk thread");
	}
	memset(pusher, 0, sizeof(*pusher));
	pusher->service = &source->service;
	pf_credit_begin(&pusher->credit);
	pusher->state_fd = -1;
	snprintf(name, sizeof(name), "bulk-%u", i + 1);
	return pf_link_start(&source->bulk[i], channel, &source->agent.inbox, i + 1,
			     source->agent.epoch, &pf_pusher_user, pusher, name, err);
}

static int start_links(struct source *source, struct pf_connected *connected, struct pf_err *err)
{
	struct pf_channel *urgent = pf_steal(&connected->channel[0]);

	/* What an earlier connection carried, the destination has dropped. */
	if (source->vmm_described)
		pf_push_reset(&source->service.push);
	pf_gate_reset(&source->service.gate);
	memset(&source->answers, 0, sizeof(source->answers));
	source->answers.service = &source->service;
	if (pf_link_start(&source->urgent, urgent, &source->agent.inbox, 0, source->agent.epoch,
			  &pf_answers_user, &source->answers, "urgent", err))
		return -1;
	atomic_store(&source->urgent.spin.limit_ns, source->agent.spin_ns);
	for (uint32_t i = 0; i < source->agent.options->channels; i++)
		if (start_bulk(source, i, pf_steal(&connected->channel[i + 1]), err))
			return -1;
	return 0;
}

static void on_connected(struct source *source, struct pf_connected *connected)
{
	struct pf_agent *agent = &source->agent;
	struct pf_err err;

	pf_connector_stop(&source->connector);
	snprintf(source->address, sizeof(source->address), "%s", connected->address);
	snprintf(source->cipher, sizeof(source->cipher), "%s",
		 pf_conn_cipher(pf_channel_conn(connected->channel[0])));
	agent->epoch = connected->welcome.epoch;
	if (pf_statedir_write(&agent->dir, "secret", connected->secret, PF_SECRET_BYTES, &err) ||
	    pf_statedir_write_record(&agent->dir, agent->record, agent->epoch, &err) ||
	    start_links(source, connected, &err)) {
		stop_links(source, false);
		give_up(source, &err);
	} else {
		source->link_up = true;
		source->connected_ns = pf_now_ns();
		pf_agent_note(agent, PF_SE_LINK_UP);
	}
	pf_connected_free(connected);
}

static void on_frame(struct source *source, const struct pf_mail *mail);

/* What the destination had said before the connection ended, and main had not read yet. */
static void take_last_words(struct source *source)
{
	struct pf_mail mail;

	while (!source->agent.ending && pf_mailbox_take(&source->agent.inbox, &mail)) {
		if (mail.kind == PF_MAIL_FRAME && mail.origin == source->agent.epoch)
			on_frame(source, &mail);
		free(mail.data);
	}
}

static void on_down(struct source *source, const struct pf_err *err)
{
	if (!source->link_up)
		return;
	stop_links(source, false);
	take_last_words(source);
	/* A peer that breaks the protocol costs itself the connection; set-up would only repeat it. */
	if (err->class == PF_ERR_PROTOCOL && source->agent.record == PF_RECORD_NONE)
		pf_agent_fail(&source->agent, PF_SE_FAILURE, err);
	else
		pf_agent_cut(&source->agent, PF_SE_LINK_DOWN, err);
}

/* ---- frames ---- */

static void send_verdict(struct source *source, enum pf_frame_type type, const char *reason)
{
	struct pf_msg_verdict verdict = {
		.epoch = source->agent.epoch,
		.record = source->agent.record,
	};
	uint8_t body[512];
	size_t length;

	if (!source->link_up)
		return;
	snprintf(verdict.reason, sizeof(verdict.reason), "%s", reason);
	length = pf_msg_pack_verdict(&verdict, body, sizeof(body));
	pf_link_send(&source->urgent, type, body, length);
}

static const struct {
	uint8_t type, event;
	enum pf_record record; /* what a Verdict must say; 0: the frame has no body */
} frame_events[] = {
	{PF_FRAME_REGIONS_OK, PF_SE_REGIONS_OK, 0},
	{PF_FRAME_READY, PF_SE_READY, PF_RECORD_READY},
	{PF_FRAME_RUN, PF_SE_RUN, PF_RECORD_RUN},
	{PF_FRAME_RESUMED, PF_SE_RESUMED, 0},
	{PF_FRAME_REFUSED, PF_SE_REFUSED, PF_RECORD_REFUSED},
	{PF_FRAME_ABORTED, PF_SE_ABORTED, PF_RECORD_ABORTED},
	{PF_FRAME_COMPLETE, PF_SE_COMPLETE, 0},
};

static int check_verdict(const struct source *source, const struct pf_mail *mail,
			 enum pf_record record, struct pf_err *err)
{
	struct pf_msg_verdict verdict;

	if (pf_msg_unpack_verdict(mail->data, mail->length, &verdict, err))
		return -1;
	if (verdict.epoch == source->agent.epoch && verdict.record == record)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "%s with record %s of epoch %u in epoch %u",
			  pf_frame_name((uint8_t)mail->number), pf_record_name(verdict.record),
			  verdict.epoch, source->agent.epoch);
}

static void on_failure(struct source *source, const struct pf_mail *mail)
{
	char reason[PF_REASON_MAX + 1];
	struct pf_err err;

	if (pf_msg_unpack_failure(mail->data, mail->length, reason, &err)) {
		on_down(source, &err);
		return;
	}
	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination gave up: %s", reason);
	pf_agent_fail(&source->agent, PF_SE_FAILURE, &err);
}

static int take_verdict(struct source *source, const struct pf_mail *mail, unsigned row,
			struct pf_err *err)
{
	struct pf_err failed = {0};

	if (frame_events[row].record &&
	    check_verdict(source, mail, frame_events[row].record, err))
		return -1;
	if (mail->number == PF_FRAME_REFUSED && source->resumed)
		return pf_err_set(err, PF_ERR_PROTOCOL, "REFUSED after RESUMED: the guest has run there");
	/* Before the offer it means nothing, and must not outlive the connection that said it. */
	if (mail->number == PF_FRAME_RESUMED && source->agent.record != PF_RECORD_NONE)
		source->resumed = true;
	if (mail->number != PF_FRAME_READY) {
		pf_agent_note(&source->agent, frame_events[row].event);
		return 0;
	}
	/* As the last word of a connection that is gone it asks for a COMMIT that cannot be sent. */
	if (!source->link_up)
		return 0;
	/* OFFERED that cannot be written: nothing was offered, so nothing is lost. */
	if (pf_agent_raise_in_turn(&source->agent, PF_SE_READY, &failed) &&
	    failed.class != PF_ERR_STATE)
		pf_agent_fail(&source->agent, PF_SE_FAILURE, &failed);
	return 0;
}

static void on_frame(struct source *source, const struct pf_mail *mail)
{
	struct pf_err err = {0};

	if (mail->number == PF_FRAME_FAILURE) {
		on_failure(source, mail);
		return;
	}
	for (unsigned i = 0; i < PF_ARRAY_LEN(frame_events); i++) {
		if (frame_events[i].type != mail->number)
			continue;
		if (take_verdict(source, mail, i, &err))
			on_down(source, &err);
		return;
	}
	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination sent %s",
		   pf_frame_name((uint8_t)mail->number));
	on_down(source, &err);
}

static void source_mail(void *engine, struct pf_mail *mail)
{
	struct source *source = engine;

	if (mail->kind == PF_MAIL_CONNECTED) {
		on_connected(source, mail->data);
		return;
	}
	if (mail->kind == PF_MAIL_GIVE_UP) {
		give_up(source, mail->data);
		return;
	}
	if (mail->origin != source->agent.epoch || !source->link_up)
		return; /* from a connection that is gone */
	if (mail->kind == PF_MAIL_FRAME)
		on_frame(source, mail);
	else if (mail->kind == PF_MAIL_DOWN && mail->number > 0)
		/* RUN, REFUSED or ABORTED may be on urgent and not read yet: the session ends behind it. */
		pf_link_tell(&source->urgent, PF_MAIL_DETACH, mail->data, mail->length);
	else if (mail->kind == PF_MAIL_DOWN)
		on_down(source, mail->data);
}

/* ---- the VMM ---- */

static int vmm_regions(void *engine, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err)
{
	struct source *source = engine;
	struct pf_service *service = &source->service;

	if (source->vmm_described)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said REGIONS twice");
	/* Before its memory is judged: that its guest runs here is known, also if the memory will not do. */
	pf_agent_note(&source->agent, PF_SE_VMM_REGIONS);
	if (pf_vmm_reader(regions, fds, &service->reader, err) ||
	    pf_reader_check(&service->reader, err) ||
	    pf_push_init(&service->push, &service->reader.table, err)) {
		pf_reader_done(&service->reader);
		return pf_err_prefix(err, "its memory");
	}
	pf_reader_seek_holes(&service->reader);
	source->vmm_described = true;
	pf_agent_note(&source->agent, PF_SE_VMM_REGIONS);
	return 0;
}

static int check_state_size(const struct source *source, uint64_t size, struct pf_err *err)
{
	uint64_t most = source->agent.options->max_device_state;

	if (size <= most)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "a device state of %llu bytes; --max-device-state allows %llu",
		   (unsigned long long)size, (unsigned long long)most);
	return pf_err_hint(err, "give both sides a larger --max-device-state");
}

/* Every PAUSE has one PAUSED; the answer to one that was taken back must not pass for a later one's. */
static int vmm_paused(void *engine, int state_fd, uint64_t size, struct pf_err *err)
{
	struct source *source = engine;
	pf_auto_fd int fd = state_fd;
	struct pf_err failed;

	if (source->pauses_answered == source->pauses_asked)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said PAUSED without PAUSE");
	if (pf_vmm_check_state(fd, size, err))
		return -1;
	source->pauses_answered++;
	if (source->pauses_answered != source->pauses_asked || !source->guest_paused)
		return 0;
	if (check_state_size(source, size, &failed)) {
		pf_agent_fail(&source->agent, PF_SE_FAILURE, &failed);
		return 0;
	}
	source->paused_ns = pf_now_ns();
	/* The last one's: the bulk thread that read it ended with its connection. */
	pf_close_fd(&source->state.fd);
	source->state = (struct pf_mail_state){.fd = pf_steal_fd(&fd), .size = size};
	pf_agent_note(&source->agent, PF_SE_VMM_PAUSED);
	return 0;
}

static void vmm_lost(void *engine, const struct pf_err *why)
{
	struct source *source = engine;

	pf_agent_vmm_lost(&source->agent, PF_SE_VMM_LOST, why);
	/* Whoever comes to the socket now is not the VMM whose guest stands. */
	source->stood_vmm_gone = source->guest_paused;
}

static const struct pf_vmm_callbacks vmm_callbacks = {
	.regions = vmm_regions,
	.paused = vmm_paused,
	.lost = vmm_lost,
};

/* false: its guest stands, and there is nobody to be told that it may run. */
static bool continue_guest(struct source *source)
{
	if (!source->guest_paused)
		return true;
	/* The rule of DESIGN.md section 4.1, asked once more where it matters. */
	if (!pf_source_may_run(source->agent.record, true) || source->stood_vmm_gone)
		return false;
	source->guest_paused = false;
	return pf_vmm_say(source->agent.vmm, PF_VMM_CONTINUE_SOURCE);
}

/* ---- actions ---- */

static void act_propose(struct source *source)
{
	uint8_t body[PF_URGENT_BODY_MAX];
	size_t length;

	if (!source->link_up || !source->vmm_described)
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

/* Wakes them too: what they waited for may be otherwise now. */
static void tell_pushers(struct source *source)
{
	pf_fault(PF_FAULT_GONE);
	for (uint32_t i = 0; i < source->agent.options->channels; i++)
		pf_link_tell(&source->bulk[i], PF_MAIL_PUSH, NULL, 0);
}

static void act_gone(struct source *source)
{
	tell_pushers(source);
	pf_agent_outcome(&source->agent, NULL, "destination", false);
}

static void act_downtime(struct source *source)
{
	source->downtime_ns = pf_now_ns() - source->paused_ns;
}

static void act_complete(struct source *source)
{
	if (source->link_up)
		pf_link_send(&source->urgent, PF_FRAME_COMPLETE_ACK, NULL, 0);
	pf_fault(PF_FAULT_RELEASE);
	/* A later process must not keep a guest whose memory may be gone. */
	if (pf_agent_mark(&source->agent, PF_MARK_COMPLETE) == 0)
		pf_vmm_say(source->agent.vmm, PF_VMM_RELEASE);
	pf_agent_finish(&source->agent, 0, "completed", "destination");
}

/* The VMM of this process has described its memory, or nothing would have been offered.  Is it gone, the
 * guest that both records leave here went with it. */
static void act_keep(struct source *source)
{
	struct pf_agent *agent = &source->agent;
	struct pf_err err;

	pf_fault(PF_FAULT_KEPT);
	if (continue_guest(source)) {
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

static void act_settle(struct source *source)
{
	pf_agent_finish(&source->agent, 130, "source-intact", "source");
}

static void act_cancel(struct source *source)
{
	send_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
	continue_guest(source);
	pf_agent_finish(&source->agent, 130, "source-intact", "source");
}

static void fail(struct source *source, const char *outcome, const char *owner)
{
	send_verdict(source, PF_FRAME_ABORT, source->agent.why.text);
	continue_guest(source);
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
	send_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
	pf_agent_finish(&source->agent, 130, NULL, NULL);
}

static void act_outage(struct source *source)
{
	pf_agent_outage(&source->agent);
}

/* RUN was heard, but the record could not be written before the connection went. */
static void act_gone_cut(struct source *source)
{
	pf_fault(PF_FAULT_GONE);
	pf_agent_outage(&source->agent);
}

static void act_doubt(struct source *source)
{
	pf_agent_emit(&source->agent, "IN_DOUBT",
		      json_pack("{s:s, s:s}", "question",
				"Does the destination's record say RUN? If it runs there, leave this "
				"side alone; if it cannot run there any more, resolve "
				"--destination-fenced",
				"reason", source->agent.why.text));
	pf_agent_outcome(&source->agent, "in-doubt", NULL, false);
}

static void act_commit(struct source *source)
{
	pf_fault(PF_FAULT_OFFERED);
	send_verdict(source, PF_FRAME_COMMIT, "");
}

static void act_ask_abort(struct source *source)
{
	send_verdict(source, PF_FRAME_ABORT, "cancelled at the source");
}

static void act_take_back(struct source *source)
{
	continue_guest(source);
	connect_again(source);
}

static void act_lose(struct source *source)
{
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

/* RETAKE, ADMIT, REJOIN, GO_ON, INTACT and CONFLICT wait for the engine that connects again after OFFERED and
 * takes a record of an earlier process up: nothing raises their events yet. */
static void (*const acts[PF_SA_ACTIONS_])(struct source *source) = {
	[PF_SA_ADOPT] = act_adopt,
	[PF_SA_PROPOSE] = act_propose,
	[PF_SA_RECONNECT] = connect_again,
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
	[PF_SA_COMPLETE] = act_complete,
	[PF_SA_RELEASE] = act_complete,
	[PF_SA_CANCEL] = act_cancel,
	[PF_SA_WITHDRAW] = act_withdraw,
	[PF_SA_FAIL] = act_fail,
	[PF_SA_FAIL_NEW] = act_fail_new,
	[PF_SA_LOSE] = act_lose,
	[PF_SA_LEAVE_DOUBT] = act_leave_doubt,
	[PF_SA_LEAVE_PAUSED] = act_leave_paused,
};

static void source_act(void *engine, uint8_t action)
{
	if (acts[action])
		acts[action](engine);
}

/* ---- parameters and main ---- */

static void set_push(struct source *source, bool on)
{
	atomic_store(&source->service.push_held, !on);
	if (on && source->agent.state == PF_S_SERVING)
		tell_pushers(source);
}

static int source_set(void *engine, const char *name, const json_t *value, bool apply,
		      struct pf_err *err)
{
	struct source *source = engine;

	if (strcmp(name, "push") == 0) {
		if (!json_is_boolean(value))
			return pf_err_set(err, PF_ERR_USAGE, "'push' must be true or false");
		if (apply)
			set_push(source, json_is_true(value));
		return 0;
	}
	if (strcmp(name, "max-bandwidth") != 0)
		return pf_err_set(err, PF_ERR_USAGE, "'%s' cannot be changed in this version", name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return pf_err_set(err, PF_ERR_USAGE, "'max-bandwidth' must be bytes a second");
	if (!apply)
		return 0;
	pf_pace_set(&source->service.pace, (uint64_t)json_integer_value(value), pf_now_ns());
	if (source->agent.state == PF_S_SERVING)
		tell_pushers(source);
	return 0;
}

static const struct pf_agent_ops source_ops = {
	.set = source_set,
	.act = source_act,
	.mail = source_mail,
	.status = pf_source_status,
};

static void source_close(struct source *source, bool goodbye)
{
	pf_connector_stop(&source->connector);
	stop_links(source, goodbye);
	pf_agent_close(&source->agent);
	pf_push_done(&source->service.push);
	if (source->vmm_described)
		pf_reader_done(&source->service.reader);
	pf_close_fd(&source->state.fd);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		free(source->pusher[i]);
	free(source);
}

static int source_open(struct source *source, const struct pf_options *options, struct pf_err *err)
{
	if (pf_agent_open(&source->agent, options, &pf_source_machine, &source_ops, source,
			  &vmm_callbacks, err))
		return -1;
	if (pf_agent_confine(&source->agent, err) == 0)
		return 0;
	pf_agent_close(&source->agent);
	return -1;
}

int pf_source_main(const struct pf_options *options)
{
	struct source *source = calloc(1, sizeof(*source));
	struct pf_err err;
	int code;

	if (!source) {
		pf_err_set(&err, PF_ERR_SYSTEM, "out of memory");
		pf_report("source", &err);
		return pf_err_exit_code(&err);
	}
	source->state.fd = -1;
	if (source_open(source, options, &err)) {
		free(source);
		pf_report("source", &err);
		return pf_err_exit_code(&err);
	}
	pf_pace_set(&source->service.pace, options->max_bandwidth, pf_now_ns());
	source->agent.spin_limit_ns = &source->urgent.spin.limit_ns;
	source->deadline_ns = pf_now_ns() + options->connect_timeout_s * PF_NS_PER_S;
	connect_until_deadline(source, false);
	code = pf_agent_run(&source->agent);
	source_close(source, true);
	return code;
}
