/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/link.c - the loop of a thread that owns one channel; see migrate/link.h. */
#include "migrate/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/urgency.h"
#include "migrate/greet.h"
#include "net/tcp.h"

#define FULL_BOX_MS 1
#define FLUSH_NS (2 * PF_NS_PER_S) /* the longest that a control frame waits for room */

bool pf_mail_post(struct pf_mailbox *box, uint32_t origin, enum pf_mail_kind kind, uint32_t number,
		  const void *data, size_t length)
{
	struct pf_mail mail = {
		.kind = kind, .number = number, .origin = origin, .length = length};

	mail.data = length ? malloc(length) : NULL;
	if (length && !mail.data)
		return false;
	if (length)
		memcpy(mail.data, data, length);
	return pf_mailbox_post(box, &mail);
}

bool pf_mail_post_surely(struct pf_mailbox *box, uint32_t origin, enum pf_mail_kind kind,
			 uint32_t number, const void *data, size_t length,
			 const _Atomic bool *stop)
{
	/*
	 * Half of the box is left to those who cannot wait: a source that has a thousand pages to
	 * call lost must not make its next control frame look like a flood.
	 */
	while (pf_mailbox_half_full(box) || !pf_mail_post(box, origin, kind, number, data, length)) {
		if (atomic_load(stop)) {
			atomic_store(&box->missed, true);
			return false;
		}
		(void)poll(NULL, 0, FULL_BOX_MS);
	}
	return true;
}

/* Main posts a handful of mails in a migration: an outbox cannot be full. */
void pf_link_tell(struct pf_link *link, enum pf_mail_kind kind, const void *data, size_t length)
{
	if (link->started)
		(void)pf_mail_post(&link->outbox, link->origin, kind, 0, data, length);
}

void pf_link_agree(struct pf_link *link, const struct pf_region_table *table)
{
	atomic_store(&link->agreed, table);
}

void pf_link_send(struct pf_link *link, enum pf_frame_type type, const void *body, size_t length)
{
	if (link->started)
		(void)pf_mail_post(&link->outbox, link->origin, PF_MAIL_SEND, type, body, length);
}

int pf_link_pass_on(struct pf_link *link, const struct pf_frame *frame, const uint8_t *body,
		    struct pf_err *err)
{
	if (pf_mail_post(link->inbox, link->origin, PF_MAIL_FRAME, frame->type, body,
			 frame->length))
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "the peer floods this side with %s frames", pf_frame_name(frame->type));
}

void pf_link_watch(struct pf_link *link, const _Atomic uint64_t *timeout_ns)
{
	pf_link_tell(link, PF_MAIL_WATCH, &timeout_ns, sizeof(timeout_ns));
}

/* A full buffer is a sign of life on its way already. */
static void beat(struct pf_channel *channel)
{
	struct pf_frame frame = {.type = PF_FRAME_HEARTBEAT};

	if (pf_channel_unsent(channel) == 0)
		(void)!pf_channel_put(channel, &frame, NULL);
}

static void tell_news(struct pf_mailbox *inbox, uint32_t origin, uint32_t number,
		      enum pf_pulse_news news)
{
	if (news == PF_PULSE_SUSPECT || news == PF_PULSE_TRUST)
		(void)pf_mail_post(inbox, origin,
				   news == PF_PULSE_SUSPECT ? PF_MAIL_SUSPECT : PF_MAIL_TRUST, number,
				   NULL, 0);
}

int pf_pulse_judge(struct pf_pulse *pulse, struct pf_channel *channel, struct pf_mailbox *inbox,
		   uint32_t origin, struct pf_err *err)
{
	uint64_t now = pf_now_ns();
	enum pf_pulse_news news = pf_pulse_look(pulse, now, pf_channel_bytes(channel, true),
						pf_channel_bytes(channel, false));

	if (news == PF_PULSE_SILENT) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "nothing was heard from the peer for %llu ms",
			   (unsigned long long)((now - pulse->heard_ns) / PF_NS_PER_MS));
		return pf_err_hint(err, "the network, or its process, stands still; --link-timeout says "
					"how long that is borne with");
	}
	tell_news(inbox, origin, 0, news);
	if (pf_pulse_due(pulse, now))
		beat(channel);
	return 0;
}

