/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_exits.c - see migrate/destination_exits.h.
 *
 * There is no WAKE for a vCPU that has left KVM_RUN: it enters again when it is told to, and only then.
 * So a FAULT is looked at (MSG_PEEK), put into its slot in the state directory, and only then taken off
 * the socket; and who fills a page that was REQUESTED sees to it that this thread looks at the slots.
 * "Slot, REQUESTED, read the state" here and "FILLED, read REQUESTED" there cannot miss each other.
 *
 * An answer that finds the socket full stays in its slot, and goes when there is room.  A page that is
 * being filled is parked besides, since whoever fills it may not get that far; but not one that the source
 * owes: its answer sees to whoever waits, and must find it owed.
 */
#include "migrate/destination_exits.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/unixsock.h"
#include "memory/trap.h"
#include "migrate/destination_pager.h"
#include "wire/vmm_msg.h"

#define PAGE_MASK (~UINT64_C(4095)) /* a stage-2 exit is about 4 KiB, whatever a region's pages are */

_Static_assert(PF_SLOTS == PF_VMM_VCPUS_MAX, "a slot for each vCPU");

static void add_one(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* For a VMM that has said that it can tell a vCPU so; any other has its vCPU run into what poisons the page. */
static bool is_lost(const struct pf_guest *guest, uint64_t gpa)
{
	uint32_t region;
	uint64_t page;

	return pf_guest_find_gpa(guest, gpa, &region, &page) &&
	       guest->region[region].machine_checks &&
	       pf_journal_lost(&guest->journal, region, page);
}

/* false: the VMM does not read, or there is no memory to send: later. */
static bool send_answer(const struct pf_guest *guest, uint32_t vcpu, uint64_t gpa)
{
	const struct pf_vmm_fault fault = {.vcpu = vcpu, .gpa = gpa, .lost = is_lost(guest, gpa)};
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_RESOLVED, &fault, bytes);
	ssize_t sent;

	do
		sent = send(guest->fault_fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	/* Any other error: nobody is there, which main hears of on the other socket. */
	return sent >= 0 || (errno != EAGAIN && !pf_unix_no_memory(errno));
}

/* Sent, then forgotten: told twice is better than never, and passed over. */
static void answer(struct pf_pager *pager, uint32_t vcpu, uint64_t gpa)
{
	if (!send_answer(pager->guest, vcpu, gpa)) {
		pager->exits.unanswered = true;
		return;
	}
	pf_fault(PF_FAULT_RESOLVED);
	(void)pf_slots_clear(&pager->guest->slots, vcpu, gpa);
}

static void try_later(struct pf_pager *pager, const struct pf_run *page)
{
	if (!pf_requests_owed(&pager->requests, page->region, page->first))
		pf_pager_park(pager, page->region, page->first);
}

/* false: not yet; it is tried again, and then main is told. */
static bool let_in(struct pf_pager *pager, const struct pf_run *page, uint32_t vcpu, uint64_t gpa)
{
	struct pf_err err;

	/* Where the page is lost the bit stays: every vCPU that comes for it is told. */
	if (pf_journal_lost(&pager->guest->journal, page->region, page->first) ||
	    pf_let_in(pager->guest, page, &err) == PF_PLACE_OK) {
		answer(pager, vcpu, gpa);
		return true;
	}
	if (pf_requests_full(&pager->requests))
		pager->exits.repeat = true;
	else
		try_later(pager, page);
	return false;
}

/* The page at gpa, if vCPUs leave for it.  In other memory none waits here, and whoever fills it looks for none. */
static bool traps(const struct pf_guest *guest, uint64_t gpa, struct pf_run *out_page)
{
	*out_page = (struct pf_run){.count = 1};
	return pf_guest_find_gpa(guest, gpa, &out_page->region, &out_page->first) &&
	       guest->region[out_page->region].has_bitmap;
}

/* It has to wait for the source.  Once, however often its page is asked for, by this process or another. */
static void count(struct pf_pager *pager, uint32_t vcpu, uint64_t gpa)
{
	if (!pf_slots_count(&pager->guest->slots, vcpu, gpa))
		return;
	add_one(&pager->count.faults);
	add_one(&pager->count.vcpu);
}

/* Its slot is set.  The window has room. */
static void handle(struct pf_pager *pager, uint32_t vcpu, uint64_t gpa)
{
	struct pf_guest *guest = pager->guest;
	struct pf_run page;
	bool first;

	if (!traps(guest, gpa, &page)) {
		/* Nothing will ever come for it, and to hang would tell nobody anything. */
		pf_pager_outside(pager, gpa);
		answer(pager, vcpu, gpa);
		return;
	}
	switch (pf_trap_decide(PF_TRAP_EXIT, pf_journal_request(&guest->journal, page.region,
								page.first, &first))) {
	case PF_TRAP_REQUEST:
		pf_fault(PF_FAULT_FAULT);
		count(pager, vcpu, gpa);
		pf_requests_open(&pager->requests, page.region, page.first, pf_now_ns());
		pf_blocked_note(pager, vcpu, page.region, page.first);
		break;
	case PF_TRAP_WAIT:
		pf_blocked_note(pager, vcpu, page.region, page.first);
		try_later(pager, &page);
		break;
	case PF_TRAP_MAP:
	case PF_TRAP_MAP_OR_HOLE:
		(void)let_in(pager, &page, vcpu, gpa);
		break;
	}
}

/* ---- the socket ---- */

static void give_up(struct pf_pager *pager, const struct pf_err *why)
{
	pager->exits.over = true;
	pf_mail_post_surely(pager->inbox, 0, PF_MAIL_VMM_WRONG, 0, why, sizeof(*why), &pager->stop);
}

static ssize_t receive(int fd, void *bytes, size_t size, int flags)
{
	ssize_t length;

	do
		length = recv(fd, bytes, size, MSG_DONTWAIT | MSG_TRUNC | flags);
	while (length < 0 && errno == EINTR);
	return length;
}

/* What reads as the end may be a message of no bytes. */
static bool hung_up(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLRDHUP};

	return poll(&pfd, 1, 0) != 0;
}

