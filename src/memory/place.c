/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/place.c - see memory/place.h. */
#include "memory/place.h"

#include <errno.h>
#include <inttypes.h>

#include "base/fault.h"

static void count_up(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* Takes the lowest stretch of neighbouring bits out of mask; false: there is none. */
static bool next_stretch(uint32_t *mask, uint32_t *out_at, uint32_t *out_count)
{
	if (*mask == 0)
		return false;
	*out_at = (uint32_t)__builtin_ctz(*mask);
	*out_count = (uint32_t)__builtin_ctz(~(*mask >> *out_at));
	*mask &= ~(((UINT32_C(1) << *out_count) - 1) << *out_at);
	return true;
}

bool pf_place_wants_room(int sys)
{
	return sys == ENOMEM || sys == ENOSPC || sys == EDQUOT;
}

static enum pf_place_result no_room(int sys, struct pf_err *err)
{
	errno = sys;
	pf_err_sys(err, "there is no room for a page");
	return PF_PLACE_NOMEM;
}

static enum pf_place_result refuse_run(const struct pf_run *run, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "a run of %" PRIu32 " pages from page %" PRIu64 " of region %" PRIu32
		   " is not in the region table",
		   run->count, run->first, run->region);
	return PF_PLACE_FAILED;
}

static enum pf_place_result fill_hole(struct pf_guest *guest, uint32_t region, uint64_t page,
				      struct pf_err *err)
{
	if (guest->region[region].placer->fill_hole(guest, region, page) == 0) {
		count_up(&guest->count.holes, 1);
		pf_fault(PF_FAULT_HOLE_FILLED);
		return PF_PLACE_OK;
	}
	if (pf_place_wants_room(errno))
		return no_room(errno, err);
	pf_err_sys(err,
		   "allocating the punched page %" PRIu64 " of region %" PRIu32
		   ", FILLED and not mapped",
		   page, region);
	return PF_PLACE_FAILED;
}

/* as: what the pages are, for the error's text. */
static enum pf_place_result wake(const struct pf_guest *guest, const struct pf_run *run,
				 uint32_t mapping, const char *as, struct pf_err *err)
{
	uint64_t page_size = guest->table.region[run->region].page_size;
	uint64_t base = guest->region[run->region].mapping[mapping].base;
	int uffd = guest->uffd[guest->region[run->region].mapping[mapping].uffd].fd;

	if (pf_uffd_wake(uffd, base + run->first * page_size, run->count * page_size) ==
	    PF_MAP_DONE) {
		pf_fault(PF_FAULT_WOKEN);
		return PF_PLACE_OK;
	}
	pf_err_sys(err,
		   "waking the waiters of %" PRIu32 " pages from page %" PRIu64
		   " of region %" PRIu32 ", %s",
		   run->count, run->first, run->region, as);
	return PF_PLACE_FAILED;
}

/* Mapped already, but somebody may have trapped before it was: he faults again, and finds it. */
static enum pf_place_result wake_mapped(struct pf_guest *guest, const struct pf_run *page,
					uint32_t mapping, struct pf_err *err)
{
	count_up(&guest->count.woken, 1);
	return wake(guest, page, mapping, "FILLED and mapped", err);
}

/* The VMM has taken the page out of this mapping: whoever trapped there before finds that out. */
static enum pf_place_result wake_unmapped(struct pf_guest *guest, const struct pf_run *page,
					  uint32_t mapping, struct pf_err *err)
{
	count_up(&guest->count.unmapped, 1);
	return wake(guest, page, mapping, "FILLED and unmapped by the VMM", err);
}

/* What to do about the page where mapping stopped. */
static enum pf_place_result map_stopped(struct pf_guest *guest, enum pf_map_result why,
					const struct pf_run *left, uint32_t mapping,
					struct pf_err *err)
{
	const struct pf_run at = {.region = left->region, .first = left->first, .count = 1};

	switch (why) {
	case PF_MAP_EXISTS:
		return wake_mapped(guest, &at, mapping, err);
	case PF_MAP_UNMAPPED:
		return wake_unmapped(guest, &at, mapping, err);
	case PF_MAP_ABSENT:
		return fill_hole(guest, at.region, at.first, err);
	case PF_MAP_AGAIN:
		return PF_PLACE_AGAIN;
	case PF_MAP_GONE:
		return PF_PLACE_GONE;
	default:
		if (errno == ENOMEM) /* for page tables */
			return no_room(errno, err);
		pf_err_sys(err,
			   "mapping page %" PRIu64 " of region %" PRIu32 ", FILLED and not mapped",
			   at.first, at.region);
		return PF_PLACE_FAILED;
	}
}

