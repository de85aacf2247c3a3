/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-place-trouble.c - placing while the VMM changes its mappings, and writes fail. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"

static void while_a_remove_is_pending_mapping_waits_and_the_page_is_not_lost(void **state)
{
	uint8_t bytes[PAGE];
	struct bench bench;
	struct pf_ring *ring = &bench.guest.uffd[0].ring;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, -1);
	place_own(&bench, 1, 1);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 1, 0);
	wait_readable(bench.guest.uffd[0].fd);
	page_fill(bytes, 100, 1);
	assert_int_equal(place(&bench, 100, 1, bytes, &placed), PF_PLACE_AGAIN);
	assert_int_equal(placed, 1);
	assert_int_equal(pf_journal_state(&bench.guest.journal, REGION, 100), PF_PAGE_FILLED);
	assert_int_equal(pf_ring_read(ring, bench.guest.uffd[0].fd), PF_RING_EVENTS);
	assert_int_equal(pf_ring_peek(ring)->event, UFFD_EVENT_REMOVE);
	pf_ring_pop(ring);
	vmm_reply(&bench.vmm);
	assert_int_equal(map(&bench, 100, 1), PF_PLACE_OK);
	assert_int_equal(vmm_word(&bench.vmm, 100), page_word(100));
	bench_close(&bench);
}

static void a_dead_vmm_is_told_from_a_failure(void **state)
{
	uint8_t bytes[PAGE] = {0};
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_kill(&bench.vmm);
	assert_int_equal(place(&bench, 0, 1, bytes, &placed), PF_PLACE_GONE);
	assert_int_equal(placed, 1);
	assert_int_equal(map(&bench, 0, 1), PF_PLACE_GONE);
	bench_close(&bench);
}

static uint64_t word_in(struct bench *bench, uint32_t mapping, uint64_t page)
{
	struct vmm_reply reply;

	vmm_tell(&bench->vmm, VMM_READ, mapping, page, 0);
	reply = vmm_reply(&bench->vmm);
	assert_true(reply.uniform);
	return reply.value;
}

static void a_page_unmapped_in_one_mapping_does_not_keep_the_other_waiting(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	advise(&bench, VMM_UNMAP, 0, 8);
	vmm_tell(&bench.vmm, VMM_READ, 1, 8, 0);
	assert_int_equal(next_fault(&bench, 1, 8), PF_TRAP_REQUEST);
	place_own(&bench, 8, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(8));
	assert_int_equal(bench.guest.count.mapped, 1);
	assert_int_equal(bench.guest.count.unmapped, 1);
	bench_close(&bench);
}

static void whoever_waits_for_a_page_that_is_replaced_goes_on_with_the_new_one(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 13, 0);
	assert_int_equal(next_fault(&bench, 0, 13), PF_TRAP_REQUEST);
	advise(&bench, VMM_REPLACE, 0, 13);
	assert_true(vmm_is_silent(&bench.vmm));
	place_own(&bench, 8, 16);
	assert_int_equal(vmm_reply(&bench.vmm).value, 0);
	assert_int_equal(bench.guest.count.unmapped, 1);
	assert_int_equal(bench.guest.count.mapped, 15);
	bench_close(&bench);
}

/* Each run in another place: a page of it is a VMA of its own. */
_Static_assert(PAGES == PF_RUN_PAGES_MAX * PF_RUN_PAGES_MAX, "as many runs as places in a run");
static void a_region_that_the_vmm_has_cut_by_madvise_is_mapped_all_the_same(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	for (uint64_t cut = 0; cut < PF_RUN_PAGES_MAX; cut++) {
		uint64_t first = cut * PF_RUN_PAGES_MAX;

		advise(&bench, VMM_DONTDUMP, 0, first + cut);
		vmm_tell(&bench.vmm, VMM_READ, 0, first + 15 - cut, 0);
		assert_int_equal(next_fault(&bench, 0, first + 15 - cut), PF_TRAP_REQUEST);
		place_own(&bench, first, PF_RUN_PAGES_MAX);
		assert_int_equal(vmm_reply(&bench.vmm).value, page_word(first + 15 - cut));
	}
	assert_int_equal(bench.guest.count.mapped, PAGES);
	assert_int_equal(bench.guest.count.unmapped, 0);
	assert_int_equal(bench.guest.count.woken, 0);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(vmm_word(&bench.vmm, p), page_word(p));
	bench_close(&bench);
}

