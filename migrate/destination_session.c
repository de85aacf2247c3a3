/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_session.c - whose hello is accepted, and what a session is made of.
 *
 * Main thread; never blocks but for joining threads that were told to end.  A first hello starts a
 * session with a new epoch and a new secret; bulk connections prove that they belong to it.  One that is
 * taken up again is judged in destination_resume.c.  What is refused is told to the peer and to the
 * orchestrator, and costs nothing else.
 */
#include "config.h"

#include "migrate/destination_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/switchover.h"
#include "migrate/greet.h"
#include "migrate/outage.h"
#include "net/tcp.h"

static void stop_bulk(struct destination *destination, uint32_t i, bool goodbye)
{
	struct pf_link *link = &destination->bulk[i];
	struct pf_receiver *receiver = destination->receiver[i];

	if (!link->started)
		return;
	pf_link_join(link, goodbye); /* its counters are final then */
	destination->sent_before += pf_channel_bytes(link->channel, false);
	destination->received_before += pf_channel_bytes(link->channel, true);
	pf_link_stop(link, goodbye);
	destination->pushed_before += receiver->count.pushed;
	destination->zero_before += receiver->count.zero;
	pf_close_fd(&receiver->state_fd);
	memset(receiver, 0, sizeof(*receiver));
	receiver->state_fd = -1;
}

/* A source that saw a bulk connection close would not wait for the last word: urgent first. */
void pf_session_settle(struct destination *destination)
{
	pf_pager_stop(&destination->pager, true);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		pf_link_end(&destination->bulk[i], true);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		pf_link_join(&destination->bulk[i], true);
}

void pf_session_stop_bulk(struct destination *destination, bool goodbye)
{
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		pf_link_end(&destination->bulk[i], goodbye);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		stop_bulk(destination, i, goodbye);
}

static void drop_links(struct destination *destination)
{
	destination->urgent_up = destination->link_up = false;
	destination->theirs_known = false;
	pf_session_stop_bulk(destination, false);
	pf_pager_tell(&destination->pager, PF_MAIL_DETACH, NULL, 0);
}

/* Something was asked for, and no page has come, that or another. */
static bool was_in_vain(const struct destination *destination)
{
	return destination->armed && destination->pager.count.open > 0 &&
	       destination->guest.journal.filled == destination->filled_then;
}

void pf_session_down(struct destination *destination, const struct pf_err *err)
{
	if (!destination->urgent_up)
		return;
	drop_links(destination);
	pf_paths_part(destination->agent.paths);
	if (destination->agent.record == PF_RECORD_READY || destination->agent.record == PF_RECORD_RUN)
		pf_outage_begin(&destination->agent, was_in_vain(destination));
	if (err->class == PF_ERR_PROTOCOL)
		pf_session_stranger(destination, destination->address, true, err);
	pf_agent_cut(&destination->agent, PF_DE_LINK_DOWN, err);
	/* A bulk thread that has filled the last page may have been told to stop before it could say so. */
	pf_destination_maybe_filled(destination);
}

/* One for each state in which a peer of the session can be refused for the same reason; never 0. */
static uint64_t state_number(const struct destination *destination)
{
	return ((uint64_t)destination->agent.epoch << 16 | (uint64_t)destination->agent.state << 8 |
		(uint64_t)destination->held << 1 | 1);
}

void pf_session_stranger(struct destination *destination, const char *address, bool of_session,
			 const struct pf_err *why)
{
	uint64_t state = of_session ? state_number(destination) : 0, now = pf_now_ns(), untold;

	if (pf_repeats_is_told(&destination->refused, address, why->text, state, now)) {
		destination->refusals.untold++;
		return;
	}
	if (!pf_ration_take(&destination->refusals, &untold))
		return;
	pf_repeats_told(&destination->refused, address, why->text, state, now);
	pf_agent_emit(&destination->agent, "PEER_REFUSED",
		      json_pack("{s:s, s:s, s:s, s:I}", "address", address, "reason", why->text,
				"hint", why->hint, "untold", (json_int_t)untold));
}

static bool same_host(const char *a, const char *b)
{
	size_t length = strlen(a) - strlen(strrchr(a, ':'));

	return strncmp(a, b, length) == 0 && b[length] == ':' && !strchr(b + length + 1, ':');
}

/*
 * Of the attempts that a source makes beside each other one wins, and the others are left as they are: in TLS, or
 * behind it and before their HELLO.  That is no refusal, and nobody has to do anything.
 */
static bool has_lost_a_race(const struct destination *destination, const struct pf_stranger *stranger)
{
	enum pf_record record = destination->agent.record;

	return (record == PF_RECORD_READY || record == PF_RECORD_RUN) &&
	       stranger->why.class == PF_ERR_UNREACHABLE &&
	       (stranger->known || same_host(stranger->address, destination->address));
}

void pf_session_left(struct destination *destination, const struct pf_stranger *stranger)
{
	if (!has_lost_a_race(destination, stranger))
		pf_session_stranger(destination, stranger->address, false, &stranger->why);
}

