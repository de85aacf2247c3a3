/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-hugetlb.c - the row of hugetlbfs with real pages of 2 MiB, and what the pool does to it.
 *
 * The VMM is this process: mappings that trap, and threads that touch them.  Needs SPARE free pages
 * in the pool (sysctl vm.nr_hugepages); scripts/check sees to that where it may.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "halfway.h"
#include "hugepool.h"
#include "memhelp.h"
#include "memory/place.h"
#include "memory/reader.h"
#include "memory/touch.h"
#include "memory/trap.h"

#define LARGE ((size_t)2 << 20)
#define REGION_PAGES 8u
#define SPARE 24

struct huge {
	int dirfd;
	struct pf_guest guest;
	uint8_t *vmm[VMM_MAPPINGS]; /* the mappings that trap */
	uint32_t pages;
	uint8_t *bytes; /* one page */
};

static int huge_file(uint64_t pages)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * LARGE)), 0);
	return fd;
}

static int trap_fd(void)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_MISSING_HUGETLBFS |
					     UFFD_FEATURE_MINOR_HUGETLBFS};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

/* Not armed yet.  NORESERVE: the pages are the agent's to see to. */
static void huge_describe(struct huge *huge, uint32_t pages, uint32_t mappings)
{
	struct pf_guest_region *region = &huge->guest.region[0];

	memset(huge, 0, sizeof(*huge));
	pf_touch_init(); /* in each test: cmocka puts a handler of its own before every one */
	huge->dirfd = dir_make();
	huge->pages = pages;
	huge->bytes = malloc(LARGE);
	assert_non_null(huge->bytes);
	huge->guest.table.count = 1;
	huge->guest.table.region[0] = (struct pf_region_shape){0, pages * LARGE, LARGE};
	*region = (struct pf_guest_region){
		.id = 7, .kind = PF_MEMORY_HUGETLBFS, .fd = huge_file(pages), .mappings = mappings};
	huge->guest.uffds = mappings;
	for (uint32_t m = 0; m < mappings; m++) {
		huge->vmm[m] = mmap(NULL, pages * LARGE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_NORESERVE, region->fd, 0);
		assert_true(huge->vmm[m] != MAP_FAILED);
		huge->guest.uffd[m].fd = trap_fd();
		region->mapping[m].uffd = m;
		region->mapping[m].base = (uintptr_t)huge->vmm[m];
	}
}

static void huge_open(struct huge *huge, uint32_t mappings)
{
	struct pf_err err = {0};

	huge_describe(huge, REGION_PAGES, mappings);
	if (pf_guest_arm(&huge->guest, huge->dirfd, &err))
		fail_msg("%s", err.text);
}

static void huge_close(struct huge *huge)
{
	uint32_t mappings = huge->guest.uffds;

	pf_guest_done(&huge->guest);
	for (uint32_t m = 0; m < mappings; m++)
		munmap(huge->vmm[m], huge->pages * LARGE);
	free(huge->bytes);
	dir_remove(huge->dirfd);
}

static void refuses_to_arm(struct huge *huge, const char *text)
{
	struct pf_err err = {0};

	assert_int_equal(pf_guest_arm(&huge->guest, huge->dirfd, &err), -1);
	if (!strstr(err.text, text))
		fail_msg("'%s' does not say '%s'", err.text, text);
	assert_true(err.hint[0] || err.class == PF_ERR_PROTOCOL);
	huge_close(huge);
}

/* What page n has: words that differ all over it. */
static const uint8_t *content(struct huge *huge, uint64_t page)
{
	for (size_t at = 0; at < LARGE; at += PAGE) {
		uint64_t word = page_word(page) ^ at;

		for (size_t w = 0; w < PAGE; w += sizeof(word))
			memcpy(huge->bytes + at + w, &word, sizeof(word));
	}
	return huge->bytes;
}

static enum pf_place_result place(struct huge *huge, uint64_t first, uint32_t count,
				  const uint8_t *bytes, uint32_t *out_placed)
{
	const struct pf_run run = {.region = 0, .first = first, .count = count};
	struct pf_err err = {0};

	return pf_place_run(&huge->guest, &run, bytes, out_placed, &err);
}

static void place_own(struct huge *huge, uint64_t page)
{
	uint32_t placed;

	assert_int_equal(place(huge, page, 1, content(huge, page), &placed), PF_PLACE_OK);
	assert_int_equal(placed, 1);
}

struct toucher {
	const uint8_t *at;
	uint8_t *copy; /* of the whole page */
	pthread_t thread;
};