/*
 * Absent where it is mapped, also right after the file has been given it: the mapping shows another file,
 * or another part of it.  (Or somebody punches it again and again: a little later will do.)  Whoever does
 * that must not hold this thread for ever.
 */
static enum pf_place_result shown_elsewhere(const struct pf_run *left, struct pf_err *err)
{
	errno = EFAULT;
	pf_err_sys(err,
		   "mapping page %" PRIu64 " of region %" PRIu32
		   ", which its memory file has and its mapping does not show",
		   left->first, left->region);
	return PF_PLACE_FAILED;
}

static void skip(struct pf_run *run, uint32_t pages)
{
	run->first += pages;
	run->count -= pages;
}

static enum pf_place_result worse(enum pf_place_result a, enum pf_place_result b)
{
	return a > b ? a : b;
}

/*
 * A page that fails is passed over, since somebody may be waiting for the next one; AGAIN, NOMEM
 * and GONE would be the answer for all the others too.  What is not all in one VMA is asked for in
 * halves until it is, or until it is one page, which is then not mapped at all; what follows such a
 * page is most likely of its kind.  unasked: bit i if page i of them was written just now, by us, and nobody had
 * asked for it.
 */
static enum pf_place_result map_in(struct pf_guest *guest, struct pf_run left, uint32_t mapping,
				   uint32_t unasked, struct pf_err *err)
{
	const struct pf_placer *placer = guest->region[left.region].placer;
	enum pf_place_result worst = PF_PLACE_OK;
	uint64_t refilled = UINT64_MAX, first = left.first;
	uint32_t ask = left.count;

	while (left.count > 0) {
		enum pf_place_result result = PF_PLACE_OK;
		uint32_t mapped;
		enum pf_map_result why =
			placer->map(guest, left.region, mapping, left.first, ask, &mapped);

		/* Memory that is visible at once is mapped again only where it had been discarded. */
		count_up(placer->visible_at_once ? &guest->count.holes : &guest->count.mapped,
			 mapped);
		pf_fault(PF_FAULT_MAPPED);
		skip(&left, mapped);
		ask -= mapped;
		if (why == PF_MAP_UNMAPPED && ask > 1) {
			ask /= 2;
			continue;
		}
		if (why == PF_MAP_ABSENT && refilled == left.first)
			result = shown_elsewhere(&left, err);
		else if (why != PF_MAP_DONE)
			result = map_stopped(guest, why, &left, mapping, err);
		if (why == PF_MAP_EXISTS && placer->shows_unasked &&
		    unasked >> (left.first - first) & 1)
			count_up(&guest->count.unasked, 1);
		worst = worse(worst, result);
		if (result != PF_PLACE_OK && result != PF_PLACE_FAILED)
			break;
		if (why == PF_MAP_ABSENT && result == PF_PLACE_OK)
			refilled = left.first;
		else if (why != PF_MAP_DONE)
			skip(&left, 1);
		ask = why == PF_MAP_UNMAPPED ? 1 : left.count;
	}
	return worst;
}

enum pf_place_result pf_let_in(struct pf_guest *guest, const struct pf_run *run, struct pf_err *err)
{
	const struct pf_placer *placer = guest->region[run->region].placer;

	if (!placer->set_traps)
		return PF_PLACE_OK;
	if (placer->set_traps(guest, run->region, run->first, run->count, false) == 0) {
		pf_fault(PF_FAULT_LET_IN);
		return PF_PLACE_OK;
	}
	pf_err_sys(err,
		   "clearing the bits of %" PRIu32 " pages from page %" PRIu64 " of region %" PRIu32
		   " in its userfault bitmap",
		   run->count, run->first, run->region);
	return PF_PLACE_FAILED;
}

/* Maps the pages of mask in every mapping; trouble in one does not keep the others waiting. */
static enum pf_place_result map_mask(struct pf_guest *guest, const struct pf_run *run,
				     uint32_t mask, uint32_t unasked, struct pf_err *err)
{
	enum pf_place_result worst = PF_PLACE_OK;
	uint32_t at, count;

	while (next_stretch(&mask, &at, &count)) {
		struct pf_run stretch = {
			.region = run->region, .first = run->first + at, .count = count};

		worst = worse(worst, pf_let_in(guest, &stretch, err));
		for (uint32_t m = 0; m < guest->region[run->region].mappings; m++)
			worst = worse(worst, map_in(guest, stretch, m, unasked >> at, err));
	}
	return worst;
}

