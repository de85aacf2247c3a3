/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-stock.c - what is in memory that is handed over, declared and not declared. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"
#include "memory/stock.h"

static struct vmm vmm;
static struct pf_guest guest;
static int dirfd_;

static int open_vmm(void **state)
{
	(void)state;
	dirfd_ = dir_make();
	vmm_start(&vmm, PAGES, 2, 0, -1);
	guest_fill(&guest, &vmm, PAGES);
	return 0;
}

static int close_vmm(void **state)
{
	(void)state;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	dir_remove(dirfd_);
	return 0;
}

static void write_page(uint64_t page)
{
	uint8_t bytes[PAGE];

	page_fill(bytes, page, 1);
	assert_int_equal(pwrite(vmm.memfd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
}

/* As a VMM that preallocates by touching: the page is in its page tables too. */
static void touch_page(uint32_t mapping, uint64_t page)
{
	vmm_tell(&vmm, VMM_WRITE, mapping, page, 1);
	vmm_reply(&vmm);
}

static void give_back(uint32_t mapping, uint64_t page)
{
	vmm_tell(&vmm, VMM_DONTNEED, mapping, page, 0);
	vmm_reply(&vmm);
}

static void list(uint32_t count, const struct pf_run *ranges)
{
	guest.region[0].populated = PF_POPULATED_LIST;
	guest.region[0].populated_count = count;
	memcpy(guest.populated, ranges, count * sizeof(*ranges));
}

static void arm(void)
{
	struct pf_err err = {0};

	if (pf_guest_arm(&guest, dirfd_, &err))
		fail_msg("%s", err.text);
}

static void assert_refused(const char *says, const char *hint)
{
	struct pf_err err = {0};

	assert_int_equal(pf_guest_arm(&guest, dirfd_, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	if (!strstr(err.text, says) || !strstr(err.hint, hint))
		fail_msg("%s (%s)", err.text, err.hint);
}

static bool holds_data(uint64_t page)
{
	return lseek(vmm.memfd, (off_t)(page * PAGE), SEEK_DATA) == (off_t)(page * PAGE);
}

static bool traps(uint32_t mapping, uint64_t page, bool *out_minor)
{
	vmm_tell(&vmm, VMM_READ, mapping, page, 0);
	return guest_fault(&guest, mapping, out_minor) == page && vmm_is_silent(&vmm);
}

static void what_was_listed_is_dropped_and_traps_again(void **state)
{
	const struct pf_run ranges[] = {{.first = 100, .count = 3}, {.first = 7, .count = 1}};
	bool minor;

	(void)state;
	touch_page(0, 7);
	touch_page(1, 7);
	write_page(101);
	list(2, ranges);
	arm();
	assert_false(holds_data(7));
	assert_false(holds_data(101));
	assert_true(traps(0, 7, &minor));
	assert_false(minor);
	assert_true(traps(1, 7, &minor));
	assert_false(minor);
}

static void what_was_not_listed_is_refused_and_nothing_is_dropped(void **state)
{
	const struct pf_run ranges[] = {{.first = 100, .count = 3}, {.first = 7, .count = 1}};

	(void)state;
	write_page(7);
	write_page(102);
	write_page(103);
	write_page(104);
	write_page(255);
	list(2, ranges);
	assert_refused("3 pages of its memory file are present already and nobody declared them; the "
		       "first range is pages 103 to 104",
		       "declare it populated");
	assert_true(holds_data(7));
	assert_true(holds_data(102));
}

static void ranges_that_overlap_are_one(void **state)
{
	const struct pf_run ranges[] = {{.first = 10, .count = 5}, {.first = 12, .count = 8}};

	(void)state;
	for (uint64_t page = 10; page < 20; page++)
		write_page(page);
	list(2, ranges);
	arm();
	assert_false(holds_data(19));
}

static void preallocated_pages_trap_and_are_overwritten(void **state)
{
	bool minor;

	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, PAGES * PAGE), 0);
	write_page(30);
	touch_page(0, 31);
	touch_page(1, 31);
	give_back(0, 31);
	give_back(1, 31);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm();
	assert_true(holds_data(31));
	assert_true(traps(1, 31, &minor));
	assert_true(minor);
	assert_false(pf_stock_unexpected(&guest, 0, 31));
	assert_true(traps(0, 40, &minor));
	assert_true(minor);
}

static void preallocated_pages_that_are_mapped_would_not_trap_and_are_refused(void **state)
{
	(void)state;
	for (uint64_t page = 20; page < 24; page++)
		touch_page(0, page);
	touch_page(1, 90);
	write_page(50);
	give_back(0, 22);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	assert_refused("4 of its preallocated pages are mapped, and would not trap; the first range is "
		       "pages 20 to 21",
		       "MADV_DONTNEED");
}

/* A page that appears after stock was taken: told once it traps, and never taken for the source's. */
static void a_page_that_appears_later_is_unexpected(void **state)
{
	bool minor;

	(void)state;
	arm();
	write_page(77);
	assert_true(traps(0, 77, &minor));
	assert_true(minor);
	assert_int_equal(pf_journal_state(&guest.journal, 0, 77), PF_PAGE_ABSENT);
	assert_true(pf_stock_unexpected(&guest, 0, 77));
}

/* On tmpfs with huge=always the write of one page makes 511 others present: no news. */
static void what_can_be_our_own_doing_is_not_unexpected(void **state)
{
	const struct pf_run run = {.first = 3, .count = 1};
	struct pf_err err;
	uint32_t placed;

	(void)state;
	arm();
	assert_true(pf_stock_unexpected(&guest, 0, 77));
	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	assert_false(pf_stock_unexpected(&guest, 0, 77));
}

/* A huge page of the file lies where the file has it, across the regions that share it. */
static void neighbours_in_another_region_of_the_file_can_be_our_own_doing(void **state)
{
	enum { FOLIO = 512, FIRST = FOLIO - 100, BEHIND = FOLIO }; /* pages */
	const struct pf_run run = {.region = 1, .count = 1};
	int fd = tmpfs_file("huge=always");
	struct pf_err err;
	uint32_t placed;
	bool minor;

	(void)state;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	vmm_start(&vmm, FIRST + BEHIND, 1, 0, fd);
	guest_fill(&guest, &vmm, FIRST);
	guest.table.count = 2;
	guest.table.region[1] = guest.table.region[0];
	guest.table.region[1].gpa = UINT64_C(1) << 32;
	guest.table.region[1].size = BEHIND * PAGE;
	guest.region[1] = guest.region[0];
	guest.region[1].fd = fcntl(vmm.memfd, F_DUPFD_CLOEXEC, 0);
	guest.region[1].offset = FIRST * PAGE;
	guest.region[1].mapping[0].base += FIRST * PAGE;
	arm();
	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	assert_true(traps(0, 7, &minor));
	assert_true(minor);
	assert_false(pf_stock_unexpected(&guest, 0, 7));
	assert_false(pf_stock_unexpected(&guest, 1, 99));
	assert_true(pf_stock_unexpected(&guest, 1, 101));
}

static void private_memory_declares_nothing(void **state)
{
	(void)state;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	vmm_start(&vmm, PAGES, 1, 0, VMM_PRIVATE);
	guest_fill(&guest, &vmm, PAGES);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	assert_refused("can empty private memory", "declare `none`");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_vmm, close_vmm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_was_listed_is_dropped_and_traps_again),
		CASE(what_was_not_listed_is_refused_and_nothing_is_dropped),
		CASE(ranges_that_overlap_are_one),
		CASE(preallocated_pages_trap_and_are_overwritten),
		CASE(preallocated_pages_that_are_mapped_would_not_trap_and_are_refused),
		CASE(a_page_that_appears_later_is_unexpected),
		CASE(what_can_be_our_own_doing_is_not_unexpected),
		CASE(neighbours_in_another_region_of_the_file_can_be_our_own_doing),
		CASE(private_memory_declares_nothing),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
