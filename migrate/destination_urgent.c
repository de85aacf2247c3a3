/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_urgent.c - the way of a fault: trap, request, answer, mapped.
 *
 * One thread owns the userfaultfds' read side, the urgent channel and the table of open requests, so
 * that a fault meets no queue and no other thread on its way:
 *
 *   read_events()   uffd -> ring in the state directory
 *   handle_fault()  journal: set REQUESTED, read the state; trap table
 *   send_requests() REQUEST frames, one flush for all that came together
 *   take_frames()   the answer: claim, write, FILLED, map (migrate/arrival.h)
 *   look()          poll(2) says where the next thing is
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
#include "base/fault.h"
#include "base/urgency.h"
#include "memory/stock.h"
#include "memory/trap.h"
#include "migrate/destination_exits.h"
#include "migrate/greet.h"

#define MAP_TRIES 16u
#define RETRY_NS (100 * PF_NS_PER_MS) /* somebody raises a limit or frees something meanwhile */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* What main shows: what is owed now, and the bytes of all urgent connections so far. */
static void publish(struct pf_pager *pager)
{
	uint64_t sent = pager->sent_before, received = pager->received_before;

	if (pager->channel) {
		sent += pf_channel_bytes(pager->channel, false);
		received += pf_channel_bytes(pager->channel, true);
	}
	atomic_store_explicit(&pager->count.open, pager->requests.open, memory_order_relaxed);
	atomic_store_explicit(&pager->count.sent, sent, memory_order_relaxed);
	atomic_store_explicit(&pager->count.received, received, memory_order_relaxed);
}

static void drop_channel(struct pf_pager *pager)
{
	if (!pager->channel)
		return;
	pager->sent_before += pf_channel_bytes(pager->channel, false);
	pager->received_before += pf_channel_bytes(pager->channel, true);
	pf_channel_free(pager->channel);
	pager->channel = NULL;
	pager->may_ask = false;
}

static void lose_channel(struct pf_pager *pager, const struct pf_err *err)
{
	drop_channel(pager);
	pf_mail_post_surely(pager->inbox, pager->origin, PF_MAIL_DOWN, 0, err, sizeof(*err),
			    &pager->stop);
}

/* ---- faults ---- */

/* Reads what is waiting into the rings, and handles none of it; false: a ring is full, perhaps the
 * one where the event would go that is in the way. */
static bool drain_events(void *opaque)
{
	struct pf_pager *pager = opaque;
	bool room = true;

	for (uint32_t i = 0; i < pager->guest->uffds; i++)
		room &= pf_guest_read(pager->guest, i) != PF_RING_FULL;
	return room;
}

static void wake_waiters(struct pf_pager *pager, const struct pf_run *run)
{
	const struct pf_guest_region *region = &pager->guest->region[run->region];
	uint64_t page_size = region->shape.page_size;

	for (uint32_t i = 0; i < region->mappings; i++)
		(void)pf_uffd_wake(pager->guest->uffd[region->mapping[i].uffd].fd,
				   region->mapping[i].base + run->first * page_size,
				   run->count * page_size);
}

/*
 * Maps FILLED pages.  While an event that only this thread reads is in the way (EAGAIN), it is read.
 * Where that does not help (a full ring; whoever discards does not get on) the
 * waiters are woken, and trap again: later, and behind the others.  false: it did not work, and
 * woken at once it would be tried again at once; main has been told.
 */
static bool map_now(struct pf_pager *pager, const struct pf_run *run)
{
	for (unsigned i = 0; i < MAP_TRIES; i++) {
		enum pf_place_result result = pf_arrival_map(&pager->arrival, run);

		if (result != PF_PLACE_AGAIN)
			return result == PF_PLACE_OK || result == PF_PLACE_GONE;
		if (!drain_events(pager))
			break;
	}
	wake_waiters(pager, run);
	return true;
}

void pf_pager_park(struct pf_pager *pager, uint32_t region, uint64_t page)
{
	uint64_t now = pf_now_ns();

	pf_requests_park(&pager->requests, region, page, now);
	if (pager->retry_ns == 0)
		pager->retry_ns = now + RETRY_NS;
}