static void *touch(void *opaque)
{
	struct toucher *toucher = opaque;

	memcpy(toucher->copy, toucher->at, LARGE);
	return NULL;
}

static void toucher_start(struct toucher *toucher, const uint8_t *at)
{
	*toucher = (struct toucher){.at = at, .copy = malloc(LARGE)};
	assert_non_null(toucher->copy);
	assert_int_equal(pthread_create(&toucher->thread, NULL, touch, toucher), 0);
}

static void toucher_found(struct toucher *toucher, const uint8_t *bytes)
{
	assert_int_equal(pthread_join(toucher->thread, NULL), 0);
	if (bytes)
		assert_memory_equal(toucher->copy, bytes, LARGE);
	else
		assert_true(pf_all_zero(toucher->copy, LARGE));
	free(toucher->copy);
}

static enum pf_trap_action next_fault(struct huge *huge, uint32_t uffd, uint64_t page, bool minor)
{
	enum pf_page_state state;
	bool is_minor, first;

	assert_int_equal(guest_fault(&huge->guest, uffd, &is_minor), page);
	assert_int_equal(is_minor, minor);
	state = pf_journal_request(&huge->guest.journal, 0, page, &first);
	return pf_trap_decide(minor ? PF_TRAP_MINOR : PF_TRAP_MISSING, state);
}

static void a_page_that_is_waited_for_comes_whole(void **state)
{
	struct toucher one, two;
	struct huge huge;

	(void)state;
	huge_open(&huge, 2);
	toucher_start(&one, huge.vmm[0] + 5 * LARGE);
	toucher_start(&two, huge.vmm[1] + 5 * LARGE);
	assert_int_equal(next_fault(&huge, 0, 5, false), PF_TRAP_REQUEST);
	assert_int_equal(next_fault(&huge, 1, 5, false), PF_TRAP_REQUEST);
	place_own(&huge, 5);
	toucher_found(&one, content(&huge, 5));
	toucher_found(&two, content(&huge, 5));
	assert_int_equal(huge.guest.count.mapped, 2);
	assert_int_equal(huge.guest.journal.filled, 1);
	huge_close(&huge);
}

/* There is a page, so that it traps MINOR; but nobody has said what is in it. */
static void a_page_that_is_only_allocated_is_asked_for(void **state)
{
	struct toucher toucher;
	struct huge huge;

	(void)state;
	huge_open(&huge, 1);
	assert_int_equal(fallocate(huge.guest.region[0].fd, 0, 3 * (off_t)LARGE, (off_t)LARGE), 0);
	toucher_start(&toucher, huge.vmm[0] + 3 * LARGE);
	assert_int_equal(next_fault(&huge, 0, 3, true), PF_TRAP_REQUEST);
	place_own(&huge, 3);
	toucher_found(&toucher, content(&huge, 3));
	huge_close(&huge);
}

/* With the agent's own handler in place again behind it. */
static bool touch_is_an_error(const uint8_t *at)
{
	struct sigaction old;
	uint64_t word;

	assert_int_equal(sigaction(SIGBUS, NULL, &old), 0);
	word = read_or_sigbus(at);
	assert_int_equal(sigaction(SIGBUS, &old, NULL), 0);
	return word == GOT_SIGBUS;
}

static void a_lost_page_is_an_error_until_the_source_starts_again(void **state)
{
	struct toucher toucher;
	struct pf_err err = {0};
	struct huge huge;
	bool lost;

	(void)state;
	huge_open(&huge, 2);
	place_own(&huge, 6);
	assert_int_equal(pf_lose_page(&huge.guest, 0, 5, &lost, &err), PF_PLACE_OK);
	assert_true(lost);
	assert_int_equal(huge.guest.journal.filled, 2);
	for (uint32_t m = 0; m < 2; m++) {
		assert_true(touch_is_an_error(huge.vmm[m] + 5 * LARGE));
		assert_true(touch_is_an_error(huge.vmm[m] + 6 * LARGE - sizeof(uint64_t)));
		assert_false(touch_is_an_error(huge.vmm[m] + 6 * LARGE));
	}
	assert_int_equal(pf_guest_reset(&huge.guest, &err), 0);
	toucher_start(&toucher, huge.vmm[1] + 5 * LARGE);
	assert_int_equal(next_fault(&huge, 1, 5, false), PF_TRAP_REQUEST);
	place_own(&huge, 5);
	toucher_found(&toucher, content(&huge, 5));
	huge_close(&huge);
}

