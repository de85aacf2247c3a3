/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-place.c - real faults of another process: placed, mapped, punched, raced for. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"

static unsigned seed;

static void a_blocked_thread_gets_its_page_and_goes_on(void **state)
{
	struct bench bench;
	struct vmm_reply reply;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 7, 0);
	assert_int_equal(next_fault(&bench, 0, 7), PF_TRAP_REQUEST);
	assert_true(vmm_is_silent(&bench.vmm));
	place_own(&bench, 7, 1);
	reply = vmm_reply(&bench.vmm);
	assert_true(reply.uniform);
	assert_int_equal(reply.value, page_word(7));
	assert_int_equal(bench.guest.count.mapped, 1);
	assert_int_equal(bench.guest.journal.filled, 1);
	bench_close(&bench);
}

static void two_threads_that_wait_for_one_page_both_go_on(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 9, 0);
	assert_int_equal(next_fault(&bench, 0, 9), PF_TRAP_REQUEST);
	vmm_tell(&bench.vmm, VMM_READ, 0, 9, 0);
	assert_int_equal(next_fault(&bench, 0, 9), PF_TRAP_REQUEST);
	place_own(&bench, 9, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(9));
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(9));
	bench_close(&bench);
}

static void every_mapping_of_a_region_gets_the_page(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 5, 0);
	vmm_tell(&bench.vmm, VMM_READ, 1, 5, 0);
	assert_int_equal(next_fault(&bench, 0, 5), PF_TRAP_REQUEST);
	assert_int_equal(next_fault(&bench, 1, 5), PF_TRAP_REQUEST);
	place_own(&bench, 4, 3);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(5));
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(5));
	assert_int_equal(bench.guest.count.mapped, 6);
	assert_int_equal(bench.guest.journal.filled, 3);
	bench_close(&bench);
}

static void a_run_takes_what_is_free_and_counts_the_rest(void **state)
{
	static uint8_t other[16 * PAGE];
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 34, 2);
	place_own(&bench, 41, 1);
	/* The pages that are here keep their bytes; 13 others, in three stretches, get these. */
	page_fill(other, 1030, 16);
	assert_int_equal(place(&bench, 30, 16, other, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 13);
	assert_int_equal(bench.guest.count.duplicates, 3);
	assert_int_equal(bench.guest.journal.filled, 16);
	for (uint64_t p = 30; p < 46; p++) {
		bool early = p == 34 || p == 35 || p == 41;

		assert_int_equal(vmm_word(&bench.vmm, p), page_word(early ? p : p + 1000));
	}
	bench_close(&bench);
}

static void a_page_that_arrives_again_is_dropped_and_counted(void **state)
{
	uint8_t bytes[PAGE];
	struct bench bench;
	uint32_t placed = 99;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 12, 1);
	vmm_tell(&bench.vmm, VMM_WRITE, 0, 12, 42);
	vmm_reply(&bench.vmm);
	page_fill(bytes, 12, 1);
	assert_int_equal(place(&bench, 12, 1, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 0);
	assert_int_equal(place(&bench, 12, 1, NULL, &placed), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.duplicates, 2);
	assert_int_equal(bench.guest.journal.filled, 1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 12, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, 42);
	bench_close(&bench);
}

