/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-push.c - the order of pages: each once, around the latest fault first. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/push.h"

/* Every look into the bitmap is counted: the module itself is compiled in below, with these. */
static _Atomic uint64_t looks;

static uint64_t counted_load(const _Atomic uint64_t *word, memory_order order)
{
	atomic_fetch_add(&looks, 1);
	return atomic_load_explicit(word, order);
}

static uint64_t counted_or(_Atomic uint64_t *word, uint64_t bits, memory_order order)
{
	atomic_fetch_add(&looks, 1);
	return atomic_fetch_or_explicit(word, bits, order);
}

static bool counted_exchange(_Atomic uint64_t *word, uint64_t *seen, uint64_t wanted,
			     memory_order done, memory_order failed)
{
	atomic_fetch_add(&looks, 1);
	return atomic_compare_exchange_weak_explicit(word, seen, wanted, done, failed);
}

#undef atomic_load_explicit
#undef atomic_fetch_or_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit counted_load
#define atomic_fetch_or_explicit counted_or
#define atomic_compare_exchange_weak_explicit counted_exchange
#include "core/push.c"

#define PAGE UINT32_C(4096)
#define FRAME (64u * 1024)

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = 1000 * PAGE, .page_size = PAGE},
		   {.gpa = UINT64_C(1) << 32, .size = 77 * PAGE, .page_size = PAGE}},
};

static struct pf_push push;

static int begin(void **unused)
{
	struct pf_err err;

	(void)unused;
	memset(&push, 0, sizeof(push));
	return pf_push_init(&push, &table, &err);
}

static int end(void **unused)
{
	(void)unused;
	pf_push_done(&push);
	return 0;
}

static void without_a_fault_it_sweeps_from_the_first_page(void **unused)
{
	uint64_t next[2] = {0, 0};
	struct pf_run run;

	(void)unused;
	while (pf_push_next(&push, FRAME, &run)) {
		assert_int_equal(run.first, next[run.region]);
		assert_in_range(run.count, 1, 16);
		next[run.region] += run.count;
	}
	assert_int_equal(next[0], 1000);
	assert_int_equal(next[1], 77);
}

static void after_a_fault_it_goes_outwards_on_both_sides(void **unused)
{
	struct pf_run above, below;

	(void)unused;
	pf_push_requested(&push, 0, 500);
	assert_true(pf_push_next(&push, FRAME, &above));
	assert_int_equal(above.first, 501);
	assert_int_equal(above.count, 16);
	assert_true(pf_push_next(&push, FRAME, &below));
	assert_int_equal(below.first, 484);
	assert_int_equal(below.count, 16);
	assert_true(pf_push_next(&push, FRAME, &above));
	assert_int_equal(above.first, 517);
}

static void a_newer_fault_moves_the_centre(void **unused)
{
	struct pf_run run;

	(void)unused;
	pf_push_requested(&push, 0, 500);
	assert_true(pf_push_next(&push, FRAME, &run));
	pf_push_requested(&push, 1, 40);
	assert_true(pf_push_next(&push, FRAME, &run));
	assert_int_equal(run.region, 1);
	assert_in_range(run.first, 24, 41);
}

static void a_requested_page_is_not_pushed(void **unused)
{
	unsigned pages = 0;
	struct pf_run run;

	(void)unused;
	for (uint64_t page = 3; page < 1000; page += 7)
		pf_push_requested(&push, 0, page);
	while (pf_push_next(&push, FRAME, &run))
		for (uint32_t i = 0; i < run.count; i++, pages++)
			assert_false(run.region == 0 && (run.first + i) % 7 == 3);
	assert_int_equal(pages, 1077 - 143);
}

static void after_a_reset_every_page_comes_again(void **unused)
{
	unsigned pages = 0;
	struct pf_run run;

	(void)unused;
	pf_push_requested(&push, 0, 500);
	for (unsigned i = 0; i < 20; i++)
		assert_true(pf_push_next(&push, FRAME, &run));
	pf_push_reset(&push);
	while (pf_push_next(&push, FRAME, &run))
		pages += run.count;
	assert_int_equal(pages, 1077);
}

static void a_page_larger_than_a_frame_is_still_taken(void **unused)
{
	static const struct pf_region_table huge = {
		.count = 1, .region = {{.size = 4 * (2u << 20), .page_size = 2u << 20}}};
	struct pf_push own = {0};
	struct pf_run run;
	struct pf_err err;
	unsigned pages = 0;

	(void)unused;
	assert_int_equal(pf_push_init(&own, &huge, &err), 0);
	while (pf_push_next(&own, FRAME, &run))
		pages += run.count;
	assert_int_equal(pages, 4);
	pf_push_done(&own);
}

#define TAKERS 4
static _Atomic unsigned taken[2][1000];

