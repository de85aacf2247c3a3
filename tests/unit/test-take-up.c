/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-take-up.c - what the next process finds of the one that died: journal, rings, waiters; and what the
 * reset leaves of it that follows before RUN.
 *
 * The one that dies lets go of everything but the files; the test keeps the userfaultfds, as a keeper
 * does.  That it can die anywhere is the kill test's matter (tests/kill).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"
#include "memory/stock.h"

static struct bench bench;

static void die(void)
{
	pf_guest_done(&bench.guest);
	guest_fill(&bench.guest, &bench.vmm, PAGES);
}

static void take_up(void)
{
	struct pf_err err = {0};

	if (pf_guest_take_up(&bench.guest, bench.dirfd, &err))
		fail_msg("%s", err.text);
}

static enum pf_page_state state_of(uint64_t page)
{
	return pf_journal_state(&bench.guest.journal, REGION, page);
}

static void what_has_come_stays_and_the_rest_is_absent_again(void **state)
{
	bool first;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	place_own(&bench, 5, 1);
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 7, 1), 1);
	assert_int_equal(pf_journal_request(&bench.guest.journal, REGION, 8, &first),
			 PF_PAGE_ABSENT);
	die();
	take_up();
	assert_int_equal(bench.guest.journal.filled, 1);
	assert_int_equal(state_of(5), PF_PAGE_FILLED);
	assert_int_equal(state_of(7), PF_PAGE_ABSENT);
	/* Asked for by the one before: whoever needs it traps again, and it is asked for again. */
	assert_int_equal(pf_journal_request(&bench.guest.journal, REGION, 8, &first),
			 PF_PAGE_ABSENT);
	assert_true(first);
	assert_int_equal(vmm_word(&bench.vmm, 5), page_word(5));
	bench_close(&bench);
}

static void whoever_waited_traps_again_in_every_mapping(void **state)
{
	struct vmm_reply reply;

	(void)state;
	bench_open(&bench, 2, 0, -1);
	for (uint32_t m = 0; m < 2; m++) {
		vmm_tell(&bench.vmm, VMM_READ, m, 9, 0);
		assert_int_equal(next_fault(&bench, m, 9), PF_TRAP_REQUEST);
	}
	die();
	assert_true(vmm_is_silent(&bench.vmm));
	take_up();
	for (uint32_t m = 0; m < 2; m++)
		assert_int_equal(next_fault(&bench, m, 9), PF_TRAP_REQUEST);
	place_own(&bench, 9, 1);
	for (uint32_t m = 0; m < 2; m++) {
		reply = vmm_reply(&bench.vmm);
		assert_true(reply.uniform);
		assert_int_equal(reply.value, page_word(9));
	}
	bench_close(&bench);
}

static void what_was_in_the_ring_comes_first(void **state)
{
	struct pf_ring *ring = &bench.guest.uffd[0].ring;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 11, 0);
	wait_readable(bench.guest.uffd[0].fd);
	assert_int_equal(pf_ring_read(ring, bench.guest.uffd[0].fd), PF_RING_EVENTS);
	die();
	take_up();
	assert_non_null(pf_ring_peek(ring));
	assert_int_equal(pf_ring_peek(ring)->arg.pagefault.address & ~(uint64_t)(PAGE - 1),
			 bench.vmm.base[0] + 11 * PAGE);
	assert_int_equal(next_fault(&bench, 0, 11), PF_TRAP_REQUEST);
	/* And the waiter's own, since he was woken. */
	assert_int_equal(next_fault(&bench, 0, 11), PF_TRAP_REQUEST);
	place_own(&bench, 11, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(11));
	bench_close(&bench);
}

/* A crash explains what the dead one was writing, and no other page's being there. */
static void what_none_of_us_has_written_is_news_after_a_crash_too(void **state)
{
	struct uffdio_zeropage zero = {.range = {.len = PAGE}};
	uint8_t bytes[PAGE];
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 20, 1), 1);
	die();
	take_up();
	for (uint64_t page = 20; page < 22; page++) {
		zero.range.start = bench.vmm.base[0] + page * PAGE;
		assert_int_equal(ioctl(bench.vmm.uffd[0], UFFDIO_ZEROPAGE, &zero), 0);
		page_fill(bytes, page, 1);
		assert_int_equal(place(&bench, page, 1, bytes, &placed), PF_PLACE_OK);
		assert_int_equal(bench.guest.count.unexpected, page - 20);
	}
	bench_close(&bench);
}

/* Of a file's pages too; there with the neighbours of what was tried, which a huge page brings. */
static void a_file_is_judged_after_a_crash_as_before(void **state)
{
	(void)state;
	bench_open(&bench, 1, 0, -1);
	die();
	take_up();
	assert_true(pf_stock_unexpected(&bench.guest, REGION, 5));
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 7, 1), 1);
	die();
	take_up();
	assert_false(pf_stock_unexpected(&bench.guest, REGION, 7));
	assert_false(pf_stock_unexpected(&bench.guest, REGION, 5));
	bench_close(&bench);
}