/*
 * A page that was claimed is there, and the kernel does not overwrite it.  It is whole, since it was
 * filled under its lock: by us, before a crash or before a write that failed further on, or by somebody
 * who has run on with it.
 */
static void found_there(struct pf_guest *guest, uint32_t region, uint64_t page)
{
	if (!pf_journal_tried(&guest->journal, region, page))
		pf_guest_note_unexpected(guest, region, page);
}

/* Writes the pages of mask; all of them or -1 with errno. */
static int populate_mask(struct pf_guest *guest, const struct pf_run *run, uint32_t mask,
			 const uint8_t *bytes)
{
	const struct pf_placer *placer = guest->region[run->region].placer;
	size_t page_size = guest->table.region[run->region].page_size;
	uint32_t at, count;

	while (next_stretch(&mask, &at, &count)) {
		while (count > 0) {
			const uint8_t *from = bytes ? bytes + at * page_size : NULL;
			int done =
				placer->populate(guest, run->region, run->first + at, count, from);

			if (done < 0 && errno == EEXIST) {
				found_there(guest, run->region, run->first + at);
				done = 1;
			}
			if (done < 0)
				return -1;
			at += (uint32_t)done;
			count -= (uint32_t)done;
		}
	}
	return 0;
}

/*
 * Nothing of mine is placed, also not what was written: nobody can have seen it, and the caller,
 * who comes again with the same bytes, need not know how far it went.  Whoever trapped meanwhile
 * met FILLING, so that nobody asks for his page: woken, he traps again and meets ABSENT.
 */
static enum pf_place_result give_back(struct pf_guest *guest, const struct pf_run *run,
				      uint32_t mine, bool tried, struct pf_err *err)
{
	uint32_t waited = pf_journal_unclaim(&guest->journal, run->region, run->first, mine, tried);
	enum pf_place_result worst = PF_PLACE_OK;
	uint32_t at, count;

	while (next_stretch(&waited, &at, &count)) {
		struct pf_run stretch = {
			.region = run->region, .first = run->first + at, .count = count};

		for (uint32_t m = 0; m < guest->region[run->region].mappings; m++)
			worst = worse(worst, wake(guest, &stretch, m, "unclaimed again", err));
	}
	return worst;
}

static enum pf_place_result not_written(struct pf_guest *guest, const struct pf_run *run,
					uint32_t mine, int sys, struct pf_err *err)
{
	if (give_back(guest, run, mine, true, err) != PF_PLACE_OK)
		return PF_PLACE_FAILED;
	if (pf_place_wants_room(sys))
		return no_room(sys, err);
	errno = sys;
	pf_err_sys(err,
		   "writing %" PRIu32 " pages from page %" PRIu64 " of region %" PRIu32
		   " into the memory file, unclaimed again",
		   run->count, run->first, run->region);
	return PF_PLACE_FAILED;
}

static void count_duplicates(struct pf_guest *guest, const struct pf_run *run, uint32_t count)
{
	uint32_t resent;

	if (count == 0)
		return;
	count_up(&guest->count.duplicates, count);
	resent = pf_snapshot_count(&guest->snapshot, run);
	count_up(&guest->count.resent, resent < count ? resent : count);
}

static enum pf_place_result place_file(struct pf_guest *guest, const struct pf_run *run,
				       const uint8_t *bytes, uint32_t *out_placed,
				       struct pf_err *err)
{
	uint32_t mine = pf_journal_claim(&guest->journal, run->region, run->first, run->count);
	uint32_t placed = (uint32_t)__builtin_popcount(mine);
	enum pf_place_result result;
	uint32_t asked;

	pf_fault(PF_FAULT_CLAIMED);
	if (populate_mask(guest, run, mine, bytes))
		return not_written(guest, run, mine, errno, err);
	pf_fault(PF_FAULT_WRITTEN);
	/* Who was REQUESTED matters to stage-2 waiters, the kernel wakes those of a uffd; and to what is counted:
	 * whoever asked may have been mapped his page by the thread that hears him. */
	asked = pf_journal_fill(&guest->journal, run->region, run->first, mine);
	pf_fault(PF_FAULT_FILLED);
	count_duplicates(guest, run, run->count - placed);
	*out_placed = placed;
	result = map_mask(guest, run, mine, mine & ~asked, err);
	if (asked && guest->region[run->region].has_bitmap)
		result = worse(result, PF_PLACE_ASKED);
	/* These would make the caller come again with the bytes; what is left to do is to map, and
	 * whoever does that hears why it fails. */
	return result == PF_PLACE_NOMEM || result == PF_PLACE_FAILED ? PF_PLACE_AGAIN : result;
}

