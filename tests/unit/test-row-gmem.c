/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-row-gmem.c - guest_memfd, in the kernel of tests/kernel: which row is taken, pages placed
 * by each, bits cleared and set again, what is there already; what is refused: test-gmem-refused.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/kvm_abi.h"
#include "gmem_bench.h"
#include "memory/gmem.h"
#include "memory/reader.h"
#include "memory/stock.h"

#define PUNCH_ROUNDS 3000u

static const struct {
	const char *name;
	uint64_t flags;
	bool missing_only;
} rows[] = {
	{"guest_memfd", PF_GUEST_MEMFD_WRITE, false},
	{"guest_memfd without write", 0, false},
	{"guest_memfd, MISSING only", PF_GUEST_MEMFD_WRITE, true},
};

static void open_row(struct gmem_bench *gmem, size_t row, uint32_t mappings)
{
	kvm_set_parameter("gmem_uffd_minor", rows[row].missing_only ? "0" : "1");
	gmem_open(gmem, rows[row].flags, mappings);
	gmem->bench.guest.region[REGION].fill_atomic = rows[row].missing_only;
	gmem_arm(gmem);
	assert_string_equal(gmem->bench.guest.region[REGION].placer->name, rows[row].name);
}

/* In each row: a thread that is blocked goes on with the page, and a vCPU may enter then and not before. */
static void a_page_is_placed_for_who_is_blocked_and_for_who_left(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;
		struct vmm_reply reply;

		open_row(&gmem, row, 2);
		vmm_tell(&gmem.bench.vmm, VMM_READ, 1, 7, 0);
		assert_int_equal(next_fault(&gmem.bench, 1, 7), PF_TRAP_REQUEST);
		assert_false(gmem_lets_in(&gmem, 7));
		place_own(&gmem.bench, 7, 1);
		reply = vmm_reply(&gmem.bench.vmm);
		assert_true(reply.uniform);
		assert_int_equal(reply.value, page_word(7));
		assert_true(gmem_lets_in(&gmem, 7));
		assert_false(gmem_lets_in(&gmem, 6));
		assert_false(gmem_lets_in(&gmem, 8));
		assert_int_equal(vmm_word(&gmem.bench.vmm, 7), page_word(7));
		gmem_close(&gmem);
	}
}

static void a_run_across_two_words_of_the_bitmap_is_let_in_and_no_neighbour(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;

		open_row(&gmem, row, 1);
		place_own(&gmem.bench, 56, 16);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(gmem_lets_in(&gmem, page), page >= 56 && page < 72);
		for (uint64_t page = 56; page < 72; page++)
			assert_int_equal(vmm_word(&gmem.bench.vmm, page), page_word(page));
		assert_int_equal(gmem.bench.guest.count.mapped, 16);
		gmem_close(&gmem);
	}
}

static void zeros_are_pages_too(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;
		uint32_t placed;

		open_row(&gmem, row, 1);
		assert_int_equal(place(&gmem.bench, 3, 4, NULL, &placed), PF_PLACE_OK);
		assert_int_equal(placed, 4);
		assert_true(file_has_page(gmem.bench.vmm.memfd, 6));
		assert_false(file_has_page(gmem.bench.vmm.memfd, 7));
		assert_int_equal(vmm_word(&gmem.bench.vmm, 5), 0);
		assert_true(gmem_lets_in(&gmem, 5));
		gmem_close(&gmem);
	}
}

