/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-row-private.c - private anonymous memory: copied, found there, discarded, refused. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"

static unsigned seed;

static void a_blocked_thread_gets_its_page_by_one_copy(void **state)
{
	struct bench bench;
	struct vmm_reply reply;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	vmm_tell(&bench.vmm, VMM_READ, 0, 7, 0);
	assert_int_equal(next_fault(&bench, 0, 7), PF_TRAP_REQUEST);
	assert_true(vmm_is_silent(&bench.vmm));
	place_own(&bench, 4, 16);
	reply = vmm_reply(&bench.vmm);
	assert_true(reply.uniform);
	assert_int_equal(reply.value, page_word(7));
	for (uint64_t page = 4; page < 20; page++)
		assert_int_equal(vmm_word(&bench.vmm, page), page_word(page));
	assert_int_equal(bench.guest.journal.filled, 16);
	assert_int_equal(bench.guest.count.mapped, 16);
	bench_close(&bench);
}

static void zeros_are_placed_and_can_be_written_to(void **state)
{
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	assert_int_equal(place(&bench, 30, 16, NULL, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 16);
	vmm_tell(&bench.vmm, VMM_WRITE, 0, 33, 42);
	vmm_reply(&bench.vmm);
	vmm_tell(&bench.vmm, VMM_READ, 0, 33, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, 42);
	assert_int_equal(vmm_word(&bench.vmm, 34), 0);
	bench_close(&bench);
}

static void a_page_that_comes_again_never_overwrites(void **state)
{
	uint8_t bytes[2 * PAGE];
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	place_own(&bench, 12, 1);
	vmm_tell(&bench.vmm, VMM_WRITE, 0, 12, 42);
	vmm_reply(&bench.vmm);
	page_fill(bytes, 12, 2);
	assert_int_equal(place(&bench, 12, 2, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 1);
	assert_int_equal(bench.guest.count.duplicates, 1);
	assert_int_equal(bench.guest.count.unexpected, 0);
	vmm_tell(&bench.vmm, VMM_READ, 0, 12, 0);
	assert_int_equal(vmm_reply(&bench.vmm).value, 42);
	assert_int_equal(vmm_word(&bench.vmm, 13), page_word(13));
	bench_close(&bench);
}

/* The event was read while the page was absent, and is dealt with after it has come. */
static void a_trap_older_than_its_page_is_woken_and_not_zeroed(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	vmm_tell(&bench.vmm, VMM_READ, 0, 9, 0);
	wait_readable(bench.guest.uffd[0].fd);
	place_own(&bench, 9, 1);
	assert_int_equal(vmm_reply(&bench.vmm).value, page_word(9));
	/* COPY has woken it; the kernel does not take the unread event back in every case. */
	assert_int_equal(map(&bench, 9, 1), PF_PLACE_OK);
	assert_int_equal(bench.guest.count.woken, 1);
	assert_int_equal(bench.guest.count.holes, 0);
	assert_int_equal(vmm_word(&bench.vmm, 9), page_word(9));
	bench_close(&bench);
}

/* Somebody else's page, placed behind our back: told, kept, and the rest of the run comes. */
static void a_page_that_is_there_though_nobody_said_so_is_told_and_kept(void **state)
{
	struct uffdio_zeropage zero = {.range = {.len = PAGE}};
	uint8_t bytes[16 * PAGE];
	struct bench bench;
	uint32_t placed, region;
	uint64_t page;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	zero.range.start = bench.vmm.base[0] + 55 * PAGE;
	assert_int_equal(ioctl(bench.vmm.uffd[0], UFFDIO_ZEROPAGE, &zero), 0);
	page_fill(bytes, 50, 16);
	assert_int_equal(place(&bench, 50, 16, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 15);
	assert_int_equal(bench.guest.count.unexpected, 1);
	assert_int_equal(bench.guest.count.duplicates, 0);
	assert_true(pf_guest_take_unexpected(&bench.guest, &region, &page));
	assert_int_equal(region, REGION);
	assert_int_equal(page, 55);
	assert_false(pf_guest_take_unexpected(&bench.guest, &region, &page));
	assert_int_equal(bench.guest.journal.filled, 16);
	for (page = 50; page < 66; page++)
		assert_int_equal(vmm_word(&bench.vmm, page), page == 55 ? 0 : page_word(page));
	bench_close(&bench);
}

static void read_events(struct bench *bench)
{
	wait_readable(bench->guest.uffd[0].fd);
	assert_int_equal(pf_guest_read(&bench->guest, 0), PF_RING_EVENTS);
	while (pf_ring_peek(&bench->guest.uffd[0].ring))
		pf_ring_pop(&bench->guest.uffd[0].ring);
}

/* Until its event is read the madvise stands, and so does every copy; then the page is discarded. */
static void a_page_discarded_before_it_came_reads_zeros_and_never_comes(void **state)
{
	uint8_t bytes[16 * PAGE];
	struct bench bench;
	struct vmm_reply reply;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, VMM_PRIVATE);
	page_fill(bytes, 80, 16);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 83, 0);
	wait_readable(bench.guest.uffd[0].fd);
	assert_int_equal(place(&bench, 80, 16, bytes, &placed), PF_PLACE_BUSY);
	assert_int_equal(placed, 0);
	assert_int_equal(bench.guest.journal.filled, 0);
	assert_true(vmm_is_silent(&bench.vmm));
	read_events(&bench);
	assert_int_equal(vmm_reply(&bench.vmm).op, VMM_DONTNEED);
	assert_int_equal(bench.guest.count.discarded, 1);
	assert_int_equal(bench.guest.journal.filled, 1);
	assert_int_equal(place(&bench, 80, 16, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 15);
	assert_int_equal(bench.guest.count.duplicates, 1);
	vmm_tell(&bench.vmm, VMM_READ, 0, 83, 0);
	assert_int_equal(next_fault(&bench, 0, 83), PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(map(&bench, 83, 1), PF_PLACE_OK);
	reply = vmm_reply(&bench.vmm);
	assert_true(reply.uniform);
	assert_int_equal(reply.value, 0);
	assert_int_equal(bench.guest.count.holes, 1);
	assert_int_equal(vmm_word(&bench.vmm, 84), page_word(84));
	bench_close(&bench);
}

static void a_page_discarded_after_it_came_reads_zeros(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, VMM_PRIVATE);
	place_own(&bench, 20, 3);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 21, 0);
	read_events(&bench);
	assert_int_equal(vmm_reply(&bench.vmm).op, VMM_DONTNEED);
	vmm_tell(&bench.vmm, VMM_READ, 0, 21, 0);
	assert_int_equal(next_fault(&bench, 0, 21), PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(map(&bench, 21, 1), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&bench.vmm).value, 0);
	assert_int_equal(vmm_word(&bench.vmm, 20), page_word(20));
	bench_close(&bench);
}

/* His page will not come, and nothing else would let him go on. */
static void whoever_waits_for_a_page_that_is_discarded_is_woken(void **state)
{
	struct bench bench;
	struct vmm_reply reply;

	(void)state;
	bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, VMM_PRIVATE);
	vmm_tell(&bench.vmm, VMM_READ, 0, 40, 0);
	assert_int_equal(next_fault(&bench, 0, 40), PF_TRAP_REQUEST);
	vmm_tell(&bench.vmm, VMM_DONTNEED, 0, 40, 0);
	read_events(&bench);
	assert_int_equal(next_fault(&bench, 0, 40), PF_TRAP_MAP_OR_HOLE);
	/* The madvise may not be through: then the page is taken again, and traps again. */
	assert_int_equal(vmm_reply(&bench.vmm).op, VMM_DONTNEED);
	assert_int_equal(map(&bench, 40, 1), PF_PLACE_OK);
	reply = vmm_reply(&bench.vmm);
	assert_int_equal(reply.op, VMM_READ);
	assert_int_equal(reply.value, 0);
	bench_close(&bench);
}