/* A neighbour's write had made the page, and it trapped MINOR; the reset takes both away, and the event with them. */
static void what_has_trapped_before_a_reset_is_no_news_behind_it(void **state)
{
	struct pf_err err = {0};
	bool minor;

	(void)state;
	bench_open(&bench, 1, 0, -1);
	place_own(&bench, 10, 1);
	assert_int_equal(pwrite(bench.vmm.memfd, "x", 1, 11 * PAGE), 1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 11, 0);
	wait_readable(bench.guest.uffd[0].fd);
	assert_int_equal(pf_ring_read(&bench.guest.uffd[0].ring, bench.guest.uffd[0].fd), PF_RING_EVENTS);
	die();
	take_up();
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(guest_fault(&bench.guest, 0, &minor), 11);
	assert_false(minor); /* it would be the old one */
	place_own(&bench, 11, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(11));
	bench_close(&bench);
}

/* It may be there, and nobody but the VMM could take it away: the next source's page would not get in. */
static void private_memory_that_may_have_a_page_is_not_reset(void **state)
{
	struct pf_err err = {0};

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 20, 1), 1);
	die();
	take_up();
	assert_int_equal(pf_guest_reset(&bench.guest, &err), -1);
	assert_non_null(strstr(err.text, "page 20 of region 0"));
	bench_close(&bench);
}

/* COPY does a page or leaves it. */
static void private_memory_in_which_nothing_was_placed_can_be_reset(void **state)
{
	struct pf_err err = {0};

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 20, 1), 1);
	assert_int_equal(pf_journal_unclaim(&bench.guest.journal, REGION, 20, 1, false), 0);
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	bench_close(&bench);
}

/* The room that a page has failed for comes back with the reset, and is not needed before. */
static void a_file_without_room_can_be_reset(void **state)
{
	uint8_t bytes[PAGE];
	struct pf_err err = {0};
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, tmpfs_file("size=40k"));
	place_own(&bench, 0, 10);
	page_fill(bytes, 30, 1);
	assert_int_equal(place(&bench, 30, 1, bytes, &placed), PF_PLACE_NOMEM);
	assert_true(pf_journal_tried(&bench.guest.journal, REGION, 30));
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	place_own(&bench, 30, 1);
	assert_int_equal(vmm_word(&bench.vmm, 30), page_word(30));
	bench_close(&bench);
}

/* Died between the read and the journal: the event cannot be read again. */
static void a_discard_that_was_read_and_not_heeded_is_heeded(void **state)
{
	(void)state;
	bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, VMM_PRIVATE);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 13, 0);
	wait_readable(bench.guest.uffd[0].fd);
	assert_int_equal(pf_ring_read(&bench.guest.uffd[0].ring, bench.guest.uffd[0].fd),
			 PF_RING_EVENTS);
	assert_int_equal(vmm_reply(&bench.vmm).op, VMM_DONTNEED);
	assert_int_equal(state_of(13), PF_PAGE_ABSENT);
	die();
	take_up();
	assert_int_equal(state_of(13), PF_PAGE_FILLED);
	assert_int_equal(state_of(14), PF_PAGE_ABSENT);
	bench_close(&bench);
}

static void copied_and_not_filled_is_no_surprise_the_next_time(void **state)
{
	uint8_t bytes[PAGE];
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	page_fill(bytes, 15, 1);
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, 15, 1), 1);
	assert_int_equal(bench.guest.region[0].placer->populate(&bench.guest, REGION, 15, 1, bytes),
			 1);
	vmm_tell(&bench.vmm, VMM_WRITE, 0, 15, 42);
	(void)vmm_reply(&bench.vmm);
	die();
	take_up();
	assert_int_equal(place(&bench, 15, 1, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(state_of(15), PF_PAGE_FILLED);
	assert_int_equal(bench.guest.count.unexpected, 0);
	/* What the guest has written since stays. */
	vmm_tell(&bench.vmm, VMM_READ, 0, 15, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, 42);
	bench_close(&bench);
}

static void a_state_directory_of_other_regions_is_refused_and_the_traps_stand(void **state)
{
	struct pf_err err = {0};

	(void)state;
	bench_open(&bench, 1, 0, -1);
	die();
	bench.guest.table.region[0].size -= PAGE;
	assert_int_equal(pf_guest_take_up(&bench.guest, bench.dirfd, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_not_equal(fcntl(bench.guest.uffd[0].fd, F_GETFD), -1);
	bench.guest.table.region[0].size += PAGE;
	take_up();
	vmm_tell(&bench.vmm, VMM_READ, 0, 17, 0);
	assert_int_equal(next_fault(&bench, 0, 17), PF_TRAP_REQUEST);
	place_own(&bench, 17, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(17));
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_come_stays_and_the_rest_is_absent_again),
		cmocka_unit_test(whoever_waited_traps_again_in_every_mapping),
		cmocka_unit_test(what_was_in_the_ring_comes_first),
		cmocka_unit_test(what_none_of_us_has_written_is_news_after_a_crash_too),
		cmocka_unit_test(a_file_is_judged_after_a_crash_as_before),
		cmocka_unit_test(what_has_trapped_before_a_reset_is_no_news_behind_it),
		cmocka_unit_test(private_memory_that_may_have_a_page_is_not_reset),
		cmocka_unit_test(private_memory_in_which_nothing_was_placed_can_be_reset),
		cmocka_unit_test(a_file_without_room_can_be_reset),
		cmocka_unit_test(a_discard_that_was_read_and_not_heeded_is_heeded),
		cmocka_unit_test(copied_and_not_filled_is_no_surprise_the_next_time),
		cmocka_unit_test(a_state_directory_of_other_regions_is_refused_and_the_traps_stand),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