/* Whoever waits in an exit is not woken by the kernel: the urgent thread has to hear of him. */
static void a_page_that_was_requested_says_so_when_it_is_placed(void **state)
{
	uint8_t bytes[2 * PAGE];
	struct gmem_bench gmem;
	uint32_t placed;
	bool first;

	(void)state;
	open_row(&gmem, 0, 1);
	page_fill(bytes, 8, 2);
	assert_int_equal(pf_journal_request(&gmem.bench.guest.journal, REGION, 9, &first),
			 PF_PAGE_ABSENT);
	assert_int_equal(place(&gmem.bench, 8, 2, bytes, &placed), PF_PLACE_ASKED);
	assert_int_equal(placed, 2);
	assert_int_equal(place(&gmem.bench, 8, 2, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 0);
	gmem_close(&gmem);
}

/* MINOR that is read late: the journal decides. */
static void an_event_that_is_older_than_its_page_maps_it(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	open_row(&gmem, 1, 1);
	vmm_tell(&gmem.bench.vmm, VMM_READ, 0, 20, 0);
	wait_readable(gmem.bench.guest.uffd[0].fd);
	assert_int_equal(pf_guest_read(&gmem.bench.guest, 0), PF_RING_EVENTS);
	place_own(&gmem.bench, 20, 1);
	assert_int_equal(vmm_reply(&gmem.bench.vmm).value, page_word(20));
	assert_int_equal(next_fault(&gmem.bench, 0, 20), PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(map(&gmem.bench, 20, 1), PF_PLACE_OK);
	assert_int_equal(vmm_word(&gmem.bench.vmm, 20), page_word(20));
	gmem_close(&gmem);
}

static void a_page_that_was_punched_after_it_came_reads_zeros(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;

		open_row(&gmem, row, 1);
		place_own(&gmem.bench, 30, 2);
		punch(&gmem.bench, 30);
		vmm_tell(&gmem.bench.vmm, VMM_READ, 0, 30, 0);
		assert_int_equal(next_fault(&gmem.bench, 0, 30), PF_TRAP_MAP_OR_HOLE);
		assert_int_equal(map(&gmem.bench, 30, 2), PF_PLACE_OK);
		assert_int_equal(vmm_reply(&gmem.bench.vmm).value, 0);
		assert_int_equal(gmem.bench.guest.count.holes, 1);
		gmem_close(&gmem);
	}
}

struct puncher {
	int fd;
	unsigned draw;
	_Atomic unsigned round, punched; /* the rounds begun, and done with */
	_Atomic bool stop;
	pthread_t thread;
};

/* Once a round, a moment after its beginning. */
static void *punch_at_random(void *opaque)
{
	struct puncher *puncher = opaque;

	for (unsigned done = 0; done < PUNCH_ROUNDS; done++) {
		while (atomic_load(&puncher->round) == done)
			if (atomic_load(&puncher->stop))
				return NULL;
		for (int wait = rand_r(&puncher->draw) % 4096; wait > 0; wait--)
			atomic_signal_fence(memory_order_seq_cst);
		if (fallocate(puncher->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 21 * PAGE, PAGE))
			return (void *)"cannot punch";
		atomic_store(&puncher->punched, done + 1);
	}
	return NULL;
}

/* What the page has become; NULL: it is whole, or, which is counted, gone. */
static const char *write_and_punch(struct gmem_bench *gmem, struct puncher *puncher, unsigned round,
				   const uint8_t *bytes, unsigned *zeros)
{
	struct pf_guest_region *at = &gmem->bench.guest.region[REGION];
	const uint8_t *page = at->map + 21 * PAGE;
	uint64_t until = wait_deadline();

	atomic_store(&puncher->round, round);
	if (at->placer->populate(&gmem->bench.guest, REGION, 21, 1, bytes) != 1)
		return "it cannot be written";
	while (atomic_load(&puncher->punched) != round)
		if (pf_now_ns() > until)
			return "nobody punches it";
	if (!pf_all_zero(page, PAGE))
		return memcmp(page, bytes, PAGE) ? "it is a mixture" : NULL;
	(*zeros)++;
	return NULL;
}

/* Where it goes through a mapping: write(2) has the page's lock.  Too short a way to be stopped on. */
static void a_page_that_is_punched_while_it_is_written_is_no_mixture(void **state)
{
	static struct puncher puncher; /* who outlives a test that fails */
	const char *found = NULL;
	struct gmem_bench gmem;
	uint8_t bytes[PAGE];
	unsigned zeros = 0;
	void *failed;

	(void)state;
	open_row(&gmem, 1, 1);
	puncher.draw = test_seed();
	puncher.fd = gmem.bench.guest.region[REGION].fd;
	page_fill(bytes, 21, 1);
	assert_int_equal(pthread_create(&puncher.thread, NULL, punch_at_random, &puncher), 0);
	for (unsigned round = 1; round <= PUNCH_ROUNDS && !found; round++)
		found = write_and_punch(&gmem, &puncher, round, bytes, &zeros);
	atomic_store(&puncher.stop, true);
	pthread_join(puncher.thread, &failed);
	if (failed || found)
		fail_msg("%s", found ? found : (const char *)failed);
	assert_true(0 < zeros && zeros < PUNCH_ROUNDS); /* before it was written, and behind that */
	gmem_close(&gmem);
}

/* Between EFAULT and the zeros a vCPU, whose bit is clear, can have written to it. */
static void filling_a_hole_never_overwrites(void **state)
{
	struct gmem_bench gmem;
	const struct pf_placer *placer;

	(void)state;
	open_row(&gmem, 0, 1);
	placer = gmem.bench.guest.region[REGION].placer;
	gmem_write_page(&gmem, 12, 0x77);
	assert_int_equal(placer->fill_hole(&gmem.bench.guest, REGION, 12), 0);
	assert_int_equal(placer->fill_hole(&gmem.bench.guest, REGION, 13), 0);
	assert_int_equal(gmem.bench.guest.region[REGION].map[12 * PAGE + 99], 0x77);
	assert_true(file_has_page(gmem.bench.vmm.memfd, 13));
	gmem_close(&gmem);
}

/* ---- what somebody else has put there ---- */

/* Kernels differ: overwritten, or refused by one errno or another, and then left as it is. */
static void a_page_that_somebody_populated_is_told(void **state)
{
	static const char *const refusals[] = {"17", "28"};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(refusals); i++) {
		struct gmem_bench gmem;
		uint32_t region;
		uint64_t page;

		open_row(&gmem, 0, 1);
		kvm_set_parameter("gmem_write_populated", refusals[i]);
		gmem_write_page(&gmem, 41, 0x33);
		place_own(&gmem.bench, 40, 4);
		assert_true(pf_guest_take_unexpected(&gmem.bench.guest, &region, &page));
		assert_int_equal(page, 41);
		assert_int_equal(gmem.bench.guest.count.unexpected, 1);
		assert_int_equal(vmm_word(&gmem.bench.vmm, 41), UINT64_C(0x3333333333333333));
		assert_int_equal(vmm_word(&gmem.bench.vmm, 43), page_word(43));
		assert_int_equal(pf_journal_state(&gmem.bench.guest.journal, REGION, 41),
				 PF_PAGE_FILLED);
		gmem_close(&gmem);
	}
}