static void zeros_replace_what_a_torn_write_left(void **state)
{
	struct huge huge;
	uint32_t placed;

	(void)state;
	huge_open(&huge, 1);
	place_own(&huge, 4);
	memset(huge.guest.region[0].map + 2 * LARGE, 0xee, LARGE / 2);
	assert_int_equal(place(&huge, 0, REGION_PAGES, NULL, &placed), PF_PLACE_OK);
	assert_int_equal(placed, REGION_PAGES - 1);
	assert_int_equal(huge.guest.count.duplicates, 1);
	for (uint32_t p = 0; p < REGION_PAGES; p++)
		if (p != 4)
			assert_true(pf_all_zero(huge.vmm[0] + p * LARGE, LARGE));
	assert_memory_equal(huge.vmm[0] + 4 * LARGE, content(&huge, 4), LARGE);
	assert_true(pf_journal_complete(&huge.guest.journal));
	huge_close(&huge);
}

static void a_punched_page_comes_as_zeros(void **state)
{
	const struct pf_run run = {.region = 0, .first = 1, .count = 1};
	struct toucher toucher;
	struct pf_err err = {0};
	struct huge huge;

	(void)state;
	huge_open(&huge, 1);
	place_own(&huge, 1);
	assert_int_equal(fallocate(huge.guest.region[0].fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)LARGE,
				   (off_t)LARGE),
			 0);
	toucher_start(&toucher, huge.vmm[0] + LARGE);
	assert_int_equal(next_fault(&huge, 0, 1, false), PF_TRAP_MAP_OR_HOLE);
	assert_int_equal(pf_map_run(&huge.guest, &run, &err), PF_PLACE_OK);
	toucher_found(&toucher, NULL);
	assert_int_equal(huge.guest.count.holes, 1);
	huge_close(&huge);
}

/* Takes every page of the pool that nobody has reserved. */
static int take_the_pool(void)
{
	int fd = huge_file(1u << 20);
	off_t at = 0;

	while (fallocate(fd, 0, at, (off_t)LARGE) == 0)
		at += (off_t)LARGE;
	assert_true(errno == ENOSPC || errno == ENOMEM);
	return fd;
}

static void what_is_armed_does_not_depend_on_the_pool(void **state)
{
	struct huge huge;
	uint32_t placed;
	int all;

	(void)state;
	huge_open(&huge, 1);
	all = take_the_pool();
	assert_int_equal(place(&huge, 0, REGION_PAGES, NULL, &placed), PF_PLACE_OK);
	close(all);
	huge_close(&huge);
}

static void the_same_after_everything_was_dropped(void **state)
{
	struct toucher toucher;
	struct pf_err err = {0};
	struct huge huge;
	uint32_t placed;
	int all;

	(void)state;
	huge_open(&huge, 1);
	place_own(&huge, 0);
	place_own(&huge, 6);
	assert_int_equal(pf_guest_reset(&huge.guest, &err), 0);
	all = take_the_pool();
	toucher_start(&toucher, huge.vmm[0] + 6 * LARGE);
	assert_int_equal(next_fault(&huge, 0, 6, false), PF_TRAP_REQUEST);
	place_own(&huge, 6);
	toucher_found(&toucher, content(&huge, 6));
	assert_int_equal(place(&huge, 0, REGION_PAGES, NULL, &placed), PF_PLACE_OK);
	assert_int_equal(placed, REGION_PAGES - 1);
	close(all);
	huge_close(&huge);
}

/* The VMM takes a page away when so much of it is written, of which the beginning may be zeros. */
static void write_and_punch_at(size_t stop, size_t zeros)
{
	static struct halfway halfway; /* whose thread outlives a test that fails */
	struct toucher toucher;
	struct huge huge;
	uint32_t placed;

	huge_open(&huge, 1);
	content(&huge, 4);
	memset(huge.bytes, 0, zeros);
	halfway_open(&halfway, huge.bytes, LARGE, stop, huge.guest.region[0].fd, 4 * (off_t)LARGE);
	assert_int_equal(place(&huge, 4, 1, halfway.bytes, &placed), PF_PLACE_OK);
	assert_int_equal(placed, 1);
	halfway_close(&halfway);
	toucher_start(&toucher, huge.vmm[0] + 4 * LARGE);
	toucher_found(&toucher, huge.bytes);
	huge_close(&huge);
}

/* What it then has is no mixture. */
static void a_page_that_is_punched_halfway_comes_whole(void **state)
{
	(void)state;
	write_and_punch_at(PAGE, 0);
	write_and_punch_at(LARGE / 2, 0);
	write_and_punch_at(LARGE - PAGE, 0);
}

