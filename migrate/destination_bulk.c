/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_bulk.c - a bulk thread of the destination: device state and pushed pages.
 *
 * Owns one bulk channel.  Places pages itself, without asking anybody: the journal decides who wins
 * a page.  Blocks in poll(2) (in its link) and in pwrite(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/destination.h"
#include "net/tcp.h"

#define RTT_AGE_NS (10 * PF_NS_PER_MS)

/* ---- device state ---- */

static int state_complete(struct pf_receiver *receiver, struct pf_link *link, struct pf_err *err)
{
	struct pf_mail_state state = {.fd = receiver->state_fd, .size = receiver->state_size};

	/* What was sealed is what the VMM loads: nobody changes it between here and there. */
	if (fcntl(receiver->state_fd, F_ADD_SEALS,
		  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return pf_err_sys(err, "sealing the device state");
	if (!pf_mail_post(link->inbox, link->origin, PF_MAIL_STATE_HERE, 0, &state, sizeof(state)))
		return pf_err_set(err, PF_ERR_PROTOCOL, "the source floods this side");
	receiver->state_fd = -1;
	return 0;
}

/* What this side does not allow would come again with each switch-over: the source is told, and ends. */
static int refuse_state(const struct pf_receiver *receiver, struct pf_link *link, uint64_t size,
			struct pf_err *err)
{
	link->refuses = true;
	pf_err_set(err, PF_ERR_PROTOCOL, "a device state of %" PRIu64 " bytes; --max-device-state allows %" PRIu64,
		   size, receiver->max_device_state);
	return pf_err_hint(err, "give both sides a larger --max-device-state");
}

static int begin_state(struct pf_receiver *receiver, struct pf_link *link,
		       const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	uint64_t size = 0;

	/* Until the regions are agreed on, main may still be writing the guest's description. */
	if (link->number != 1 || receiver->paused || !atomic_load(&link->agreed))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "PAUSED twice, before the regions are agreed on, or not on the first "
				  "bulk connection");
	receiver->paused = true;
	if (pf_msg_unpack_paused(body, frame->length, &size, err))
		return -1;
	if (size > receiver->max_device_state)
		return refuse_state(receiver, link, size, err);
	receiver->state_fd = memfd_create("pageferry-device-state",
					  MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (receiver->state_fd < 0)
		return pf_err_sys(err, "creating a memfd for the device state");
	receiver->state_size = size;
	receiver->state_got = 0;
	pf_channel_expect(link->channel, link->origin, atomic_load(&link->agreed), size);
	if (pf_link_pass_on(link, frame, body, err))
		return -1;
	return size == 0 ? state_complete(receiver, link, err) : 0;
}

/* In order and without gaps: state_got is all that has to be known. */
static int take_state(struct pf_receiver *receiver, struct pf_link *link,
		      const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	if (receiver->state_fd < 0 || frame->page != receiver->state_got)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "device state at byte %" PRIu64 " instead of %" PRIu64,
				  frame->page, receiver->state_got);
	for (uint32_t done = 0; done < frame->length;) {
		ssize_t put = pwrite(receiver->state_fd, body + done, frame->length - done,
				     (off_t)(frame->page + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return pf_err_sys(err, "keeping the device state");
		done += (uint32_t)put;
	}
	receiver->state_got += frame->length;
	return receiver->state_got == receiver->state_size ? state_complete(receiver, link, err) :
							     0;
}

/* ---- pages ---- */

static int place_pushed(struct pf_receiver *receiver, const struct pf_frame *frame,
			const uint8_t *body, struct pf_err *err)
{
	struct pf_arrival *arrival = &receiver->arrival;
	int whole = pf_arrival_gather(arrival, frame, &body, err);

	if (whole <= 0)
		return whole;
	(void)pf_arrival_place(arrival, frame, body);
	atomic_store_explicit(&receiver->count.pushed, arrival->placed, memory_order_relaxed);
	atomic_store_explicit(&receiver->count.zero, arrival->zero, memory_order_relaxed);
	return 0;
}

/*
 * Here and not when the connection is idle: a source that is told in time never stands still.  What
 * finds no room in the channel, or in the socket, is due again at the next frame, or goes with the
 * link's next turn; the source cannot wait for it then, since it is what it sends that fills them.
 */
static int grant_more(struct pf_receiver *receiver, struct pf_link *link, struct pf_err *err)
{
	struct pf_frame credit = {.type = PF_FRAME_CREDIT};
	int fd = pf_conn_fd(pf_channel_conn(link->channel));
	struct pf_grant standing;
	uint64_t now = pf_now_ns();
	enum pf_io io;

	if (now - receiver->rtt_known_ns > RTT_AGE_NS) {
		receiver->rtt_ns = pf_tcp_min_rtt_ns(fd);
		receiver->rtt_known_ns = now;
	}
	standing = receiver->grant;
	if (!pf_channel_reserve(link->channel, 0) ||
	    !pf_grant_due(&receiver->grant, now, receiver->rtt_ns, &credit.page))
		return 0;
	if (pf_grant_check(&standing, pf_tcp_waiting(fd), err))
		return -1;
	pf_channel_commit(link->channel, &credit);
	io = pf_channel_flush(link->channel, err);
	return io == PF_IO_OK || io == PF_IO_AGAIN ? 0 : -1;
}

static int take_pushed(struct pf_receiver *receiver, struct pf_link *link,
		       const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	if (!atomic_load(&receiver->may_push))
		return pf_err_set(err, PF_ERR_PROTOCOL, "%s before RUN", pf_frame_name(frame->type));
	if (pf_grant_use(&receiver->grant, PF_FRAME_HEADER_BYTES + frame->length, err))
		return -1;
	if (frame->type == PF_FRAME_PAGE_ERROR)
		pf_arrival_lost(&receiver->arrival, frame);
	else if (place_pushed(receiver, frame, body, err))
		return -1;
	return grant_more(receiver, link, err);
}

static int receiver_frame(void *opaque, struct pf_link *link, const struct pf_frame *frame,
			  const uint8_t *body, struct pf_err *err)
{
	struct pf_receiver *receiver = opaque;

	switch (frame->type) {
	case PF_FRAME_PAGES:
	case PF_FRAME_ZERO:
	case PF_FRAME_PAGE_ERROR:
		return take_pushed(receiver, link, frame, body, err);
	case PF_FRAME_PAUSED:
		return begin_state(receiver, link, frame, body, err);
	case PF_FRAME_DEVICE:
		return take_state(receiver, link, frame, body, err);
	default:
		return pf_link_pass_on(link, frame, body, err);
	}
}

/* ---- the received bitmap ---- */

/* The next part.  Once for all parts it is noted what is here: every thread of the session before has
 * ended, and what comes in this one the source knows. */
static int put_received(struct pf_receiver *receiver, struct pf_channel *channel)
{
	struct pf_guest *guest = receiver->arrival.guest;
	uint8_t *body = pf_channel_reserve(channel, PF_BULK_BODY_MAX);
	struct pf_frame frame;

	if (!body)
		return 1;
	if (!receiver->taken)
		pf_snapshot_take(&guest->snapshot, &guest->journal);
	receiver->taken = true;
	/* Nobody else writes them: pf_snapshot_take() is this thread's. */
	pf_received_pack(&receiver->told, &guest->table,
			 (const uint64_t *)guest->snapshot.bits[receiver->told.region], body,
			 PF_BULK_BODY_MAX, &frame);
	pf_channel_commit(channel, &frame);
	receiver->tells = !pf_received_done(&receiver->told, &guest->table);
	return 1;
}

static int receiver_produce(void *opaque, struct pf_link *link, struct pf_err *err)
{
	struct pf_receiver *receiver = opaque;

	(void)err;
	return receiver->tells ? put_received(receiver, link->channel) : 0;
}

static void receiver_mail(void *opaque, struct pf_link *link, struct pf_mail *mail)
{
	struct pf_receiver *receiver = opaque;

	(void)link;
	if (mail->kind == PF_MAIL_GO_ON)
		receiver->tells = true;
}

const struct pf_link_user pf_receiver_user = {
	.frame = receiver_frame,
	.mail = receiver_mail,
	.produce = receiver_produce,
};