/* The cuts of one mapping are not the other's, and a page may be mapped or punched beside them. */
static void a_cut_run_keeps_what_is_mapped_and_fills_what_is_punched(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	advise(&bench, VMM_DONTDUMP, 0, 18);
	advise(&bench, VMM_DONTDUMP, 0, 23);
	place_own(&bench, 16, 16);
	punch(&bench, 20);
	punch(&bench, 23);
	assert_int_equal(map(&bench, 16, 16), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.holes, 2);
	assert_int_equal(bench.guest.count.woken, 2 * 14);
	assert_int_equal(bench.guest.count.mapped, 2 * 16 + 2 * 2);
	for (uint32_t m = 0; m < 2; m++)
		for (uint64_t p = 16; p < 32; p++)
			assert_int_equal(word_in(&bench, m, p),
					 p == 20 || p == 23 ? 0 : page_word(p));
	bench_close(&bench);
}

static void pages_that_the_vmm_has_unmapped_are_passed_over_and_counted(void **state)
{
	static const uint64_t unmapped[] = {33, 40, 41, 42, 47, 63};
	enum { UNMAPPED = sizeof(unmapped) / sizeof(unmapped[0]) };
	struct bench bench;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	for (size_t i = 0; i < UNMAPPED; i++)
		advise(&bench, VMM_UNMAP, 0, unmapped[i]);
	vmm_tell(&bench.vmm, VMM_READ, 0, 46, 0);
	assert_int_equal(next_fault(&bench, 0, 46), PF_TRAP_REQUEST);
	place_own(&bench, 32, 16);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(46));
	place_own(&bench, 48, 16);
	assert_int_equal(bench.guest.count.unmapped, UNMAPPED);
	assert_int_equal(bench.guest.count.mapped, 2 * 32 - UNMAPPED);
	assert_int_equal(bench.guest.journal.filled, 32);
	for (uint64_t p = 32; p < 64; p++) {
		bool gone = false;

		for (size_t i = 0; i < UNMAPPED; i++)
			gone = gone || unmapped[i] == p;
		if (!gone)
			assert_int_equal(word_in(&bench, 0, p), page_word(p));
		assert_int_equal(word_in(&bench, 1, p), page_word(p));
	}
	/* Asked for alone, as by a trap that is older than the munmap(2). */
	assert_int_equal(map(&bench, 33, 1), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.unmapped, UNMAPPED + 1);
	bench_close(&bench);
}

/* The memfd row, but one write fails, and while it is under way threads trap on a page of it. */
static struct {
	struct bench *bench;
	uint64_t page;
	int sys;
} trouble;

static int populate_in_trouble(const struct pf_guest *guest, uint32_t region, uint64_t first,
			       uint32_t count, const uint8_t *bytes)
{
	if (!trouble.sys)
		return pf_placer_memfd.populate(guest, region, first, count, bytes);
	for (uint32_t m = 0; m < trouble.bench->vmm.mappings; m++) {
		vmm_tell(&trouble.bench->vmm, VMM_READ, m, trouble.page, 0);
		assert_int_equal(next_fault(trouble.bench, m, trouble.page), PF_TRAP_WAIT);
	}
	errno = trouble.sys;
	trouble.sys = 0;
	return -1;
}

