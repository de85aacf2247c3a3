/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-credit.c - both ends of a bulk connection's credit, and one who says any number.
 *
 * Input: instructions: the source sends a frame, the network delivers one, the destination deals with it
 * and grants, CREDIT arrives, time passes.  Two honest sides must never be at odds, never have more on
 * its way than may be, and never both wait.  Numbers from a liar are judged as arithmetic without an end
 * would judge them.
 */
#include <stdbool.h>
#include <string.h>

#include "core/credit.h"
#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"

#define WAY_MAX 2048u
#define FRAME_MAX (PF_FRAME_HEADER_BYTES + PF_BULK_BODY_MAX)

struct way {
	uint64_t entry[WAY_MAX];
	unsigned first, count;
};

static struct pf_credit source;
static struct pf_grant destination;
static struct way frames, credits;
static uint64_t now_ns, rtt_ns;

static void put(struct way *way, uint64_t value)
{
	FUZZ_ASSERT(way->count < WAY_MAX);
	way->entry[(way->first + way->count++) % WAY_MAX] = value;
}

static uint64_t get(struct way *way)
{
	uint64_t value = way->entry[way->first];

	way->first = (way->first + 1) % WAY_MAX;
	way->count--;
	return value;
}

/* ---- two honest sides ---- */

static void grant(void)
{
	struct pf_grant standing = destination;
	struct pf_err err;
	uint64_t limit;

	if (!pf_grant_due(&destination, now_ns, rtt_ns, &limit))
		return;
	FUZZ_ASSERT(limit > standing.limit && limit - destination.used <= PF_CREDIT_MAX);
	/* What is on its way was sent under a limit that stood. */
	FUZZ_ASSERT(pf_grant_check(&standing, source.spent - destination.used, &err) == 0);
	put(&credits, limit);
}

static void send(uint64_t bytes)
{
	if (!pf_credit_covers(&source, bytes) || frames.count == WAY_MAX)
		return;
	pf_credit_spend(&source, bytes);
	put(&frames, bytes);
	FUZZ_ASSERT(source.spent <= source.limit);
	FUZZ_ASSERT(source.spent - destination.used <= PF_CREDIT_MAX);
}

static void deal_with(void)
{
	struct pf_err err;

	if (frames.count == 0)
		return;
	FUZZ_ASSERT(pf_grant_use(&destination, get(&frames), &err) == 0);
	grant();
}

static void hear_credit(void)
{
	struct pf_err err;

	if (credits.count > 0)
		FUZZ_ASSERT(pf_credit_raise(&source, get(&credits), &err) == 0);
}

/* Nothing on its way, either way: the source can send any frame. */
static void drain(void)
{
	while (frames.count > 0)
		deal_with();
	while (credits.count > 0)
		hear_credit();
	FUZZ_ASSERT(pf_credit_covers(&source, FRAME_MAX));
}

/* ---- a liar ---- */

static void lie(uint64_t number)
{
	struct pf_credit credit = source;
	struct pf_grant granted = destination;
	__uint128_t most = (__uint128_t)source.spent + PF_CREDIT_MAX;
	struct pf_err err = {0};

	FUZZ_ASSERT((pf_credit_raise(&credit, number, &err) == 0) ==
		    (number > source.limit && number <= most));
	FUZZ_ASSERT(pf_credit_covers(&source, number) ==
		    ((__uint128_t)source.spent + number <= source.limit));
	FUZZ_ASSERT((pf_grant_use(&granted, number, &err) == 0) ==
		    ((__uint128_t)destination.used + number <= destination.limit));
	FUZZ_ASSERT(granted.used <= granted.limit && credit.limit >= source.limit);
	FUZZ_ASSERT((pf_grant_check(&destination, number, &err) == 0) ==
		    ((__uint128_t)destination.used + number / 2 <= destination.limit));
}

static void obey(struct fuzz_input *input)
{
	uint64_t what = fuzz_take_long(input, 1);

	switch (what & 7) {
	case 0:
		send(PF_FRAME_HEADER_BYTES + (what >> 3) * 4096 % (PF_BULK_BODY_MAX + 1));
		break;
	case 1: /* as much as it may */
		for (unsigned i = 0; i < WAY_MAX; i++)
			send(FRAME_MAX);
		break;
	case 2:
		deal_with();
		break;
	case 3:
		hear_credit();
		break;
	case 4:
		now_ns += fuzz_take_long(input, 4);
		break;
	case 5:
		rtt_ns = fuzz_take_long(input, 4);
		break;
	case 6:
		lie(fuzz_take_long(input, 8));
		break;
	default:
		drain();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	pf_credit_begin(&source);
	pf_grant_begin(&destination);
	frames.count = credits.count = 0;
	now_ns = 1;
	rtt_ns = 0;
	while (input.size > 0)
		obey(&input);
	drain();
	return 0;
}
