/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pager-both-ways.c - one page on urgent and on bulk: each order, at once, and in between. */
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "memory/place.h"
#include "pager_kit.h"

#define PAGES 8192u
#define REMOTE (PAGES - 16) /* pages from here on are the barriers' */

static struct pager_kit kit;

static void open_both(void)
{
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_connect_bulk(&kit, 0, true);
}

static void guest_writes(uint64_t page, uint64_t value)
{
	vmm_tell(&kit.vmm, VMM_WRITE, 0, page, value);
}

static void assert_first_word(uint64_t page, uint64_t value)
{
	vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	assert_int_equal(vmm_reply(&kit.vmm).value, value);
}

static void a_pushed_copy_that_comes_second_is_dropped(void **state)
{
	(void)state;
	open_both();
	guest_writes(5, 99);
	assert_int_equal(pk_request(&kit), 5);
	pk_pages(kit.urgent, 5, 1);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
	pk_pages(kit.push[0], 4, 3);
	pk_await_state(&kit, 6, PF_PAGE_FILLED);
	WAIT_UNTIL(atomic_load(&kit.guest.count.duplicates) == 1);
	assert_first_word(5, 99);
	assert_first_word(4, page_word(4));
	pk_close(&kit);
}

static void an_answer_that_comes_second_is_dropped_and_closes_the_request(void **state)
{
	(void)state;
	open_both();
	guest_writes(7, 77);
	assert_int_equal(pk_request(&kit), 7);
	pk_pages(kit.push[0], 7, 1);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
	pk_pages(kit.urgent, 7, 1);
	pk_barrier(&kit, REMOTE);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	assert_int_equal(kit.guest.count.duplicates, 1);
	assert_first_word(7, 77);
	pk_close(&kit);
}

/* 7 has come on bulk, and its answer was still owed; 9 has not come at all. */
static void in_a_session_that_is_taken_up_only_what_is_absent_is_asked_for_again(void **state)
{
	(void)state;
	open_both();
	guest_writes(7, 77);
	assert_int_equal(pk_request(&kit), 7);
	pk_pages(kit.push[0], 7, 1);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
	guest_writes(9, 99);
	assert_int_equal(pk_request(&kit), 9);
	pk_resume(&kit);
	assert_int_equal(pk_request(&kit), 9);
	pk_pages(kit.urgent, 9, 1);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
	pk_barrier(&kit, REMOTE); /* whose request is the next one */
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	assert_first_word(7, 77);
	pk_close(&kit);
}

/* The answer is for a page in the middle of the run that is pushed. */
static void copies_that_race_are_written_once_and_lose_no_write_of_the_guest(void **state)
{
	enum { ROUNDS = 400, RUN = 16, MIDDLE = 6 };

	(void)state;
	open_both();
	for (uint64_t round = 0; round < ROUNDS; round++) {
		uint64_t first = round * RUN, page = first + MIDDLE;

		guest_writes(page, round + 1);
		assert_int_equal(pk_request(&kit), page);
		if (round % 2)
			pk_pages(kit.urgent, page, 1);
		pk_pages(kit.push[0], first, RUN);
		if (round % 2 == 0)
			pk_pages(kit.urgent, page, 1);
		assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
	}
	pk_await_state(&kit, ROUNDS * RUN - 1, PF_PAGE_FILLED);
	pk_barrier(&kit, REMOTE);
	assert_int_equal(kit.guest.count.duplicates, ROUNDS);
	pk_await_filled(&kit, ROUNDS * RUN + 1);
	for (uint64_t round = 0; round < ROUNDS; round++)
		assert_first_word(round * RUN + MIDDLE, round + 1);
	pk_close(&kit);
}

/* The memfd row; a bulk thread that comes to write this page stops, and then succeeds or not. */
static struct {
	uint64_t page;
	int sys; /* fails with that, each time */
	bool armed;
	sem_t reached, go_on;
} stop;

static int populate_with_a_stop(const struct pf_guest *guest, uint32_t region, uint64_t first,
				uint32_t count, const uint8_t *bytes)
{
	if (first <= stop.page && stop.page < first + count && pk_is_bulk_thread()) {
		if (stop.armed) {
			stop.armed = false;
			sem_post(&stop.reached);
			sem_wait(&stop.go_on);
		}
		if (stop.sys) {
			errno = stop.sys;
			return -1;
		}
	}
	return pf_placer_memfd.populate(guest, region, first, count, bytes);
}

static void open_with_a_stop(uint64_t page, int sys)
{
	static struct pf_placer placer;

	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	placer = pf_placer_memfd;
	placer.populate = populate_with_a_stop;
	kit.guest.region[0].placer = &placer;
	stop.page = page;
	stop.sys = sys;
	stop.armed = true;
	sem_init(&stop.reached, 0, 0);
	sem_init(&stop.go_on, 0, 0);
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
}

