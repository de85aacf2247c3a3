/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_urgent.c - the way of a fault: trap, request, answer, mapped.
 *
 * One thread owns the userfaultfds' read side, the urgent channel and the table of open requests, so
 * that a fault meets no queue and no other thread on its way:
 *
 *   pf_pager_read()  uffd -> ring in the state directory -> journal: set REQUESTED, read the state;
 *                    trap table (destination_faults.c)
 *   pf_pager_ask()   REQUEST frames, one flush for all that came together (destination_answers.c)
 *   pf_pager_hear()  the answer: claim, write, FILLED, map (migrate/arrival.h)
 *   look()           poll(2) says where the next thing is
 *
 * Here is its loop, what main tells it by mail, and what main calls.
 *
 * System calls are what a fault costs most: seven here, two of them poll(2), and none to find out that
 * there is nothing.
 *
 * It lives longer than any connection: without one, faults are noted and asked for later.  A page
 * that cannot be placed or mapped now, for want of memory, is parked and tried again later, since
 * other faults wait, and events: what the VMM gives back by madvise(2) stands until its event is read.
 * Blocks in poll(2), and in pwrite(2) of guest memory.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/urgency.h"
#include "migrate/destination_exits.h"
#include "migrate/destination_pager.h"
#include "migrate/greet.h"

/* ---- mail ---- */

static void put_control(struct pf_pager *pager, const struct pf_mail *mail)
{
	struct pf_frame frame = {.type = (uint8_t)mail->number, .length = (uint32_t)mail->length};
	struct pf_err err = {0};

	if (!pager->channel || mail->origin != pager->origin ||
	    pf_channel_put(pager->channel, &frame, mail->data))
		return;
	pf_pager_flush(pager);
	if (!pager->channel || pf_channel_put(pager->channel, &frame, mail->data))
		return;
	/* The buffer holds hundreds of requests: a source that reads none of them is gone. */
	pf_err_set(&err, PF_ERR_UNREACHABLE, "the source does not read");
	pf_pager_lose(pager, &err);
}

static void attach(struct pf_pager *pager, const struct pf_mail *mail)
{
	pf_pager_drop(pager);
	memcpy(&pager->channel, mail->data, sizeof(pager->channel));
	pager->origin = mail->origin;
	pager->here.frames = true; /* behind the greeting, in the channel's buffer */
	pf_pulse_begin(&pager->pulse, pf_now_ns(), pf_channel_bytes(pager->channel, true),
		       pf_channel_bytes(pager->channel, false), PF_PULSE_FIRST_SIGN_NS);
	pf_assembly_forget(pager->arrival.assembly);
	pf_requests_resend(&pager->requests);
	pf_exits_repeat(pager);
}

/* REGIONS_OK, and the table: no answer to it can be here before the table is. */
static void agree(struct pf_pager *pager, const struct pf_mail *mail)
{
	const struct pf_region_table *table;
	struct pf_frame frame = {.type = PF_FRAME_REGIONS_OK};

	if (!pager->channel || mail->origin != pager->origin)
		return;
	if (!pf_channel_put(pager->channel, &frame, NULL))
		return; /* nothing but WELCOME was put before: there is room */
	memcpy(&table, mail->data, sizeof(table));
	pf_channel_expect(pager->channel, pager->origin, table, 0);
	pager->may_ask = true;
}

/* It was agreed on in the session before, and so was what is owed: sent again before anything else. */
static void go_on(struct pf_pager *pager, const struct pf_mail *mail)
{
	const struct pf_region_table *table;

	if (!pager->channel || mail->origin != pager->origin)
		return;
	memcpy(&table, mail->data, sizeof(table));
	pf_channel_expect(pager->channel, pager->origin, table, 0);
	pager->may_ask = true;
	pf_pager_sort_out(pager);
}

/*
 * Bulk threads have ended, and one of them had filled pages that it could not say any more.  Whoever waits for those
 * must not wait for the next connection: blocked threads trap again, and meet what is here.
 */
static void make_up(struct pf_pager *pager)
{
	struct pf_err ignored;

	if (!atomic_exchange(&pager->maps.missed, false) || !pager->guest)
		return;
	pf_exits_repeat(pager);
	(void)!pf_guest_wake_all(pager->guest, &ignored);
}

