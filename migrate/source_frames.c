/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_frames.c - what the source's main thread hears from the destination, and says to it.
 *
 * Each frame is an event of core/source_table.c.  One that breaks the protocol costs the connection.
 */
#include "migrate/source_engine.h"

#include <stdio.h>

#include "base/cleanup.h"

void pf_source_verdict(struct source *source, enum pf_frame_type type, const char *reason)
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
		pf_source_down(source, &err);
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

void pf_source_frame(struct source *source, const struct pf_mail *mail)
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
			pf_source_down(source, &err);
		return;
	}
	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination sent %s",
		   pf_frame_name((uint8_t)mail->number));
	pf_source_down(source, &err);
}
