/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/replay.c - see tests/guest/replay.h. */
#include "tests/guest/replay.h"

#include <string.h>

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Near the golden section, so that a few visits already touch all parts of memory. */
static uint32_t choose_stride(uint32_t seed, uint32_t vcpu, uint32_t count)
{
	uint32_t stride = (uint32_t)((uint64_t)count * 618 / 1000);

	stride += pf_walk_hash(seed, vcpu, count) % (count / 8 + 1);
	while (greatest_common_divisor(stride, count) != 1)
		stride++;
	return stride;
}

/* The number that multiplied by a gives 1, modulo m; a and m are coprime. */
static uint32_t modular_inverse(uint32_t a, uint32_t m)
{
	int64_t r0 = m, r1 = a, t0 = 0, t1 = 1;

	while (r1 != 0) {
		int64_t q = r0 / r1, r2 = r0 - q * r1, t2 = t0 - q * t1;

		r0 = r1;
		r1 = r2;
		t0 = t1;
		t1 = t2;
	}
	return (uint32_t)((t0 % m + m) % m);
}

/* The generation that a slot has after so many rounds: pf_walk_next(), rounds times, from 0. */
static uint32_t generation_after(uint64_t rounds)
{
	uint64_t period = (UINT64_C(1) << 32) - PF_WALK_BLOCKS;

	if (rounds <= UINT32_MAX)
		return (uint32_t)rounds;
	return (uint32_t)(PF_WALK_BLOCKS + (rounds - PF_WALK_BLOCKS) % period);
}

struct pf_walk pf_replay_walk(const struct pf_plan *plan, uint32_t vcpu, uint64_t visits)
{
	uint32_t low = PF_GUEST_LOW_END / PF_GUEST_PAGE;
	uint32_t pages = (uint32_t)(plan->memory / PF_GUEST_PAGE);
	struct pf_walk walk = {.seed = plan->seed, .vcpus = plan->vcpus, .visits = visits};

	walk.first = low + (vcpu + plan->vcpus - low % plan->vcpus) % plan->vcpus;
	walk.count = (pages - walk.first + plan->vcpus - 1) / plan->vcpus;
	walk.stride = choose_stride(plan->seed, vcpu, walk.count);
	walk.slot = (uint32_t)(visits % walk.count * walk.stride % walk.count);
	walk.generation = generation_after(visits / walk.count);
	return walk;
}

void pf_replay_init(struct pf_replay *replay, const struct pf_plan *plan, const uint64_t *visits)
{
	memset(replay, 0, sizeof(*replay));
	replay->plan = *plan;
	for (uint32_t i = 0; i < plan->vcpus; i++) {
		struct pf_walk *walk = &replay->walk[i];

		*walk = pf_replay_walk(plan, i, visits[i]);
		replay->stride_inverse[i] = modular_inverse(walk->stride, walk->count);
	}
}

static void fill_low(const struct pf_replay *replay, uint32_t page, unsigned char *out)
{
	uint32_t address = page * PF_GUEST_PAGE;
	uint32_t skip = address - PF_GUEST_IMAGE; /* huge below the image: nothing to copy */

	memset(out, 0, PF_GUEST_PAGE);
	if (address == PF_GUEST_WALKS) {
		for (uint32_t i = 0; i < replay->plan.vcpus; i++)
			memcpy(out + i * PF_GUEST_WALK_SPACING, &replay->walk[i],
			       sizeof(replay->walk[i]));
	} else if (skip < pf_guest_image_size) {
		uint32_t left = pf_guest_image_size - skip;

		memcpy(out, pf_guest_image + skip, left < PF_GUEST_PAGE ? left : PF_GUEST_PAGE);
	}
}

static void fill_initial(uint32_t seed, uint32_t page, uint32_t *words)
{
	uint32_t key = pf_walk_initial_key(seed, page);

	if (pf_walk_starts_zero(seed, page)) {
		memset(words, 0, PF_GUEST_PAGE);
		return;
	}
	for (uint32_t i = 0; i < PF_WALK_WORDS; i++)
		words[i] = pf_walk_initial(key, i);
}

/* How often a page was visited: in every round, and in this one if its turn has come. */
static uint64_t rounds_of_page(const struct pf_replay *replay, uint32_t vcpu, uint32_t page)
{
	const struct pf_walk *walk = &replay->walk[vcpu];
	uint64_t slot = (page - walk->first) / walk->vcpus;
	uint64_t turn = slot * replay->stride_inverse[vcpu] % walk->count;

	return walk->visits / walk->count + (turn < walk->visits % walk->count);
}

void pf_replay_page(const struct pf_replay *replay, uint32_t page, unsigned char *out)
{
	uint32_t words[PF_WALK_WORDS];
	uint32_t seed = replay->plan.seed;
	uint64_t rounds, round;

	if (page < PF_GUEST_LOW_END / PF_GUEST_PAGE) {
		fill_low(replay, page, out);
		return;
	}
	fill_initial(seed, page, words);
	rounds = rounds_of_page(replay, page % replay->plan.vcpus, page);
	/* Each block is rewritten once in 32 generations: older ones have left nothing. */
	for (round = rounds > PF_WALK_BLOCKS ? rounds - PF_WALK_BLOCKS : 0; round < rounds;
	     round++) {
		uint32_t generation = generation_after(round + 1);
		uint32_t key = pf_walk_rewritten_key(seed, page, generation);

		for (uint32_t i = 0; i < PF_WALK_REWRITES; i++)
			words[pf_walk_rewritten_word(page, generation, i)] =
				pf_walk_rewritten(key, i);
	}
	memcpy(out, words, sizeof(words));
}