/* true: one was taken, and dealt with. */
static bool take_one(struct pf_pager *pager)
{
	int fd = pager->guest->fault_fd;
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	struct pf_vmm_fault fault;
	struct pf_err err;
	ssize_t length = receive(fd, bytes, sizeof(bytes), MSG_PEEK);

	if (length < 0 && errno == EAGAIN)
		return false;
	/* The VMM has hung up, here; main hears of it there. */
	if (length < 0 || (length == 0 && hung_up(fd))) {
		pager->exits.over = true;
		return false;
	}
	if (pf_vmm_fault_unpack(bytes, (size_t)length, PF_VMM_FAULT, &fault, &err)) {
		give_up(pager, &err);
		return false;
	}
	fault.gpa &= PAGE_MASK;
	pf_slots_set(&pager->guest->slots, fault.vcpu, fault.gpa);
	pf_fault(PF_FAULT_SLOT_SET);
	(void)receive(fd, NULL, 0, 0);
	handle(pager, fault.vcpu, fault.gpa);
	return true;
}

/* ---- slots ---- */

static bool is_in(const struct pf_run *page, const struct pf_run *run)
{
	return page->region == run->region && page->first >= run->first &&
	       page->first - run->first < run->count;
}

/*
 * Answers who waits for a page of the run, or of any if it is NULL, if that page is FILLED.  false: one of
 * them could not be let in.
 */
static bool answer_filled(struct pf_pager *pager, const struct pf_run *run)
{
	struct pf_guest *guest = pager->guest;
	bool all = true;
	uint64_t gpa;

	for (uint32_t vcpu = 0; pf_slots_next(&guest->slots, &vcpu, &gpa); vcpu++) {
		struct pf_run page;

		if (!traps(guest, gpa, &page))
			answer(pager, vcpu, gpa);
		else if ((!run || is_in(&page, run)) &&
			 pf_journal_state(&guest->journal, page.region, page.first) ==
				 PF_PAGE_FILLED)
			all &= let_in(pager, &page, vcpu, gpa);
	}
	return all;
}

