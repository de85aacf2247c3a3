/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/push.c - see core/push.h. */
#include "core/push.h"

#include <stdlib.h>

#define NO_HINT UINT64_MAX
#define HINT_PAGE_BITS 48

static uint64_t pages_of(const struct pf_push *push, uint32_t region)
{
	return pf_region_pages(&push->table->region[region]);
}

static uint64_t words_of(const struct pf_push *push, uint32_t region)
{
	return pages_of(push, region) / 64 + 1;
}

void pf_push_reset(struct pf_push *push)
{
	push->hint = push->pivot = NO_HINT;
	push->up = push->down = 0;
	push->turn_down = false;
	push->sweep_region = 0;
	push->sweep_page = 0;
	for (uint32_t i = 0; i < push->table->count; i++)
		for (uint64_t w = 0; w < words_of(push, i); w++) {
			atomic_store_explicit(&push->sent[i][w], 0, memory_order_relaxed);
			/* Untouched, as long as no session was taken up: no memory is spent on it. */
			if (atomic_load_explicit(&push->received[i][w], memory_order_relaxed))
				atomic_store_explicit(&push->received[i][w], 0, memory_order_relaxed);
		}
}

int pf_push_init(struct pf_push *push, const struct pf_region_table *table, struct pf_err *err)
{
	push->table = table;
	pthread_mutex_init(&push->lock, NULL);
	for (uint32_t i = 0; i < table->count; i++) {
		push->sent[i] = calloc(words_of(push, i), sizeof(uint64_t));
		push->received[i] = calloc(words_of(push, i), sizeof(uint64_t));
		if (push->sent[i] && push->received[i])
			continue;
		pf_push_done(push);
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for the bitmap of region %u",
				  i);
	}
	pf_push_reset(push);
	return 0;
}

void pf_push_done(struct pf_push *push)
{
	if (!push->table)
		return;
	for (uint32_t i = 0; i < push->table->count; i++) {
		free(push->sent[i]);
		free(push->received[i]);
		push->sent[i] = push->received[i] = NULL;
	}
	pthread_mutex_destroy(&push->lock);
	push->table = NULL;
}

/* The bits of one word for pages [first, first + count), and how many pages that is. */
static uint64_t word_mask(uint64_t first, uint64_t count, uint64_t *out_pages)
{
	uint64_t shift = first % 64, here = 64 - shift < count ? 64 - shift : count;

	*out_pages = here;
	return (here == 64 ? ~UINT64_C(0) : (UINT64_C(1) << here) - 1) << shift;
}

void pf_push_received(struct pf_push *push, uint32_t region, uint64_t first, uint64_t count)
{
	for (uint64_t here; count > 0; first += here, count -= here) {
		uint64_t mask = word_mask(first, count, &here);

		atomic_fetch_or_explicit(&push->received[region][first / 64], mask,
					 memory_order_relaxed);
		atomic_fetch_or_explicit(&push->sent[region][first / 64], mask,
					 memory_order_relaxed);
	}
}

uint32_t pf_push_resent(const struct pf_push *push, const struct pf_run *run)
{
	uint64_t first = run->first, left = run->count;
	uint32_t resent = 0;

	for (uint64_t here; left > 0; first += here, left -= here) {
		uint64_t mask = word_mask(first, left, &here);

		resent += (uint32_t)__builtin_popcountll(
			mask & atomic_load_explicit(&push->received[run->region][first / 64],
						    memory_order_relaxed));
	}
	return resent;
}

void pf_push_requested(struct pf_push *push, uint32_t region, uint64_t page)
{
	atomic_fetch_or_explicit(&push->sent[region][page / 64], UINT64_C(1) << page % 64,
				 memory_order_relaxed);
	atomic_store_explicit(&push->hint, (uint64_t)region << HINT_PAGE_BITS | page,
			      memory_order_relaxed);
}

static uint64_t word_at(const struct pf_push *push, uint32_t region, uint64_t page)
{
	return atomic_load_explicit(&push->sent[region][page / 64], memory_order_relaxed);
}

/* The first unsent page in [from, pages), or pages. */
static uint64_t next_unsent(const struct pf_push *push, uint32_t region, uint64_t from)
{
	uint64_t pages = pages_of(push, region);

	while (from < pages) {
		uint64_t open = ~word_at(push, region, from) >> from % 64;

		if (open) {
			from += (unsigned)__builtin_ctzll(open);
			return from < pages ? from : pages;
		}
		from += 64 - from % 64;
	}
	return pages;
}

/* One behind the last unsent page in [0, end), or 0. */
static uint64_t last_unsent_end(const struct pf_push *push, uint32_t region, uint64_t end)
{
	while (end > 0) {
		unsigned bits = (unsigned)((end - 1) % 64) + 1;
		uint64_t open = ~word_at(push, region, end - 1) << (64 - bits);

		if (open)
			return end - (unsigned)__builtin_clzll(open);
		end -= bits;
	}
	return 0;
}

