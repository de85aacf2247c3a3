/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_resume.c - the source's connections once the guest was offered: made again, for ever.
 *
 * Main thread; never blocks but for joining threads that were told to end.  The urgent connection carries
 * requests as soon as it stands; push waits for the bulk connections and for what the destination says it
 * has.  A connection that is suspected stays, and a race runs beside it: the first WELCOME takes its place.
 */
#include "migrate/source_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/pause.h"
#include "core/switchover.h"
#include "migrate/outage.h"
#include "migrate/report.h"

#define VAIN_FREE 3u			   /* links in vain that a bad moment may cost */
#define VAIN_PAUSE_NS (50 * PF_NS_PER_MS)  /* behind the next one, and doubled */
#define VAIN_PAUSE_MAX_NS PF_NS_PER_S

/* ---- the race ---- */

void pf_source_tried(struct source *source, const char *why)
{
	snprintf(source->tried, sizeof(source->tried), "%s", why);
}

static void try_later(struct source *source, const struct pf_err *err)
{
	/* Out of memory or threads: said, and tried again when the next thing happens. */
	pf_report("source", err);
	pf_source_tried(source, err->text);
}

bool pf_source_is_cut(const struct source *source)
{
	enum pf_source_state state = (enum pf_source_state)source->agent.state;

	return state == PF_S_IN_DOUBT || state == PF_S_RETRACTING || state == PF_S_OUTAGE ||
	       state == PF_S_KEPT;
}

/*
 * A link can be made again and again and be of no use: the record cannot be written, or the other connections are
 * never let through.  Each costs both sides an epoch and half a dozen events, and says nothing that is new.
 */
static uint64_t pause_ns(const struct source *source)
{
	if (source->in_vain <= VAIN_FREE)
		return 0;
	return pf_doubled_ns(VAIN_PAUSE_NS, source->in_vain - VAIN_FREE - 1, VAIN_PAUSE_MAX_NS);
}

void pf_source_race(struct source *source)
{
	struct pf_agent *agent = &source->agent;
	struct pf_race_how how = {
		.options = agent->options,
		.connects = source->connects,
		.inbox = &agent->inbox,
		.number = source->races + 1,
		.epoch = agent->epoch,
		.record = agent->record,
		.eager = agent->record == PF_RECORD_OFFERED || agent->record == PF_RECORD_GONE,
		.after_ns = pause_ns(source),
	};
	struct pf_err err;

	if (source->racer || source->held || agent->ending)
		return;
	if (!source->vmm_described && agent->record != PF_RECORD_KEPT)
		return;
	memcpy(how.connect, source->connect, sizeof(how.connect));
	memcpy(how.secret, source->secret, sizeof(how.secret));
	source->races++;
	source->met = false;
	if (pf_racer_start(&how, &source->racer, &err))
		try_later(source, &err);
	explicit_bzero(how.secret, sizeof(how.secret));
}

void pf_source_stop_race(struct source *source)
{
	pf_racer_stop(source->racer);
	source->racer = NULL;
	source->met = false;
	source->races++; /* what it has posted is of no race any more */
}

static void race_again(struct source *source)
{
	pf_source_stop_race(source);
	pf_source_race(source);
}

void pf_source_suspect(struct source *source, uint32_t link, bool suspected)
{
	enum pf_record record = source->agent.record;

	source->suspected &= ~(UINT32_C(1) << link);
	source->suspected |= (uint32_t)suspected << link;
	if (suspected && (record == PF_RECORD_OFFERED || record == PF_RECORD_GONE))
		pf_source_race(source);
	/* All speak again, before another one stood. */
	else if (source->suspected == 0 && source->racer && !source->met)
		pf_source_stop_race(source);
}

/*
 * Waiting for that connection would be of no use, and where the link comes back it would wait for its
 * retransmissions, which get rarer.  Before the offer an outage costs more than a link that comes back in time.
 */
static void cut(struct source *source, const struct pf_path *path)
{
	struct pf_err err;

	pf_err_set(&err, PF_ERR_UNREACHABLE, "the way to the destination is gone: %s", path->why);
	pf_source_down(source, &err);
}

