/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_faults.c - what the urgent thread hears from the userfaultfds, and what becomes of it.
 *
 * An event goes into its ring in the state directory first, then the journal and the trap table say what
 * follows: the page is asked for, mapped, or waited for.  The urgent thread's; does not block.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "memory/stock.h"
#include "memory/trap.h"
#include "migrate/destination_exits.h"
#include "migrate/destination_pager.h"

#define MAP_TRIES 16u
#define OUTSIDE_BURST_NS (16 * PF_NS_PER_S) /* this many at once, then one a second */

bool pf_pager_drain(void *opaque)
{
	struct pf_pager *pager = opaque;
	bool room = true;

	for (uint32_t i = 0; i < pager->guest->uffds; i++)
		room &= pf_guest_read(pager->guest, i) != PF_RING_FULL;
	return room;
}

void pf_pager_wake(struct pf_pager *pager, const struct pf_run *run)
{
	const struct pf_guest_region *region = &pager->guest->region[run->region];
	uint64_t page_size = region->shape.page_size;

	for (uint32_t i = 0; i < region->mappings; i++)
		(void)pf_uffd_wake(pager->guest->uffd[region->mapping[i].uffd].fd,
				   region->mapping[i].base + run->first * page_size,
				   run->count * page_size);
}

bool pf_pager_map(struct pf_pager *pager, const struct pf_run *run)
{
	for (unsigned i = 0; i < MAP_TRIES; i++) {
		enum pf_place_result result = pf_arrival_map(&pager->arrival, run);

		if (result != PF_PLACE_AGAIN)
			return result == PF_PLACE_OK || result == PF_PLACE_GONE;
		if (!pf_pager_drain(pager))
			break;
	}
	pf_pager_wake(pager, run);
	return true;
}

/* A VMM that traps where nothing is must not fill main's box. */
void pf_pager_outside(struct pf_pager *pager, uint64_t address)
{
	uint64_t now = pf_now_ns();

	if (pager->outside_ns > now + OUTSIDE_BURST_NS)
		return;
	pager->outside_ns = (pager->outside_ns > now ? pager->outside_ns : now) + PF_NS_PER_S;
	(void)pf_mail_post(pager->inbox, 0, PF_MAIL_OUTSIDE, 0, &address, sizeof(address));
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
		pf_pager_add(&pager->count.faults, 1);
		pf_blocked_by_uffd(pager, uffd, &run, event, true);
		pf_requests_open(&pager->requests, run.region, run.first, pf_now_ns());
		break;
	case PF_TRAP_WAIT:
		pf_blocked_by_uffd(pager, uffd, &run, event, false);
		break;
	case PF_TRAP_MAP:
	case PF_TRAP_MAP_OR_HOLE:
		pf_fault(PF_FAULT_LATE_TRAP);
		/* Pushed while its answer is on the way: that is owed, and tries again to map the page. */
		if (!pf_pager_map(pager, &run) &&
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

void pf_pager_read(struct pf_pager *pager)
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

bool pf_pager_left(const struct pf_pager *pager)
{
	if (!pager->guest || pf_requests_full(&pager->requests))
		return false;
	if (pf_exits_left(pager))
		return true;
	for (uint32_t i = 0; i < pager->guest->uffds; i++)
		if (pf_ring_peek(&pager->guest->uffd[i].ring))
			return true;
	return false;
}
