/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-reader.c - the source's memory: bytes, holes, and files that are not as said. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/reader.h"

#define PAGES 32u
#define OFFSET_PAGES 3u /* of the second region in its file */

static struct pf_reader reader;

static int new_file(uint64_t pages)
{
	int fd = memfd_create("source", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	return fd;
}

static int set_up(void **state)
{
	(void)state;
	memset(&reader, 0, sizeof(reader));
	reader.table.count = 2;
	for (uint32_t r = 0; r < 2; r++) {
		reader.table.region[r] = (struct pf_region_shape){
			.gpa = r * (UINT64_C(1) << 32), .size = PAGES * PAGE, .page_size = PAGE};
		reader.region[r].id = r + 10;
		reader.region[r].kind = PF_MEMORY_MEMFD;
		reader.region[r].offset = r * OFFSET_PAGES * PAGE;
		reader.region[r].fd = new_file(PAGES + r * OFFSET_PAGES);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pf_reader_done(&reader);
	return 0;
}

static void put_page(uint32_t region, uint64_t page, uint64_t content)
{
	uint8_t bytes[PAGE];

	page_fill(bytes, content, 1);
	assert_int_equal(pwrite(reader.region[region].fd, bytes, PAGE,
				(off_t)(reader.region[region].offset + page * PAGE)), PAGE);
}

static void a_run_is_read_from_where_the_region_lies_in_its_file(void **state)
{
	const struct pf_run run = {.region = 1, .first = 5, .count = 2};
	uint8_t want[2 * PAGE], got[2 * PAGE];
	struct pf_err err = {0};

	(void)state;
	put_page(1, 5, 105);
	put_page(1, 6, 106);
	put_page(0, 5, 5);
	page_fill(want, 105, 2);
	if (pf_reader_check(&reader, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pf_reader_read(&reader, &run, got), 0);
	assert_memory_equal(got, want, sizeof(want));
}

static void a_hole_reads_as_zeros_and_stays_a_hole(void **state)
{
	const struct pf_run run = {.region = 0, .first = 16, .count = PF_RUN_PAGES_MAX};
	static uint8_t got[PF_RUN_BYTES_MAX];
	struct stat st;

	(void)state;
	memset(got, 0xee, sizeof(got));
	put_page(0, 20, 20);
	assert_int_equal(pf_reader_read(&reader, &run, got), 0);
	assert_true(pf_all_zero(got, 4 * PAGE));
	assert_false(pf_all_zero(got + 4 * PAGE, PAGE));
	assert_true(pf_all_zero(got + 5 * PAGE, 11 * PAGE));
	assert_int_equal(fstat(reader.region[0].fd, &st), 0);
	assert_int_equal(st.st_blocks, PAGE / 512);
}

static void a_file_that_was_shrunk_is_an_error_and_no_signal(void **state)
{
	const struct pf_run run = {.region = 0, .first = 8, .count = 4};
	uint8_t got[4 * PAGE];

	(void)state;
	assert_int_equal(pf_reader_read(&reader, &run, got), 0);
	assert_int_equal(ftruncate(reader.region[0].fd, 10 * PAGE + 100), 0);
	assert_int_equal(pf_reader_read(&reader, &run, got), -1);
	assert_int_equal(errno, EIO);
}

/* A bitmap in a memfd with the bits of two pages of region 1. */
static int lost_pages(uint64_t first, uint64_t second)
{
	int fd = memfd_create("lost", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const uint64_t bits = UINT64_C(1) << first | UINT64_C(1) << second;

	assert_int_equal(write(fd, &bits, sizeof(bits)), sizeof(bits));
	return fd;
}

static void what_was_lost_before_is_neither_read_nor_a_hole(void **state)
{
	struct pf_run run = {.region = 1, .first = 5, .count = 4};
	struct pf_part part = {.region = 1, .page = 7, .length = 64};
	uint8_t got[4 * PAGE];
	struct pf_err err = {0};

	(void)state;
	put_page(1, 6, 106);
	reader.region[1].has_lost = true;
	reader.region[1].lost_fd = lost_pages(7, 20);
	assert_int_equal(pf_reader_check(&reader, &err), 0);
	pf_reader_seek_holes(&reader);
	assert_int_equal(pf_reader_read(&reader, &run, got), -1);
	assert_int_equal(errno, EHWPOISON);
	assert_int_equal(pf_reader_read_part(&reader, &part, got), -1);
	assert_int_equal(errno, EHWPOISON);
	run.count = 2;
	assert_int_equal(pf_reader_read(&reader, &run, got), 0);
	assert_int_equal(pf_reader_hole(&reader, 1, 7), 0);
	assert_int_equal(pf_reader_hole(&reader, 1, 8), 12);
	assert_int_equal(pf_reader_hole(&reader, 1, 20), 0);
	assert_int_equal(pf_reader_hole(&reader, 1, 21), PAGES - 21);
	/* The other region has none. */
	assert_int_equal(pf_reader_hole(&reader, 0, 0), PAGES);
}

static void a_bitmap_of_lost_pages_that_is_too_short_is_refused(void **state)
{
	struct pf_err err = {0};

	(void)state;
	reader.region[1].has_lost = true;
	reader.region[1].lost_fd = lost_pages(1, 2);
	assert_int_equal(ftruncate(reader.region[1].lost_fd, 7), 0);
	assert_int_equal(pf_reader_check(&reader, &err), -1);
	assert_string_equal(err.text, "region 1 (id 11): its bitmap of lost pages has 7 bytes, too short "
				      "for a bit for each of its 32 pages (8 bytes)");
}

static void a_run_outside_of_the_table_is_refused(void **state)
{
	static const struct pf_run bad[] = {
		{.region = 2, .first = 0, .count = 1},
		{.region = 0, .first = PAGES, .count = 1},
		{.region = 0, .first = PAGES - 1, .count = 2},
		{.region = 0, .first = UINT64_MAX, .count = 2},
		{.region = 0, .first = 0, .count = 0},
		{.region = 0, .first = 0, .count = PF_RUN_PAGES_MAX + 1},
	};
	uint8_t got[PAGE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		assert_int_equal(pf_reader_read(&reader, &bad[i], got), -1);
		assert_int_equal(errno, EINVAL);
	}
}

static void assert_check_refused(const char *why)
{
	struct pf_err err = {0};

	assert_int_equal(pf_reader_check(&reader, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	if (!strstr(err.text, why) || !strstr(err.text, "region 1 (id 11)"))
		fail_msg("\"%s\" does not say \"%s\" of region 1", err.text, why);
}

static void swap_file(int fd)
{
	assert_true(fd >= 0);
	close(reader.region[1].fd);
	reader.region[1].fd = fd;
}

static void files_that_are_not_as_said_are_refused(void **state)
{
	(void)state;
	reader.region[1].offset = 100;
	assert_check_refused("not a multiple of its page size");
	reader.region[1].offset = (OFFSET_PAGES + 1) * PAGE;
	assert_check_refused("too short");
	reader.region[1].offset = UINT64_MAX - PAGE + 1;
	assert_check_refused("too short");
	reader.region[1].offset = 0;
	swap_file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	assert_check_refused("test-reader, which is no file of tmpfs or hugetlbfs");
	swap_file(open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_check_refused("is /dev/shm, which is no file of tmpfs");
	swap_file(open("/dev/zero", O_RDWR | O_CLOEXEC));
	assert_check_refused("is /dev/zero, which is no file of tmpfs");
	swap_file(eventfd(0, EFD_CLOEXEC));
	assert_check_refused("[eventfd], which is no file of tmpfs");
	swap_file(open("/dev/shm", O_PATH | O_CLOEXEC));
	assert_check_refused("(O_PATH)");
}

static void other_kinds_of_memory_are_refused_by_name(void **state)
{
	(void)state;
	reader.region[1].kind = PF_MEMORY_GUEST_MEMFD;
	assert_check_refused("is said to be a guest_memfd, but is /memfd:");
	reader.region[1].kind = PF_MEMORY_HUGETLBFS;
	assert_check_refused("said to be a hugetlbfs file");
	reader.region[1].kind = PF_MEMORY_PRIVATE;
	assert_check_refused("kind private anonymous");
	reader.region[1].kind = (enum pf_memory_kind)77;
	assert_check_refused("kind unknown (77)");
	reader.region[1].kind = PF_MEMORY_MEMFD;
	reader.table.region[1].page_size = 2 << 20;
	reader.table.region[1].size = 2 << 20;
	assert_check_refused("a memfd has pages of 4096");
}

static void a_file_need_not_be_writable_but_readable(void **state)
{
	char path[48];
	struct pf_err err = {0};

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader.region[1].fd);
	swap_file(open(path, O_RDONLY | O_CLOEXEC));
	assert_int_equal(pf_reader_check(&reader, &err), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader.region[0].fd);
	reader.region[1].offset = 0;
	swap_file(open(path, O_WRONLY | O_CLOEXEC));
	assert_check_refused("not open for reading");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader.region[0].fd);
	swap_file(open(path, O_PATH | O_CLOEXEC));
	assert_check_refused("O_PATH");
}

static void *read_everything(void *argument)
{
	bool *right = argument;
	uint8_t want[4 * PAGE], got[4 * PAGE];

	*right = true;
	for (uint64_t p = 0; p + 4 <= PAGES; p++) {
		const struct pf_run run = {.region = 0, .first = p, .count = 4};

		page_fill(want, p, 4);
		*right = *right && pf_reader_read(&reader, &run, got) == 0 &&
			 memcmp(got, want, sizeof(got)) == 0;
	}
	return NULL;
}

static void any_number_of_threads_may_read(void **state)
{
	pthread_t thread[4];
	bool right[4];

	(void)state;
	for (uint64_t p = 0; p < PAGES; p++)
		put_page(0, p, p);
	for (int t = 0; t < 4; t++)
		assert_int_equal(pthread_create(&thread[t], NULL, read_everything, &right[t]), 0);
	for (int t = 0; t < 4; t++) {
		pthread_join(thread[t], NULL);
		assert_true(right[t]);
	}
}

static void one_bit_anywhere_is_not_all_zero(void **state)
{
	static uint8_t room[PAGE + 1];
	uint8_t *bytes = room + 1; /* not aligned */

	(void)state;
	memset(room, 0, sizeof(room));
	room[0] = 0xff;
	assert_true(pf_all_zero(bytes, PAGE));
	assert_true(pf_all_zero(bytes, 0));
	for (size_t at = 0; at < PAGE; at++) {
		bytes[at] = 1;
		assert_false(pf_all_zero(bytes, PAGE));
		bytes[at] = 0;
	}
	bytes[64] = 1;
	assert_true(pf_all_zero(bytes, 64));
}

static void done_closes_what_it_owns(void **state)
{
	int fd = reader.region[1].fd;
	struct pf_reader nothing = {0};

	(void)state;
	pf_reader_done(&reader);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
	pf_reader_done(&nothing);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void holes_are_seen_up_to_the_next_data_or_the_regions_end(void **state)
{
	(void)state;
	put_page(1, 7, 5);
	assert_int_equal(pf_reader_hole(&reader, 1, 0), 0);
	pf_reader_seek_holes(&reader);
	assert_int_equal(pf_reader_hole(&reader, 1, 0), 7);
	assert_int_equal(pf_reader_hole(&reader, 1, 6), 1);
	assert_int_equal(pf_reader_hole(&reader, 1, 7), 0);
	assert_int_equal(pf_reader_hole(&reader, 1, 8), PAGES - 8);
	assert_int_equal(pf_reader_hole(&reader, 0, 0), PAGES);
}

static void looking_for_holes_leaves_the_vmms_file_offset_alone(void **state)
{
	(void)state;
	put_page(0, 9, 5);
	assert_int_equal(lseek(reader.region[0].fd, 123, SEEK_SET), 123);
	pf_reader_seek_holes(&reader);
	assert_int_equal(pf_reader_hole(&reader, 0, 0), 9);
	assert_int_equal(lseek(reader.region[0].fd, 0, SEEK_CUR), 123);
}

/* Zeros would be made up: the owner has cut the file, and what was there is lost. */
static void what_is_behind_the_end_of_a_cut_file_is_no_hole(void **state)
{
	(void)state;
	pf_reader_seek_holes(&reader);
	assert_int_equal(ftruncate(reader.region[0].fd, 4 * PAGE), 0);
	assert_int_equal(pf_reader_hole(&reader, 0, 2), 0);
	assert_int_equal(pf_reader_hole(&reader, 0, 20), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_run_is_read_from_where_the_region_lies_in_its_file),
		CASE(a_hole_reads_as_zeros_and_stays_a_hole),
		CASE(a_file_that_was_shrunk_is_an_error_and_no_signal),
		CASE(what_was_lost_before_is_neither_read_nor_a_hole),
		CASE(a_bitmap_of_lost_pages_that_is_too_short_is_refused),
		CASE(a_run_outside_of_the_table_is_refused),
		CASE(files_that_are_not_as_said_are_refused),
		CASE(other_kinds_of_memory_are_refused_by_name),
		CASE(a_file_need_not_be_writable_but_readable),
		CASE(any_number_of_threads_may_read),
		CASE(one_bit_anywhere_is_not_all_zero),
		CASE(done_closes_what_it_owns),
		CASE(holes_are_seen_up_to_the_next_data_or_the_regions_end),
		CASE(looking_for_holes_leaves_the_vmms_file_offset_alone),
		CASE(what_is_behind_the_end_of_a_cut_file_is_no_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