/* A bulk connection's turn: -1 as there. */
static int judge_stall(struct pf_link *link, struct pf_err *err)
{
	uint64_t now = pf_now_ns(), sent = pf_channel_bytes(link->channel, false);
	enum pf_pulse_news news;
	struct pf_flight flight;

	if (!pf_stall_due(&link->stall, now, sent))
		return 0;
	flight.waits = pf_tcp_waits(pf_conn_fd(pf_channel_conn(link->channel)), &flight.age_ns,
				    &flight.rtt_ns);
	news = pf_stall_look(&link->stall, now, sent, &flight);
	tell_news(link->inbox, link->origin, link->number, news);
	if (news != PF_PULSE_SILENT)
		return 0;
	pf_err_set(err, PF_ERR_UNREACHABLE,
		   "bulk connection %u: what was sent is not acknowledged, for %llu ms", link->number,
		   (unsigned long long)((now - link->stall.since_ns) / PF_NS_PER_MS));
	return pf_err_hint(err, "the network has lost this connection alone: a firewall's, or one path of "
				"several?");
}

static void begin_watch(struct pf_link *link, const struct pf_mail *mail)
{
	if (link->number > 0) {
		memcpy(&link->stall.timeout_ns, mail->data, sizeof(link->stall.timeout_ns));
		return;
	}
	memcpy(&link->pulse.timeout_ns, mail->data, sizeof(link->pulse.timeout_ns));
	pf_pulse_begin(&link->pulse, pf_now_ns(), pf_channel_bytes(link->channel, true),
		       pf_channel_bytes(link->channel, false), 0);
}

static int put_control(struct pf_link *link, const struct pf_mail *mail, struct pf_err *err)
{
	struct pf_frame frame = {.type = (uint8_t)mail->number, .length = (uint32_t)mail->length};
	struct pf_greet how = {.deadline_ns = pf_now_ns() + FLUSH_NS, .cancel_fd = -1};

	if (pf_channel_put(link->channel, &frame, mail->data))
		return 0;
	/* Control frames are few: waiting for the buffer here delays nobody for long. */
	if (pf_greet_flush(link->channel, &how, err))
		return -1;
	return pf_channel_put(link->channel, &frame, mail->data) ? 0 :
		pf_err_set(err, PF_ERR_PROTOCOL, "a control frame of %zu bytes", mail->length);
}

/* 0: nothing more is here until poll(2) says so; 1: there may be; -1: the connection is of no more use. */
static int take_frames(struct pf_link *link, struct pf_err *err)
{
	const uint8_t *body;
	struct pf_frame frame;

	/* Not for ever: a peer that never pauses must not keep mail, and a stop, waiting. */
	for (unsigned i = 0; i < PF_FRAMES_AT_ONCE; i++) {
		enum pf_io io = pf_channel_recv(link->channel, &frame, &body, err);

		if (io == PF_IO_AGAIN)
			return 0;
		if (io != PF_IO_OK)
			return -1;
		if (frame.type != PF_FRAME_HEARTBEAT &&
		    link->user->frame(link->opaque, link, &frame, body, err))
			return -1;
		if (pf_channel_drained(link->channel))
			return 0;
	}
	return 1;
}

/* The connection is of no more use, or another one of the session is gone; what the peer has said on
 * it still counts.  Always -1; *err: why, or what ended it before that. */
static int hear_out(struct pf_link *link, const struct pf_err *why, struct pf_err *err)
{
	struct pf_err first = *why;

	for (unsigned i = 0; i < PF_LAST_WORD_TURNS; i++) {
		int more = take_frames(link, err);

		if (more < 0)
			return -1;
		if (more == 0)
			break;
	}
	*err = first;
	return -1;
}

static int take_mail(struct pf_link *link, struct pf_err *err)
{
	struct pf_mail mail;
	int failed = 0;

	while (!failed && pf_mailbox_take(&link->outbox, &mail)) {
		switch (mail.kind) {
		case PF_MAIL_STOP:
			link->stopping = true;
			link->goodbye = mail.number;
			break;
		case PF_MAIL_SEND:
			if (put_control(link, &mail, err))
				failed = hear_out(link, err, err);
			break;
		case PF_MAIL_WATCH:
			begin_watch(link, &mail);
			break;
		case PF_MAIL_DETACH:
			failed = hear_out(link, mail.data, err);
			break;
		default:
			if (link->user->mail)
				link->user->mail(link->opaque, link, &mail);
			break;
		}
		free(mail.data);
	}
	return failed;
}

/* Flushes, then produces and flushes; *out_busy: there is more to send, and the socket takes it. */
static int send_frames(struct pf_link *link, bool *out_busy, struct pf_err *err)
{
	enum pf_io io = pf_channel_flush(link->channel, err);
	int more = 0;

	link->wake_ns = 0;
	if (io == PF_IO_OK && !link->stopping && link->user->produce)
		more = link->user->produce(link->opaque, link, err);
	if (more < 0)
		return -1;
	if (more > 0)
		io = pf_channel_flush(link->channel, err);
	*out_busy = more > 0 && io == PF_IO_OK;
	return io == PF_IO_OK || io == PF_IO_AGAIN ? 0 : -1;
}