static void a_page_that_the_vmm_has_unmapped_is_passed_over(void **state)
{
	struct bench bench;
	uint8_t bytes[16 * PAGE];
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	advise(&bench, VMM_UNMAP, 0, 105);
	advise(&bench, VMM_DONTDUMP, 0, 110);
	page_fill(bytes, 100, 16);
	assert_int_equal(place(&bench, 100, 16, bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 15);
	assert_int_equal(bench.guest.count.unmapped, 1);
	assert_int_equal(bench.guest.count.unexpected, 0);
	for (uint64_t page = 100; page < 116; page++)
		if (page != 105)
			assert_int_equal(vmm_word(&bench.vmm, page), page_word(page));
	bench_close(&bench);
}

static void a_process_that_is_gone_is_told(void **state)
{
	struct bench bench;
	uint32_t placed;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	vmm_kill(&bench.vmm);
	assert_int_equal(place(&bench, 0, 4, NULL, &placed), PF_PLACE_GONE);
	assert_int_equal(bench.guest.journal.filled, 0);
	bench_close(&bench);
}

static void pages_that_came_cannot_be_taken_back(void **state)
{
	struct bench bench;
	struct pf_err err;

	(void)state;
	bench_open(&bench, 1, 0, VMM_PRIVATE);
	assert_int_equal(pf_guest_reset(&bench.guest, &err), 0);
	place_own(&bench, 3, 1);
	assert_int_equal(pf_guest_reset(&bench.guest, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.text, "page 3"));
	assert_string_not_equal(err.hint, "");
	bench_close(&bench);
}

static int refused(const struct vmm *vmm, void (*spoil)(struct pf_guest *guest),
		   struct pf_err *err)
{
	int dirfd = dir_make(), failed;
	struct pf_guest guest;

	guest_fill(&guest, vmm, PAGES);
	spoil(&guest);
	failed = pf_guest_arm(&guest, dirfd, err);
	pf_guest_done(&guest);
	dir_remove(dirfd);
	return failed;
}

static void have_a_file(struct pf_guest *guest)
{
	guest->region[0].fd = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void have_two_mappings(struct pf_guest *guest)
{
	guest->region[0].mappings = 2;
	guest->region[0].mapping[1] = guest->region[0].mapping[0];
	guest->region[0].mapping[1].base += PAGES * PAGE;
}

static void have_large_pages(struct pf_guest *guest)
{
	guest->table.region[0].page_size = 2u << 20;
	guest->table.region[0].size = 2u << 20;
}

static void declare_discards(struct pf_guest *guest)
{
	guest->region[0].discards = true;
}

static void what_private_memory_cannot_be_is_refused_with_what_to_do(void **state)
{
	static const struct {
		void (*spoil)(struct pf_guest *guest);
		const char *says, *hint;
	} cases[] = {
		{have_a_file, "comes with a memory file", ""},
		{have_two_mappings, "mapped once", "memfd"},
		{have_large_pages, "2097152", "transparent huge pages"},
		{declare_discards, "no EVENT_REMOVE", "UFFD_FEATURE_EVENT_REMOVE"},
	};
	struct vmm vmm;

	(void)state;
	vmm_start(&vmm, PAGES, 1, 0, VMM_PRIVATE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pf_err err = {0};

		assert_int_equal(refused(&vmm, cases[i].spoil, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		if (!strstr(err.text, cases[i].says) || !strstr(err.hint, cases[i].hint))
			fail_msg("case %zu: %s (%s)", i, err.text, err.hint);
	}
	vmm_stop(&vmm);
}

/* ---- copies against discards ---- */

#define ROUNDS 40u

struct copier {
	struct bench *bench;
	uint64_t first;
	unsigned rand;
};

/* A bulk thread: places every page of its part in runs, again where events are in the way. */
static void *copy_all(void *opaque)
{
	static uint8_t bytes[2][PF_RUN_BYTES_MAX];
	struct copier *self = opaque;
	uint8_t *mine = bytes[self->first != 0];

	for (uint64_t page = 0; page < PAGES / 2;) {
		struct pf_run run = {.region = REGION, .first = self->first + page};
		enum pf_place_result result;
		struct pf_err err;
		uint32_t placed;

		run.count = 1 + (uint32_t)rand_r(&self->rand) % PF_RUN_PAGES_MAX;
		if (run.count > PAGES / 2 - page)
			run.count = (uint32_t)(PAGES / 2 - page);
		page_fill(mine, run.first, run.count);
		do
			result = pf_place_run(&self->bench->guest, &run, mine, &placed, &err);
		while (result == PF_PLACE_BUSY);
		if (result != PF_PLACE_OK)
			return (void *)1;
		page += run.count;
	}
	return NULL;
}

/* The urgent thread: reads events, gives zeros to what was discarded. */
static unsigned serve(struct bench *bench, uint32_t replies)
{
	struct pf_guest *guest = &bench->guest;
	unsigned zeroed = 0;

	while (replies > 0) {
		const struct uffd_msg *event;

		(void)!pf_guest_read(guest, 0);
		while ((event = pf_ring_peek(&guest->uffd[0].ring))) {
			struct pf_run run = {.count = 1};
			struct pf_err err;
			bool first;

			if (event->event == UFFD_EVENT_PAGEFAULT &&
			    pf_guest_find(guest, 0, event->arg.pagefault.address, &run.region,
					  &run.first) &&
			    pf_journal_request(&guest->journal, run.region, run.first, &first) ==
				    PF_PAGE_FILLED) {
				while (pf_map_run(guest, &run, &err) == PF_PLACE_AGAIN)
					(void)!pf_guest_read(guest, 0);
				zeroed++;
			}
			pf_ring_pop(&guest->uffd[0].ring);
		}
		while (replies > 0 && !vmm_is_silent(&bench->vmm)) {
			struct vmm_reply reply = vmm_reply(&bench->vmm);

			assert_true(reply.op == VMM_DONTNEED ||
				    (reply.uniform && reply.value == 0));
			replies--;
		}
	}
	return zeroed;
}

/*
 * Pages come by two threads while the VMM discards some of them: what madvise(2) has returned for
 * reads zeros, however the copy and the discard met.
 */
static void what_was_discarded_never_comes_back(void **state)
{
	unsigned rand = seed;

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct copier copier[2];
		pthread_t thread[2];
		uint64_t gone[10];
		struct bench bench;
		void *failed;

		bench_open(&bench, 1, UFFD_FEATURE_EVENT_REMOVE, VMM_PRIVATE);
		for (unsigned i = 0; i < 2; i++) {
			copier[i] = (struct copier){&bench, i * PAGES / 2, rand + i};
			assert_int_equal(pthread_create(&thread[i], NULL, copy_all, &copier[i]), 0);
		}
		for (unsigned i = 0; i < 10; i++) {
			gone[i] = (uint64_t)rand_r(&rand) % PAGES;
			vmm_tell(&bench.vmm, VMM_DONTNEED, 0, gone[i], 0);
		}
		serve(&bench, 10);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(pthread_join(thread[i], &failed), 0);
			assert_null(failed);
		}
		assert_true(pf_journal_complete(&bench.guest.journal));
		for (unsigned i = 0; i < 10; i++)
			vmm_tell(&bench.vmm, VMM_READ, 0, gone[i], 0);
		serve(&bench, 10);
		assert_int_equal(bench.guest.count.unexpected, 0);
		bench_close(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_blocked_thread_gets_its_page_by_one_copy),
		cmocka_unit_test(zeros_are_placed_and_can_be_written_to),
		cmocka_unit_test(a_page_that_comes_again_never_overwrites),
		cmocka_unit_test(a_trap_older_than_its_page_is_woken_and_not_zeroed),
		cmocka_unit_test(a_page_that_is_there_though_nobody_said_so_is_told_and_kept),
		cmocka_unit_test(a_page_discarded_before_it_came_reads_zeros_and_never_comes),
		cmocka_unit_test(a_page_discarded_after_it_came_reads_zeros),
		cmocka_unit_test(whoever_waits_for_a_page_that_is_discarded_is_woken),
		cmocka_unit_test(a_page_that_the_vmm_has_unmapped_is_passed_over),
		cmocka_unit_test(a_process_that_is_gone_is_told),
		cmocka_unit_test(pages_that_came_cannot_be_taken_back),
		cmocka_unit_test(what_private_memory_cannot_be_is_refused_with_what_to_do),
		cmocka_unit_test(what_was_discarded_never_comes_back),
	};

	if (uffd_refused())
		return 77;
	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
