/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/test-gmem.c - guest_memfd in the test kernel: write(2), userfaultfd, and both at once.
 *
 * Each test is a promise that the agent relies on; tests/kernel/run runs them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernel/kit.h"

/* An address that is mapped nowhere. */
#define NOWHERE ((void *)0x1000)

static uint64_t word_at(const struct kit *kit, uint64_t page)
{
	return *(volatile uint64_t *)(void *)(kit->map + page * PAGE);
}

/* What pwrite of zeros says: the count, or -errno. */
static ssize_t put(int fd, const void *bytes, size_t size, uint64_t offset)
{
	ssize_t written = pwrite(fd, bytes, size, (off_t)offset);

	return written < 0 ? -errno : written;
}

static void missing_and_minor_register_and_write_protection_does_not(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(kit_register(kit, MISSING), 0);
	assert_int_equal(kit_register(kit, MINOR), 0);
	assert_int_equal(kit_register(kit, BOTH), 0);
	for (uint64_t others = 0; others <= BOTH; others++)
		if ((others & BOTH) == others)
			assert_int_equal(kit_register(kit, others | UFFDIO_REGISTER_MODE_WP),
					 EINVAL);
}

static void a_missing_page_blocks_until_it_is_written_and_continued(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	touch_read(&touch, kit->map + 3 * PAGE);
	assert_false(kit_fault(kit, 3));
	assert_int_equal(kit_continue(kit, 3, 1, &mapped), EFAULT);
	assert_int_equal(kit_write(kit, 3, 1), PAGE);
	assert_int_equal(uffd_blocked(kit->uffd), 1);
	assert_int_equal(kit_continue(kit, 3, 1, &mapped), 0);
	assert_int_equal(touch_end(&touch), page_word(3));
	assert_int_equal(uffd_blocked(kit->uffd), 0);
	assert_true(kit_is_silent(kit));
}

static void a_populated_page_traps_minor(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(kit_write(kit, 5, 1), PAGE);
	touch_read(&touch, kit->map + 5 * PAGE);
	assert_true(kit_fault(kit, 5));
	assert_int_equal(kit_continue(kit, 5, 1, &mapped), 0);
	assert_int_equal(touch_end(&touch), page_word(5));
}

static void continue_stops_where_it_must_and_says_why(void **state)
{
	const struct kit *kit = *state;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(kit_continue(kit, 0, 1, &mapped), EFAULT);
	assert_int_equal(mapped, -EFAULT);
	assert_int_equal(kit_write(kit, 0, 3), 3 * PAGE);
	assert_int_equal(kit_continue(kit, 0, 8, &mapped), EAGAIN);
	assert_int_equal(mapped, 3 * PAGE);
	assert_int_equal(kit_continue(kit, 0, 1, &mapped), EEXIST);
	assert_int_equal(mapped, -EEXIST);
}

static void a_run_is_one_write_and_one_continue(void **state)
{
	const struct kit *kit = *state;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(kit_write(kit, 0, PAGES), SIZE);
	assert_int_equal(kit_continue(kit, 0, PAGES, &mapped), 0);
	assert_int_equal(mapped, SIZE);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(word_at(kit, page), page_word(page));
	assert_true(kit_is_silent(kit));
}

static void only_whole_pages_of_the_file_are_written(void **state)
{
	static const struct {
		size_t size;
		uint64_t offset;
		int said;
	} odd[] = {
		{0, PAGE, 0},
		{PAGE - 1, 0, -EINVAL},
		{PAGE + 1, 0, -EINVAL},
		{PAGE, 1, -EINVAL},
		{PAGE, SIZE, -EINVAL},
		{PAGE, UINT64_C(1) << 62, -EINVAL},
		{2 * PAGE, SIZE - PAGE, -EINVAL},
		{PAGE, SIZE - PAGE, PAGE},
	};
	static const uint8_t bytes[2 * PAGE];
	const struct kit *kit = *state;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(put(kit->gmem, bytes, odd[i].size, odd[i].offset), odd[i].said);
	assert_false(file_has_page(kit->gmem, 0));
	assert_true(file_has_page(kit->gmem, PAGES - 1));
	assert_int_equal(fcntl(kit->gmem, F_SETFL, O_RDWR | O_APPEND), 0);
	assert_int_equal(put(kit->gmem, bytes, PAGE, 0), -EINVAL);
}