bool pf_exits_answer(struct pf_pager *pager, const struct pf_run *run)
{
	return !pager->guest->has_faults || answer_filled(pager, run);
}

/*
 * What was parked while it was FILLING, or before, is over too; what was sent stays owed until the source
 * has answered.
 */
void pf_exits_answer_pushed(struct pf_pager *pager, const struct pf_run *run)
{
	uint64_t since;

	for (uint64_t page = run->first; page < run->first + run->count; page++)
		if (!pf_requests_owed(&pager->requests, run->region, page) &&
		    !pf_requests_is_unmapped(&pager->requests, run->region, page) &&
		    pf_journal_state(&pager->guest->journal, run->region, page) == PF_PAGE_FILLED &&
		    pf_requests_close(&pager->requests, run->region, page, &since))
			pf_hist_record(&pager->latency_ns, pf_now_ns() - since);
	/* Last: who cannot be let in is parked, and must stay so. */
	(void)pf_exits_answer(pager, run);
}

void pf_exits_ask(struct pf_pager *pager, const struct pf_run *run)
{
	struct pf_guest *guest = pager->guest;
	uint64_t gpa;

	if (!guest->has_faults)
		return;
	for (uint32_t vcpu = 0; pf_slots_next(&guest->slots, &vcpu, &gpa); vcpu++) {
		struct pf_run page;

		if (traps(guest, gpa, &page) && is_in(&page, run))
			count(pager, vcpu, gpa);
	}
}

void pf_exits_answer_all(struct pf_guest *guest)
{
	uint64_t gpa;

	if (!guest->has_faults)
		return;
	/* Who finds no room is answered by COMPLETE. */
	for (uint32_t vcpu = 0; pf_slots_next(&guest->slots, &vcpu, &gpa); vcpu++)
		if (send_answer(guest, vcpu, gpa))
			(void)pf_slots_clear(&guest->slots, vcpu, gpa);
}

void pf_exits_repeat(struct pf_pager *pager)
{
	pager->exits.repeat = true;
}

bool pf_exits_left(const struct pf_pager *pager)
{
	return pager->exits.repeat && pager->guest && pager->guest->has_faults;
}

static void repeat_all(struct pf_pager *pager)
{
	uint64_t gpa;

	pager->exits.repeat = false;
	for (uint32_t vcpu = 0; pf_slots_next(&pager->guest->slots, &vcpu, &gpa); vcpu++) {
		if (pf_requests_full(&pager->requests)) {
			pager->exits.repeat = true;
			return;
		}
		handle(pager, vcpu, gpa);
	}
}

void pf_exits_serve(struct pf_pager *pager)
{
	if (!pager->guest || !pager->guest->has_faults)
		return;
	if (pager->exits.repeat)
		repeat_all(pager);
	if (!pager->here.exits)
		return;
	if (pager->exits.unanswered) {
		pager->exits.unanswered = false;
		(void)answer_filled(pager, NULL);
	}
	/* Not for ever: a vCPU that faults where nothing is would come again at once. */
	for (unsigned i = 0; i < PF_FRAMES_AT_ONCE && !pager->exits.over; i++)
		if (pf_requests_full(&pager->requests) || !take_one(pager))
			break;
}

bool pf_exits_poll(const struct pf_pager *pager, struct pollfd *out)
{
	short events = pager->exits.unanswered ? POLLOUT : 0;

	if (!pager->guest || !pager->guest->has_faults || pager->exits.over)
		return false;
	if (!pf_requests_full(&pager->requests))
		events |= POLLIN;
	*out = (struct pollfd){.fd = pager->guest->fault_fd, .events = events};
	return events != 0;
}