/* Takes unsent pages from `first` upwards, as far as its word goes; a whole word at once, since a hole of
 * a terabyte is extended over in one go. */
static uint32_t take_in_word(struct pf_push *push, uint32_t region, uint64_t first, uint64_t most)
{
	_Atomic uint64_t *word = &push->sent[region][first / 64];
	uint64_t sent = atomic_load_explicit(word, memory_order_relaxed), take;
	unsigned at = first % 64, count;

	do {
		uint64_t here = sent >> at;

		count = here ? (unsigned)__builtin_ctzll(here) : 64 - at;
		count = count < most ? count : (unsigned)most;
		if (count == 0)
			return 0;
		take = UINT64_MAX >> (64 - count) << at;
	} while (!atomic_compare_exchange_weak_explicit(word, &sent, sent | take,
							memory_order_relaxed, memory_order_relaxed));
	return count;
}

/* Takes pages from `first` upwards while they are unsent; the first one may be gone meanwhile. */
static bool take_run(struct pf_push *push, uint32_t region, uint64_t first, uint32_t most,
		     struct pf_run *out)
{
	uint64_t pages = pages_of(push, region);
	uint64_t left = first < pages ? pages - first : 0;
	uint32_t count = 0, took;

	left = left < most ? left : most;
	do {
		took = left ? take_in_word(push, region, first + count, left) : 0;
		count += took;
		left -= took;
	} while (took > 0 && (first + count) % 64 == 0);
	*out = (struct pf_run){.region = region, .first = first, .count = count};
	return count > 0;
}

static bool take_above(struct pf_push *push, uint32_t region, uint32_t most, struct pf_run *out)
{
	uint64_t pages = pages_of(push, region);

	while ((push->up = next_unsent(push, region, push->up)) < pages) {
		bool took = take_run(push, region, push->up, most, out);

		push->up += took ? out->count : 1;
		if (took)
			return true;
	}
	return false;
}

static bool take_below(struct pf_push *push, uint32_t region, uint32_t most, struct pf_run *out)
{
	while ((push->down = last_unsent_end(push, region, push->down)) > 0) {
		uint64_t first = push->down - 1;

		while (first > 0 && push->down - first < most &&
		       !(word_at(push, region, first - 1) >> (first - 1) % 64 & 1))
			first--;
		/* A request may take a page in the middle meanwhile: what is left of the stretch
		 * above it is found again by the next look from `down`. */
		if (take_run(push, region, first, (uint32_t)(push->down - first), out))
			return true;
	}
	return false;
}

static bool take_around_fault(struct pf_push *push, uint32_t max_bytes, struct pf_run *out)
{
	uint64_t hint = atomic_load_explicit(&push->hint, memory_order_relaxed);
	uint32_t region, most;

	if (hint == NO_HINT)
		return false;
	region = (uint32_t)(hint >> HINT_PAGE_BITS);
	if (hint != push->pivot) {
		push->pivot = hint;
		push->up = push->down = hint & ((UINT64_C(1) << HINT_PAGE_BITS) - 1);
	}
	most = max_bytes / push->table->region[region].page_size;
	most = most ? most : 1;
	push->turn_down = !push->turn_down;
	if (push->turn_down)
		return take_above(push, region, most, out) || take_below(push, region, most, out);
	return take_below(push, region, most, out) || take_above(push, region, most, out);
}

static bool take_sweep(struct pf_push *push, uint32_t max_bytes, struct pf_run *out)
{
	for (; push->sweep_region < push->table->count; push->sweep_region++) {
		uint32_t region = push->sweep_region;
		uint32_t most = max_bytes / push->table->region[region].page_size;
		uint64_t pages = pages_of(push, region);

		while ((push->sweep_page = next_unsent(push, region, push->sweep_page)) < pages)
			if (take_run(push, region, push->sweep_page, most ? most : 1, out))
				return true;
		push->sweep_page = 0;
	}
	return false;
}

bool pf_push_next(struct pf_push *push, uint32_t max_bytes, struct pf_run *out)
{
	bool found;

	pthread_mutex_lock(&push->lock);
	found = take_around_fault(push, max_bytes, out) || take_sweep(push, max_bytes, out);
	pthread_mutex_unlock(&push->lock);
	return found;
}

bool pf_push_extend(struct pf_push *push, struct pf_run *run, uint64_t most)
{
	uint64_t room = UINT32_MAX - run->count;
	struct pf_run more;

	most = most < room ? most : room;
	if (!take_run(push, run->region, run->first + run->count, (uint32_t)most, &more))
		return false;
	run->count += more.count;
	return true;
}