/* The session is over for main. */
static void detach(struct pf_pager *pager, const struct pf_mail *mail)
{
	struct pf_err err;

	if (mail->length == sizeof(err))
		memcpy(&err, mail->data, sizeof(err));
	else
		pf_err_set(&err, PF_ERR_UNREACHABLE, "the session is over");
	pf_pager_hear_out(pager, &err);
	make_up(pager);
}

static void take_guest(struct pf_pager *pager, const struct pf_mail *mail)
{
	memcpy(&pager->guest, mail->data, sizeof(pager->guest));
	pager->arrival.guest = pager->guest;
	pf_exits_repeat(pager);
}

/* The source starts again: no page of the old connection counts.  What somebody waits for stays
 * open, and is asked for on the next connection. */
static void reset_guest(struct pf_pager *pager)
{
	struct pf_err err;

	pf_pager_drop(pager);
	atomic_store(pager->filled_told, false);
	if (pager->guest && pf_guest_reset(pager->guest, &err))
		(void)pf_mail_post(pager->inbox, 0, PF_MAIL_RESET_FAILED, 0, &err, sizeof(err));
	pf_exits_repeat(pager);
}

static void take_mail(struct pf_pager *pager)
{
	struct pf_mail mail;

	while (!pager->stopping && pf_mailbox_take(&pager->outbox, &mail)) {
		switch ((enum pf_mail_kind)mail.kind) {
		case PF_MAIL_STOP:
			pager->stopping = true;
			pager->goodbye = mail.number;
			break;
		case PF_MAIL_SEND:
			put_control(pager, &mail);
			break;
		case PF_MAIL_CHANNEL:
			attach(pager, &mail);
			break;
		case PF_MAIL_DETACH:
			detach(pager, &mail);
			break;
		case PF_MAIL_RESET:
			reset_guest(pager);
			break;
		case PF_MAIL_EXPECT:
			agree(pager, &mail);
			break;
		case PF_MAIL_GO_ON:
			go_on(pager, &mail);
			break;
		case PF_MAIL_GUEST:
			take_guest(pager, &mail);
			break;
		default:
			break;
		}
		free(mail.data);
	}
}

/* Pages that bulk threads have filled and could not map, or that vCPUs may wait for, or that they could not
 * fill; a box of its own, so that main's mail always finds room in the other. */
static void take_maps(struct pf_pager *pager)
{
	struct pf_mail mail;

	while (!atomic_load(&pager->stop) && pf_mailbox_take(&pager->maps, &mail)) {
		if (mail.kind == PF_MAIL_ANSWER) {
			pf_exits_answer_pushed(pager, mail.data);
		} else if (mail.kind == PF_MAIL_STUCK) {
			pf_pager_take_stuck(pager, mail.data);
		} else {
			pf_pager_take_map(pager, mail.data);
		}
		free(mail.data);
	}
}

/* ---- the loop ---- */

/* Until the parked ones are tried again, or the connection is looked after; NULL: neither. */
static const struct timespec *time_left(const struct pf_pager *pager, struct timespec *out)
{
	uint64_t wake = pager->retry_ns;

	if (pager->channel)
		wake = pf_sooner_ns(wake, pf_pulse_wake_ns(&pager->pulse));
	if (wake == 0)
		return NULL;
	*out = pf_left_until(wake, pf_now_ns());
	return out;
}

/* Sleeps until there is something to do, if there is nothing already; notes where. */
static void look(struct pf_pager *pager, bool busy)
{
	struct pollfd pfd[PF_UFFDS_MAX + 4];
	struct timespec left;
	nfds_t count = 3;
	bool exits;
	/* While the window is full the rest waits in the kernel: the vCPUs are blocked anyway. */
	uint32_t uffds = pager->guest && !pf_requests_full(&pager->requests) ? pager->guest->uffds
									     : 0;

	pfd[0] = (struct pollfd){.fd = pager->outbox.event_fd, .events = POLLIN};
	pfd[1] = (struct pollfd){.fd = pager->maps.event_fd, .events = POLLIN};
	pfd[2] = (struct pollfd){.fd = -1};
	if (pager->channel) {
		pfd[2].fd = pf_conn_fd(pf_channel_conn(pager->channel));
		pfd[2].events = pf_channel_wants(pager->channel);
	}
	for (uint32_t i = 0; i < uffds; i++)
		pfd[count++] = (struct pollfd){.fd = pager->guest->uffd[i].fd, .events = POLLIN};
	exits = pf_exits_poll(pager, &pfd[count]);
	count += exits;
	if (busy)
		(void)poll(pfd, count, 0);
	else
		(void)pf_spin_poll(&pager->spin, pfd, count, time_left(pager, &left));
	pager->here.mail = pfd[0].revents;
	pager->here.maps = pfd[1].revents;
	pager->here.frames |= pfd[2].revents != 0; /* whatever it is: TLS may read because it can write */
	pager->here.uffds = 0;
	for (uint32_t i = 0; i < uffds; i++) {
		if (pfd[3 + i].revents & POLLERR)
			(void)pf_uffd_unblock(pfd[3 + i].fd);
		else if (pfd[3 + i].revents)
			pager->here.uffds |= UINT64_C(1) << i;
	}
	pager->here.exits = exits && pfd[count - 1].revents;
}