/* Only behind the stop there is something: nothing of it is missing. */
static void a_page_of_zeros_up_to_where_it_is_punched_is_whole(void **state)
{
	(void)state;
	write_and_punch_at(LARGE / 2, LARGE / 2 + PAGE);
}

/* The VMM has punched a page, and its reservation went with it. */
static void no_page_left_is_tried_again(void **state)
{
	struct huge huge;
	uint32_t placed;
	int all, fd;

	(void)state;
	huge_open(&huge, 1);
	fd = huge.guest.region[0].fd;
	assert_int_equal(fallocate(fd, 0, 2 * (off_t)LARGE, (off_t)LARGE), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * (off_t)LARGE,
				   (off_t)LARGE),
			 0);
	all = take_the_pool();
	assert_int_equal(place(&huge, 2, 1, content(&huge, 2), &placed), PF_PLACE_NOMEM);
	assert_int_equal(placed, 0);
	assert_int_equal(pf_journal_state(&huge.guest.journal, 0, 2), PF_PAGE_ABSENT);
	close(all);
	place_own(&huge, 2);
	huge_close(&huge);
}

struct shrinker {
	int fd;
	_Atomic bool stop;
	pthread_t thread;
};

static void *shrink_and_grow(void *opaque)
{
	struct shrinker *shrinker = opaque;

	while (!atomic_load(&shrinker->stop)) {
		assert_int_equal(ftruncate(shrinker->fd, 4 * (off_t)LARGE), 0);
		assert_int_equal(ftruncate(shrinker->fd, REGION_PAGES * (off_t)LARGE), 0);
	}
	return NULL;
}

/*
 * The owner cuts pages off while they are written: a SIGBUS for the agent, if it were not guarded.
 * What was cut off before it was written is allocated anew, behind the end of the file.
 */
static void a_file_that_shrinks_costs_its_pages_and_no_more(void **state)
{
	struct shrinker shrinker = {.fd = -1};
	unsigned failed = 0, rounds = 0;
	struct pf_err err = {0};
	struct huge huge;
	uint32_t placed;

	(void)state;
	huge_open(&huge, 1);
	shrinker.fd = huge.guest.region[0].fd;
	content(&huge, 6);
	assert_int_equal(pthread_create(&shrinker.thread, NULL, shrink_and_grow, &shrinker), 0);
	while (failed < 3 && rounds++ < 3000) {
		enum pf_place_result result = place(&huge, 6, 1, huge.bytes, &placed);

		assert_true(result == PF_PLACE_OK || result == PF_PLACE_FAILED);
		assert_int_equal(pf_journal_state(&huge.guest.journal, 0, 6),
				 result == PF_PLACE_OK ? PF_PAGE_FILLED : PF_PAGE_ABSENT);
		failed += result == PF_PLACE_FAILED;
		assert_int_equal(pf_guest_reset(&huge.guest, &err), 0);
	}
	atomic_store(&shrinker.stop, true);
	assert_int_equal(pthread_join(shrinker.thread, NULL), 0);
	assert_true(failed > 0);
	place_own(&huge, 3);
	huge_close(&huge);
}

static void too_few_pages_are_said_when_it_is_armed(void **state)
{
	struct huge huge;

	(void)state;
	huge_describe(&huge, (uint32_t)hugepool_free() + 4096, 1);
	refuses_to_arm(&huge, "reserving its ");
}

static void pages_that_are_there_are_refused(void **state)
{
	struct huge huge;

	(void)state;
	huge_describe(&huge, REGION_PAGES, 1);
	huge.vmm[0][2 * LARGE] = 1;
	huge.vmm[0][3 * LARGE] = 0;
	assert_int_equal(fallocate(huge.guest.region[0].fd, 0, 6 * (off_t)LARGE, (off_t)LARGE), 0);
	refuses_to_arm(&huge, "region 0 (id 7): 3 pages of its memory file are present already and "
			      "nobody declared them; the first range is pages 2 to 3");
}

static void a_file_that_is_not_what_it_is_said_to_be_is_refused(void **state)
{
	struct huge huge;
	int other;

	(void)state;
	huge_describe(&huge, REGION_PAGES, 1);
	other = memfd_create("small", MFD_CLOEXEC);
	assert_int_equal(ftruncate(other, (off_t)(REGION_PAGES * LARGE)), 0);
	close(huge.guest.region[0].fd);
	huge.guest.region[0].fd = other;
	refuses_to_arm(&huge, "said to be a hugetlbfs file");

	huge_describe(&huge, REGION_PAGES, 1);
	huge.guest.region[0].kind = PF_MEMORY_MEMFD;
	refuses_to_arm(&huge, "said to be a memfd");

	huge_describe(&huge, REGION_PAGES, 1);
	huge.guest.table.region[0].page_size = PAGE;
	refuses_to_arm(&huge, "pages of 4096 bytes, but a hugetlbfs file has pages of 2097152");
}