static void a_zero_run_replaces_what_a_torn_write_left(void **state)
{
	uint8_t bytes[PAGE];
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	page_fill(bytes, 77, 1);
	assert_int_equal(pwrite(bench.guest.region[0].fd, bytes, PAGE, 3 * PAGE), PAGE);
	vmm_tell(&bench.vmm, VMM_READ, 0, 3, 0);
	/* It traps MINOR, since there is a page; but it is not FILLED, so nobody may see it. */
	assert_int_equal(next_fault(&bench, 0, 3), PF_TRAP_REQUEST);
	assert_int_equal(place(&bench, 0, 16, NULL, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 16);
	assert_int_equal(vmm_reply(&bench.vmm).value, 0);
	assert_int_equal(vmm_word(&bench.vmm, 15), 0);
	bench_close(&bench);
}

static void an_allocated_page_that_nobody_wrote_is_asked_for(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	assert_int_equal(fallocate(bench.guest.region[0].fd, 0, 20 * PAGE, PAGE), 0);
	vmm_tell(&bench.vmm, VMM_READ, 0, 20, 0);
	assert_int_equal(next_fault(&bench, 0, 20), PF_TRAP_REQUEST);
	place_own(&bench, 20, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(20));
	bench_close(&bench);
}

/* What AGAIN, or a crash between fill and map, leaves: bytes and FILLED, not mapped. */
static void fill_without_mapping(struct bench *bench, uint64_t page)
{
	uint8_t bytes[PAGE];

	page_fill(bytes, page, 1);
	assert_int_equal(pf_journal_claim(&bench->guest.journal, REGION, page, 1), 1);
	assert_int_equal(pwrite(bench->guest.region[0].fd, bytes, PAGE, (off_t)(page * PAGE)),
			 PAGE);
	pf_journal_fill(&bench->guest.journal, REGION, page, 1);
}

static void a_missing_event_older_than_its_page_maps_it_and_does_not_zero_it(void **state)
{
	struct bench bench;
	bool minor;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 50, 0);
	wait_readable(bench.guest.uffd[0].fd);
	fill_without_mapping(&bench, 50);
	assert_int_equal(guest_fault(&bench.guest, 0, &minor), 50);
	assert_false(minor);
	assert_int_equal(pf_trap_decide(PF_TRAP_MISSING,
					pf_journal_state(&bench.guest.journal, REGION, 50)),
			 PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(map(&bench, 50, 1), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(50));
	/* The same event once more, as a replay brings it: the page is mapped by now. */
	assert_int_equal(map(&bench, 50, 1), PF_PLACE_OK);
	assert_int_equal(vmm_word(&bench.vmm, 50), page_word(50));
	assert_int_equal(bench.guest.count.holes, 0);
	assert_int_equal(bench.guest.count.woken, 1);
	bench_close(&bench);
}

static void a_filled_page_that_traps_minor_is_mapped(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	fill_without_mapping(&bench, 51);
	vmm_tell(&bench.vmm, VMM_READ, 0, 51, 0);
	assert_int_equal(next_fault(&bench, 0, 51), PF_TRAP_MAP);
	assert_int_equal(map(&bench, 51, 1), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(51));
	bench_close(&bench);
}

static void mapping_a_run_passes_over_what_is_not_filled_and_wakes_what_is_mapped(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 60, 2);
	fill_without_mapping(&bench, 62);
	fill_without_mapping(&bench, 64);
	assert_int_equal(map(&bench, 58, 8), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.woken, 2);
	assert_int_equal(bench.guest.count.mapped, 4);
	assert_int_equal(vmm_word(&bench.vmm, 60), page_word(60));
	assert_int_equal(vmm_word(&bench.vmm, 64), page_word(64));
	vmm_tell(&bench.vmm, VMM_READ, 0, 63, 0);
	assert_int_equal(next_fault(&bench, 0, 63), PF_TRAP_REQUEST);
	bench_close(&bench);
}

static void a_long_run_is_mapped_to_its_end(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	fill_without_mapping(&bench, 100);
	fill_without_mapping(&bench, 115);
	fill_without_mapping(&bench, 116);
	fill_without_mapping(&bench, 139);
	assert_int_equal(map(&bench, 100, 40), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.mapped, 4);
	assert_int_equal(vmm_word(&bench.vmm, 139), page_word(139));
	assert_int_equal(map(&bench, 100, PAGES - 99), PF_PLACE_FAILED);
	bench_close(&bench);
}