static void where_the_kernel_overwrites_the_source_s_bytes_win(void **state)
{
	(void)state;
	for (size_t row = 0; row < 2; row++) {
		struct gmem_bench gmem;

		open_row(&gmem, row, 1);
		place_own(&gmem.bench, 42, 1); /* a neighbour brings none with it */
		gmem_write_page(&gmem, 41, 0x33);
		vmm_tell(&gmem.bench.vmm, VMM_READ, 0, 41, 0);
		assert_int_equal(next_fault(&gmem.bench, 0, 41), PF_TRAP_REQUEST);
		/* It traps MINOR: somebody has made it. */
		assert_true(pf_stock_unexpected(&gmem.bench.guest, REGION, 41));
		place_own(&gmem.bench, 41, 1);
		assert_int_equal(vmm_reply(&gmem.bench.vmm).value, page_word(41));
		gmem_close(&gmem);
	}
}

/* A process that died in FILLING had written it whole, or not at all. */
static void what_a_former_process_has_written_is_no_surprise(void **state)
{
	static uint8_t bytes[PAGE];
	struct gmem_bench gmem;
	struct pf_err err = {0};
	struct pf_guest *guest = &gmem.bench.guest;

	(void)state;
	open_row(&gmem, 0, 1);
	place_own(&gmem.bench, 60, 1);
	assert_int_equal(pf_journal_claim(&guest->journal, REGION, 61, 1), 1);
	page_fill(bytes, 61, 1);
	assert_int_equal(pwrite(guest->region[REGION].fd, bytes, PAGE, 61 * PAGE), PAGE);
	pf_guest_done(guest);
	guest_fill(guest, &gmem.bench.vmm, PAGES);
	guest->region[REGION].kind = PF_MEMORY_GUEST_MEMFD;
	guest->region[REGION].has_bitmap = true;
	guest->region[REGION].bitmap_fd = fcntl(gmem.bitmap_fd, F_DUPFD_CLOEXEC, 3);
	kvm_set_parameter("gmem_write_populated", "17");
	if (pf_guest_take_up(guest, gmem.bench.dirfd, &err))
		fail_msg("%s", err.text);
	assert_true(gmem_lets_in(&gmem, 60));
	place_own(&gmem.bench, 61, 1);
	assert_int_equal(guest->count.unexpected, 0);
	assert_int_equal(vmm_word(&gmem.bench.vmm, 61), page_word(61));
	assert_true(gmem_lets_in(&gmem, 61));
	gmem_close(&gmem);
}