static void bulk_stops_at_the_page(void)
{
	pk_pages(kit.push[0], stop.page - 2, 4);
	sem_wait(&stop.reached);
	assert_int_equal(pf_journal_state(&kit.guest.journal, 0, stop.page), PF_PAGE_FILLING);
}

static void close_with_a_stop(void)
{
	pk_close(&kit);
	sem_destroy(&stop.reached);
	sem_destroy(&stop.go_on);
}

static void whoever_traps_while_bulk_writes_is_not_asked_for_and_goes_on(void **state)
{
	(void)state;
	open_with_a_stop(50, 0);
	bulk_stops_at_the_page();
	vmm_tell(&kit.vmm, VMM_READ, 0, 50, 0);
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == 1);
	pk_barrier(&kit, REMOTE);
	sem_post(&stop.go_on);
	pk_reply_word(&kit, 50, page_word(50));
	close_with_a_stop();
}

/* As often as it is asked for: an answer that meets bulk at the page once more, alone, is dropped like the one
 * before, and what bulk could not write either is asked for again. */
static void answer_until_it_is_read(uint64_t page)
{
	struct pollfd pfds[] = {
		{.fd = kit.vmm.sock, .events = POLLIN},
		{.fd = pf_conn_fd(pf_channel_conn(kit.urgent)), .events = POLLIN},
	};
	uint64_t asked, until = wait_deadline();

	do {
		assert_true(pf_now_ns() < until);
		while (pk_try_request(&kit, &asked)) {
			assert_int_equal(asked, page);
			pk_pages(kit.urgent, page, 1);
		}
		assert_true(poll(pfds, PF_ARRAY_LEN(pfds), DEADLINE_MS) > 0);
	} while (!pfds[0].revents);
	pk_reply_word(&kit, page, page_word(page));
}

/* Bulk gives up what a waiter met as FILLING, and what it comes with again fails each time. */
static void whoever_waits_for_a_writer_that_fails_is_asked_for(void **state)
{
	(void)state;
	open_with_a_stop(50, EIO);
	bulk_stops_at_the_page();
	vmm_tell(&kit.vmm, VMM_READ, 0, 50, 0);
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == 1);
	pk_barrier(&kit, REMOTE);
	sem_post(&stop.go_on);
	assert_int_equal(pk_request(&kit), 50);
	pk_pages(kit.urgent, 50, 1);
	answer_until_it_is_read(50);
	close_with_a_stop();
}

/* The answer is dropped, since bulk is writing; then bulk fails.  Nobody may think that it was served. */
static void an_answer_dropped_for_a_writer_that_fails_is_asked_for_again(void **state)
{
	(void)state;
	open_with_a_stop(50, ENOMEM);
	vmm_tell(&kit.vmm, VMM_READ, 0, 50, 0);
	assert_int_equal(pk_request(&kit), 50);
	bulk_stops_at_the_page();
	pk_pages(kit.urgent, 50, 1);
	pk_barrier(&kit, REMOTE);
	assert_int_equal(kit.guest.count.duplicates, 1);
	sem_post(&stop.go_on);
	assert_int_equal(pk_request(&kit), 50);
	pk_pages(kit.urgent, 50, 1);
	answer_until_it_is_read(50);
	close_with_a_stop();
}

/* As while an event is pending that only the urgent thread reads. */
static enum pf_map_result not_for_bulk(const struct pf_guest *guest, uint32_t region,
				       uint32_t mapping, uint64_t first, uint32_t count,
				       uint32_t *out_pages)
{
	*out_pages = 0;
	return pk_is_bulk_thread() ? PF_MAP_AGAIN
				   : pf_placer_memfd.map(guest, region, mapping, first, count,
							 out_pages);
}

static void what_bulk_cannot_map_is_mapped_by_the_urgent_thread(void **state)
{
	struct pf_placer placer = pf_placer_memfd;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	placer.map = not_for_bulk;
	kit.guest.region[0].placer = &placer;
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
	vmm_tell(&kit.vmm, VMM_READ, 0, 70, 0);
	assert_int_equal(pk_request(&kit), 70);
	pk_pages(kit.push[0], 64, PF_RUN_PAGES_MAX);
	pk_reply_word(&kit, 70, page_word(70));
	pk_close(&kit);
}

/* As without memory for page tables, in whichever thread. */
static _Atomic bool maps_nothing;
static _Atomic uint32_t maps_refused;

static enum pf_map_result not_for_now(const struct pf_guest *guest, uint32_t region, uint32_t mapping,
				      uint64_t first, uint32_t count, uint32_t *out_pages)
{
	if (!atomic_load(&maps_nothing))
		return pf_placer_memfd.map(guest, region, mapping, first, count, out_pages);
	*out_pages = 0;
	atomic_fetch_add(&maps_refused, 1);
	errno = ENOMEM;
	return PF_MAP_FAILED;
}

/* Pushed and not mapped, while its answer is on the way: by bulk, by the urgent thread for it, and for
 * the waiter, who has trapped once more. */