void pf_source_path(void *engine, unsigned news, const struct pf_path *path)
{
	struct source *source = engine;
	enum pf_record record = source->agent.record;

	if ((news & PF_PATH_GONE) && source->link_up &&
	    (record == PF_RECORD_OFFERED || record == PF_RECORD_GONE))
		cut(source, path);
	if (!(news & (PF_PATH_BACK | PF_PATH_MOVED)))
		return;
	source->in_vain = 0;
	/* What was tried while it was gone waits for retransmissions too: it begins anew. */
	if (source->racer && !source->met)
		race_again(source);
}

/* ---- what came of it ---- */

/* Why a peer was refused is told once, until it is another reason. */
static void on_tried(struct source *source, const struct pf_tried *tried)
{
	uint64_t untold;

	pf_source_tried(source, tried->why.text);
	if (tried->why.class == PF_ERR_UNREACHABLE ||
	    strcmp(source->refused, tried->why.text) == 0 ||
	    !pf_ration_take(&source->refusals, &untold))
		return;
	snprintf(source->refused, sizeof(source->refused), "%s", tried->why.text);
	pf_agent_emit(&source->agent, "PEER_REFUSED",
		      json_pack("{s:s, s:s, s:s, s:I}", "address", tried->address, "reason",
				tried->why.text, "hint", tried->why.hint, "untold",
				(json_int_t)untold));
}

static int take_up(struct source *source, struct pf_met *met, struct pf_err *err)
{
	struct pf_agent *agent = &source->agent;
	struct pf_conn *conn = pf_channel_conn(met->channel);

	snprintf(source->address, sizeof(source->address), "%s", met->address);
	snprintf(source->cipher, sizeof(source->cipher), "%s", pf_conn_cipher(conn));
	pf_paths_follow(agent->paths, pf_conn_fd(conn));
	pf_source_note_name(source, pf_conn_fd(conn));
	source->tried[0] = source->refused[0] = '\0';
	source->told = 0;
	source->stranger = false;
	source->map_known = false;
	source->answered_before = atomic_load(&source->service.count.answered);
	if (pf_statedir_write_record(&agent->dir, agent->record, met->welcome.epoch, err))
		return -1;
	agent->epoch = met->welcome.epoch;
	if (pf_source_start_urgent(source, pf_steal(&met->channel), true, err))
		return -1;
	pf_link_agree(&source->urgent, &source->service.reader.table);
	pf_link_tell(&source->urgent, PF_MAIL_SERVE, NULL, 0);
	source->link_up = source->met = true;
	source->connected_ns = pf_now_ns();
	return 0;
}

/* A new link takes the place of one that was suspected, if that is still there. */
static void replace_link(struct source *source)
{
	struct pf_err err;

	if (!source->link_up)
		return;
	pf_err_set(&err, PF_ERR_UNREACHABLE, "another connection has taken its place");
	pf_source_drop_link(source, &err);
}

/* It has answered, and what it says leaves no connection. */
static void note_no_link(struct source *source, const struct pf_met *met)
{
	struct pf_err why;

	if (met->proven)
		pf_err_set(&why, PF_ERR_STATE, "%s: the destination's record is %s; the one here is %s",
			   met->address, pf_record_name(met->welcome.record),
			   pf_record_name(source->agent.record));
	else
		pf_err_set(&why, PF_ERR_STATE, "%s: the destination does not know this session",
			   met->address);
	pf_source_tried(source, why.text);
}

