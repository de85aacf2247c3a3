/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-pager-lost.c - a page that the source cannot read: SIGBUS to who touches it, and to nobody
 * else; and no zeros, whatever the VMM, the other connection or a crash does meanwhile.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"
#include "memory/row.h"
#include "pager_kit.h"

#define LOST 40u

static struct pager_kit kit;
static struct bench bench;

/* ---- the threads ---- */

static void assert_found(const struct vmm *vmm, uint64_t word)
{
	struct vmm_reply reply = vmm_reply(vmm);

	assert_int_equal(reply.op, VMM_CALL);
	assert_int_equal(reply.value, word);
}

static void told_lost(uint64_t page)
{
	struct pf_mail mail = pk_mail(&kit, PF_MAIL_PAGE_LOST);
	struct pf_mail_page lost;

	memcpy(&lost, mail.data, sizeof(lost));
	free(mail.data);
	assert_int_equal(lost.page, page);
	assert_int_equal(lost.sys, EIO);
}

static void told_nothing_lost(void)
{
	struct pf_mail mail;

	while (pf_mailbox_take(&kit.inbox, &mail)) {
		assert_int_not_equal(mail.kind, PF_MAIL_PAGE_LOST);
		free(mail.data);
	}
}

static const struct row {
	int memfd;
	uint32_t mappings;
} memfd_row = {0, 2}, private_row = {VMM_PRIVATE, 1};

static void kit_open(const struct row *row, uint64_t features)
{
	pk_open(&kit, &(struct pk_how){.pages = PAGES,
				       .mappings = row->mappings,
				       .memfd = row->memfd,
				       .features = features});
	assert_true(kit.guest.region[0].poisons);
	pk_connect_bulk(&kit, 0, true);
}

static void who_waits_gets_sigbus_and_nobody_else(void **state)
{
	const struct row *row = *state;

	kit_open(row, 0);
	vmm_call(&kit.vmm, vmm_touch, 0, LOST);
	assert_int_equal(pk_request(&kit), LOST);
	for (uint32_t m = 1; m < row->mappings; m++) {
		vmm_call(&kit.vmm, vmm_touch, m, LOST);
		WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[m]) == 1);
	}
	pk_page_error(kit.urgent, LOST, EIO);
	for (uint32_t m = 0; m < row->mappings; m++)
		assert_found(&kit.vmm, GOT_SIGBUS);
	told_lost(LOST);
	pk_barrier(&kit, LOST + 1);
	assert_int_equal(kit.guest.journal.lost, 1);
	pk_await_filled(&kit, 2);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	/* What comes after all is too late: others have seen it fail. */
	pk_pages(kit.push[0], LOST, 1);
	WAIT_UNTIL(kit.guest.count.duplicates == 1);
	vmm_call(&kit.vmm, vmm_touch, 0, LOST);
	assert_found(&kit.vmm, GOT_SIGBUS);
	pk_close(&kit);
}

static void what_nobody_waits_for_is_lost_too_and_the_rest_completes(void **state)
{
	struct pf_mail mail;

	kit_open(*state, 0);
	pk_page_error(kit.push[0], LOST, EIO);
	told_lost(LOST);
	pk_page_error(kit.push[0], LOST + 2, EIO);
	told_lost(LOST + 2);
	pk_send(kit.push[0],
		(struct pf_frame){.type = PF_FRAME_ZERO, .page = 0, .count = PAGES}, NULL);
	mail = pk_mail(&kit, PF_MAIL_FILLED);
	free(mail.data);
	assert_true(pf_journal_complete(&kit.guest.journal));
	assert_int_equal(kit.guest.journal.lost, 2);
	/* Nobody is asked: it is known. */
	vmm_call(&kit.vmm, vmm_touch, 0, LOST);
	assert_found(&kit.vmm, GOT_SIGBUS);
	assert_int_equal(kit.pager.count.faults, 0);
	/* What nobody has touched before the traps go is no zeros behind them. */
	assert_int_equal(pf_guest_disarm(&kit.guest, &(struct pf_err){0}), 0);
	vmm_call(&kit.vmm, vmm_touch, 0, LOST + 2);
	assert_found(&kit.vmm, GOT_SIGBUS);
	vmm_call(&kit.vmm, vmm_touch, 0, LOST + 1);
	assert_found(&kit.vmm, 0);
	pk_close(&kit);
}

static void a_lost_page_that_the_vmm_gives_back_is_lost_still(void **state)
{
	kit_open(*state, UFFD_FEATURE_EVENT_REMOVE);
	pk_page_error(kit.push[0], LOST, EIO);
	told_lost(LOST);
	vmm_tell(&kit.vmm, VMM_DONTNEED, 0, LOST, 0);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_DONTNEED);
	vmm_call(&kit.vmm, vmm_touch, 0, LOST);
	assert_found(&kit.vmm, GOT_SIGBUS);
	assert_int_equal(kit.pager.count.faults, 0);
	pk_close(&kit);
}