/* MISSING only: it is seen without an event, and may have been written to since a process that died put it there. */
static void what_shows_without_an_event_is_written_once(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	open_row(&gmem, 2, 1);
	gmem_write_page(&gmem, 31, 0x33);
	assert_int_equal(vmm_word(&gmem.bench.vmm, 31), UINT64_C(0x3333333333333333));
	assert_int_equal(pf_journal_claim(&gmem.bench.guest.journal, REGION, 31, 1), 1);
	assert_int_equal(pf_journal_unclaim(&gmem.bench.guest.journal, REGION, 31, 1, true), 0);
	place_own(&gmem.bench, 30, 4);
	assert_int_equal(vmm_word(&gmem.bench.vmm, 31), UINT64_C(0x3333333333333333));
	assert_int_equal(vmm_word(&gmem.bench.vmm, 30), page_word(30));
	assert_int_equal(vmm_word(&gmem.bench.vmm, 33), page_word(33));
	assert_true(gmem_lets_in(&gmem, 31));
	assert_int_equal(gmem.bench.guest.count.unexpected, 0);
	gmem_close(&gmem);
}

static int (*write_really)(const struct pf_guest *, uint32_t, uint64_t, uint32_t, const uint8_t *);
static struct gmem_bench *written_in;

static int write_and_look(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
			  const uint8_t *bytes)
{
	int done = write_really(guest, region, first, count, bytes);

	if (first == 41 || first == 50) /* between its being written and its being mapped */
		assert_int_equal(vmm_word(&written_in->bench.vmm, first), page_word(first));
	return done;
}

/* No event, so that no fault is counted: the pages are. */
static void a_page_that_is_mapped_before_it_is_asked_for_is_counted(void **state)
{
	struct pf_placer row;
	struct gmem_bench gmem;
	struct pf_guest *guest = &gmem.bench.guest;
	bool first;

	(void)state;
	open_row(&gmem, 2, 1);
	row = *guest->region[REGION].placer;
	written_in = &gmem;
	write_really = row.populate;
	row.populate = write_and_look;
	guest->region[REGION].placer = &row;
	place_own(&gmem.bench, 40, 1);
	assert_int_equal(guest->count.unasked, 0);
	place_own(&gmem.bench, 41, 3);
	assert_int_equal(guest->count.unasked, 1);
	assert_int_equal(map(&gmem.bench, 40, 4), PF_PLACE_OK); /* mapped by us, long ago */
	assert_int_equal(guest->count.unasked, 1);
	/* Asked for, so that it may have been mapped by the thread that heard of it. */
	(void)pf_journal_request(&guest->journal, REGION, 50, &first);
	place_own(&gmem.bench, 50, 1);
	assert_int_equal(guest->count.unasked, 1);
	gmem_close(&gmem);
}

/* ---- stock ---- */

static void fallocated_pages_are_taken_and_written_ones_are_not(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	gmem_open(&gmem, PF_GUEST_MEMFD_WRITE, 1);
	gmem.bench.guest.region[REGION].populated = PF_POPULATED_PREALLOCATED;
	assert_int_equal(fallocate(gmem.bench.vmm.memfd, FALLOC_FL_KEEP_SIZE, 0, PAGES * PAGE), 0);
	gmem_write_page(&gmem, 100, 1);
	gmem_write_page(&gmem, 101, 1);
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
			    "2 of its preallocated pages hold data, which not every kernel lets be "
			    "written again; the first range is pages 100 to 101");
	assert_int_equal(fallocate(gmem.bench.vmm.memfd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				   100 * PAGE, 2 * PAGE), 0);
	gmem_arm(&gmem);
	place_own(&gmem.bench, 98, 4);
	assert_int_equal(vmm_word(&gmem.bench.vmm, 100), page_word(100));
	gmem_close(&gmem);
}