void pf_session_refuse(struct destination *destination, struct pf_greeting *greeting,
		       const struct pf_err *why)
{
	/* Without a channel it was not a thread's fault but ours: it could not be started. */
	if (greeting->channel)
		pf_greet_refuse(greeting->channel, why);
	pf_channel_free(pf_steal(&greeting->channel));
	pf_session_stranger(destination, greeting->address, greeting->hello.epoch > 0, why);
}

static int judge_common(const struct destination *destination, const struct pf_msg_hello *hello,
			struct pf_err *err)
{
	const char *id = destination->agent.options->id;

	if (strcmp(hello->id, id) != 0) {
		pf_err_set(err, PF_ERR_PROTOCOL, "another migration's id: '%s'; this one is '%s'",
			   hello->id, id);
		return pf_err_hint(err, "give both sides the same --id");
	}
	if (hello->protocol != PF_WIRE_PROTOCOL || hello->features != 0) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "protocol %u with features 0x%llx; this side speaks %u", hello->protocol,
			   (unsigned long long)hello->features, PF_WIRE_PROTOCOL);
		return pf_err_hint(err, "run versions of pageferry that speak the same protocol");
	}
	return 0;
}

/* A first hello starts a new session, also over an old one, while nothing is committed. */
static int judge_first(const struct destination *destination, const struct pf_msg_hello *hello,
		       struct pf_err *err)
{
	const struct pf_agent *agent = &destination->agent;

	if (pf_record_meet(hello->record, agent->record) != PF_MEET_FRESH)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a first hello with record %s, and the record here is %s",
				  pf_record_name(hello->record), pf_record_name(agent->record));
	if (pf_machine_final(agent->machine, agent->state))
		return pf_err_set(err, PF_ERR_PROTOCOL, "the migration is over here");
	return 0;
}

static int judge_bulk(const struct destination *destination, struct pf_greeting *greeting,
		      struct pf_err *err)
{
	const struct pf_msg_hello *hello = &greeting->hello;

	if (!destination->urgent_up || hello->epoch != destination->agent.epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL, "bulk %u of epoch %u; there is no such session",
				  hello->channel, hello->epoch);
	if (hello->channel > destination->channels || hello->channel > PF_CHANNELS_MAX ||
	    destination->bulk[hello->channel - 1].started)
		return pf_err_set(err, PF_ERR_PROTOCOL, "bulk %u: not one of %u, or there already",
				  hello->channel, destination->channels);
	if (!hello->has_proof) {
		pf_err_set(err, PF_ERR_PROTOCOL, "bulk %u without a proof", hello->channel);
		return pf_err_hint(err, "it is not of the source that is connected: who else has a "
					"certificate with its name?");
	}
	return pf_session_check(pf_channel_conn(greeting->channel), destination->secret,
				hello->epoch, hello->channel, PF_SOURCE, hello->proof, err);
}

int pf_session_welcome(struct destination *destination, struct pf_greeting *greeting, bool proven,
		       struct pf_err *err)
{
	struct pf_msg_welcome welcome = {
		.protocol = PF_WIRE_PROTOCOL,
		.epoch = proven ? destination->agent.epoch : 0,
		.record = destination->agent.record,
		.has_proof = proven,
		.software = PACKAGE_STRING,
	};
	struct pf_frame frame = {.type = PF_FRAME_WELCOME};
	uint8_t body[512];

	if (proven &&
	    pf_session_proof(pf_channel_conn(greeting->channel), destination->secret,
			     welcome.epoch, greeting->hello.channel, PF_DESTINATION, welcome.proof,
			     err))
		return -1;
	frame.length = (uint32_t)pf_msg_pack_welcome(&welcome, body, sizeof(body));
	if (!pf_channel_put(greeting->channel, &frame, body))
		return pf_err_set(err, PF_ERR_PROTOCOL, "no room for WELCOME");
	pf_channel_expect(greeting->channel, welcome.epoch, NULL, 0);
	return 0;
}

int pf_session_attach(struct destination *destination, struct pf_greeting *greeting,
		      struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_conn *conn = pf_channel_conn(greeting->channel);

	destination->channels = greeting->hello.channels;
	snprintf(destination->address, sizeof(destination->address), "%s", greeting->address);
	snprintf(destination->cipher, sizeof(destination->cipher), "%s", pf_conn_cipher(conn));
	pf_paths_follow(agent->paths, pf_conn_fd(conn));
	pf_channel_become_urgent(greeting->channel);
	pf_tcp_tune(pf_conn_fd(conn), true);
	if (pf_session_welcome(destination, greeting, true, err))
		return -1;
	pf_pager_attach(&destination->pager, pf_steal(&greeting->channel), agent->epoch);
	destination->urgent_up = true;
	return 0;
}