/* After which the file has every reservation that it had. */
static void a_mapping_of_another_file_is_refused(void **state)
{
	struct huge huge;
	int other = huge_file(REGION_PAGES);
	struct stat st;

	(void)state;
	huge_describe(&huge, REGION_PAGES, 1);
	assert_int_equal(dup2(other, huge.guest.region[0].fd), huge.guest.region[0].fd);
	refuses_to_arm(&huge, "mapping 0 does not show page 0, which its memory file has");
	assert_int_equal(fstat(other, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	close(other);
}

/* Its pages would be its own: a guest's writes to them never reach the file. */
static void a_private_mapping_is_refused(void **state)
{
	struct pf_err err = {0};
	struct huge huge;
	struct stat st;

	(void)state;
	huge_describe(&huge, REGION_PAGES, 2);
	assert_true(mmap(huge.vmm[1], REGION_PAGES * LARGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, huge.guest.region[0].fd,
			 0) == huge.vmm[1]);
	assert_int_equal(pf_guest_arm(&huge.guest, huge.dirfd, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.text, "mapping 1 is private"));
	assert_string_equal(err.hint, "map the memory file with MAP_SHARED");
	assert_int_equal(fstat(huge.guest.region[0].fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	huge_close(&huge);
}

static void the_source_reads_holes_without_taking_pages(void **state)
{
	struct pf_reader reader = {.table = {1, {{0, REGION_PAGES * LARGE, LARGE}}}};
	const struct pf_run run = {.region = 0, .first = 3, .count = 1};
	uint8_t *page = malloc(LARGE);
	struct pf_err err = {0};
	struct stat st;
	uint64_t word;
	int fd = huge_file(REGION_PAGES);
	uint8_t *map;

	(void)state;
	reader.region[0].fd = fd;
	reader.region[0].kind = PF_MEMORY_HUGETLBFS;
	assert_non_null(page);
	assert_int_equal(pf_reader_check(&reader, &err), 0);
	assert_int_equal(pf_reader_read(&reader, &run, page), 0);
	assert_true(pf_all_zero(page, LARGE));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	map = mmap(NULL, REGION_PAGES * LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	word = page_word(9);
	memcpy(map + 4 * LARGE - sizeof(word), &word, sizeof(word));
	assert_int_equal(pf_reader_read(&reader, &run, page), 0);
	assert_memory_equal(page + LARGE - sizeof(word), &word, sizeof(word));
	assert_int_equal(ftruncate(fd, 3 * (off_t)LARGE), 0);
	assert_int_equal(pf_reader_read(&reader, &run, page), -1);
	assert_int_equal(errno, EIO);
	munmap(map, REGION_PAGES * LARGE);
	free(page);
	pf_reader_done(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_that_is_waited_for_comes_whole),
		cmocka_unit_test(a_page_that_is_only_allocated_is_asked_for),
		cmocka_unit_test(a_lost_page_is_an_error_until_the_source_starts_again),
		cmocka_unit_test(zeros_replace_what_a_torn_write_left),
		cmocka_unit_test(a_punched_page_comes_as_zeros),
		cmocka_unit_test(what_is_armed_does_not_depend_on_the_pool),
		cmocka_unit_test(the_same_after_everything_was_dropped),
		cmocka_unit_test(a_page_that_is_punched_halfway_comes_whole),
		cmocka_unit_test(a_page_of_zeros_up_to_where_it_is_punched_is_whole),
		cmocka_unit_test(no_page_left_is_tried_again),
		cmocka_unit_test(a_file_that_shrinks_costs_its_pages_and_no_more),
		cmocka_unit_test(too_few_pages_are_said_when_it_is_armed),
		cmocka_unit_test(pages_that_are_there_are_refused),
		cmocka_unit_test(a_file_that_is_not_what_it_is_said_to_be_is_refused),
		cmocka_unit_test(a_mapping_of_another_file_is_refused),
		cmocka_unit_test(a_private_mapping_is_refused),
		cmocka_unit_test(the_source_reads_holes_without_taking_pages),
	};

	if (uffd_refused())
		return 77;
	hugepool_take();
	if (hugepool_free() < SPARE) {
		printf("SKIP: %lld free huge pages of 2 MiB, %d are needed: raise the sysctl "
		       "vm.nr_hugepages\n",
		       hugepool_free(), SPARE);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
