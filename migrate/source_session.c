/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_session.c - the source's connections: made, started, ended.
 *
 * Main thread; never blocks but for joining threads that were told to end.  A session is one urgent and
 * N bulk threads of one epoch; they end together.
 */
#include "migrate/source_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/outage.h"

#define STOOD_NS (5 * PF_NS_PER_S) /* a link that stood so long was a good one */

/* Urgent first: a destination that saw a bulk connection close would not wait for the last word.
 * Then all the others at once: a peer that does not part costs one patience, not eight. */
void pf_source_settle(struct source *source, bool goodbye)
{
	pf_link_join(&source->urgent, goodbye);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		pf_link_end(&source->bulk[i], goodbye);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		pf_link_join(&source->bulk[i], goodbye);
}

static void stop_link(struct source *source, struct pf_link *link)
{
	if (!link->started)
		return;
	source->sent_before += pf_channel_bytes(link->channel, false);
	source->received_before += pf_channel_bytes(link->channel, true);
	pf_link_stop(link, false);
}

void pf_source_part(struct source *source, bool goodbye)
{
	source->link_up = false;
	source->suspected = 0;
	pf_source_settle(source, goodbye);
	stop_link(source, &source->urgent);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		stop_link(source, &source->bulk[i]);
}

void pf_source_give_up(struct source *source, const struct pf_err *err)
{
	pf_agent_fail(&source->agent, PF_SE_GIVE_UP, err);
}

void pf_source_connect(struct source *source, bool again)
{
	struct pf_err err;

	pf_connector_stop(&source->connector);
	if (pf_connector_start(&source->connector, source->agent.options, &source->agent.inbox,
			       source->deadline_ns, again, &err))
		pf_source_give_up(source, &err);
}

/* A destination that takes the connection and drops it at once gets no new --connect-timeout. */
void pf_source_connect_again(struct source *source)
{
	uint64_t now = pf_now_ns();

	if (now - source->connected_ns > STOOD_NS)
		source->deadline_ns =
			now + source->agent.options->connect_timeout_s * PF_NS_PER_S;
	pf_source_connect(source, true);
}

int pf_source_start_bulk(struct source *source, uint32_t i, struct pf_channel *channel,
			 bool resumed, struct pf_err *err)
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
	pusher->resumed = resumed;
	if (resumed)
		pf_channel_expect(channel, source->agent.epoch, &source->service.reader.table, 0);
	snprintf(name, sizeof(name), "bulk-%u", i + 1);
	if (pf_link_start(&source->bulk[i], channel, &source->agent.inbox, i + 1,
			  source->agent.epoch, &pf_pusher_user, pusher, name, err))
		return -1;
	pf_link_watch(&source->bulk[i], &source->agent.link_timeout_ns);
	return 0;
}

int pf_source_start_urgent(struct source *source, struct pf_channel *channel, bool resumed,
			   struct pf_err *err)
{
	/* In a first session the destination has dropped what came before; in one that is taken up again
	 * it says what it has. */
	if (source->vmm_described)
		pf_push_reset(&source->service.push);
	/* Before its thread can hear of a page. */
	if (resumed)
		pf_channel_expect(channel, source->agent.epoch, &source->service.reader.table, 0);
	pf_gate_reset(&source->service.gate);
	memset(&source->answers, 0, sizeof(source->answers));
	source->answers.service = &source->service;
	if (pf_link_start(&source->urgent, channel, &source->agent.inbox, 0, source->agent.epoch,
			  &pf_answers_user, &source->answers, "urgent", err))
		return -1;
	atomic_store(&source->urgent.spin.limit_ns, source->agent.spin_ns);
	pf_link_watch(&source->urgent, &source->agent.link_timeout_ns);
	return 0;
}

static int start_links(struct source *source, struct pf_connected *connected, struct pf_err *err)
{
	source->map_known = true; /* it has nothing */
	if (pf_source_start_urgent(source, pf_steal(&connected->channel[0]), false, err))
		return -1;
	for (uint32_t i = 0; i < source->agent.options->channels; i++)
		if (pf_source_start_bulk(source, i, pf_steal(&connected->channel[i + 1]), false, err))
			return -1;
	return 0;
}