static void handle_fault(struct pf_pager *pager, uint32_t uffd, const struct uffd_msg *event)
{
	uint64_t flags = event->arg.pagefault.flags, address = event->arg.pagefault.address;
	enum pf_trap trap = flags & UFFD_PAGEFAULT_FLAG_MINOR ? PF_TRAP_MINOR : PF_TRAP_MISSING;
	struct pf_guest *guest = pager->guest;
	struct pf_run run = {.count = 1};
	bool first;

	if (!pf_guest_find(guest, uffd, address, &run.region, &run.first)) {
		pf_pager_outside(pager, address);
		return;
	}
	switch (pf_trap_decide(trap, pf_journal_request(&guest->journal, run.region, run.first,
							&first))) {
	case PF_TRAP_REQUEST:
		pf_fault(PF_FAULT_FAULT);
		/* Not what is there counts, but what the source has: it is asked for all the same. */
		if (trap == PF_TRAP_MINOR && pf_stock_unexpected(guest, run.region, run.first)) {
			pf_guest_note_unexpected(guest, run.region, run.first);
			pf_arrival_tell_unexpected(&pager->arrival);
		}
		add(&pager->count.faults, 1);
		pf_exits_count(pager, uffd, run.region, event);
		pf_requests_open(&pager->requests, run.region, run.first, pf_now_ns());
		break;
	case PF_TRAP_WAIT:
		break;
	case PF_TRAP_MAP:
	case PF_TRAP_MAP_OR_HOLE:
		pf_fault(PF_FAULT_LATE_TRAP);
		/* Pushed while its answer is on the way: that is owed, and tries again to map the page. */
		if (!map_now(pager, &run) &&
		    !pf_requests_owed(&pager->requests, run.region, run.first))
			pf_pager_park(pager, run.region, run.first);
		break;
	}
}

/* true: the event is dealt with. */
static bool handle_event(struct pf_pager *pager, uint32_t uffd, const struct uffd_msg *event)
{
	switch (event->event) {
	case UFFD_EVENT_PAGEFAULT:
		if (pf_requests_full(&pager->requests))
			return false;
		handle_fault(pager, uffd, event);
		return true;
	case UFFD_EVENT_REMOVE:
		/* DONTNEED and REMOVE look the same, and the data may be kept: a real hole shows
		 * as MISSING on a FILLED page (DESIGN.md section 3.2).  What private memory needs,
		 * pf_guest_read() has done; its last absent page may have been discarded. */
		pf_arrival_tell_filled(&pager->arrival);
		return true;
	default:
		return true; /* FORK, REMAP and UNMAP were refused when the uffd was adopted */
	}
}

static void read_events(struct pf_pager *pager)
{
	for (uint32_t i = 0; pager->guest && i < pager->guest->uffds; i++) {
		struct pf_ring *ring = &pager->guest->uffd[i].ring;
		const struct uffd_msg *event;

		if (pager->here.uffds >> i & 1 &&
		    pf_guest_read(pager->guest, i) == PF_RING_GONE)
			(void)pf_mail_post(pager->inbox, 0, PF_MAIL_VMM_GONE, 0, NULL, 0);
		while ((event = pf_ring_peek(ring)) && handle_event(pager, i, event))
			pf_ring_pop(ring);
	}
	pf_exits_serve(pager);
}

/* Read and not handled: the window was full, or it was read because it was in a mapping's way. */
static bool events_left(const struct pf_pager *pager)
{
	if (!pager->guest || pf_requests_full(&pager->requests))
		return false;
	for (uint32_t i = 0; i < pager->guest->uffds; i++)
		if (pf_ring_peek(&pager->guest->uffd[i].ring))
			return true;
	return false;
}

/* ---- requests and answers ---- */

/* A parked page that has come meanwhile, by whichever way, only has to be mapped. */
static enum pf_retry judge_parked(void *opaque, const struct pf_request *request)
{
	struct pf_pager *pager = opaque;
	struct pf_run run = {.region = request->region, .first = request->page, .count = 1};

