/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_resume.c - a source comes back: whether it is the same, and what follows from the records.
 *
 * Main thread; never blocks but for joining threads that were told to end.  A hello that proves the session
 * gets a new epoch, durably, and its link takes the place of the one before, whose threads have all ended
 * then: what is FILLED is what the source will be told.  (The urgent thread lives on: it drops the old
 * connection when it takes the new one, which is before WELCOME leaves this host, so before bulk 1 can ask.)
 */
#include "migrate/destination_engine.h"

#include "base/cleanup.h"
#include "core/switchover.h"
#include "migrate/outage.h"

/* true: the source knows the session's secret.  *err: why not. */
static bool proves(const struct destination *destination, const struct pf_greeting *greeting,
		   struct pf_err *err)
{
	const struct pf_msg_hello *hello = &greeting->hello;

	if (!destination->session_known) {
		pf_err_set(err, PF_ERR_PROTOCOL, "a session that nobody knows here (epoch %u)",
			   hello->epoch);
		pf_err_hint(err, "if this is the right migration, this side's state directory is not the "
				 "one that it ran with");
		return false;
	}
	return pf_session_check(pf_channel_conn(greeting->channel), destination->secret,
				hello->epoch, 0, PF_SOURCE, hello->proof, err) == 0;
}

/* What stands against the session that this hello proves; record and epoch of an honest source. */
static int judge(const struct destination *destination, const struct pf_msg_hello *hello,
		 struct pf_err *err)
{
	const struct pf_agent *agent = &destination->agent;

	if (hello->epoch > agent->epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL, "epoch %u; the last one here is %u",
				  hello->epoch, agent->epoch);
	if (hello->record == PF_RECORD_NONE)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a session is taken up again, and nothing was offered in it");
	if (destination->held) {
		pf_err_set(err, PF_ERR_STATE, "paused by its orchestrator");
		return pf_err_hint(err, "pageferry recover lets it go on");
	}
	if (pf_backlog_first(&agent->backlog))
		return pf_err_set(err, PF_ERR_SYSTEM, "the destination cannot write its record now");
	return 0;
}

void pf_resume_urgent(struct destination *destination)
{
	if (destination->resuming && destination->armed)
		pf_pager_go_on(&destination->pager, destination->agent.epoch,
			       &destination->guest.table);
}

void pf_resume_bulk(struct destination *destination, uint32_t i)
{
	if (!destination->resuming || !destination->armed)
		return;
	pf_link_agree(&destination->bulk[i], &destination->guest.table);
	if (i == 0)
		pf_link_tell(&destination->bulk[i], PF_MAIL_GO_ON, NULL, 0);
}

static int take_up(struct destination *destination, struct pf_greeting *greeting,
		   struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;

	if (pf_statedir_write_record(&agent->dir, agent->record, agent->epoch + 1, err))
		return -1;
	agent->epoch++;
	destination->resuming = destination->theirs_known = true;
	destination->put_off = false;
	destination->filled_then = destination->guest.journal.filled;
	if (pf_session_attach(destination, greeting, err))
		return -1;
	pf_resume_urgent(destination);
	return 0;
}

/* WELCOME says all, and there is no link. */
static void answer_only(struct destination *destination, struct pf_greeting *greeting, bool proven)
{
	struct pf_err err;

	if (pf_session_welcome(destination, greeting, proven, &err) == 0)
		(void)pf_channel_flush(greeting->channel, &err);
	pf_channel_free(pf_steal(&greeting->channel));
}

static void meet(struct destination *destination, struct pf_greeting *greeting)
{
	struct pf_agent *agent = &destination->agent;
	const struct pf_msg_hello *hello = &greeting->hello;
	enum pf_meeting meeting = pf_record_meet(hello->record, agent->record);
	uint8_t event = agent->machine->meeting_event[meeting];
	struct pf_err err;

	/* What its source says here holds for the link that stands, too. */
	if (destination->urgent_up && event < agent->machine->events) {
		pf_err_set(&err, PF_ERR_UNREACHABLE, "the source has made another connection");
		pf_session_down(destination, &err);
	}
	destination->peer_record = hello->record;
	if (!pf_meeting_links(meeting)) {
		answer_only(destination, greeting, true);
	} else if (take_up(destination, greeting, &err)) {
		pf_outage_begin(agent, false); /* the same one, in another epoch */
		pf_session_refuse(destination, greeting, &err);
		return;
	}
	if (event < agent->machine->events)
		pf_agent_note(agent, event);
	if (destination->urgent_up)
		pf_outage_end(agent);
}

void pf_resume_hello(struct destination *destination, struct pf_greeting *greeting)
{
	struct pf_err err;

	if (!proves(destination, greeting, &err)) {
		pf_session_stranger(destination, greeting->address, true, &err);
		answer_only(destination, greeting, false);
	} else if (judge(destination, &greeting->hello, &err)) {
		pf_session_refuse(destination, greeting, &err);
	} else {
		meet(destination, greeting);
	}
}

/* As at the source: whoever waits for a page is better served by the next connection. */
void pf_destination_path(void *engine, unsigned news, const struct pf_path *path)
{
	struct destination *destination = engine;
	enum pf_record record = destination->agent.record;
	struct pf_err err;

	if (!(news & PF_PATH_GONE) || (record != PF_RECORD_READY && record != PF_RECORD_RUN))
		return;
	pf_err_set(&err, PF_ERR_UNREACHABLE, "the way to the source is gone: %s", path->why);
	pf_session_down(destination, &err);
}

/* ---- pause and recover ---- */

int pf_destination_pause(void *engine, struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_err why;

	(void)err;
	destination->held = true;
	pf_err_set(&why, PF_ERR_STATE, "paused by the orchestrator");
	pf_session_down(destination, &why);
	return 0;
}

int pf_destination_recover(void *engine, const json_t *connect, struct pf_err *err)
{
	struct destination *destination = engine;

	if (connect)
		return pf_err_set(err, PF_ERR_USAGE, "'connect' is for the source, which connects");
	destination->held = false;
	return 0;
}

int pf_destination_restore(void *engine, bool held, const json_t *connect, struct pf_err *err)
{
	(void)connect, (void)err;
	((struct destination *)engine)->held = held;
	return 0;
}
