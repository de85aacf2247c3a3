/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/test-whole.c - nobody sees half a page: readers on the heels of one long write(2).
 *
 * The readers try every page before it is there, so they meet it at its first moment; every word of
 * it must be the page's own.  Three ways to meet it: by MINOR and UFFDIO_CONTINUE, with MISSING alone
 * (where a page maps without an event as soon as it is there), and in a mapping that nobody
 * registered, once mincore(2) says that the file has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernel/kit.h"

#define ROUNDS 32u
#define READERS 2u

struct scene {
	const struct kit *kit;
	const uint8_t *map;  /* where the readers read */
	bool ask_first;	     /* mincore(2) before a page is touched */
	int done;	     /* eventfd: readers that have finished */
	uint64_t begin_with; /* taken in turn by the readers */
};

static bool is_whole(const uint8_t *page, uint64_t number)
{
	const volatile uint64_t *words = (const volatile uint64_t *)(const void *)page;

	for (size_t i = 0; i < PAGE / 8; i++)
		if (words[i] != page_word(number))
			return false;
	return true;
}

static void wait_for_page(const struct scene *scene, uint64_t page)
{
	unsigned char there = 0;

	while (scene->ask_first && !(there & 1))
		if (mincore((void *)(uintptr_t)(scene->map + page * PAGE), PAGE, &there) != 0)
			return;
}

/* The number of pages that were not whole. */
static uint64_t read_all(void *argument)
{
	struct scene *scene = argument;
	uint64_t first = __atomic_fetch_add(&scene->begin_with, 1, __ATOMIC_RELAXED);
	uint64_t one = 1, torn = 0;

	for (uint64_t page = first; page < PAGES; page += READERS) {
		wait_for_page(scene, page);
		torn += !is_whole(scene->map + page * PAGE, page);
	}
	return write(scene->done, &one, sizeof(one)) == sizeof(one) ? torn : UINT64_MAX;
}

static uint64_t write_all(void *kit)
{
	return kit_write(kit, 0, PAGES) == SIZE ? 0 : UINT64_MAX;
}

/* Maps the page of a fault if it is there; if not, lets the reader fault again. */
static void resolve_or_wake(const struct kit *kit, uint64_t address)
{
	struct uffdio_range range = {.start = address & ~(uint64_t)(PAGE - 1), .len = PAGE};
	int64_t mapped;
	int said = kit_continue(kit, (range.start - (uintptr_t)kit->map) / PAGE, 1, &mapped);

	if (said == 0)
		return;
	assert_true(said == EFAULT || said == EEXIST);
	assert_int_equal(ioctl(kit->uffd, UFFDIO_WAKE, &range), 0);
}

/* Serves the userfaultfd until every reader has finished. */
static void serve(const struct scene *scene)
{
	struct pollfd pollers[] = {{.fd = scene->kit->uffd, .events = POLLIN},
				   {.fd = scene->done, .events = POLLIN}};
	uint64_t finished = 0, count;
	struct uffd_msg event;

	while (finished < READERS) {
		assert_true(poll(pollers, 2, DEADLINE_MS) > 0);
		while (read(scene->kit->uffd, &event, sizeof(event)) == sizeof(event))
			resolve_or_wake(scene->kit, event.arg.pagefault.address);
		if (read(scene->done, &count, sizeof(count)) == sizeof(count))
			finished += count;
	}
}

static void one_round(struct scene *scene)
{
	const struct kit *kit = scene->kit;
	struct touch readers[READERS], writer;

	assert_int_equal(fallocate(kit->gmem, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE),
			 0);
	scene->begin_with = 0;
	for (unsigned i = 0; i < READERS; i++)
		touch_start(&readers[i], read_all, scene);
	touch_start(&writer, write_all, (void *)(uintptr_t)kit);
	serve(scene);
	assert_int_equal(touch_end(&writer), 0);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(touch_end(&readers[i]), 0);
}

static void all_rounds(struct scene *scene)
{
	scene->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(scene->done >= 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round(scene);
	close(scene->done);
}

static void by_minor_and_continue(void **state)
{
	const struct kit *kit = *state;
	struct scene scene = {.kit = kit, .map = kit->map};

	assert_int_equal(kit_register(kit, BOTH), 0);
	all_rounds(&scene);
}

static void with_missing_alone(void **state)
{
	const struct kit *kit = *state;
	struct scene scene = {.kit = kit, .map = kit->map};

	assert_int_equal(kit_register(kit, MISSING), 0);
	all_rounds(&scene);
}

static void in_a_mapping_that_nobody_registered(void **state)
{
	const struct kit *kit = *state;
	struct scene scene = {.kit = kit, .map = kit->map, .ask_first = true};

	all_rounds(&scene);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, kit_open, kit_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_minor_and_continue),
		TEST(with_missing_alone),
		TEST(in_a_mapping_that_nobody_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