static void a_bad_source_is_told_and_what_came_before_it_counts(void **state)
{
	const struct kit *kit = *state;
	uint8_t *bytes = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);

	assert_true(bytes != MAP_FAILED);
	munmap(bytes + 2 * PAGE, 2 * PAGE);
	assert_int_equal(put(kit->gmem, NOWHERE, PAGE, 0), -EFAULT);
	assert_false(file_has_page(kit->gmem, 0));
	assert_int_equal(put(kit->gmem, bytes, 4 * PAGE, 8 * PAGE), 2 * PAGE);
	assert_true(file_has_page(kit->gmem, 9));
	assert_false(file_has_page(kit->gmem, 10));
	/* The third page of this source ends in the middle: it is not written by half. */
	assert_int_equal(put(kit->gmem, bytes + 16, 2 * PAGE, 16 * PAGE), PAGE);
	assert_false(file_has_page(kit->gmem, 17));
	munmap(bytes, 2 * PAGE);
}

static void the_source_may_be_the_file_itself(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(kit_write(kit, 1, 1), PAGE);
	assert_int_equal(put(kit->gmem, kit->map + PAGE, PAGE, 2 * PAGE), PAGE);
	assert_int_equal(word_at(kit, 2), page_word(1));
	/* A page onto itself, which is not there before it is read. */
	assert_int_equal(put(kit->gmem, kit->map + 3 * PAGE, PAGE, 3 * PAGE), PAGE);
	assert_int_equal(word_at(kit, 3), 0);
}

static void a_populated_page_is_overwritten_or_refused_as_the_parameter_says(void **state)
{
	static const struct {
		uint64_t page;
		const char *value;
		int said;
	} refusals[] = {{2, "17", -EEXIST}, {12, "28", -ENOSPC}};
	const struct kit *kit = *state;

	for (size_t i = 0; i < 2; i++) {
		uint64_t page = refusals[i].page;

		assert_int_equal(kit_write(kit, page, 1), PAGE);
		memset(kit->map + page * PAGE, 0x11, PAGE);
		kvm_set_parameter("gmem_write_populated", refusals[i].value);
		assert_int_equal(kit_write(kit, page, 1), refusals[i].said);
		assert_int_equal(kit_write(kit, page - 2, 4), 2 * PAGE);
		kvm_set_parameter("gmem_write_populated", "0");
		assert_int_equal(word_at(kit, page), UINT64_C(0x1111111111111111));
		assert_int_equal(kit_write(kit, page, 1), PAGE);
		assert_int_equal(word_at(kit, page), page_word(page));
	}
}

/* Linux aio's result of a write, which reaches the file's method without asking its mode. */
static int64_t put_by_aio(int fd, const void *bytes, size_t length)
{
	struct iocb one = {
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)bytes,
		.aio_nbytes = length,
	};
	struct iocb *all[] = {&one};
	struct io_event event;
	aio_context_t context = 0;
	int64_t result = -1;

	assert_int_equal(syscall(SYS_io_setup, 1, &context), 0);
	if (syscall(SYS_io_submit, context, 1, all) != 1)
		result = -errno;
	else if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1)
		result = event.res;
	syscall(SYS_io_destroy, context);
	return result;
}

static void aio_writes_only_where_write_does(void **state)
{
	static const uint8_t bytes[PAGE];
	const struct kit *kit = *state;
	int writable = kit_create(kit, SIZE, WRITABLE);

	assert_true(writable >= 0);
	assert_int_equal(put_by_aio(writable, bytes, PAGE), PAGE);
	assert_int_equal(put_by_aio(kit->gmem, bytes, PAGE), -EINVAL);
	close(writable);
}