static void *pager_thread(void *opaque)
{
	struct pf_pager *pager = opaque;

	(void)pthread_setname_np(pthread_self(), "urgent");
	pf_thread_is_urgent();
	for (;;) {
		bool more;

		if (pager->here.mail)
			take_mail(pager);
		if (pager->stopping)
			break;
		if (pager->here.maps)
			take_maps(pager);
		pf_pager_read(pager);
		pf_pager_retry(pager);
		more = pf_pager_ask(pager);
		pf_pager_flush(pager);
		/* Flushed whole, the connection has nothing to wake this thread for. */
		more = more && pager->channel && pf_channel_unsent(pager->channel) == 0;
		if (pager->here.frames)
			pager->here.frames = pf_pager_hear(pager);
		pf_pager_tell_mapped(pager);
		pf_pager_beat(pager);
		pf_pager_publish(pager);
		look(pager, more || pager->here.frames || pf_pager_left(pager));
	}
	if (pager->goodbye && pager->channel)
		pf_greet_part(pager->channel);
	pf_pager_drop(pager);
	return NULL;
}

int pf_pager_start(struct pf_pager *pager, struct pf_mailbox *inbox, _Atomic bool *filled_told,
		   struct pf_assembly *assembly, struct pf_err *err)
{
	pager->inbox = inbox;
	pager->filled_told = filled_told;
	pager->arrival = (struct pf_arrival){.inbox = inbox,
					     .stop = &pager->stop,
					     .filled_told = filled_told,
					     .drain = pf_pager_drain,
					     .opaque = pager,
					     .assembly = assembly};
	if (pf_mailbox_init(&pager->outbox, err) || pf_mailbox_init(&pager->maps, err))
		return -1;
	errno = pthread_create(&pager->thread, NULL, pager_thread, pager);
	if (errno)
		return pf_err_sys(err, "starting the urgent thread");
	pager->started = true;
	return 0;
}

static void post(struct pf_pager *pager, enum pf_mail_kind kind, uint32_t number, uint32_t origin,
		 const void *data, size_t length)
{
	/* Main posts a handful of mails in a migration; the box cannot be full. */
	(void)pf_mail_post(&pager->outbox, origin, kind, number, data, length);
}

void pf_pager_stop(struct pf_pager *pager, bool goodbye)
{
	if (!pager->started)
		return;
	atomic_store(&pager->stop, true);
	post(pager, PF_MAIL_STOP, goodbye, 0, NULL, 0);
	pthread_join(pager->thread, NULL);
	pager->started = false;
}

void pf_pager_done(struct pf_pager *pager)
{
	pf_mailbox_done(&pager->outbox);
	pf_mailbox_done(&pager->maps);
}

void pf_pager_attach(struct pf_pager *pager, struct pf_channel *channel, uint32_t epoch)
{
	post(pager, PF_MAIL_CHANNEL, 0, epoch, &channel, sizeof(channel));
}

void pf_pager_send(struct pf_pager *pager, uint32_t epoch, enum pf_frame_type type,
		   const void *body, size_t length)
{
	post(pager, PF_MAIL_SEND, type, epoch, body, length);
}

void pf_pager_agree(struct pf_pager *pager, uint32_t epoch, const struct pf_region_table *table)
{
	post(pager, PF_MAIL_EXPECT, 0, epoch, &table, sizeof(table));
}

void pf_pager_go_on(struct pf_pager *pager, uint32_t epoch, const struct pf_region_table *table)
{
	post(pager, PF_MAIL_GO_ON, 0, epoch, &table, sizeof(table));
}

void pf_pager_tell(struct pf_pager *pager, enum pf_mail_kind kind, const void *data, size_t length)
{
	post(pager, kind, 0, 0, data, length);
}