/* The copy on bulk and the error on urgent meet: whoever claims, and all agree about it. */
static void an_error_and_a_copy_that_race_leave_the_one_or_the_other(void **state)
{
	enum { ROUNDS = 100 };
	uint32_t lost = 0;

	kit_open(*state, 0);
	for (uint64_t page = 0; page < ROUNDS; page++) {
		struct vmm_reply reply;
		bool gone;

		vmm_call(&kit.vmm, vmm_touch, 0, page);
		assert_int_equal(pk_request(&kit), page);
		if (page % 2)
			pk_page_error(kit.urgent, page, EIO);
		pk_pages(kit.push[0], page, 1);
		if (page % 2 == 0)
			pk_page_error(kit.urgent, page, EIO);
		reply = vmm_reply(&kit.vmm);
		pk_await_state(&kit, page, PF_PAGE_FILLED);
		gone = pf_journal_lost(&kit.guest.journal, 0, page);
		assert_int_equal(reply.value, gone ? GOT_SIGBUS : page_word(page));
		vmm_call(&kit.vmm, vmm_touch, 0, page);
		assert_found(&kit.vmm, reply.value);
		lost += gone;
	}
	pk_barrier(&kit, PAGES - 1);
	pk_await_filled(&kit, ROUNDS + 1);
	assert_int_equal(kit.guest.journal.lost, lost);
	pk_close(&kit);
}

static void a_page_that_is_being_written_is_not_lost(void **state)
{
	kit_open(*state, 0);
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, LOST, 1), 1);
	pk_page_error(kit.push[0], LOST, EIO);
	pk_send(kit.push[0], (struct pf_frame){.type = PF_FRAME_ZERO, .page = 90, .count = 1}, NULL);
	pk_await_state(&kit, 90, PF_PAGE_FILLED);
	assert_int_equal(pf_journal_state(&kit.guest.journal, 0, LOST), PF_PAGE_FILLING);
	assert_int_equal(kit.guest.journal.lost, 0);
	told_nothing_lost();
	pk_close(&kit);
}

/* ---- a process that starts again, a source that does ---- */

static bool lose(uint64_t page)
{
	struct pf_err err = {0};
	bool lost;

	if (pf_lose_page(&bench.guest, REGION, page, &lost, &err) != PF_PLACE_OK)
		fail_msg("%s", err.text);
	return lost;
}

static void die_and_take_up(void)
{
	struct pf_err err = {0};

	pf_guest_done(&bench.guest);
	guest_fill(&bench.guest, &bench.vmm, PAGES);
	if (pf_guest_take_up(&bench.guest, bench.dirfd, &err))
		fail_msg("%s", err.text);
}

static void open_bench(const struct row *row)
{
	bench_open(&bench, row->mappings, 0, row->memfd ? row->memfd : -1);
}

/* As a process leaves it that dies between its poison and LOST. */
static void poison_and_die(uint64_t page)
{
	assert_int_equal(pf_journal_claim(&bench.guest.journal, REGION, page, 1), 1);
	assert_int_equal(pf_uffd_poison(bench.guest.uffd[0].fd, bench.vmm.base[0] + page * PAGE, PAGE),
			 PF_MAP_DONE);
	die_and_take_up();
	assert_int_equal(pf_journal_state(&bench.guest.journal, REGION, page), PF_PAGE_ABSENT);
}

static void what_was_lost_is_lost_for_the_next_process(void **state)
{
	open_bench(*state);
	assert_true(lose(5));
	assert_false(lose(5));
	die_and_take_up();
	assert_int_equal(bench.guest.journal.lost, 1);
	assert_int_equal(bench.guest.journal.filled, 1);
	assert_true(pf_journal_lost(&bench.guest.journal, REGION, 5));
	assert_false(lose(5));
	bench_close(&bench);
}

static void a_crash_before_it_was_lost_asks_and_loses_again(void **state)
{
	open_bench(*state);
	poison_and_die(7);
	assert_true(lose(7));
	vmm_call(&bench.vmm, vmm_touch, 0, 7);
	assert_found(&bench.vmm, GOT_SIGBUS);
	bench_close(&bench);
}

static void a_crash_before_it_was_lost_leaves_room_for_the_page(void **state)
{
	open_bench(*state);
	poison_and_die(7);
	place_own(&bench, 7, 1);
	vmm_call(&bench.vmm, vmm_touch, 0, 7);
	assert_found(&bench.vmm, page_word(7));
	bench_close(&bench);
}

/* ZEROPAGE does not take poison's place. */
static void a_crash_before_it_was_lost_leaves_room_for_zeros(void **state)
{
	uint32_t placed;

	open_bench(*state);
	poison_and_die(7);
	assert_int_equal(place(&bench, 6, 3, NULL, &placed), PF_PLACE_OK);
	for (uint64_t page = 6; page < 9; page++) {
		vmm_call(&bench.vmm, vmm_touch, 0, page);
		assert_found(&bench.vmm, 0);
	}
	assert_int_equal(placed, 3);
	assert_int_equal(bench.guest.journal.lost, 0);
	bench_close(&bench);
}

