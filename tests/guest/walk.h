/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/walk.h - the generator: what every word of guest memory is, and who rewrites it when.
 *
 * Compiled twice: into the guest (32 bits, freestanding) and natively, for the threads backend and
 * for the replay.  Every word is a pure function of (seed, page, generation, index), so a guest
 * that never moved can be replayed from the visit count of each vCPU alone.
 *
 * A page has 1024 words.  The odd ones keep their initial content for ever.  The even ones are 32
 * blocks of 16 interleaved words; each visit rewrites one block, the next one at the next visit, so
 * that a page's content follows from its last 32 generations.
 *
 * A struct pf_walk belongs to one vCPU and lives in guest memory.  Pure computation, any thread.
 */
#ifndef PF_GUEST_WALK_H
#define PF_GUEST_WALK_H

#include <stdbool.h>
#include <stdint.h>

#define PF_WALK_WORDS 1024u  /* in a page */
#define PF_WALK_BLOCKS 32u   /* of rewritten words in a page */
#define PF_WALK_REWRITES 16u /* words in a block */
#define PF_WALK_STAYING 4u   /* words of initial content that a visit checks */

/* Shared between 32 and 64 bit code: fixed widths, the 64 bit member aligned for both. */
struct pf_walk {
	uint32_t seed;
	uint32_t first;	     /* page of slot 0 */
	uint32_t vcpus;	     /* distance of two slots, in pages */
	uint32_t count;	     /* slots */
	uint32_t stride;     /* coprime to count: slots follow each other in a full period */
	uint32_t slot;	     /* visited next */
	uint32_t generation; /* of every slot that this round has not visited yet */
	uint32_t zero;
	uint64_t visits;
};

_Static_assert(sizeof(struct pf_walk) == 40, "the guest and the VMM must agree");

struct pf_walk_wrong {
	uint32_t address, expected, found;
};

/* The page that is visited next. */
static inline uint32_t pf_walk_page(const struct pf_walk *walk)
{
	return walk->first + walk->slot * walk->vcpus;
}

/* One visit: check, rewrite, step.  memory: address of guest physical 0.  -1: a wrong word. */
int pf_walk_visit(struct pf_walk *walk, uintptr_t memory, struct pf_walk_wrong *wrong);

static inline uint32_t pf_walk_hash(uint32_t seed, uint32_t a, uint32_t b)
{
	uint32_t h = seed ^ (a * 0x85ebca6bu);

	h ^= h >> 15;
	h = (h + b) * 0xc2b2ae35u;
	h ^= h >> 13;
	h *= 0x27d4eb2fu;
	return h ^ (h >> 16);
}

/* What generation follows: 0 is the initial content, so a wrap skips it and keeps the block order.
 */
static inline uint32_t pf_walk_next(uint32_t generation)
{
	return generation == UINT32_MAX ? PF_WALK_BLOCKS : generation + 1;
}

/* Neighbours share their fate, so that there are runs of zero pages: one group of 8 in 16. */
static inline bool pf_walk_starts_zero(uint32_t seed, uint32_t page)
{
	return (pf_walk_hash(seed, page >> 3, 0x7a65726f) & 15) == 0;
}

static inline uint32_t pf_walk_initial_key(uint32_t seed, uint32_t page)
{
	return pf_walk_hash(seed, page, 0);
}

/* Initial content of a page that does not start as zeros. */
static inline uint32_t pf_walk_initial(uint32_t key, uint32_t word)
{
	uint32_t h = (key ^ (word * 0x9e3779b9u)) * 0x85ebca6bu;

	return h ^ (h >> 15);
}

static inline uint32_t pf_walk_rewritten_key(uint32_t seed, uint32_t page, uint32_t generation)
{
	return pf_walk_hash(seed, page, generation);
}

static inline uint32_t pf_walk_rewritten(uint32_t key, uint32_t i)
{
	return key + i * 0x9e3779b9u;
}

/* The i-th word that this generation rewrites. */
static inline uint32_t pf_walk_rewritten_word(uint32_t page, uint32_t generation, uint32_t i)
{
	return 2 * (((page + generation) % PF_WALK_BLOCKS) + PF_WALK_BLOCKS * i);
}

#endif