void pf_source_connected(struct source *source, struct pf_connected *connected)
{
	struct pf_agent *agent = &source->agent;
	struct pf_err err;

	pf_connector_stop(&source->connector);
	source->tried[0] = '\0';
	pf_outage_forget(agent);
	snprintf(source->address, sizeof(source->address), "%s", connected->address);
	snprintf(source->cipher, sizeof(source->cipher), "%s",
		 pf_conn_cipher(pf_channel_conn(connected->channel[0])));
	agent->epoch = connected->welcome.epoch;
	pf_paths_follow(agent->paths, pf_conn_fd(pf_channel_conn(connected->channel[0])));
	pf_source_note_name(source, pf_conn_fd(pf_channel_conn(connected->channel[0])));
	memcpy(source->secret, connected->secret, sizeof(source->secret));
	if (pf_statedir_write(&agent->dir, "secret", connected->secret, PF_SECRET_BYTES, &err) ||
	    pf_statedir_write_record(&agent->dir, agent->record, agent->epoch, &err) ||
	    start_links(source, connected, &err)) {
		pf_source_part(source, false);
		pf_source_give_up(source, &err);
	} else {
		source->link_up = true;
		source->connected_ns = pf_now_ns();
		pf_agent_note(agent, PF_SE_LINK_UP);
	}
	pf_connected_free(connected);
}

/* Of the race that makes the next link's connections: not a matter of the one that is gone. */
static bool of_race(const struct source *source, const struct pf_mail *mail)
{
	return mail->kind >= PF_MAIL_MET && mail->kind <= PF_MAIL_TRIED &&
	       mail->origin == source->races && source->racer;
}

/* What the destination had said before the connection ended, and main had not read yet. */
static void take_last_words(struct source *source)
{
	struct pf_mailbox *inbox = &source->agent.inbox;
	struct pf_mail kept[PF_MAILBOX_SLOTS], mail;
	unsigned count = 0;

	while (!source->agent.ending && pf_mailbox_take(inbox, &mail)) {
		if (of_race(source, &mail)) {
			kept[count++] = mail;
			continue;
		}
		if (mail.kind == PF_MAIL_FRAME && mail.origin == source->agent.epoch)
			pf_source_frame(source, &mail);
		else
			inbox->drop(&mail);
		free(mail.data);
	}
	for (unsigned i = 0; i < count; i++)
		(void)!pf_mailbox_post(inbox, &kept[i]); /* there is room: it was there */
}

void pf_source_down(struct source *source, const struct pf_err *err)
{
	if (!source->link_up)
		return;
	/* Not one that goes for the next link: the destination may have ended this one for that. */
	if (source->met)
		pf_source_stop_race(source);
	pf_source_drop_link(source, err);
}

/* Of use is what the destination has, or a page for somebody who waits: the next link is not to wait then. */
static void judge_link(struct source *source)
{
	bool of_use = source->map_known ||
		      atomic_load(&source->service.count.answered) > source->answered_before;

	source->in_vain = of_use ? 0 : source->in_vain + 1;
}

void pf_source_drop_link(struct source *source, const struct pf_err *err)
{
	pf_source_part(source, false);
	judge_link(source);
	pf_paths_part(source->agent.paths);
	if (source->agent.record != PF_RECORD_NONE)
		pf_outage_begin(&source->agent, source->in_vain > 0);
	take_last_words(source);
	/* A peer that breaks the protocol costs itself the connection; set-up would only repeat it. */
	if (err->class == PF_ERR_PROTOCOL && source->agent.record == PF_RECORD_NONE)
		pf_agent_fail(&source->agent, PF_SE_FAILURE, err);
	else
		pf_agent_cut(&source->agent, PF_SE_LINK_DOWN, err);
}
