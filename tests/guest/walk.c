/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/walk.c - one visit of one page; see walk.h.
 *
 * Runs in the guest on its vCPU and natively in a vCPU's thread.  Needs no library at all, and no
 * 64 bit division: the guest links nothing else.
 */
#include "walk.h"

#include "layout.h"

static int check(const uint32_t *words, uint32_t page, uint32_t word, uint32_t expected,
		 struct pf_walk_wrong *wrong)
{
	uint32_t found = words[word];

	if (found == expected)
		return 0;
	wrong->address = page * PF_GUEST_PAGE + word * 4;
	wrong->expected = expected;
	wrong->found = found;
	return -1;
}

/* Words that are never rewritten, other ones each time; before the first rewriting, more of them.
 */
static int check_initial(const struct pf_walk *walk, const uint32_t *words, uint32_t page,
			 struct pf_walk_wrong *wrong)
{
	bool zero = pf_walk_starts_zero(walk->seed, page);
	uint32_t key = pf_walk_initial_key(walk->seed, page);
	uint32_t from = key + walk->generation * 5;

	for (uint32_t i = 0; i < PF_WALK_STAYING; i++) {
		uint32_t word = 2 * ((from + i * 131) % (PF_WALK_WORDS / 2)) + 1;

		if (check(words, page, word, zero ? 0 : pf_walk_initial(key, word), wrong))
			return -1;
	}
	if (walk->generation != 0)
		return 0;
	for (uint32_t i = 0; i < PF_WALK_REWRITES; i++) {
		uint32_t word = pf_walk_rewritten_word(page, 0, i);

		if (check(words, page, word, zero ? 0 : pf_walk_initial(key, word), wrong))
			return -1;
	}
	return 0;
}

static int check_rewritten(const struct pf_walk *walk, const uint32_t *words, uint32_t page,
			   struct pf_walk_wrong *wrong)
{
	uint32_t key = pf_walk_rewritten_key(walk->seed, page, walk->generation);

	for (uint32_t i = 0; i < PF_WALK_REWRITES; i++) {
		uint32_t word = pf_walk_rewritten_word(page, walk->generation, i);

		if (check(words, page, word, pf_walk_rewritten(key, i), wrong))
			return -1;
	}
	return 0;
}

static void rewrite(const struct pf_walk *walk, uint32_t *words, uint32_t page)
{
	uint32_t generation = pf_walk_next(walk->generation);
	uint32_t key = pf_walk_rewritten_key(walk->seed, page, generation);

	for (uint32_t i = 0; i < PF_WALK_REWRITES; i++)
		words[pf_walk_rewritten_word(page, generation, i)] = pf_walk_rewritten(key, i);
}

static void step(struct pf_walk *walk)
{
	uint32_t left = walk->count - walk->slot;

	walk->slot = walk->stride < left ? walk->slot + walk->stride : walk->stride - left;
	if (walk->slot == 0)
		walk->generation = pf_walk_next(walk->generation);
	walk->visits++;
}

int pf_walk_visit(struct pf_walk *walk, uintptr_t memory, struct pf_walk_wrong *wrong)
{
	uint32_t page = pf_walk_page(walk);
	uint32_t *words = (uint32_t *)(memory + (uintptr_t)page * PF_GUEST_PAGE);

	if (check_initial(walk, words, page, wrong))
		return -1;
	if (walk->generation != 0 && check_rewritten(walk, words, page, wrong))
		return -1;
	rewrite(walk, words, page);
	step(walk);
	return 0;
}
