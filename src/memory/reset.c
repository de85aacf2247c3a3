/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/reset.c - pf_guest_reset() of memory/guest.h: every page that has come is forgotten.
 *
 * The urgent thread's, before the guest runs.  A process that dies anywhere in it leaves what the next one
 * resets again from the beginning: the journal is cleared last.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "memory/guest.h"
#include "memory/row.h"

/*
 * Poison outlives the hole that is punched under it, and would be found by who is to trap.  Only another
 * page takes its place (mm/userfaultfd.c: pte_none_mostly()), one of zeros here, which goes with the hole.
 * Who reads it until then is loading a device state that is dropped.
 */
static enum pf_map_result map_zeros(struct pf_guest *guest, uint32_t r, uint32_t m, uint64_t page)
{
	const struct pf_guest_region *region = &guest->region[r];
	uint64_t until = pf_now_ns() + PF_MM_CHANGES_NS;
	enum pf_map_result result;
	uint32_t mapped;

	do
		result = region->placer->map(guest, r, m, page, 1, &mapped);
	while (result == PF_MAP_AGAIN && pf_guest_let_discard(guest, region->mapping[m].uffd, until));
	return result;
}

static int lift_poison(struct pf_guest *guest, uint32_t r, uint64_t page, struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];

	if (region->placer->fill_hole(guest, r, page))
		return pf_err_sys(err, "allocating page %" PRIu64 " of region %" PRIu32
				  ", to take its poison away", page, r);
	for (uint32_t m = 0; m < region->mappings; m++) {
		enum pf_map_result result = map_zeros(guest, r, m, page);

		/* EXISTS: it was a page and not poison.  ABSENT: the owner has cut the file off under it,
		 * which takes poison too.  GONE: with its VMM, and so are all mappings. */
		if (result != PF_MAP_DONE && result != PF_MAP_EXISTS && result != PF_MAP_ABSENT &&
		    result != PF_MAP_UNMAPPED && result != PF_MAP_GONE)
			return pf_err_sys(err, "taking the poison from page %" PRIu64
					  " of region %" PRIu32, page, r);
	}
	return 0;
}

/*
 * Of what is LOST, and of what a process before was about to lose when it died.  Of private memory nothing can be
 * taken back: its row refuses to drop pages.  Dropped first, since it may be for want of room that a page was TRIED.
 */
static int lift_all_poison(struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];
	uint64_t pages = pf_region_pages(&region->shape);
	uint64_t page = pf_journal_next_marked(&guest->journal, r, 0);

	if (!region->poisons || region->placer->visible_at_once || page == pages)
		return 0;
	if (region->placer->drop(guest, r, err))
		return -1;
	for (; page < pages; page = pf_journal_next_marked(&guest->journal, r, page + 1))
		if (lift_poison(guest, r, page, err))
			return -1;
	return 0;
}

static void empty_ring(struct pf_ring *ring)
{
	while (pf_ring_peek(ring))
		pf_ring_pop(ring);
}

/*
 * How something has trapped says nothing of the memory as it is now; whoever waits is woken, and traps again.  What the
 * kernel still has of it is read before that, since it can be read while its thread wakes up.
 */
static void forget_events(struct pf_guest *guest)
{
	for (uint32_t u = 0; u < guest->uffds; u++) {
		empty_ring(&guest->uffd[u].ring);
		if (pf_guest_read(guest, u) != PF_RING_EVENTS) /* a whole ring's */
			continue;
		empty_ring(&guest->uffd[u].ring);
	}
}

int pf_guest_reset(struct pf_guest *guest, struct pf_err *err)
{
	/* All of it before the journal is asked what has come: discards are heard while it is lifted. */
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (lift_all_poison(guest, r, err))
			return -1;
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (guest->region[r].placer->drop(guest, r, err))
			return -1;
	pf_journal_clear(&guest->journal);
	forget_events(guest);
	return pf_guest_wake_all(guest, err);
}