static void a_punched_page_comes_back_as_zeros(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 70, 3);
	punch(&bench, 71);
	vmm_tell(&bench.vmm, VMM_READ, 0, 71, 0);
	assert_int_equal(next_fault(&bench, 0, 71), PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(map(&bench, 71, 1), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&bench.vmm).value, 0);
	assert_int_equal(bench.guest.count.holes, 1);
	assert_int_equal(bench.guest.journal.filled, 3);
	assert_int_equal(vmm_word(&bench.vmm, 70), page_word(70));
	assert_int_equal(vmm_word(&bench.vmm, 72), page_word(72));
	bench_close(&bench);
}

static void a_discarded_page_keeps_its_data(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 80, 1);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 80, 0);
	vmm_reply(&bench.vmm);
	vmm_tell(&bench.vmm, VMM_READ, 0, 80, 0);
	assert_int_equal(next_fault(&bench, 0, 80), PF_TRAP_MAP);
	assert_int_equal(map(&bench, 80, 1), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(80));
	bench_close(&bench);
}

/* What a second thread does that saw the same hole, at its worst: after the guest has written. */
static void filling_a_hole_that_is_none_leaves_the_page_alone(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 91, 1);
	vmm_tell(&bench.vmm, VMM_WRITE, 0, 91, 4711);
	vmm_reply(&bench.vmm);
	assert_int_equal(pf_placer_memfd.fill_hole(&bench.guest, REGION, 91), 0);
	vmm_tell(&bench.vmm, VMM_READ, 0, 91, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, 4711);
	bench_close(&bench);
}

struct holer {
	struct bench *bench;
	pthread_barrier_t *start;
	uint64_t page;
};

static void *map_at_once(void *argument)
{
	struct holer *self = argument;

	pthread_barrier_wait(self->start);
	/* Errors show in what the guest reads. */
	(void)map(self->bench, self->page, 1);
	return NULL;
}

static void threads_that_see_the_same_hole_keep_what_the_guest_writes_into_it(void **state)
{
	enum { ROUNDS = 100, THREADS = 3 };
	pthread_barrier_t start;
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 90, 1);
	pthread_barrier_init(&start, NULL, THREADS);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		struct holer holer = {&bench, &start, 90};
		pthread_t thread[THREADS];

		punch(&bench, 90);
		vmm_tell(&bench.vmm, VMM_WRITE, 0, 90, round);
		assert_int_equal(next_fault(&bench, 0, 90), PF_TRAP_MAP_OR_HOLE);
		for (int t = 0; t < THREADS; t++)
			assert_int_equal(pthread_create(&thread[t], NULL, map_at_once, &holer),
					 0);
		vmm_reply(&bench.vmm);
		for (int t = 0; t < THREADS; t++)
			pthread_join(thread[t], NULL);
		vmm_tell(&bench.vmm, VMM_READ, 0, 90, 0);
		assert_int_equal(vmm_reply(&bench.vmm).value, round);
	}
	pthread_barrier_destroy(&start);
	bench_close(&bench);
}

static void a_run_outside_of_the_table_is_refused(void **state)
{
	static const struct pf_run bad[] = {
		{.region = 1, .first = 0, .count = 1},
		{.region = 0, .first = PAGES - 1, .count = 2},
		{.region = 0, .first = UINT64_MAX, .count = 1},
		{.region = 0, .first = 0, .count = 0},
		{.region = 0, .first = 0, .count = PF_RUN_PAGES_MAX + 1},
	};
	static uint8_t bytes[PF_RUN_BYTES_MAX + PAGE];
	struct pf_err err = {0};
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(pf_place_run(&bench.guest, &bad[i], bytes, &placed, &err),
				 PF_PLACE_FAILED);
		assert_int_equal(placed, 0);
		assert_non_null(strstr(err.text, "not in the region table"));
		/* To map, there are no bytes to be had, so a run may be of any length. */
		assert_int_equal(pf_map_run(&bench.guest, &bad[i], &err),
				 bad[i].count > PF_RUN_PAGES_MAX ? PF_PLACE_OK : PF_PLACE_FAILED);
	}
	assert_int_equal(bench.guest.journal.filled, 0);
	bench_close(&bench);
}