	switch (pf_journal_state(&pager->guest->journal, run.region, run.first)) {
	case PF_PAGE_ABSENT:
		return PF_RETRY_SEND;
	case PF_PAGE_FILLING:
		return PF_RETRY_KEEP;
	case PF_PAGE_FILLED:
		break;
	}
	if (!map_now(pager, &run))
		return PF_RETRY_KEEP;
	pf_exits_answer(pager, &run);
	pf_hist_record(&pager->latency_ns, pf_now_ns() - request->since_ns);
	return PF_RETRY_DONE;
}

static void retry_parked(struct pf_pager *pager)
{
	if (pager->retry_ns == 0 || pf_now_ns() < pager->retry_ns)
		return;
	pf_requests_retry(&pager->requests, judge_parked, pager);
	pager->retry_ns = pager->requests.parked ? pf_now_ns() + RETRY_NS : 0;
}

/* true: there are more than the buffer holds. */
static bool send_requests(struct pf_pager *pager)
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
			pf_pager_park(pager, frame->region, frame->page + i);
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

	/* Some of it can be FILLED and not mapped: where the rest found no room, or by whoever came first. */
	mapped = (pf_arrival_place(arrival, frame, body) == PF_PLACE_OK &&
		  arrival->placed - placed == frame->count) ||
		 map_now(pager, &run);
	add(&pager->count.requested, arrival->placed - placed);
	add(&pager->count.zero, arrival->zero - zero);
	settle(pager, frame, mapped);
	pf_exits_answer(pager, &run);
}

/*
 * An answer, and so no longer open: pages that cannot be read must not fill the window.  Who waits has his
 * SIGBUS; without poison he waits on, and asks again at another trap, or woken by PF_MAIL_RESET.
 */
static void lose_pages(struct pf_pager *pager, const struct pf_frame *frame)
{
	struct pf_run run = {
		.region = frame->region, .first = frame->page, .count = frame->count};
	bool mapped = map_now(pager, &run); /* what came on bulk is not lost */
	uint64_t since;

	pf_arrival_lost(&pager->arrival, frame);
	for (uint32_t i = 0; i < frame->count; i++) {
		enum pf_page_state state = pf_journal_state(&pager->guest->journal, frame->region,
							    frame->page + i);

		if (state == PF_PAGE_ABSENT ? pager->guest->region[frame->region].poisons
					    : !mapped && state == PF_PAGE_FILLED)
			pf_pager_park(pager, frame->region, frame->page + i);
		else
			(void)pf_requests_close(&pager->requests, frame->region, frame->page + i,
						&since);
	}
}

static int take_answer(struct pf_pager *pager, const struct pf_frame *frame, const uint8_t *body,
		       struct pf_err *err)
{
	int whole;

	if (check_owed(pager, frame, err))
		return -1;
	if (frame->type == PF_FRAME_PAGE_ERROR) {
		lose_pages(pager, frame);
		return 0;
	}
	whole = pf_arrival_gather(&pager->arrival, frame, &body, err);
	if (whole > 0) /* a page in parts stays owed until the last of them */
		place_answer(pager, frame, body);
	return whole < 0 ? -1 : 0;
}

static int handle_frame(struct pf_pager *pager, const struct pf_frame *frame, const uint8_t *body,
			struct pf_err *err)
{
	switch (frame->type) {
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

/* true: there may be more; false: there is none until poll(2) says so. */
static bool take_frames(struct pf_pager *pager)
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
			lose_channel(pager, &err);
		else if (pf_channel_drained(pager->channel))
			return false;
	}
	return pager->channel;
}

/* The connection is of no more use, but what the source has said on it still counts: COMPLETE_ACK may
 * stand unread behind a REQUEST or a CREDIT that it did not wait for. */
