/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_answers.c - what the urgent thread asks the source for, and what it hears from it.
 *
 * REQUEST frames go out, answers come in and are placed: nothing that was not asked for.  Control frames
 * are passed on to main.  The urgent thread's; blocks in pwrite(2) of guest memory only.  A connection
 * that fails or breaks the protocol is dropped, and main told (PF_MAIL_DOWN).
 */
#include <stdlib.h>

#include "base/clock.h"
#include "migrate/destination_exits.h"
#include "migrate/destination_pager.h"

/* ---- the connection ---- */

void pf_pager_publish(struct pf_pager *pager)
{
	uint64_t sent = pager->sent_before, received = pager->received_before;

	if (pager->channel) {
		sent += pf_channel_bytes(pager->channel, false);
		received += pf_channel_bytes(pager->channel, true);
	}
	atomic_store_explicit(&pager->count.open, pager->requests.open - pager->requests.handed,
			      memory_order_relaxed);
	atomic_store_explicit(&pager->count.sent, sent, memory_order_relaxed);
	atomic_store_explicit(&pager->count.received, received, memory_order_relaxed);
}

void pf_pager_drop(struct pf_pager *pager)
{
	if (!pager->channel)
		return;
	pager->sent_before += pf_channel_bytes(pager->channel, false);
	pager->received_before += pf_channel_bytes(pager->channel, true);
	pf_channel_free(pager->channel);
	pager->channel = NULL;
	pager->may_ask = false;
}

void pf_pager_lose(struct pf_pager *pager, const struct pf_err *err)
{
	pf_pager_drop(pager);
	pf_mail_post_surely(pager->inbox, pager->origin, PF_MAIL_DOWN, 0, err, sizeof(*err),
			    &pager->stop);
}

/* ---- requests and answers ---- */

bool pf_pager_ask(struct pf_pager *pager)
{
	struct pf_request *request;

	while (pager->may_ask && (request = pf_requests_next(&pager->requests))) {
		struct pf_frame frame = {
			.type = PF_FRAME_REQUEST,
			.region = (uint16_t)request->region,
			.page = request->page,
			.count = 1,
		};

		if (!pf_channel_put(pager->channel, &frame, NULL))
			return true;
		pf_requests_sent(&pager->requests, request);
	}
	return false;
}

static void close_request(struct pf_pager *pager, uint32_t region, uint64_t page)
{
	uint64_t since;

	if (pf_requests_close(&pager->requests, region, page, &since))
		pf_hist_record(&pager->latency_ns, pf_now_ns() - since);
}

/* Nothing is placed here that was not asked for: the source may only answer on this connection. */
static int check_owed(const struct pf_pager *pager, const struct pf_frame *frame,
		      struct pf_err *err)
{
	for (uint32_t i = 0; i < frame->count; i++)
		if (!pf_requests_owed(&pager->requests, frame->region, frame->page + i))
			return pf_err_set(err, PF_ERR_PROTOCOL,
					  "%s for page %llu of region %u, which nobody asked for",
					  pf_frame_name(frame->type),
					  (unsigned long long)frame->page + i, frame->region);
	return 0;
}

/*
 * FILLED and mapped: closed.  FILLING: a bulk thread's copy was first, and it maps the page, or
 * unclaims it and wakes the waiter, who traps again.  ABSENT: it could not be written, or a bulk
 * thread could not; nothing tells when it can be, so it stays owed, and is asked for again.
 */
static void settle(struct pf_pager *pager, const struct pf_frame *frame, bool mapped)
{
	for (uint32_t i = 0; i < frame->count; i++) {
		if (!mapped || pf_journal_state(&pager->guest->journal, frame->region,
						frame->page + i) == PF_PAGE_ABSENT)
			pf_pager_keep(pager, frame->region, frame->page + i);
		else
			close_request(pager, frame->region, frame->page + i);
	}
}

static void place_answer(struct pf_pager *pager, const struct pf_frame *frame, const uint8_t *body)
{
	struct pf_arrival *arrival = &pager->arrival;
	uint64_t placed = arrival->placed, zero = arrival->zero;
	struct pf_run run = {
		.region = frame->region, .first = frame->page, .count = frame->count};
	bool mapped;

	/* The last pages may be these: not before they are mapped, or kept, can main say that all are here. */
	pf_requests_map_begin(&pager->requests, run.count);
	/* Some of it can be FILLED and not mapped: where the rest found no room, or by whoever came first. */
	mapped = (pf_arrival_place(arrival, frame, body) == PF_PLACE_OK &&
		  arrival->placed - placed == frame->count) ||
		 pf_pager_map(pager, &run);
	pf_pager_add(&pager->count.requested, arrival->placed - placed);
	pf_pager_add(&pager->count.zero, arrival->zero - zero);
	settle(pager, frame, mapped);
	pf_requests_map_end(&pager->requests, run.count);
	(void)pf_exits_answer(pager, &run);
}