/* Sleeps until there is something to do, if there is nothing already; notes where. */
static void look(struct pf_link *link, bool busy)
{
	struct pf_conn *conn = pf_channel_conn(link->channel);
	struct pollfd pfd[2] = {
		{.fd = pf_conn_fd(conn), .events = pf_channel_wants(link->channel)},
		{.fd = link->outbox.event_fd, .events = POLLIN},
	};
	uint64_t judge = pf_sooner_ns(pf_pulse_wake_ns(&link->pulse),
				      pf_stall_wake_ns(&link->stall,
						       pf_channel_bytes(link->channel, false)));
	uint64_t wake = pf_sooner_ns(link->wake_ns, judge);
	struct timespec timeout = pf_left_until(wake, pf_now_ns());

	if (busy)
		(void)poll(pfd, 2, 0);
	else
		(void)pf_spin_poll(&link->spin, pfd, 2, wake ? &timeout : NULL);
	/* Whatever it is: TLS may read because it can write. */
	link->frames_here = link->frames_here || pfd[0].revents;
	link->mail_here = pfd[1].revents;
}

static int serve(struct pf_link *link, struct pf_err *err)
{
	while (!link->stopping) {
		bool sending = false;
		int more = 0;

		if (link->mail_here && take_mail(link, err))
			return -1;
		if (link->frames_here)
			more = take_frames(link, err);
		if (more < 0)
			return -1;
		link->frames_here = more;
		if (pf_pulse_judge(&link->pulse, link->channel, link->inbox, link->origin, err) ||
		    judge_stall(link, err))
			return -1;
		if (send_frames(link, &sending, err))
			return hear_out(link, err, err);
		if (!link->stopping)
			look(link, sending || more);
	}
	if (link->goodbye)
		pf_greet_part(link->channel);
	return 0;
}

static void tell_down(struct pf_link *link, const struct pf_err *why)
{
	pf_mail_post_surely(link->inbox, link->origin, PF_MAIL_DOWN, link->number, why, sizeof(*why),
			    &link->stop);
}

static void end(struct pf_link *link, const struct pf_err *why)
{
	if (link->refuses) {
		/* Behind DOWN: what the peer answers on another connection is not to come before that. */
		tell_down(link, why);
		pf_greet_refuse(link->channel, why);
		return;
	}
	/* A peer that has parted waits for the answer to that, and main may wait for others before it closes
	 * this connection. */
	pf_conn_goodbye(pf_channel_conn(link->channel));
	tell_down(link, why);
}

static void *link_thread(void *opaque)
{
	struct pf_link *link = opaque;
	struct pf_err err = {0};

	/* By the thread itself: the file by which another one would do it is root's, since a process
	 * that is not dumpable owns nothing in /proc (proc(5)). */
	(void)pthread_setname_np(pthread_self(), link->name);
	if (link->number == 0)
		pf_thread_is_urgent();
	else
		pf_fault_in_bulk();
	if (serve(link, &err))
		end(link, &err);
	return NULL;
}

int pf_link_start(struct pf_link *link, struct pf_channel *channel, struct pf_mailbox *inbox,
		  uint32_t number, uint32_t origin, const struct pf_link_user *user, void *opaque,
		  const char *name, struct pf_err *err)
{
	memset(link, 0, sizeof(*link));
	link->channel = channel;
	link->inbox = inbox;
	link->number = number;
	link->origin = origin;
	link->user = user;
	link->opaque = opaque;
	pf_channel_follow(channel, &link->agreed);
	link->frames_here = true; /* behind the greeting, in the channel's buffer */
	snprintf(link->name, sizeof(link->name), "%s", name);
	if (pf_mailbox_init(&link->outbox, err)) {
		pf_channel_free(channel);
		return -1;
	}
	errno = pthread_create(&link->thread, NULL, link_thread, link);
	if (errno) {
		pf_err_sys(err, "starting the thread %s", name);
		pf_mailbox_done(&link->outbox);
		pf_channel_free(channel);
		return -1;
	}
	link->started = true;
	return 0;
}

void pf_link_end(struct pf_link *link, bool goodbye)
{
	if (!link->started || atomic_exchange(&link->stop, true))
		return;
	(void)pf_mail_post(&link->outbox, link->origin, PF_MAIL_STOP, goodbye, NULL, 0);
}

void pf_link_join(struct pf_link *link, bool goodbye)
{
	if (!link->started || link->joined)
		return;
	pf_link_end(link, goodbye);
	pthread_join(link->thread, NULL);
	link->joined = true;
}

void pf_link_stop(struct pf_link *link, bool goodbye)
{
	if (!link->started)
		return;
	pf_link_join(link, goodbye);
	pf_mailbox_done(&link->outbox);
	pf_channel_free(link->channel);
	memset(link, 0, sizeof(*link));
}
