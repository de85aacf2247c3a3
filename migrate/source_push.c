/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_push.c - a bulk thread of the source: the device state, then pages unasked.
 *
 * Owns one bulk channel.  Bulk 1 carries the device state first, since the guest cannot resume
 * without it.  What to push next is core/push.h's decision.  Blocks in pread(2) only; the peer's
 * slowness is the socket's, and shows as a full channel.
 */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "migrate/source.h"

#define RUNS_AT_ONCE 64u
/* A run whose every second page is zero, and the zeros before it. */
#define PUT_BYTES_MAX (PF_RUN_BYTES_MAX + (PF_RUN_PAGES_MAX + 2) * PF_FRAME_HEADER_BYTES)

static void note_received(void *opaque, uint32_t region, uint64_t first, uint64_t count)
{
	struct pf_service *service = opaque;

	pf_push_received(&service->push, region, first, count);
}

/* Nothing is pushed before the last part: main starts that, on every bulk connection. */
static int take_received(struct pf_pusher *pusher, struct pf_link *link,
			 const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	struct pf_service *service = pusher->service;

	if (link->number != 1 || !pusher->resumed)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "RECEIVED in a first session, or not on the first bulk connection");
	if (pf_received_take(&pusher->received, &service->reader.table, frame, body, note_received,
			     service, err))
		return -1;
	if (pf_received_done(&pusher->received, &service->reader.table))
		pf_mail_post_surely(link->inbox, link->origin, PF_MAIL_RECEIVED, 0, NULL, 0,
				    &link->stop);
	return 0;
}

static int pusher_frame(void *opaque, struct pf_link *link, const struct pf_frame *frame,
			const uint8_t *body, struct pf_err *err)
{
	struct pf_pusher *pusher = opaque;

	if (frame->type == PF_FRAME_CREDIT)
		return pf_credit_raise(&pusher->credit, frame->page, err);
	if (frame->type == PF_FRAME_RECEIVED)
		return take_received(pusher, link, frame, body, err);
	return pf_link_pass_on(link, frame, body, err);
}

static void begin_state(struct pf_pusher *pusher, struct pf_link *link,
			const struct pf_mail_state *state)
{
	uint8_t body[64];
	struct pf_frame frame = {.type = PF_FRAME_PAUSED};

	frame.length = (uint32_t)pf_msg_pack_paused(state->size, body, sizeof(body));
	/* Nothing was sent on this connection but HELLO: there is room. */
	(void)!pf_channel_put(link->channel, &frame, body);
	pusher->state_fd = state->fd;
	pusher->state_size = state->size;
	pusher->state_sent = 0;
}

static void pusher_mail(void *opaque, struct pf_link *link, struct pf_mail *mail)
{
	struct pf_pusher *pusher = opaque;

	if (mail->kind == PF_MAIL_STATE)
		begin_state(pusher, link, mail->data);
	else if (mail->kind == PF_MAIL_PUSH)
		pusher->pushing = true;
}