static void pages_that_are_listed_are_dropped_and_trap_again(void **state)
{
	struct gmem_bench gmem;
	struct pf_guest *guest = &gmem.bench.guest;

	(void)state;
	gmem_open(&gmem, PF_GUEST_MEMFD_WRITE, 1);
	guest->region[REGION].populated = PF_POPULATED_LIST;
	guest->region[REGION].populated_count = 2;
	guest->populated[0] = (struct pf_run){.first = 2, .count = 2};
	guest->populated[1] = (struct pf_run){.first = 63, .count = 2};
	gmem_write_page(&gmem, 3, 1);
	gmem_write_page(&gmem, 64, 1);
	gmem.bitmap[0] &= ~(1ul << 3);
	gmem.bitmap[1] &= ~1ul;
	gmem_arm(&gmem);
	assert_false(file_has_page(gmem.bench.vmm.memfd, 3));
	assert_false(file_has_page(gmem.bench.vmm.memfd, 64));
	assert_false(gmem_lets_in(&gmem, 3));
	assert_false(gmem_lets_in(&gmem, 64));
	gmem_close(&gmem);
}

static void a_reset_takes_pages_away_and_lets_nobody_in(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;
		struct pf_err err = {0};

		open_row(&gmem, row, 1);
		place_own(&gmem.bench, 60, 8);
		if (pf_guest_reset(&gmem.bench.guest, &err))
			fail_msg("%s", err.text);
		for (uint64_t page = 60; page < 68; page++) {
			assert_false(gmem_lets_in(&gmem, page));
			assert_false(file_has_page(gmem.bench.vmm.memfd, page));
		}
		vmm_tell(&gmem.bench.vmm, VMM_READ, 0, 60, 0);
		assert_int_equal(next_fault(&gmem.bench, 0, 60), PF_TRAP_REQUEST);
		place_own(&gmem.bench, 60, 1);
		assert_int_equal(vmm_reply(&gmem.bench.vmm).value, page_word(60));
		gmem_close(&gmem);
	}
}

static bool gets_sigbus(struct gmem_bench *gmem, uint64_t page)
{
	vmm_call(&gmem->bench.vmm, vmm_touch, 0, page);
	return vmm_reply(&gmem->bench.vmm).value == GOT_SIGBUS;
}

/* Poison holds what goes through the mapping, the bit that stays a vCPU; a new session brings the page. */
static void a_page_that_is_lost_stays_so_until_a_reset(void **state)
{
	(void)state;
	for (size_t row = 0; row < PF_ARRAY_LEN(rows); row++) {
		struct gmem_bench gmem;
		struct pf_guest *guest = &gmem.bench.guest;
		struct pf_err err = {0};
		bool lost;

		gmem_open(&gmem, rows[row].flags, 1);
		kvm_set_parameter("gmem_uffd_minor", rows[row].missing_only ? "0" : "1");
		guest->region[REGION].fill_atomic = rows[row].missing_only;
		guest->region[REGION].machine_checks = true;
		gmem_arm(&gmem);
		assert_true(guest->region[REGION].poisons);
		place_own(&gmem.bench, 69, 1);
		assert_int_equal(pf_lose_page(guest, REGION, 70, &lost, &err), PF_PLACE_OK);
		assert_true(lost);
		assert_true(gets_sigbus(&gmem, 70));
		assert_false(gmem_lets_in(&gmem, 70));
		assert_int_equal(map(&gmem.bench, 69, 2), PF_PLACE_OK);
		assert_false(gmem_lets_in(&gmem, 70));
		if (pf_guest_reset(guest, &err))
			fail_msg("%s", err.text);
		assert_false(gmem_lets_in(&gmem, 69));
		vmm_tell(&gmem.bench.vmm, VMM_READ, 0, 70, 0);
		assert_int_equal(next_fault(&gmem.bench, 0, 70), PF_TRAP_REQUEST);
		place_own(&gmem.bench, 70, 1);
		assert_int_equal(vmm_reply(&gmem.bench.vmm).value, page_word(70));
		gmem_close(&gmem);
	}
}