static void whoever_trapped_while_a_write_failed_traps_again_and_is_asked_for(void **state)
{
	const struct pf_run run = {.region = REGION, .first = 10, .count = 16};
	static uint8_t bytes[PF_RUN_BYTES_MAX];
	static const int errnos[] = {ENOMEM, EIO};
	struct pf_placer placer = pf_placer_memfd;
	struct pf_err err = {0};
	struct bench bench;
	uint32_t placed;

	(void)state;
	placer.populate = populate_in_trouble;
	page_fill(bytes, run.first, run.count);
	for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		bench_open(&bench, 2, 0, -1);
		bench.guest.region[REGION].placer = &placer;
		trouble.bench = &bench;
		trouble.page = 17;
		trouble.sys = errnos[i];
		assert_int_equal(pf_place_run(&bench.guest, &run, bytes, &placed, &err),
				 errnos[i] == ENOMEM ? PF_PLACE_NOMEM : PF_PLACE_FAILED);
		assert_int_equal(placed, 0);
		for (uint32_t m = 0; m < 2; m++)
			assert_int_equal(next_fault(&bench, m, 17), PF_TRAP_REQUEST);
		assert_true(vmm_is_silent(&bench.vmm));
		place_own(&bench, 10, 16);
		for (uint32_t m = 0; m < 2; m++)
			assert_int_equal(vmm_reply(&bench.vmm).value, page_word(17));
		bench_close(&bench);
	}
	assert_int_equal(err.sys, EIO);
}

static void without_room_nothing_is_placed_and_the_same_run_fits_later(void **state)
{
	static uint8_t bytes[8 * PAGE];
	int fd = tmpfs_file("size=40k"); /* 10 pages */
	struct bench bench;
	uint32_t placed = 99;

	(void)state;
	bench_open(&bench, 1, 0, fd);
	place_own(&bench, 0, 6);
	/* Room for four: a short count, then ENOSPC. */
	page_fill(bytes, 30, 8);
	assert_int_equal(place(&bench, 30, 8, bytes, &placed), PF_PLACE_NOMEM);
	assert_int_equal(placed, 0);
	assert_int_equal(bench.guest.journal.filled, 6);
	for (uint64_t p = 30; p < 38; p++)
		assert_int_equal(pf_journal_state(&bench.guest.journal, REGION, p),
				 PF_PAGE_ABSENT);
	vmm_tell(&bench.vmm, VMM_READ, 0, 30, 0);
	assert_int_equal(next_fault(&bench, 0, 30), PF_TRAP_REQUEST);
	for (uint64_t p = 0; p < 4; p++)
		punch(&bench, p);
	assert_int_equal(place(&bench, 30, 8, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 8);
	assert_int_equal(bench.guest.count.duplicates, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(30));
	/* Full again: a hole has to wait too, its page stays FILLED. */
	assert_int_equal(map(&bench, 0, 1), PF_PLACE_NOMEM);
	assert_int_equal(map(&bench, 0, 2), PF_PLACE_NOMEM);
	punch(&bench, 37);
	assert_int_equal(map(&bench, 0, 1), PF_PLACE_OK);
	assert_int_equal(vmm_word(&bench.vmm, 0), 0);
	bench_close(&bench);
}

static void a_file_that_refuses_is_an_error_and_unclaimed(void **state)
{
	const struct pf_run run = {.region = REGION, .first = 4, .count = 2};
	uint8_t bytes[2 * PAGE] = {0};
	struct pf_err err = {0};
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	assert_int_equal(fcntl(bench.vmm.memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(pf_place_run(&bench.guest, &run, bytes, &placed, &err), PF_PLACE_FAILED);
	assert_int_equal(err.sys, EPERM);
	assert_non_null(strstr(err.text, "unclaimed"));
	assert_int_equal(pf_journal_state(&bench.guest.journal, REGION, 4), PF_PAGE_ABSENT);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(while_a_remove_is_pending_mapping_waits_and_the_page_is_not_lost),
		cmocka_unit_test(a_dead_vmm_is_told_from_a_failure),
		cmocka_unit_test(a_page_unmapped_in_one_mapping_does_not_keep_the_other_waiting),
		cmocka_unit_test(
			whoever_waits_for_a_page_that_is_replaced_goes_on_with_the_new_one),
		cmocka_unit_test(a_region_that_the_vmm_has_cut_by_madvise_is_mapped_all_the_same),
		cmocka_unit_test(a_cut_run_keeps_what_is_mapped_and_fills_what_is_punched),
		cmocka_unit_test(pages_that_the_vmm_has_unmapped_are_passed_over_and_counted),
		cmocka_unit_test(whoever_trapped_while_a_write_failed_traps_again_and_is_asked_for),
		cmocka_unit_test(without_room_nothing_is_placed_and_the_same_run_fits_later),
		cmocka_unit_test(a_file_that_refuses_is_an_error_and_unclaimed),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