/*
 * What to do about the page at which populating memory that is visible at once has stopped.  OK: it
 * is FILLED without our bytes, and what follows it can be placed.
 */
static enum pf_place_result visible_stopped(struct pf_guest *guest, const struct pf_run *page,
					    struct pf_err *err)
{
	int sys = errno;

	switch (sys) {
	case EEXIST: /* never overwritten: whoever put it there may have run on with it */
		found_there(guest, page->region, page->first);
		pf_journal_fill(&guest->journal, page->region, page->first, 1);
		return wake_mapped(guest, page, 0, err);
	case ENOENT:
		pf_journal_fill(&guest->journal, page->region, page->first, 1);
		return wake_unmapped(guest, page, 0, err);
	case EAGAIN:
		return PF_PLACE_BUSY;
	case ESRCH:
		return PF_PLACE_GONE;
	}
	if (pf_place_wants_room(sys))
		return no_room(sys, err);
	pf_err_sys(err, "copying page %" PRIu64 " of region %" PRIu32 ", unclaimed again",
		   page->first, page->region);
	return PF_PLACE_FAILED;
}

/* One stretch of claimed pages, FILLED as far as it goes; *stretch becomes what is left of it. */
static enum pf_place_result place_stretch(struct pf_guest *guest, struct pf_run *stretch,
					  const uint8_t *bytes, uint32_t *placed,
					  struct pf_err *err)
{
	const struct pf_placer *placer = guest->region[stretch->region].placer;
	size_t page_size = guest->table.region[stretch->region].page_size;

	while (stretch->count > 0) {
		int done = placer->populate(guest, stretch->region, stretch->first, stretch->count,
					    bytes);

		if (done < 0) {
			const struct pf_run page = {
				.region = stretch->region, .first = stretch->first, .count = 1};
			enum pf_place_result result = visible_stopped(guest, &page, err);

			if (result != PF_PLACE_OK)
				return result;
			done = 1;
		} else {
			pf_fault(PF_FAULT_WRITTEN);
			pf_journal_fill(&guest->journal, stretch->region, stretch->first,
					(UINT32_C(1) << done) - 1);
			pf_fault(PF_FAULT_FILLED);
			count_up(&guest->count.mapped, (uint64_t)done);
			*placed += (uint32_t)done;
		}
		skip(stretch, (uint32_t)done);
		bytes = bytes ? bytes + (size_t)done * page_size : NULL;
	}
	return PF_PLACE_OK;
}

/* What is seen is never unclaimed: only the pages from the one that failed on are given back. */
static enum pf_place_result place_visible(struct pf_guest *guest, const struct pf_run *run,
					  const uint8_t *bytes, uint32_t *out_placed,
					  struct pf_err *err)
{
	size_t page_size = guest->table.region[run->region].page_size;
	enum pf_place_result result = PF_PLACE_OK;
	uint32_t mine, left, at, count;

	pf_guest_hold_discards(guest);
	mine = left = pf_journal_claim(&guest->journal, run->region, run->first, run->count);
	pf_fault(PF_FAULT_CLAIMED);
	while (result == PF_PLACE_OK && next_stretch(&left, &at, &count)) {
		struct pf_run stretch = {
			.region = run->region, .first = run->first + at, .count = count};

		result = place_stretch(guest, &stretch, bytes ? bytes + at * page_size : NULL,
				       out_placed, err);
		if (result != PF_PLACE_OK)
			left |= mine & ~UINT32_C(0) << (stretch.first - run->first);
	}
	/* COPY and ZEROPAGE do a page or leave it. */
	if (left && give_back(guest, run, left, false, err) != PF_PLACE_OK)
		result = PF_PLACE_FAILED;
	pf_guest_let_discards(guest);
	if (result == PF_PLACE_OK)
		count_duplicates(guest, run, run->count - (uint32_t)__builtin_popcount(mine));
	return result;
}

