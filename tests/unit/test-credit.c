/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-credit.c - credit: never stuck, never more than granted, as large as the path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/credit.h"

#define MS UINT64_C(1000000)
#define FRAME_MOST UINT64_C(66112) /* what the source wants to be covered before it sends */

static void it_begins_with_the_first_credit(void **unused)
{
	struct pf_credit credit;

	(void)unused;
	pf_credit_begin(&credit);
	assert_true(pf_credit_covers(&credit, PF_CREDIT_FIRST));
	assert_false(pf_credit_covers(&credit, PF_CREDIT_FIRST + 1));
	pf_credit_spend(&credit, PF_CREDIT_FIRST);
	assert_true(pf_credit_covers(&credit, 0));
	assert_false(pf_credit_covers(&credit, 1));
}

static void a_limit_that_does_not_grow_is_refused(void **unused)
{
	struct pf_credit credit;
	struct pf_err err;

	(void)unused;
	pf_credit_begin(&credit);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_FIRST, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(pf_credit_raise(&credit, 1, &err), -1);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_FIRST + 1, &err), 0);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_FIRST + 1, &err), -1);
}

static void more_than_may_be_on_its_way_is_refused(void **unused)
{
	struct pf_credit credit;
	struct pf_err err;

	(void)unused;
	pf_credit_begin(&credit);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_MAX + 1, &err), -1);
	assert_int_equal(pf_credit_raise(&credit, UINT64_MAX, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_MAX, &err), 0);
	pf_credit_spend(&credit, 5);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_MAX + 6, &err), -1);
	assert_int_equal(pf_credit_raise(&credit, PF_CREDIT_MAX + 5, &err), 0);
}