static void hear_out(struct pf_pager *pager, const struct pf_err *err)
{
	for (unsigned i = 0; i < PF_LAST_WORD_TURNS && pager->channel && take_frames(pager); i++)
		;
	if (pager->channel)
		lose_channel(pager, err);
}

static void flush(struct pf_pager *pager)
{
	struct pf_err err = {0};
	enum pf_io io;

	if (!pager->channel || pf_channel_unsent(pager->channel) == 0)
		return;
	io = pf_channel_flush(pager->channel, &err);
	if (io != PF_IO_OK && io != PF_IO_AGAIN)
		hear_out(pager, &err);
}

/* ---- mail ---- */

static void put_control(struct pf_pager *pager, const struct pf_mail *mail)
{
	struct pf_frame frame = {.type = (uint8_t)mail->number, .length = (uint32_t)mail->length};
	struct pf_err err = {0};

	if (!pager->channel || mail->origin != pager->origin ||
	    pf_channel_put(pager->channel, &frame, mail->data))
		return;
	flush(pager);
	if (!pager->channel || pf_channel_put(pager->channel, &frame, mail->data))
		return;
	/* The buffer holds hundreds of requests: a source that reads none of them is gone. */
	pf_err_set(&err, PF_ERR_UNREACHABLE, "the source does not read");
	lose_channel(pager, &err);
}

static void attach(struct pf_pager *pager, const struct pf_mail *mail)
{
	drop_channel(pager);
	memcpy(&pager->channel, mail->data, sizeof(pager->channel));
	pager->origin = mail->origin;
	pager->here.frames = true; /* behind the greeting, in the channel's buffer */
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

/* The session is over for main. */
static void detach(struct pf_pager *pager, const struct pf_mail *mail)
{
	struct pf_err err;

	if (mail->length == sizeof(err))
		memcpy(&err, mail->data, sizeof(err));
	else
		pf_err_set(&err, PF_ERR_UNREACHABLE, "the session is over");
	hear_out(pager, &err);
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

	drop_channel(pager);
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
		case PF_MAIL_GUEST:
			take_guest(pager, &mail);
			break;
		default:
			break;
		}
		free(mail.data);
	}
}

/* Pages that bulk threads have filled and could not map, or that vCPUs may wait for; a box of its own, so that main's mail
 * always finds room in the other. */
static void take_maps(struct pf_pager *pager)
{
	struct pf_mail mail;

	while (!atomic_load(&pager->stop) && pf_mailbox_take(&pager->maps, &mail)) {
		/* Woken, whoever waits traps again, and that trap is parked. */
		if (mail.kind == PF_MAIL_ANSWER)
			pf_exits_answer_pushed(pager, mail.data);
		else if (!map_now(pager, mail.data))
			wake_waiters(pager, mail.data);
		else
			pf_exits_answer(pager, mail.data);
		free(mail.data);
	}
}

/* ---- the loop ---- */

/* Until the parked ones are tried again; NULL: there are none. */
static const struct timespec *time_left(const struct pf_pager *pager, struct timespec *out)
{
	uint64_t now = pf_now_ns(), left = pager->retry_ns > now ? pager->retry_ns - now : 0;

	if (pager->retry_ns == 0)
		return NULL;
	*out = (struct timespec){.tv_sec = (time_t)(left / PF_NS_PER_S),
				 .tv_nsec = (long)(left % PF_NS_PER_S)};
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
		read_events(pager);
		retry_parked(pager);
		more = send_requests(pager);
		flush(pager);
		/* Flushed whole, the connection has nothing to wake this thread for. */
		more = more && pager->channel && pf_channel_unsent(pager->channel) == 0;
		if (pager->here.frames)
			pager->here.frames = take_frames(pager);
		publish(pager);
		look(pager, more || pager->here.frames || events_left(pager));
	}
	if (pager->goodbye && pager->channel)
		pf_greet_part(pager->channel);
	drop_channel(pager);
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
					     .drain = drain_events,
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

void pf_pager_tell(struct pf_pager *pager, enum pf_mail_kind kind, const void *data, size_t length)
{
	post(pager, kind, 0, 0, data, length);
}
