/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source.c - the source's engine: its beginning and end, its threads' mail, its parameters.
 *
 * Main thread only; never blocks but for joining threads that were told to end.  What it does is in
 * source_actions.c, by core/source_table.c.
 */
#include "migrate/source_engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/agent_main.h"
#include "migrate/report.h"
#include "migrate/status.h"

static void on_received(struct source *source)
{
	source->map_known = true;
	pf_source_wake_pushers(source);
}

/* Several threads may want for memory. */
static void tell_trouble(struct source *source, const struct pf_mail_page *page)
{
	uint64_t now = pf_now_ns();

	if (now < source->trouble_ns)
		return;
	source->trouble_ns = now + PF_NS_PER_S;
	pf_agent_emit(&source->agent, "OUT_OF_MEMORY", pf_status_page(page));
}

static void source_mail(void *engine, struct pf_mail *mail)
{
	struct source *source = engine;

	if (mail->kind == PF_MAIL_CONNECTED) {
		pf_source_connected(source, mail->data);
		return;
	}
	if (mail->kind == PF_MAIL_GIVE_UP) {
		pf_source_give_up(source, mail->data);
		return;
	}
	if (mail->kind == PF_MAIL_MISSED) {
		pf_source_tried(source, ((struct pf_err *)mail->data)->text);
		return;
	}
	if (mail->kind >= PF_MAIL_MET && mail->kind <= PF_MAIL_TRIED) {
		pf_source_race_mail(source, mail);
		return;
	}
	if (mail->origin != source->agent.epoch || !source->link_up)
		return; /* from a connection that is gone */
	if (mail->kind == PF_MAIL_FRAME)
		pf_source_frame(source, mail);
	else if (mail->kind == PF_MAIL_SUSPECT || mail->kind == PF_MAIL_TRUST)
		pf_source_suspect(source, mail->number, mail->kind == PF_MAIL_SUSPECT);
	else if (mail->kind == PF_MAIL_TROUBLE)
		tell_trouble(source, mail->data);
	else if (mail->kind == PF_MAIL_RECEIVED)
		on_received(source);
	else if (mail->kind == PF_MAIL_DOWN && mail->number > 0)
		/* RUN, REFUSED or ABORTED may be on urgent and not read yet: the session ends behind it. */
		pf_link_tell(&source->urgent, PF_MAIL_DETACH, mail->data, mail->length);
	else if (mail->kind == PF_MAIL_DOWN)
		pf_source_down(source, mail->data);
}

/* ---- parameters and main ---- */

static void set_push(struct source *source, bool on)
{
	atomic_store(&source->service.push_held, !on);
	if (on)
		pf_source_wake_pushers(source);
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
	if (strcmp(name, "channels") == 0) {
		pf_err_set(err, PF_ERR_STATE,
			   "this agent was started with %u bulk connections, and keeps to that",
			   source->agent.options->channels);
		return pf_err_hint(err, "give --channels when the source is started");
	}
	if (strcmp(name, "max-bandwidth") != 0)
		return pf_err_set(err, PF_ERR_USAGE, "'%s' cannot be changed in this version", name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return pf_err_set(err, PF_ERR_USAGE, "'max-bandwidth' must be bytes a second");
	if (!apply)
		return 0;
	pf_pace_set(&source->service.pace, (uint64_t)json_integer_value(value), pf_now_ns());
	pf_source_wake_pushers(source);
	return 0;
}

static size_t source_boxes(void *engine, struct pf_mailbox **out)
{
	struct source *source = engine;
	size_t count = 0;

	if (source->urgent.started)
		out[count++] = &source->urgent.outbox;
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		if (source->bulk[i].started)
			out[count++] = &source->bulk[i].outbox;
	return count;
}

static bool source_late(void *engine, uint64_t now_ns)
{
	const struct source *source = engine;

	return pf_racer_late(source->racer, now_ns) ||
	       (source->connector.started && pf_term_is_over(&source->connector.term, now_ns));
}

static const struct pf_agent_ops source_ops = {
	.boxes = source_boxes,
	.late = source_late,
	.set = source_set,
	.path = pf_source_path,
	.pause = pf_source_pause,
	.recover = pf_source_recover,
	.restore = pf_source_restore,
	.act = pf_source_act,
	.mail = source_mail,
	.status = pf_source_status,
};

static void source_close(struct source *source)
{
	pf_connector_stop(&source->connector);
	pf_source_stop_race(source);
	pf_source_part(source, true);
	explicit_bzero(source->secret, sizeof(source->secret));
	json_decref(source->names);
	pf_agent_close(&source->agent);
	pf_push_done(&source->service.push);
	if (source->vmm_described)
		pf_reader_done(&source->service.reader);
	pf_close_fd(&source->state.fd);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		free(source->pusher[i]);
	free(source);
}

static int source_open(struct source *source, const struct pf_options *options,
		       struct pf_kept *kept, struct pf_err *err)
{
	if (pf_agent_open(&source->agent, options, kept, &pf_source_machine, &source_ops, source,
			  &pf_source_vmm, err))
		return -1;
	source->agent.inbox.drop = pf_connector_drop;
	source->connects = options->connects;
	memcpy(source->connect, options->connect, sizeof(source->connect));
	pf_source_recall_names(source);
	if (pf_agent_confine(&source->agent, err) == 0 && pf_source_again(source, err) == 0)
		return 0;
	json_decref(source->names);
	pf_agent_close(&source->agent);
	return -1;
}

int pf_source_main(const struct pf_options *options, struct pf_kept *kept)
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
	if (source_open(source, options, kept, &err)) {
		free(source);
		pf_report("source", &err);
		return pf_err_exit_code(&err);
	}
	pf_pace_set(&source->service.pace, options->max_bandwidth, pf_now_ns());
	source->agent.spin_limit_ns = &source->urgent.spin.limit_ns;
	source->deadline_ns = pf_now_ns() + options->connect_timeout_s * PF_NS_PER_S;
	pf_agent_begin(&source->agent);
	if (source->agent.record == PF_RECORD_NONE)
		pf_source_connect(source, false);
	code = pf_agent_run(&source->agent);
	source_close(source);
	return code;
}