static void without_an_offset_the_file_is_written_from_its_beginning_on(void **state)
{
	const struct kit *kit = *state;
	uint8_t bytes[2 * PAGE];

	page_fill(bytes, 0, 2);
	assert_int_equal(write(kit->gmem, bytes, PAGE), PAGE);
	/* That moves the position; this does not. */
	assert_int_equal(kit_write(kit, 5, 1), PAGE);
	assert_int_equal(write(kit->gmem, bytes + PAGE, PAGE), PAGE);
	assert_int_equal(lseek(kit->gmem, 0, SEEK_SET), -1);
	assert_int_equal(errno, ESPIPE);
	assert_int_equal(word_at(kit, 0), page_word(0));
	assert_int_equal(word_at(kit, 1), page_word(1));
	assert_false(file_has_page(kit->gmem, 6));
}

static void what_cannot_be_written_says_so(void **state)
{
	static const uint8_t bytes[PAGE];
	const struct kit *kit = *state;

	assert_int_equal(put(kit->gmem, bytes, PAGE, 0), -ESPIPE);
	assert_int_equal(write(kit->gmem, bytes, PAGE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kit_create(kit, SIZE, PF_GUEST_MEMFD_WRITE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kit_create(kit, SIZE, PF_GUEST_MEMFD_WRITE | PF_GUEST_MEMFD_MMAP), -1);
	assert_int_equal(errno, EINVAL);
}

static void what_cannot_be_written_is_filled_through_a_second_mapping(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;
	uint8_t *second = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, kit->gmem, 0);

	assert_true(second != MAP_FAILED);
	assert_int_equal(kit_register(kit, BOTH), 0);
	touch_read(&touch, kit->map + 4 * PAGE);
	assert_false(kit_fault(kit, 4));
	page_fill(second + 4 * PAGE, 4, 1);
	assert_int_equal(uffd_blocked(kit->uffd), 1);
	assert_int_equal(kit_continue(kit, 4, 1, &mapped), 0);
	assert_int_equal(touch_end(&touch), page_word(4));
	munmap(second, SIZE);
}

static void nothing_is_read_from_the_file(void **state)
{
	const struct kit *kit = *state;
	uint8_t bytes[PAGE];

	assert_int_equal(pread(kit->gmem, bytes, PAGE, 0), -1);
	assert_int_equal(errno, ESPIPE);
	assert_int_equal(read(kit->gmem, bytes, PAGE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(lseek(kit->gmem, 0, SEEK_DATA), -1);
	assert_int_equal(errno, ESPIPE);
}

static void an_allocated_page_that_nobody_wrote_is_missing(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(fallocate(kit->gmem, FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
	assert_false(file_has_page(kit->gmem, 6));
	touch_read(&touch, kit->map + 6 * PAGE);
	assert_false(kit_fault(kit, 6));
	assert_int_equal(kit_continue(kit, 6, 1, &mapped), EFAULT);
	kit_resolve(kit, 6);
	assert_int_equal(touch_end(&touch), page_word(6));
	assert_true(file_has_page(kit->gmem, 6));
}

static void with_minor_alone_an_absent_page_is_zeros_and_no_event(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;

	assert_int_equal(kit_register(kit, MINOR), 0);
	assert_int_equal(word_at(kit, 7), 0);
	assert_true(kit_is_silent(kit));
	assert_int_equal(kit_write(kit, 8, 1), PAGE);
	touch_read(&touch, kit->map + 8 * PAGE);
	assert_true(kit_fault(kit, 8));
	assert_int_equal(kit_continue(kit, 8, 1, &mapped), 0);
	assert_int_equal(touch_end(&touch), page_word(8));
}

static void with_missing_alone_a_populated_page_maps_without_an_event(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;

	kvm_set_parameter("gmem_uffd_minor", "0");
	assert_int_equal(kit_register(kit, MINOR), EINVAL);
	assert_int_equal(kit_register(kit, BOTH), EINVAL);
	assert_int_equal(kit_register(kit, MISSING), 0);
	kvm_set_parameter("gmem_uffd_minor", "1");
	assert_int_equal(kit_write(kit, 1, 1), PAGE);
	assert_int_equal(word_at(kit, 1), page_word(1));
	assert_true(kit_is_silent(kit));
	touch_read(&touch, kit->map + 2 * PAGE);
	assert_false(kit_fault(kit, 2));
	kit_resolve(kit, 2);
	assert_int_equal(touch_end(&touch), page_word(2));
}

struct pipe_write {
	int fd;
	const uint8_t *from;
};

static uint64_t write_to_pipe(void *argument)
{
	const struct pipe_write *write_ = argument;
	ssize_t written = write(write_->fd, write_->from, PAGE);

	return written < 0 ? (uint64_t)errno : (uint64_t)written;
}

static void what_the_kernel_reads_for_a_process_traps(void **state)
{
	const struct kit *kit = *state;
	struct pipe_write job = {.from = kit->map + 9 * PAGE};
	uint64_t words[PAGE / 8];
	struct touch touch;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	job.fd = ends[1];
	assert_int_equal(kit_register(kit, BOTH), 0);
	touch_start(&touch, write_to_pipe, &job);
	assert_false(kit_fault(kit, 9));
	kit_resolve(kit, 9);
	assert_int_equal(touch_end(&touch), PAGE);
	assert_int_equal(read(ends[0], words, sizeof(words)), PAGE);
	assert_int_equal(words[0], page_word(9));
	assert_int_equal(words[PAGE / 8 - 1], page_word(9));
	close(ends[0]);
	close(ends[1]);
}

static void a_poisoned_page_is_an_error_to_whoever_reads_it(void **state)
{
	const struct kit *kit = *state;
	struct uffdio_range at = {.start = (uintptr_t)kit->map + 9 * PAGE, .len = PAGE};
	/* <linux/userfaultfd.h> of Debian 12 has no UFFDIO_POISON (Linux 6.6). */
	struct {
		struct uffdio_range range;
		uint64_t mode;
		int64_t updated;
	} poison = {.range = at};
	struct pipe_write job = {.from = kit->map + 9 * PAGE};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	job.fd = ends[1];
	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(ioctl(kit->uffd, _IOWR(UFFDIO, 0x08, poison), &poison), 0);
	assert_int_equal(write_to_pipe(&job), EFAULT);
	close(ends[0]);
	close(ends[1]);
}

static void a_page_that_was_dropped_from_the_mapping_keeps_its_bytes(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	int64_t mapped;

	assert_int_equal(kit_register(kit, BOTH), 0);
	kit_resolve(kit, 4);
	assert_int_equal(madvise(kit->map + 4 * PAGE, PAGE, MADV_DONTNEED), 0);
	touch_read(&touch, kit->map + 4 * PAGE);
	assert_true(kit_fault(kit, 4));
	assert_int_equal(kit_continue(kit, 4, 1, &mapped), 0);
	assert_int_equal(touch_end(&touch), page_word(4));
}

static int punch(const struct kit *kit)
{
	return fallocate(kit->gmem, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE);
}

static int remove_page(const struct kit *kit)
{
	return madvise(kit->map + 4 * PAGE, PAGE, MADV_REMOVE);
}

static void a_page_that_was_removed_from_the_file_is_missing_again(void **state)
{
	static int (*const ways[])(const struct kit *) = {punch, remove_page};
	const struct kit *kit = *state;
	struct touch touch;

	assert_int_equal(kit_register(kit, BOTH), 0);
	for (size_t i = 0; i < 2; i++) {
		kit_resolve(kit, 4);
		assert_int_equal(word_at(kit, 4), page_word(4));
		assert_int_equal(ways[i](kit), 0);
		assert_false(file_has_page(kit->gmem, 4));
		touch_read(&touch, kit->map + 4 * PAGE);
		assert_false(kit_fault(kit, 4));
		kit_resolve(kit, 4);
		assert_int_equal(touch_end(&touch), page_word(4));
		assert_int_equal(punch(kit), 0);
	}
}

static void copy_and_zeropage_fill_what_is_absent_and_nothing_else(void **state)
{
	const struct kit *kit = *state;
	uint8_t bytes[PAGE];
	struct uffdio_copy copy = {
		.dst = (uintptr_t)kit->map + PAGE, .src = (uintptr_t)bytes, .len = PAGE};
	struct uffdio_zeropage zero = {
		.range = {.start = (uintptr_t)kit->map + 2 * PAGE, .len = PAGE}};

	page_fill(bytes, 1, 1);
	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(ioctl(kit->uffd, UFFDIO_COPY, &copy), 0);
	assert_int_equal(word_at(kit, 1), page_word(1));
	assert_true(file_has_page(kit->gmem, 1));
	assert_int_equal(ioctl(kit->uffd, UFFDIO_ZEROPAGE, &zero), 0);
	assert_int_equal(word_at(kit, 2), 0);
	/* Populated, but not mapped. */
	assert_int_equal(kit_write(kit, 3, 1), PAGE);
	copy.dst += 2 * PAGE;
	assert_int_equal(ioctl(kit->uffd, UFFDIO_COPY, &copy), -1);
	assert_int_equal(errno, EEXIST);
	assert_true(kit_is_silent(kit));
}

static void other_mappings_see_what_is_populated(void **state)
{
	const struct kit *kit = *state;
	uint8_t *second = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, kit->gmem, 0);
	uint64_t word = 0;
	struct iovec to = {.iov_base = &word, .iov_len = sizeof(word)};
	struct iovec from = {.iov_len = sizeof(word)};

	assert_true(second != MAP_FAILED);
	from.iov_base = second + 4 * PAGE;
	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(kit_write(kit, 3, 2), 2 * PAGE);
	assert_int_equal(*(volatile uint64_t *)(void *)(second + 3 * PAGE), page_word(3));
	assert_int_equal(process_vm_readv(getpid(), &to, 1, &from, 1, 0), sizeof(word));
	assert_int_equal(word, page_word(4));
	munmap(second, SIZE);
}

static void a_mapping_that_nobody_registered_is_zero_filled(void **state)
{
	const struct kit *kit = *state;

	assert_false(file_has_page(kit->gmem, 1));
	assert_int_equal(word_at(kit, 1), 0);
	assert_true(file_has_page(kit->gmem, 1));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, kit_open, kit_close)
#define UNWRITABLE(function) \
	cmocka_unit_test_setup_teardown(function, kit_open_unwritable, kit_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(missing_and_minor_register_and_write_protection_does_not),
		TEST(a_missing_page_blocks_until_it_is_written_and_continued),
		TEST(a_populated_page_traps_minor),
		TEST(continue_stops_where_it_must_and_says_why),
		TEST(a_run_is_one_write_and_one_continue),
		TEST(only_whole_pages_of_the_file_are_written),
		TEST(a_bad_source_is_told_and_what_came_before_it_counts),
		TEST(the_source_may_be_the_file_itself),
		TEST(a_populated_page_is_overwritten_or_refused_as_the_parameter_says),
		TEST(without_an_offset_the_file_is_written_from_its_beginning_on),
		UNWRITABLE(what_cannot_be_written_says_so),
		UNWRITABLE(aio_writes_only_where_write_does),
		UNWRITABLE(what_cannot_be_written_is_filled_through_a_second_mapping),
		TEST(nothing_is_read_from_the_file),
		TEST(an_allocated_page_that_nobody_wrote_is_missing),
		TEST(with_minor_alone_an_absent_page_is_zeros_and_no_event),
		TEST(with_missing_alone_a_populated_page_maps_without_an_event),
		TEST(what_the_kernel_reads_for_a_process_traps),
		TEST(a_poisoned_page_is_an_error_to_whoever_reads_it),
		TEST(a_page_that_was_dropped_from_the_mapping_keeps_its_bytes),
		TEST(a_page_that_was_removed_from_the_file_is_missing_again),
		TEST(copy_and_zeropage_fill_what_is_absent_and_nothing_else),
		TEST(other_mappings_see_what_is_populated),
		TEST(a_mapping_that_nobody_registered_is_zero_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