/*
 * An answer, and so no longer open: pages that cannot be read must not fill the window.  Who waits has his
 * SIGBUS; without poison he waits on, and asks again at another trap, or woken by PF_MAIL_RESET.
 */
static void lose_pages(struct pf_pager *pager, const struct pf_frame *frame)
{
	struct pf_run run = {
		.region = frame->region, .first = frame->page, .count = frame->count};
	bool mapped = pf_pager_map(pager, &run); /* what came on bulk is not lost */
	uint64_t since;

	pf_arrival_lost(&pager->arrival, frame);
	for (uint32_t i = 0; i < frame->count; i++) {
		enum pf_page_state state = pf_journal_state(&pager->guest->journal, frame->region,
							    frame->page + i);

		if (state == PF_PAGE_ABSENT ? pager->guest->region[frame->region].poisons
					    : !mapped && state == PF_PAGE_FILLED)
			pf_pager_keep(pager, frame->region, frame->page + i);
		else
			(void)pf_requests_close(&pager->requests, frame->region, frame->page + i,
						&since);
	}
	(void)pf_exits_answer(pager, &run); /* last, as above */
}

static int take_answer(struct pf_pager *pager, const struct pf_frame *frame, const uint8_t *body,
		       struct pf_err *err)
{
	int whole = 0;

	if (check_owed(pager, frame, err))
		return -1;
	/* Of what was handed on, main was told; that it is tried once more, is no news. */
	pager->arrival.told = pf_requests_handed(&pager->requests, frame->region, frame->page);
	if (frame->type == PF_FRAME_PAGE_ERROR) {
		lose_pages(pager, frame);
	} else {
		whole = pf_arrival_gather(&pager->arrival, frame, &body, err);
		if (whole > 0) /* a page in parts stays owed until the last of them */
			place_answer(pager, frame, body);
	}
	pager->arrival.told = false;
	return whole < 0 ? -1 : 0;
}

static int handle_frame(struct pf_pager *pager, const struct pf_frame *frame, const uint8_t *body,
			struct pf_err *err)
{
	switch (frame->type) {
	case PF_FRAME_HEARTBEAT:
		return 0; /* that it came is all */
	case PF_FRAME_PAGES:
	case PF_FRAME_ZERO:
	case PF_FRAME_PAGE_ERROR:
		return take_answer(pager, frame, body, err);
	default:
		if (pf_mail_post(pager->inbox, pager->origin, PF_MAIL_FRAME, frame->type, body,
				 frame->length))
			return 0;
		return pf_err_set(err, PF_ERR_PROTOCOL, "the source floods this side with %s frames",
				  pf_frame_name(frame->type));
	}
}

bool pf_pager_hear(struct pf_pager *pager)
{
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err = {0};

	if (!pager->channel)
		return false;
	/* Not for ever: faults and mail must not wait for a source that never pauses. */
	for (unsigned i = 0; pager->channel && i < PF_FRAMES_AT_ONCE; i++) {
		enum pf_io io = pf_channel_recv(pager->channel, &frame, &body, &err);

		if (io == PF_IO_AGAIN)
			return false;
		if (io != PF_IO_OK || handle_frame(pager, &frame, body, &err))
			pf_pager_lose(pager, &err);
		else if (pf_channel_drained(pager->channel))
			return false;
	}
	return pager->channel;
}

void pf_pager_hear_out(struct pf_pager *pager, const struct pf_err *err)
{
	for (unsigned i = 0; i < PF_LAST_WORD_TURNS && pager->channel && pf_pager_hear(pager); i++)
		;
	if (pager->channel)
		pf_pager_lose(pager, err);
}

void pf_pager_beat(struct pf_pager *pager)
{
	struct pf_err err = {0};

	if (pager->channel &&
	    pf_pulse_judge(&pager->pulse, pager->channel, pager->inbox, pager->origin, &err))
		pf_pager_lose(pager, &err);
}

void pf_pager_flush(struct pf_pager *pager)
{
	struct pf_err err = {0};
	enum pf_io io;

	if (!pager->channel || pf_channel_unsent(pager->channel) == 0)
		return;
	io = pf_channel_flush(pager->channel, &err);
	if (io != PF_IO_OK && io != PF_IO_AGAIN)
		pf_pager_hear_out(pager, &err);
}