/* 1: more to come; 0: done. */
static int produce_state(struct pf_pusher *pusher, struct pf_channel *channel, struct pf_err *err)
{
	uint64_t left = pusher->state_size - pusher->state_sent;
	uint32_t want = left < PF_BULK_BODY_MAX ? (uint32_t)left : PF_BULK_BODY_MAX;
	struct pf_frame frame = {.type = PF_FRAME_DEVICE, .page = pusher->state_sent};
	uint8_t *body = pf_channel_reserve(channel, want);
	ssize_t got;

	if (!body)
		return 1;
	got = left ? pread(pusher->state_fd, body, want, (off_t)pusher->state_sent) : 0;
	if (got < 0)
		return pf_err_sys(err, "reading the device state");
	if (got == 0 && left > 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the VMM's device state is shorter than it said");
	if (got > 0) {
		frame.length = (uint32_t)got;
		pf_channel_commit(channel, &frame);
		pusher->state_sent += (uint64_t)got;
	}
	if (pusher->state_sent == pusher->state_size)
		pusher->state_fd = -1;
	return 1;
}

/* Requests first; then what the destination can take, and what --max-bandwidth leaves. */
static bool may_push(struct pf_pusher *pusher, struct pf_link *link)
{
	struct pf_service *service = pusher->service;

	return !atomic_load_explicit(&service->push_held, memory_order_relaxed) &&
	       !pf_gate_closed(&service->gate, link->number, link->outbox.event_fd) &&
	       pf_credit_covers(&pusher->credit, PUT_BYTES_MAX) &&
	       pf_pace_open(&service->pace, pf_now_ns(), &link->wake_ns);
}

/* Taken to be pushed: never what was received, unless the order of pages is wrong. */
static void note_taken(struct pf_service *service, const struct pf_run *run)
{
	uint32_t resent = pf_push_resent(&service->push, run);

	if (resent > 0)
		atomic_fetch_add_explicit(&service->count.resent, resent, memory_order_relaxed);
}

/* Something to read: behind the zeros that were found last, as long as there are more of them. */
static bool next_run(struct pf_pusher *pusher, struct pf_channel *channel)
{
	struct pf_service *service = pusher->service;
	struct pf_run *left = &pusher->left, *zeros = &pusher->zeros;

	if (left->count > 0)
		return true;
	if (zeros->count > 0) {
		uint32_t page_size = service->reader.table.region[zeros->region].page_size;
		uint32_t most = PF_RUN_BYTES_MAX / page_size;

		*left = (struct pf_run){.region = zeros->region,
					.first = zeros->first + zeros->count};
		if (pf_push_extend(&service->push, left, most ? most : 1)) {
			note_taken(service, left);
			return true;
		}
		if (!pf_service_put_zeros(service, channel, zeros))
			return false;
	}
	pusher->pushing = pf_push_next(&service->push, PF_RUN_BYTES_MAX, left);
	if (pusher->pushing)
		note_taken(service, left);
	return pusher->pushing;
}

static void count_pushed(struct pf_service *service, uint32_t pages)
{
	atomic_fetch_add_explicit(&service->count.pushed, pages, memory_order_relaxed);
}

/* A hole in the file is all zeros, and is taken whole without being read.  false: the channel is full. */
static bool skip_hole(struct pf_pusher *pusher, struct pf_channel *channel)
{
	struct pf_service *service = pusher->service;
	struct pf_run *left = &pusher->left;
	uint64_t hole = pf_reader_hole(&service->reader, left->region, left->first);
	uint32_t taken = hole < left->count ? (uint32_t)hole : left->count, count;

	if (taken == 0)
		return true;
	if (!pf_service_keep_zeros(service, channel, left, taken, &pusher->zeros))
		return false;
	count = pusher->zeros.count;
	if (left->count == 0 && pf_push_extend(&service->push, &pusher->zeros, hole - taken)) {
		struct pf_run more = {.region = pusher->zeros.region,
				      .first = pusher->zeros.first + count,
				      .count = pusher->zeros.count - count};

		note_taken(service, &more);
		count_pushed(service, more.count);
	}
	return true;
}

/* All that is left, or one part of it: what is more urgent may go between two parts.  false: the channel is
 * full, or it cannot be read now. */
static bool put_left(struct pf_pusher *pusher, struct pf_link *link)
{
	struct pf_service *service = pusher->service;
	struct pf_run *left = &pusher->left;
	int put;

	if (pf_parts_needed(service, left->region))
		return pf_parts_put(service, link->channel, left, &pusher->offset, &pusher->zeros,
				    pusher->scratch, PF_BULK_BODY_MAX);
	put = pf_service_put(service, link->channel, left, &pusher->zeros, pusher->scratch);
	if (put < 0) {
		pf_service_tell_trouble(link, left, errno, &pusher->trouble_ns);
		link->wake_ns = pf_now_ns() + PF_READ_AGAIN_NS;
	}
	return put > 0;
}

/* true: a run was dealt with; false: the channel is full, nothing is left to push, or not yet. */
static bool put_run(struct pf_pusher *pusher, struct pf_link *link)
{
	struct pf_service *service = pusher->service;
	struct pf_channel *channel = link->channel;
	size_t before = pf_channel_unsent(channel), bytes;
	uint32_t left;
	bool put;

	if (!may_push(pusher, link))
		return false;
	pf_fault(PF_FAULT_PUSH);
	put = next_run(pusher, channel);
	left = pusher->left.count;
	put = put && skip_hole(pusher, channel) &&
	      (pusher->left.count == 0 || put_left(pusher, link));
	count_pushed(service, left - pusher->left.count);
	bytes = pf_channel_unsent(channel) - before;
	pf_credit_spend(&pusher->credit, bytes);
	pf_pace_pay(&service->pace, bytes, pf_now_ns());
	return put;
}

/* As many frames as fit: flushed alone, each would end in a TLS record of a few bytes. */
static int produce_pages(struct pf_pusher *pusher, struct pf_link *link)
{
	unsigned runs = 0;

	/* Not for ever: zeros take no room, and mail must not wait for a gigabyte of them. */
	while (runs < RUNS_AT_ONCE && put_run(pusher, link))
		runs++;
	return runs == RUNS_AT_ONCE || pf_channel_unsent(link->channel) > 0;
}

static int pusher_produce(void *opaque, struct pf_link *link, struct pf_err *err)
{
	struct pf_pusher *pusher = opaque;

	if (pusher->state_fd >= 0)
		return produce_state(pusher, link->channel, err);
	return pusher->pushing ? produce_pages(pusher, link) : 0;
}

const struct pf_link_user pf_pusher_user = {
	.frame = pusher_frame,
	.mail = pusher_mail,
	.produce = pusher_produce,
};