enum pf_place_result pf_place_run(struct pf_guest *guest, const struct pf_run *run,
				  const uint8_t *bytes, uint32_t *out_placed, struct pf_err *err)
{
	*out_placed = 0;
	if (!pf_run_valid(&guest->table, run))
		return refuse_run(run, err);
	if (guest->region[run->region].placer->visible_at_once)
		return place_visible(guest, run, bytes, out_placed, err);
	return place_file(guest, run, bytes, out_placed, err);
}

/* There is nothing to make up for what the file lacks. */
static enum pf_place_result poison_in(struct pf_guest *guest, const struct pf_run *page,
				      uint32_t mapping, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[page->region];
	uint64_t page_size = at->shape.page_size;
	enum pf_map_result why =
		pf_uffd_poison(guest->uffd[at->mapping[mapping].uffd].fd,
			       at->mapping[mapping].base + page->first * page_size, page_size);

	if (why == PF_MAP_DONE) {
		pf_fault(PF_FAULT_POISONED);
		return PF_PLACE_OK;
	}
	return map_stopped(guest, why == PF_MAP_ABSENT ? PF_MAP_FAILED : why, page, mapping, err);
}

static enum pf_place_result poison(struct pf_guest *guest, const struct pf_run *page,
				   struct pf_err *err)
{
	enum pf_place_result worst = PF_PLACE_OK;

	for (uint32_t m = 0; m < guest->region[page->region].mappings; m++)
		worst = worse(worst, poison_in(guest, page, m, err));
	return worst;
}

/* Whoever trapped since, because the VMM took the poison away again, met FILLING and waits. */
static enum pf_place_result lost_now(struct pf_guest *guest, const struct pf_run *page,
				     struct pf_err *err)
{
	enum pf_place_result worst = PF_PLACE_OK;
	bool waited = pf_journal_lose(&guest->journal, page->region, page->first);

	pf_fault(PF_FAULT_LOST);
	if (!waited)
		return PF_PLACE_OK;
	for (uint32_t m = 0; m < guest->region[page->region].mappings; m++)
		worst = worse(worst, wake(guest, page, m, "lost", err));
	return worst;
}

enum pf_place_result pf_lose_page(struct pf_guest *guest, uint32_t region, uint64_t page,
				  bool *out_lost, struct pf_err *err)
{
	const struct pf_run one = {.region = region, .first = page, .count = 1};
	enum pf_place_result result = PF_PLACE_OK;

	*out_lost = false;
	if (!pf_run_valid(&guest->table, &one))
		return refuse_run(&one, err);
	pf_guest_hold_discards(guest);
	if (pf_journal_claim(&guest->journal, region, page, 1)) {
		pf_fault(PF_FAULT_CLAIMED);
		result = poison(guest, &one, err);
		*out_lost = result == PF_PLACE_OK;
		if (*out_lost)
			result = lost_now(guest, &one, err);
		else if (give_back(guest, &one, 1, true, err) != PF_PLACE_OK)
			result = PF_PLACE_FAILED;
	}
	pf_guest_let_discards(guest);
	return result == PF_PLACE_AGAIN ? PF_PLACE_BUSY : result;
}

/* Bit i: page first + i is FILLED and has its bytes; those that are LOST are poisoned again here. */
static uint32_t filled_mask(struct pf_guest *guest, const struct pf_run *run,
			    enum pf_place_result *worst, struct pf_err *err)
{
	uint32_t filled = 0;

	for (uint32_t i = 0; i < run->count; i++) {
		struct pf_run one = {.region = run->region, .first = run->first + i, .count = 1};

		if (pf_journal_state(&guest->journal, one.region, one.first) != PF_PAGE_FILLED)
			continue;
		if (pf_journal_lost(&guest->journal, one.region, one.first))
			*worst = worse(*worst, poison(guest, &one, err));
		else
			filled |= UINT32_C(1) << i;
	}
	return filled;
}

enum pf_place_result pf_map_run(struct pf_guest *guest, const struct pf_run *run,
				struct pf_err *err)
{
	enum pf_place_result worst = PF_PLACE_OK;
	struct pf_run part = *run;

	for (uint32_t done = 0; done < run->count || done == 0; done += part.count) {
		uint32_t left = run->count - done, filled;

		part.first = run->first + done;
		part.count = left < PF_RUN_PAGES_MAX ? left : PF_RUN_PAGES_MAX;
		if (!pf_run_valid(&guest->table, &part))
			return refuse_run(run, err);
		filled = filled_mask(guest, &part, &worst, err);
		worst = worse(worst, map_mask(guest, &part, filled, 0, err));
	}
	return worst;
}