static void without_machine_checks_nothing_is_poisoned(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	open_row(&gmem, 0, 1);
	assert_false(gmem.bench.guest.region[REGION].poisons);
	gmem_close(&gmem);
}

static void at_the_end_no_bit_is_left(void **state)
{
	struct gmem_bench gmem;
	struct pf_err err = {0};

	(void)state;
	open_row(&gmem, 0, 1);
	for (uint64_t page = 0; page < PAGES; page += 16)
		place_own(&gmem.bench, page, 16);
	gmem.bitmap[2] = ~0ul; /* as one leaves them who dies between FILLED and clearing */
	if (pf_guest_disarm(&gmem.bench.guest, &err))
		fail_msg("%s", err.text);
	for (size_t word = 0; word < BIT_WORDS; word++)
		assert_int_equal(gmem.bitmap[word], 0);
	assert_int_equal(gmem.bitmap[BIT_WORDS], ~0ul); /* not the region's */
	gmem_close(&gmem);
}

/* The bitmap is the VMM's, who can shrink it: no SIGBUS, and the page is FILLED. */
static void a_bitmap_that_shrinks_is_an_error_and_no_signal(void **state)
{
	const struct pf_run run = {.region = REGION, .first = 5, .count = 1};
	struct gmem_bench gmem;
	struct pf_err err = {0};
	uint8_t bytes[PAGE];
	uint32_t placed;

	(void)state;
	open_row(&gmem, 0, 1);
	page_fill(bytes, 5, 1);
	assert_int_equal(ftruncate(gmem.bitmap_fd, 0), 0);
	assert_int_equal(place(&gmem.bench, 5, 1, bytes, &placed), PF_PLACE_AGAIN);
	assert_int_equal(placed, 1);
	assert_int_equal(pf_map_run(&gmem.bench.guest, &run, &err), PF_PLACE_FAILED);
	assert_non_null(strstr(err.text, "clearing the bits of 1 pages from page 5 of region 0"));
	assert_int_equal(vmm_word(&gmem.bench.vmm, 5), page_word(5)); /* mapped all the same */
	assert_int_equal(ftruncate(gmem.bitmap_fd, PAGE), 0);
	memset(gmem.bitmap, 0xff, PAGE);
	assert_int_equal(map(&gmem.bench, 5, 1), PF_PLACE_OK);
	assert_true(gmem_lets_in(&gmem, 5));
	gmem_close(&gmem);
}

/* ---- the source ---- */

/* lost_fd: its bitmap of lost pages, or -1. */
static void open_reader(struct pf_reader *reader, int fd, int lost_fd)
{
	struct pf_err err = {0};

	*reader = (struct pf_reader){.table = {.count = 1}};
	reader->region[0].has_lost = lost_fd >= 0;
	reader->region[0].lost_fd = lost_fd;
	reader->table.region[0] = (struct pf_region_shape){.size = PAGES * PAGE, .page_size = PAGE};
	reader->region[0].fd = fd;
	reader->region[0].kind = PF_MEMORY_GUEST_MEMFD;
	if (pf_reader_check(reader, &err))
		fail_msg("%s", err.text);
	pf_reader_seek_holes(reader);
}

static void the_source_reads_pages_and_makes_none(void **state)
{
	static uint8_t bytes[4 * PAGE], want[2 * PAGE];
	const struct pf_run run = {.region = 0, .first = 19, .count = 4};
	struct pf_reader reader;
	int fd = gmem_create(PF_GUEST_MEMFD_WRITE);

	(void)state;
	page_fill(want, 20, 2);
	assert_int_equal(pwrite(fd, want, sizeof(want), 20 * PAGE), sizeof(want));
	open_reader(&reader, fd, -1);
	memset(bytes, 0xee, sizeof(bytes));
	assert_int_equal(pf_reader_read(&reader, &run, bytes), 0);
	assert_true(pf_all_zero(bytes, PAGE));
	assert_memory_equal(bytes + PAGE, want, sizeof(want));
	assert_true(pf_all_zero(bytes + 3 * PAGE, PAGE));
	assert_false(file_has_page(fd, 19));
	assert_false(file_has_page(fd, 22));
	assert_int_equal(pf_reader_hole(&reader, 0, 0), 20);
	assert_int_equal(pf_reader_hole(&reader, 0, 20), 0);
	assert_int_equal(pf_reader_hole(&reader, 0, 21), 0);
	assert_int_equal(pf_reader_hole(&reader, 0, 22), PAGES - 22);
	pf_reader_done(&reader);
}

