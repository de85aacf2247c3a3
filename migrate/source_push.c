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
#include "migrate/source.h"

static int pusher_frame(void *opaque, struct pf_link *link, const struct pf_frame *frame,
			const uint8_t *body, struct pf_err *err)
{
	(void)opaque;
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

/* Another run, paid for; what was left of the last one has been. */
static bool take_run(struct pf_pusher *pusher, uint64_t *out_wake_ns)
{
	struct pf_service *service = pusher->service;
	uint64_t bytes;

	if (atomic_load_explicit(&service->push_held, memory_order_relaxed))
		return false;
	if (pusher->left.count == 0 &&
	    !pf_push_next(&service->push, PF_RUN_BYTES_MAX, &pusher->left)) {
		pusher->pushing = false;
		return false;
	}
	if (pusher->paid)
		return true;
	bytes = (uint64_t)pusher->left.count *
		service->reader.table.region[pusher->left.region].page_size;
	pusher->paid = pf_pace_take(&service->pace, bytes, pf_now_ns(), out_wake_ns);
	return pusher->paid;
}

/* true: a run was put; false: the channel is full, nothing is left to push, or not yet. */
static bool put_run(struct pf_pusher *pusher, struct pf_link *link)
{
	struct pf_service *service = pusher->service;
	uint32_t before;

	if (!take_run(pusher, &link->wake_ns))
		return false;
	before = pusher->left.count;
	(void)!pf_service_put(service, link->channel, &pusher->left, pusher->scratch);
	atomic_fetch_add_explicit(&service->count.pushed, before - pusher->left.count,
				  memory_order_relaxed);
	pusher->paid = pusher->left.count > 0;
	return !pusher->paid;
}

/* As many frames as fit: flushed alone, each would end in a TLS record of a few bytes. */
static int produce_pages(struct pf_pusher *pusher, struct pf_link *link)
{
	while (put_run(pusher, link))
		;
	return pf_channel_unsent(link->channel) > 0;
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