struct placer {
	struct bench *bench;
	unsigned draw;
	uint64_t arrived, placed;
};

static void *place_random_runs(void *argument)
{
	struct placer *self = argument;
	uint8_t bytes[PF_RUN_BYTES_MAX];
	struct pf_err err;

	while (!pf_journal_complete(&self->bench->guest.journal)) {
		struct pf_run run = {.count = 1 + (uint32_t)rand_r(&self->draw) % PF_RUN_PAGES_MAX};
		uint32_t placed;

		run.first = (uint64_t)rand_r(&self->draw) % (PAGES - run.count + 1);
		page_fill(bytes, run.first, run.count);
		if (pf_place_run(&self->bench->guest, &run, bytes, &placed, &err) != PF_PLACE_OK)
			break;
		self->arrived += run.count;
		self->placed += placed;
	}
	return NULL;
}

static void threads_that_place_overlapping_runs_serve_every_fault_once(void **state)
{
	enum { THREADS = 3 };
	uint64_t arrived = 0, placed = 0;
	struct placer placer[THREADS];
	pthread_t thread[THREADS];
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	/* Threads of the guest are blocked on every fourth page, and nobody reads their events. */
	for (uint64_t p = 0; p < PAGES; p += 4)
		vmm_tell(&bench.vmm, VMM_READ, 0, p, 0);
	for (unsigned t = 0; t < THREADS; t++) {
		placer[t] = (struct placer){&bench, seed + t, 0, 0};
		assert_int_equal(pthread_create(&thread[t], NULL, place_random_runs, &placer[t]),
				 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(thread[t], NULL);
		arrived += placer[t].arrived;
		placed += placer[t].placed;
	}
	assert_true(pf_journal_complete(&bench.guest.journal));
	assert_int_equal(placed, PAGES);
	assert_int_equal(bench.guest.count.duplicates, arrived - PAGES);
	assert_int_equal(bench.guest.count.mapped, PAGES);
	for (uint64_t p = 0; p < PAGES; p += 4) {
		struct vmm_reply reply = vmm_reply(&bench.vmm);

		assert_true(reply.uniform);
		assert_int_equal(reply.value, page_word(reply.page));
	}
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(vmm_word(&bench.vmm, p), page_word(p));
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_blocked_thread_gets_its_page_and_goes_on),
		cmocka_unit_test(two_threads_that_wait_for_one_page_both_go_on),
		cmocka_unit_test(every_mapping_of_a_region_gets_the_page),
		cmocka_unit_test(a_run_takes_what_is_free_and_counts_the_rest),
		cmocka_unit_test(a_page_that_arrives_again_is_dropped_and_counted),
		cmocka_unit_test(a_zero_run_replaces_what_a_torn_write_left),
		cmocka_unit_test(an_allocated_page_that_nobody_wrote_is_asked_for),
		cmocka_unit_test(a_missing_event_older_than_its_page_maps_it_and_does_not_zero_it),
		cmocka_unit_test(a_filled_page_that_traps_minor_is_mapped),
		cmocka_unit_test(
			mapping_a_run_passes_over_what_is_not_filled_and_wakes_what_is_mapped),
		cmocka_unit_test(a_long_run_is_mapped_to_its_end),
		cmocka_unit_test(a_punched_page_comes_back_as_zeros),
		cmocka_unit_test(a_discarded_page_keeps_its_data),
		cmocka_unit_test(filling_a_hole_that_is_none_leaves_the_page_alone),
		cmocka_unit_test(threads_that_see_the_same_hole_keep_what_the_guest_writes_into_it),
		cmocka_unit_test(a_run_outside_of_the_table_is_refused),
		cmocka_unit_test(threads_that_place_overlapping_runs_serve_every_fault_once),
	};

	seed = test_seed();
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