/* What is left of the userfault bitmap that it arrived with says which; they are absent like any hole. */
static void the_source_knows_which_absent_pages_were_lost(void **state)
{
	const struct pf_run run = {.region = 0, .first = 63, .count = 2};
	const uint64_t bits[PAGES / 64] = {0, 1};
	int lost = memfd_create("userfault", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	static uint8_t bytes[2 * PAGE];
	struct pf_reader reader;

	(void)state;
	assert_int_equal(write(lost, bits, sizeof(bits)), sizeof(bits));
	open_reader(&reader, gmem_create(PF_GUEST_MEMFD_WRITE), lost);
	assert_int_equal(pf_reader_hole(&reader, 0, 0), 64);
	assert_int_equal(pf_reader_hole(&reader, 0, 64), 0);
	assert_int_equal(pf_reader_read(&reader, &run, bytes), -1);
	assert_int_equal(errno, EHWPOISON);
	pf_reader_done(&reader);
}

/* On a released kernel: named before anything is trapped, and what to do. */
static void a_kernel_that_cannot_trap_it_is_named(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	gmem_open(&gmem, 0, 1);
	gmem_assert_refused(&gmem, PF_ERR_SYSTEM,
			    "this kernel's userfaultfd traps nothing on guest_memfd: Invalid argument");
	gmem_close(&gmem);
}

int main(void)
{
	const struct CMUnitTest plain[] = {
		cmocka_unit_test(a_kernel_that_cannot_trap_it_is_named),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_placed_for_who_is_blocked_and_for_who_left),
		cmocka_unit_test(a_run_across_two_words_of_the_bitmap_is_let_in_and_no_neighbour),
		cmocka_unit_test(zeros_are_pages_too),
		cmocka_unit_test(a_page_that_was_requested_says_so_when_it_is_placed),
		cmocka_unit_test(an_event_that_is_older_than_its_page_maps_it),
		cmocka_unit_test(a_page_that_was_punched_after_it_came_reads_zeros),
		cmocka_unit_test(a_page_that_is_punched_while_it_is_written_is_no_mixture),
		cmocka_unit_test(filling_a_hole_never_overwrites),
		cmocka_unit_test(a_page_that_somebody_populated_is_told),
		cmocka_unit_test(where_the_kernel_overwrites_the_source_s_bytes_win),
		cmocka_unit_test(what_a_former_process_has_written_is_no_surprise),
		cmocka_unit_test(what_shows_without_an_event_is_written_once),
		cmocka_unit_test(a_page_that_is_mapped_before_it_is_asked_for_is_counted),
		cmocka_unit_test(fallocated_pages_are_taken_and_written_ones_are_not),
		cmocka_unit_test(pages_that_are_listed_are_dropped_and_trap_again),
		cmocka_unit_test(a_reset_takes_pages_away_and_lets_nobody_in),
		cmocka_unit_test(a_page_that_is_lost_stays_so_until_a_reset),
		cmocka_unit_test(without_machine_checks_nothing_is_poisoned),
		cmocka_unit_test(at_the_end_no_bit_is_left),
		cmocka_unit_test(a_bitmap_that_shrinks_is_an_error_and_no_signal),
		cmocka_unit_test(the_source_reads_pages_and_makes_none),
		cmocka_unit_test(the_source_knows_which_absent_pages_were_lost),
	};

	if (uffd_refused())
		return 77;
	if (gmem_is_plain())
		return cmocka_run_group_tests(plain, NULL, NULL);
	if (gmem_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