static void open_with_a_page_that_cannot_be_mapped(struct pf_placer *placer, uint64_t page)
{
	*placer = pf_placer_memfd;
	placer->map = not_for_now;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	kit.guest.region[0].placer = placer;
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
	maps_nothing = true;
	maps_refused = 0;
	vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	assert_int_equal(pk_request(&kit), page);
	pk_pages(kit.push[0], page, 1);
	WAIT_UNTIL(atomic_load(&maps_refused) >= 3);
	assert_true(vmm_is_silent(&kit.vmm));
}

static void the_answer_for_a_pushed_page_that_cannot_be_mapped_is_still_owed(void **state)
{
	struct pf_placer placer;

	(void)state;
	open_with_a_page_that_cannot_be_mapped(&placer, 80);
	pk_pages(kit.urgent, 80, 1);
	WAIT_UNTIL(atomic_load(&kit.guest.count.duplicates) == 1);
	WAIT_UNTIL(atomic_load(&maps_refused) >= 5);
	assert_true(vmm_is_silent(&kit.vmm));
	maps_nothing = false;
	pk_reply_word(&kit, 80, page_word(80));
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	pk_barrier(&kit, REMOTE);
	pk_close(&kit);
}

static void a_pushed_page_that_cannot_be_mapped_is_mapped_later_though_the_source_calls_it_lost(
	void **state)
{
	struct pf_placer placer;

	(void)state;
	open_with_a_page_that_cannot_be_mapped(&placer, 81);
	pk_page_error(kit.urgent, 81, EIO);
	WAIT_UNTIL(atomic_load(&maps_refused) >= 5);
	maps_nothing = false;
	pk_reply_word(&kit, 81, page_word(81));
	pk_barrier(&kit, REMOTE);
	pk_close(&kit);
}

/* The memfd row, but the first run is not mapped at once and the second finds no room at once. */
static uint32_t populated, mapped;

static int populate_one_run(const struct pf_guest *guest, uint32_t region, uint64_t first,
			    uint32_t count, const uint8_t *bytes)
{
	if (++populated != 2)
		return pf_placer_memfd.populate(guest, region, first, count, bytes);
	errno = ENOMEM;
	return -1;
}

static enum pf_map_result map_at_the_second_try(const struct pf_guest *guest, uint32_t region,
						uint32_t mapping, uint64_t first, uint32_t count,
						uint32_t *out_pages)
{
	if (++mapped != 1)
		return pf_placer_memfd.map(guest, region, mapping, first, count, out_pages);
	*out_pages = 0;
	return PF_MAP_AGAIN;
}

static void an_answer_of_which_one_half_finds_no_room_lets_both_halves_go_on(void **state)
{
	enum { RUNS = 2 * PF_RUN_PAGES_MAX };
	struct pf_frame zero = {.type = PF_FRAME_ZERO, .page = 64, .count = RUNS};
	struct pf_placer placer = pf_placer_memfd;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	populated = mapped = 0;
	placer.populate = populate_one_run;
	placer.map = map_at_the_second_try;
	kit.guest.region[0].placer = &placer;
	pk_give(&kit);
	for (uint64_t page = 64; page < 64 + RUNS; page++) {
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
		assert_int_equal(pk_request(&kit), page);
	}
	pk_send(kit.urgent, zero, NULL);
	for (int i = 0; i < RUNS / 2; i++)
		assert_int_equal(vmm_reply(&kit.vmm).value, 0);
	/* The others a little later, each when it is asked for again. */
	for (int i = 0; i < RUNS / 2; i++) {
		zero.page = pk_request(&kit);
		zero.count = 1;
		assert_in_range(zero.page, 64 + RUNS / 2, 64 + RUNS - 1);
		pk_send(kit.urgent, zero, NULL);
		assert_int_equal(vmm_reply(&kit.vmm).page, zero.page);
	}
	pk_close(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pushed_copy_that_comes_second_is_dropped),
		cmocka_unit_test(an_answer_that_comes_second_is_dropped_and_closes_the_request),
		cmocka_unit_test(in_a_session_that_is_taken_up_only_what_is_absent_is_asked_for_again),
		cmocka_unit_test(copies_that_race_are_written_once_and_lose_no_write_of_the_guest),
		cmocka_unit_test(whoever_traps_while_bulk_writes_is_not_asked_for_and_goes_on),
		cmocka_unit_test(whoever_waits_for_a_writer_that_fails_is_asked_for),
		cmocka_unit_test(what_bulk_cannot_map_is_mapped_by_the_urgent_thread),
		cmocka_unit_test(the_answer_for_a_pushed_page_that_cannot_be_mapped_is_still_owed),
		cmocka_unit_test(
			a_pushed_page_that_cannot_be_mapped_is_mapped_later_though_the_source_calls_it_lost),
		cmocka_unit_test(an_answer_of_which_one_half_finds_no_room_lets_both_halves_go_on),
		cmocka_unit_test(an_answer_dropped_for_a_writer_that_fails_is_asked_for_again),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