/* It traps in every mapping, and who waits gets it. */
static void assert_comes_after_all(const struct row *row, uint64_t page)
{
	for (uint32_t m = 0; m < row->mappings; m++) {
		vmm_call(&bench.vmm, vmm_touch, m, page);
		assert_int_equal(next_fault(&bench, m, page), PF_TRAP_REQUEST);
	}
	place_own(&bench, page, 1);
	for (uint32_t m = 0; m < row->mappings; m++)
		assert_found(&bench.vmm, page_word(page));
}

static void a_source_that_starts_again_may_have_the_page(void **state)
{
	const struct row *row = *state;
	struct pf_err err = {0};

	open_bench(row);
	assert_true(lose(9));
	assert_int_equal(pf_guest_reset(&bench.guest, &err), 0);
	assert_int_equal(bench.guest.journal.lost, 0);
	assert_int_equal(bench.guest.journal.filled, 0);
	assert_comes_after_all(row, 9);
	bench_close(&bench);
}

static void a_crash_before_it_was_lost_is_no_poison_behind_a_reset(void **state)
{
	const struct row *row = *state;
	struct pf_err err = {0};

	open_bench(row);
	poison_and_die(7);
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	assert_comes_after_all(row, 7);
	bench_close(&bench);
}

/* What a process that dies in a reset leaves: zeros in place of the poison, in the first mapping. */
static void a_reset_that_died_is_begun_again(void **state)
{
	struct pf_err err = {0};
	uint32_t mapped;

	open_bench(*state);
	assert_true(lose(9));
	assert_int_equal(bench.guest.region[0].placer->fill_hole(&bench.guest, 0, 9), 0);
	assert_int_equal(pf_row_file_map(&bench.guest, 0, 0, 9, 1, &mapped), PF_MAP_DONE);
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(bench.guest.journal.lost, 0);
	for (uint32_t m = 0; m < bench.guest.region[0].mappings; m++) {
		vmm_call(&bench.vmm, vmm_touch, m, 9);
		assert_int_equal(next_fault(&bench, m, 9), PF_TRAP_REQUEST);
	}
	bench_close(&bench);
}

/* The VMM gives pages back: nothing can be mapped until its event was read. */
static void a_reset_while_the_vmm_discards_waits_for_it(void **state)
{
	const struct row *row = *state;
	struct pf_err err = {0};

	bench_open(&bench, row->mappings, UFFD_FEATURE_EVENT_REMOVE, row->memfd ? row->memfd : -1);
	assert_true(lose(9));
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 20, 0);
	wait_readable(bench.guest.uffd[0].fd);
	if (pf_guest_reset(&bench.guest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(vmm_reply(&bench.vmm).failed, 0);
	assert_int_equal(bench.guest.journal.lost, 0);
	bench_close(&bench);
}

#define ROWS_OF(test)                                                                            \
	{#test " (memfd)", test, NULL, NULL, (void *)(uintptr_t)&memfd_row},                     \
	{#test " (private)", test, NULL, NULL, (void *)(uintptr_t)&private_row}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROWS_OF(who_waits_gets_sigbus_and_nobody_else),
		ROWS_OF(what_nobody_waits_for_is_lost_too_and_the_rest_completes),
		ROWS_OF(a_lost_page_that_the_vmm_gives_back_is_lost_still),
		ROWS_OF(an_error_and_a_copy_that_race_leave_the_one_or_the_other),
		ROWS_OF(a_page_that_is_being_written_is_not_lost),
		ROWS_OF(what_was_lost_is_lost_for_the_next_process),
		ROWS_OF(a_crash_before_it_was_lost_asks_and_loses_again),
		ROWS_OF(a_crash_before_it_was_lost_leaves_room_for_the_page),
		ROWS_OF(a_crash_before_it_was_lost_leaves_room_for_zeros),
		{"a_source_that_starts_again_may_have_the_page",
		 a_source_that_starts_again_may_have_the_page, NULL, NULL,
		 (void *)(uintptr_t)&memfd_row},
		{"a_crash_before_it_was_lost_is_no_poison_behind_a_reset",
		 a_crash_before_it_was_lost_is_no_poison_behind_a_reset, NULL, NULL,
		 (void *)(uintptr_t)&memfd_row},
		{"a_reset_that_died_is_begun_again", a_reset_that_died_is_begun_again, NULL, NULL,
		 (void *)(uintptr_t)&memfd_row},
		{"a_reset_while_the_vmm_discards_waits_for_it",
		 a_reset_while_the_vmm_discards_waits_for_it, NULL, NULL,
		 (void *)(uintptr_t)&memfd_row},
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