static void meet(struct source *source, struct pf_met *met)
{
	struct pf_agent *agent = &source->agent;
	enum pf_meeting meeting;
	struct pf_err err;

	if (met->channel)
		replace_link(source);
	/* By the record as it is now: what the old link had said may have changed it, or ended it all. */
	meeting = met->proven ? pf_record_meet(agent->record, met->welcome.record)
			      : pf_record_meet_stranger(agent->record);
	if (agent->ending)
		return;
	if ((met->channel != NULL) != (met->proven && pf_meeting_links(meeting))) {
		race_again(source);
		return;
	}
	if (met->channel && take_up(source, met, &err)) {
		source->in_vain++;
		pf_outage_begin(agent, false); /* the same one, in another epoch */
		pf_source_part(source, false);
		try_later(source, &err);
		race_again(source);
		return;
	}
	if (!met->channel)
		note_no_link(source, met);
	source->stranger = !met->proven;
	source->peer_record = met->proven ? met->welcome.record : PF_RECORD_NONE;
	pf_agent_note(agent, agent->machine->meeting_event[meeting]);
	if (source->link_up)
		pf_outage_end(agent);
}

static void on_bulk(struct source *source, struct pf_met_bulk *bulk)
{
	struct pf_err err;

	if (!source->link_up || !source->met)
		return;
	if (pf_source_start_bulk(source, bulk->number - 1, pf_steal(&bulk->channel), true, &err)) {
		pf_source_down(source, &err);
		return;
	}
	pf_link_agree(&source->bulk[bulk->number - 1], &source->service.reader.table);
	pf_source_wake_pushers(source);
	/* They are made in turn: its work is done, and there may be need of another race. */
	if (bulk->number == source->agent.options->channels)
		pf_source_stop_race(source);
}

static void lose_bulk(struct source *source, const struct pf_err *why)
{
	pf_source_down(source, why);
	pf_source_tried(source, why->text);
}

void pf_source_race_mail(struct source *source, struct pf_mail *mail)
{
	if (mail->origin == source->races && source->racer) {
		if (mail->kind == PF_MAIL_MET)
			meet(source, mail->data);
		else if (mail->kind == PF_MAIL_BULK)
			on_bulk(source, mail->data);
		else if (mail->kind == PF_MAIL_BULK_LOST && source->met)
			lose_bulk(source, mail->data);
		else if (mail->kind == PF_MAIL_TRIED)
			on_tried(source, mail->data);
	}
	pf_racer_drop(mail); /* what was not taken */
}

/* ---- pause and recover ---- */

int pf_source_pause(void *engine, struct pf_err *err)
{
	struct source *source = engine;
	struct pf_err why;

	(void)err;
	source->held = true;
	pf_source_stop_race(source);
	pf_err_set(&why, PF_ERR_STATE, "paused by the orchestrator");
	pf_source_down(source, &why);
	return 0;
}

static int parse_connects(const json_t *connect, struct pf_endpoint *out, uint32_t *out_count,
			  struct pf_err *err)
{
	size_t count = json_array_size(connect);

	if (!json_is_array(connect) || count < 1 || count > PF_CONNECTS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "'connect' must be 1 to %u addresses",
				  PF_CONNECTS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(connect, i));

		if (!text)
			return pf_err_set(err, PF_ERR_USAGE, "'connect' must be an array of \"ADDR:PORT\"");
		if (pf_endpoint_parse_peer(text, &out[i], err))
			return -1;
	}
	*out_count = (uint32_t)count;
	return 0;
}

int pf_source_restore(void *engine, bool held, const json_t *connect, struct pf_err *err)
{
	struct source *source = engine;
	struct pf_endpoint endpoints[PF_CONNECTS_MAX];
	uint32_t count = 0;

	if (connect && parse_connects(connect, endpoints, &count, err))
		return -1;
	if (connect) {
		memcpy(source->connect, endpoints, sizeof(source->connect));
		source->connects = count;
	}
	source->held = held;
	return 0;
}

int pf_source_recover(void *engine, const json_t *connect, struct pf_err *err)
{
	struct source *source = engine;

	if (source->agent.record == PF_RECORD_NONE)
		return pf_err_set(err, PF_ERR_STATE, "nothing was offered: it connects within "
				  "--connect-timeout");
	if (pf_source_restore(source, false, connect, err))
		return -1;
	/* With what is new, and at once: a race that backs off, or tries the old addresses, has no claim. */
	source->in_vain = 0;
	if (!source->link_up)
		race_again(source);
	return 0;
}