static void *taker(void *seed)
{
	unsigned state = *(unsigned *)seed;
	struct pf_run run;

	while (pf_push_next(&push, FRAME, &run)) {
		for (uint32_t i = 0; i < run.count; i++)
			atomic_fetch_add(&taken[run.region][run.first + i], 1);
		if (rand_r(&state) % 4 == 0)
			pf_push_requested(&push, 0, (uint64_t)rand_r(&state) % 1000);
	}
	return NULL;
}

static void threads_take_each_page_at_most_once(void **unused)
{
	pthread_t threads[TAKERS];
	unsigned seeds[TAKERS];

	(void)unused;
	for (unsigned i = 0; i < TAKERS; i++) {
		seeds[i] = 1 + i;
		assert_int_equal(pthread_create(&threads[i], NULL, taker, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < TAKERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned page = 0; page < 1000; page++)
		assert_in_range(taken[0][page], 0, 1);
	for (unsigned page = 0; page < 77; page++)
		assert_int_equal(taken[1][page], 1);
}

static void a_stretch_is_extended_up_to_what_was_sent(void **unused)
{
	struct pf_run run;

	(void)unused;
	pf_push_requested(&push, 0, 500);
	assert_true(pf_push_next(&push, FRAME, &run));
	assert_int_equal(run.first, 501);
	run = (struct pf_run){.region = 0, .first = 100};
	assert_true(pf_push_extend(&push, &run, 3));
	assert_int_equal(run.count, 3);
	assert_true(pf_push_extend(&push, &run, 1000));
	assert_int_equal(run.count, 400);
	assert_false(pf_push_extend(&push, &run, 1000));
	run = (struct pf_run){.region = 1, .first = 0};
	assert_true(pf_push_extend(&push, &run, UINT64_MAX));
	assert_int_equal(run.count, 77);
	assert_false(pf_push_extend(&push, &run, 1));
}

/* A hole of a terabyte is one run: a word of the bitmap at a time, 64 pages, and not a page. */
static void a_hole_of_a_terabyte_is_taken_by_words(void **unused)
{
	static const struct pf_region_table large = {
		.count = 1, .region = {{.size = UINT64_C(1) << 40, .page_size = PAGE}}};
	const uint64_t pages = (UINT64_C(1) << 40) / PAGE;
	struct pf_push own = {0};
	struct pf_run run;
	struct pf_err err;

	(void)unused;
	assert_int_equal(pf_push_init(&own, &large, &err), 0);
	assert_true(pf_push_next(&own, FRAME, &run));
	atomic_store(&looks, 0);
	assert_true(pf_push_extend(&own, &run, UINT64_MAX));
	assert_int_equal(run.count, pages);
	assert_true(atomic_load(&looks) <= 2 * (pages / 64 + 1));
	assert_false(pf_push_extend(&own, &run, UINT64_MAX));
	pf_push_done(&own);
}

static void what_was_received_is_not_pushed_and_would_be_counted(void **unused)
{
	uint64_t pushed[2] = {0};
	struct pf_run run, probe = {.region = 0, .first = 60, .count = 200};

	(void)unused;
	pf_push_requested(&push, 0, 5); /* answered in this session, before the bitmap was here */
	pf_push_received(&push, 0, 63, 130);
	pf_push_received(&push, 1, 0, 77);
	assert_int_equal(pf_push_resent(&push, &probe), 130);
	while (pf_push_next(&push, FRAME, &run)) {
		assert_int_equal(pf_push_resent(&push, &run), 0);
		pushed[run.region] += run.count;
	}
	assert_int_equal(pushed[0], 1000 - 130 - 1);
	assert_int_equal(pushed[1], 0);
	probe = (struct pf_run){.region = 0, .first = 192, .count = 1};
	assert_int_equal(pf_push_resent(&push, &probe), 1); /* a request for it would show */
	pf_push_reset(&push);
	assert_int_equal(pf_push_resent(&push, &probe), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_a_fault_it_sweeps_from_the_first_page,
						begin, end),
		cmocka_unit_test_setup_teardown(after_a_fault_it_goes_outwards_on_both_sides, begin,
						end),
		cmocka_unit_test_setup_teardown(a_newer_fault_moves_the_centre, begin, end),
		cmocka_unit_test_setup_teardown(a_requested_page_is_not_pushed, begin, end),
		cmocka_unit_test_setup_teardown(after_a_reset_every_page_comes_again, begin, end),
		cmocka_unit_test_setup_teardown(a_page_larger_than_a_frame_is_still_taken, begin,
						end),
		cmocka_unit_test_setup_teardown(a_stretch_is_extended_up_to_what_was_sent, begin,
						end),
		cmocka_unit_test_setup_teardown(what_was_received_is_not_pushed_and_would_be_counted,
						begin, end),
		cmocka_unit_test(a_hole_of_a_terabyte_is_taken_by_words),
		cmocka_unit_test_setup_teardown(threads_take_each_page_at_most_once, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
