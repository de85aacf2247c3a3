/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_frames.c - what the destination's main thread hears from the source, and says to it.
 *
 * Each frame is an event of core/destination_table.c.  One that breaks the protocol costs the connection.
 */
#include "migrate/destination_engine.h"

#include <stdio.h>

void pf_destination_send(struct destination *destination, enum pf_frame_type type, const void *body,
		       size_t length)
{
	if (destination->urgent_up)
		pf_pager_send(&destination->pager, destination->agent.epoch, type, body, length);
}

void pf_destination_verdict(struct destination *destination, enum pf_frame_type type,
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
	pf_destination_send(destination, type, body, length);
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

int pf_destination_frame(struct destination *destination, const struct pf_mail *mail,
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
	case PF_FRAME_FAILURE:
		return take_failure(mail, err);
	default:
		return pf_err_set(err, PF_ERR_PROTOCOL, "the source sent %s",
				  pf_frame_name((uint8_t)mail->number));
	}
}