static int start_session(struct destination *destination, struct pf_greeting *greeting,
			 struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_conn *conn = pf_channel_conn(greeting->channel);

	if (pf_session_secret(conn, destination->secret, err) ||
	    pf_statedir_write(&agent->dir, "secret", destination->secret, PF_SECRET_BYTES, err) ||
	    pf_statedir_write_record(&agent->dir, agent->record, agent->epoch + 1, err))
		return -1;
	agent->epoch++;
	pf_outage_forget(agent);
	destination->session_known = true;
	destination->resuming = false;
	return pf_session_attach(destination, greeting, err);
}

/*
 * What a source says for the first time can come late: it died behind its HELLO, whose packet was lost, and the next
 * one has offered the guest in a session that it must not lose by that, since it would be in doubt.  The dead do
 * not come again, unless two were late: so READY is given up the second time only.  Not answered, so that a source that
 * lives tries again.
 */
static bool is_put_off(struct destination *destination)
{
	destination->put_off =
		destination->agent.record == PF_RECORD_READY && !destination->put_off;
	return destination->put_off;
}

static void on_first_hello(struct destination *destination, struct pf_greeting *greeting)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_err err;

	if (judge_first(destination, &greeting->hello, &err)) {
		pf_session_refuse(destination, greeting, &err);
		return;
	}
	if (is_put_off(destination)) {
		pf_channel_free(pf_steal(&greeting->channel));
		return;
	}
	if (destination->urgent_up) {
		pf_err_set(&err, PF_ERR_UNREACHABLE, "the source started again");
		pf_session_down(destination, &err);
	}
	if (agent->state == PF_D_WAITING || agent->state == PF_D_AWAY_READY)
		pf_agent_note(agent, PF_DE_LINK_UP); /* back to set-up, record NONE */
	if (agent->state != PF_D_SETUP && agent->state != PF_D_NEW) {
		pf_err_set(&err, PF_ERR_SYSTEM, "the destination cannot write its record now");
		pf_session_refuse(destination, greeting, &err);
		return;
	}
	if (start_session(destination, greeting, &err))
		pf_session_refuse(destination, greeting, &err);
}

static int start_bulk(struct destination *destination, struct pf_greeting *greeting,
		      struct pf_err *err)
{
	uint32_t i = greeting->hello.channel - 1;
	struct pf_receiver *receiver = destination->receiver[i];
	char name[16];

	if (!receiver)
		receiver = destination->receiver[i] = calloc(1, sizeof(*receiver));
	if (!receiver)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a bulk thread");
	/* In set-up there may be no memory yet, and they are made when the tables are compared. */
	if (destination->armed &&
	    pf_assembly_init(&destination->assembly[i + 1], &destination->guest.table, err))
		return -1;
	if (pf_session_welcome(destination, greeting, true, err))
		return -1;
	receiver->state_fd = -1;
	pf_grant_begin(&receiver->grant);
	receiver->max_device_state = destination->agent.options->max_device_state;
	pf_assembly_forget(&destination->assembly[i + 1]);
	receiver->arrival = (struct pf_arrival){
		.guest = &destination->guest,
		.inbox = &destination->agent.inbox,
		.stop = &destination->bulk[i].stop,
		.filled_told = &destination->filled_told,
		.assembly = &destination->assembly[i + 1],
		.maps = &destination->pager.maps,
		.owed = &destination->pager.requests,
	};
	/* What the source begins with is judged by these, so they come before it can. */
	receiver->may_push = pf_destination_may_run(destination->agent.record);
	snprintf(name, sizeof(name), "bulk-%u", i + 1);
	if (pf_link_start(&destination->bulk[i], pf_steal(&greeting->channel),
			  &destination->agent.inbox, i + 1, destination->agent.epoch,
			  &pf_receiver_user, receiver, name, err))
		return -1;
	pf_link_watch(&destination->bulk[i], &destination->agent.link_timeout_ns);
	pf_resume_bulk(destination, i);
	return 0;
}

static void note_link_up(struct destination *destination)
{
	for (uint32_t i = 0; i < destination->channels; i++)
		if (!destination->bulk[i].started)
			return;
	destination->link_up = true;
	if (!destination->resuming)
		pf_agent_note(&destination->agent, PF_DE_LINK_UP);
}

void pf_session_greeting(struct destination *destination, struct pf_greeting *greeting)
{
	struct pf_err err;

	/* Whoever has gone since he spoke takes no link from those who are here. */
	if (pf_tcp_left(pf_conn_fd(pf_channel_conn(greeting->channel)))) {
		pf_channel_free(pf_steal(&greeting->channel));
	} else if (judge_common(destination, &greeting->hello, &err)) {
		pf_session_refuse(destination, greeting, &err);
	} else if (greeting->hello.channel == 0 && greeting->hello.epoch > 0) {
		pf_resume_hello(destination, greeting);
	} else if (greeting->hello.channel == 0) {
		on_first_hello(destination, greeting);
	} else if (judge_bulk(destination, greeting, &err) ||
		   start_bulk(destination, greeting, &err)) {
		pf_session_refuse(destination, greeting, &err);
	} else {
		note_link_up(destination);
	}
}