static void what_is_not_covered_is_refused(void **unused)
{
	struct pf_grant grant;
	struct pf_err err;

	(void)unused;
	pf_grant_begin(&grant);
	assert_int_equal(pf_grant_use(&grant, PF_CREDIT_FIRST, &err), 0);
	assert_int_equal(pf_grant_use(&grant, 1, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_string_equal(err.text, "pages pushed beyond the credit of 262144 bytes");
}

/* The destination grants as it deals with frames: who ignores the limit is seen by what waits. */
static void what_waits_beyond_the_limit_is_refused(void **unused)
{
	struct pf_grant grant;
	struct pf_err err;

	(void)unused;
	pf_grant_begin(&grant);
	assert_int_equal(pf_grant_use(&grant, 65568, &err), 0);
	assert_int_equal(pf_grant_check(&grant, 2 * (PF_CREDIT_FIRST - 65568), &err), 0);
	assert_int_equal(pf_grant_check(&grant, 2 * (PF_CREDIT_FIRST - 65568) + 2, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	/* Frames of 32 bytes, each in a record of its own: all that the credit covers, and no more. */
	pf_grant_begin(&grant);
	assert_int_equal(pf_grant_check(&grant, PF_CREDIT_FIRST / 32 * 54, &err), 0);
}

struct path {
	struct pf_credit credit;
	struct pf_grant grant;
	uint64_t now, on_its_way, most_on_its_way;
};

/* The source sends frames of these sizes as far as it may; false: it may not send one. */
static bool send(struct path *path, uint64_t bytes)
{
	if (!pf_credit_covers(&path->credit, FRAME_MOST))
		return false;
	pf_credit_spend(&path->credit, bytes);
	path->on_its_way += bytes;
	if (path->on_its_way > path->most_on_its_way)
		path->most_on_its_way = path->on_its_way;
	return true;
}

static bool deal_with(struct path *path, uint64_t bytes, uint64_t rtt_ns)
{
	struct pf_err err;
	uint64_t limit;

	assert_int_equal(pf_grant_use(&path->grant, bytes, &err), 0);
	path->on_its_way -= bytes;
	if (!pf_grant_due(&path->grant, path->now, rtt_ns, &limit))
		return false;
	if (pf_credit_raise(&path->credit, limit, &err))
		fail_msg("%s", err.text);
	return true;
}

/* Windows that grow and shrink, frames of any size: all that was sent is dealt with, and then the
 * source may always send again. */
static void it_never_gets_stuck(void **unused)
{
	const char *given = getenv("PAGEFERRY_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : 4711;
	struct path path = {.now = MS};
	uint64_t sent[1024];

	(void)unused;
	printf("seed %u\n", seed);
	pf_credit_begin(&path.credit);
	pf_grant_begin(&path.grant);
	for (unsigned turn = 0; turn < 20000; turn++) {
		uint64_t rtt_ns = (uint64_t)(rand_r(&seed) % 200) * MS, step = 0;
		unsigned count = 0;

		while (count < 1024) {
			uint64_t bytes = 32 + (uint64_t)rand_r(&seed) % (FRAME_MOST - 31);

			if (!send(&path, bytes))
				break;
			sent[count++] = bytes;
		}
		assert_true(count > 0);
		step = (uint64_t)(rand_r(&seed) % 3000000);
		for (unsigned i = 0; i < count; i++) {
			path.now += step;
			(void)deal_with(&path, sent[i], rtt_ns);
		}
	}
	assert_true(path.most_on_its_way <= PF_CREDIT_MAX);
}

/* A path of 1 GB/s and 20 ms holds 20 MB; a round trip at a time, as it is in the network. */
static void the_window_grows_to_what_the_path_holds_and_shrinks_again(void **unused)
{
	struct path path = {.now = MS};
	const uint64_t rtt_ns = 20 * MS, pipe = 20000000;

	(void)unused;
	pf_credit_begin(&path.credit);
	pf_grant_begin(&path.grant);
	for (unsigned turn = 0; turn < 40; turn++) {
		uint64_t carried = 0;

		while (carried < pipe && send(&path, 65568))
			carried += 65568;
		path.now += rtt_ns;
		while (path.on_its_way > 0)
			(void)deal_with(&path, 65568, rtt_ns);
	}
	assert_true(path.grant.window > pipe);
	for (unsigned turn = 0; turn < 200; turn++) {
		assert_true(send(&path, 65568));
		path.now += rtt_ns;
		(void)deal_with(&path, 65568, rtt_ns);
	}
	assert_true(path.grant.window < 2 * PF_CREDIT_FIRST);
}

static void a_slow_path_that_is_short_keeps_the_smallest_window(void **unused)
{
	struct path path = {.now = MS};

	(void)unused;
	pf_credit_begin(&path.credit);
	pf_grant_begin(&path.grant);
	/* 100 MB/s, 20 us */
	for (unsigned turn = 0; turn < 20000; turn++) {
		path.now += 655360;
		assert_true(send(&path, 65568));
		(void)deal_with(&path, 65568, 20000);
	}
	assert_in_range(path.grant.window, PF_CREDIT_FIRST, 2 * PF_CREDIT_FIRST);
}

/* Its two threads sleep and wake up: without room for that a fast path stops at every turn. */
static void a_fast_path_that_is_short_has_room_for_a_millisecond(void **unused)
{
	struct path path = {.now = MS};

	(void)unused;
	pf_credit_begin(&path.credit);
	pf_grant_begin(&path.grant);
	/* 1 GB/s, 20 us */
	for (unsigned turn = 0; turn < 20000; turn++) {
		path.now += 65568;
		assert_true(send(&path, 65568));
		(void)deal_with(&path, 65568, 20000);
	}
	assert_in_range(path.grant.window, PF_CREDIT_FIRST + 800000, PF_CREDIT_FIRST + 1100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_begins_with_the_first_credit),
		cmocka_unit_test(a_limit_that_does_not_grow_is_refused),
		cmocka_unit_test(more_than_may_be_on_its_way_is_refused),
		cmocka_unit_test(what_is_not_covered_is_refused),
		cmocka_unit_test(what_waits_beyond_the_limit_is_refused),
		cmocka_unit_test(it_never_gets_stuck),
		cmocka_unit_test(the_window_grows_to_what_the_path_holds_and_shrinks_again),
		cmocka_unit_test(a_slow_path_that_is_short_keeps_the_smallest_window),
		cmocka_unit_test(a_fast_path_that_is_short_has_room_for_a_millisecond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
