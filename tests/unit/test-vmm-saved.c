/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-vmm-saved.c - what a VMM has said, over the death of who heard it: file and descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/vmm_saved.h"
#include "tests/unit/scratch.h"

#define MIB (UINT64_C(1) << 20)
#define FDS 6

static struct pf_statedir dir;
static struct pf_kept first; /* who dies */
static int keepers_end;

static const struct pf_vmm_regions regions = {
	.count = 2,
	.region = {{.id = 4, .shape = {4096 * MIB, MIB, 4096}, .kind = PF_MEMORY_MEMFD, .fd = 1,
		    .mapping_count = 2, .mapping = {{2, 0x7f0000000000}, {4, 0x7f1000000000}},
		    .bitmap_fd = PF_VMM_NO_FD, .populated = PF_POPULATED_LIST, .populated_count = 1},
		   {.id = 1, .shape = {0, 16 * MIB, 4096}, .kind = PF_MEMORY_GUEST_MEMFD, .fd = 0,
		    .mapping_count = 1, .mapping = {{2, 0x7f2000000000}}, .bitmap_fd = 5,
		    .populated = PF_POPULATED_NONE, .populated_first = 1}},
	.range_count = 1,
	.range = {{.region = 0, .first = 3, .count = 7}},
	.no_other_mappings = true,
	.has_fault_socket = true,
	.fault_socket = 3,
};

static int set_up(void **state)
{
	struct pf_err err;
	char path[128];
	int pair[2];

	(void)state;
	assert_int_equal(pf_statedir_open(&dir, scratch_path(path, "state"), PF_DESTINATION, "vm7",
					  &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keepers_end = pair[0];
	first = (struct pf_kept){.keeper_fd = pair[1]};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(unlinkat(dir.fd, "vmm-regions", 0) && errno != ENOENT, 0);
	assert_int_equal(unlinkat(dir.fd, "vmm-files", 0) && errno != ENOENT, 0);
	assert_int_equal(unlinkat(dir.fd, "vmm-hello", 0) && errno != ENOENT, 0);
	pf_statedir_close(&dir);
	pf_kept_close(&first);
	close(keepers_end);
	return 0;
}

/* What the next process is started with: what is in the keeper's socket, though who sent it is gone. */
static void inherit(struct pf_kept *next)
{
	int fds[PF_UNIX_FDS_MAX];
	struct pf_notice notice;
	char text[PF_NOTICE_MAX];
	size_t count = 0;
	struct pf_err err;
	ssize_t length;

	*next = (struct pf_kept){.keeper_fd = -1};
	pf_close_fd(&first.keeper_fd);
	while ((length = pf_unix_recv(keepers_end, text, sizeof(text), MSG_DONTWAIT, fds, &count,
				      &err)) > 0) {
		assert_int_equal(pf_notice_parse(text, (size_t)length, &notice, &err), 0);
		assert_true(notice.store);
		assert_int_equal(count, 1);
		assert_int_equal(pf_fdstore_put(&next->store, notice.name, fds[0], &err), 0);
	}
}

/* Six files, told apart by their lengths. */
static void make_files(int fds[PF_UNIX_FDS_MAX])
{
	for (int i = 0; i < FDS; i++) {
		fds[i] = memfd_create("file", MFD_CLOEXEC);
		assert_true(fds[i] >= 0);
		assert_int_equal(ftruncate(fds[i], 100 + i), 0);
	}
}

static void save(void)
{
	int fds[PF_UNIX_FDS_MAX];
	struct pf_err err;

	make_files(fds);
	if (pf_vmm_keep_regions(&first, &regions, fds, &err) ||
	    pf_vmm_save_regions(&dir, &regions, fds, &err))
		fail_msg("%s", err.text);
	for (int i = 0; i < FDS; i++)
		close(fds[i]);
}

/* As they travel: in memory there is padding between what counts. */
static void assert_same(const struct pf_vmm_regions *found, const struct pf_vmm_regions *wanted)
{
	struct pf_vmm_message a = {.type = PF_VMM_REGIONS, .regions = *found};
	struct pf_vmm_message b = {.type = PF_VMM_REGIONS, .regions = *wanted};
	static uint8_t packed[2][PF_VMM_MESSAGE_MAX];
	size_t length = pf_vmm_msg_pack(&a, packed[0]);

	assert_true(length > 0);
	assert_int_equal(pf_vmm_msg_pack(&b, packed[1]), length);
	assert_memory_equal(packed[0], packed[1], length);
}

static void regions_and_their_descriptors_come_back(void **state)
{
	struct pf_vmm_regions out;
	int fds[PF_UNIX_FDS_MAX];
	struct pf_kept next;
	struct pf_err err;

	(void)state;
	save();
	inherit(&next);
	assert_int_equal(pf_vmm_recall_regions(&dir, &next, &out, fds, &err), 0);
	assert_same(&out, &regions);
	for (int i = 0; i < FDS; i++)
		assert_int_equal(lseek(fds[i], 0, SEEK_END), 100 + i);
	assert_int_equal(fds[FDS], -1);
	assert_int_equal(next.store.count, 0);
	pf_unix_close_fds(fds);
}

static void without_one_of_them_there_are_none(void **state)
{
	struct pf_vmm_regions out;
	int fds[PF_UNIX_FDS_MAX];
	struct pf_kept next;
	struct pf_err err;

	(void)state;
	save();
	inherit(&next);
	pf_fdstore_remove(&next.store, "regions-3");
	assert_int_equal(pf_vmm_recall_regions(&dir, &next, &out, fds, &err), 1);
	assert_int_equal(next.store.count, 0);
	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		assert_int_equal(fds[i], -1);
}

static void nothing_was_saved(void **state)
{
	struct pf_vmm_hello hello;
	struct pf_vmm_regions out;
	int fds[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_vmm_recall_regions(&dir, &first, &out, fds, &err), 1);
	assert_int_equal(pf_vmm_recall_hello(&dir, &hello, &err), 1);
	assert_int_equal(pf_vmm_match_saved(&dir, &regions, fds, &out, fds, &err), 1);
}

static void a_hello_comes_back(void **state)
{
	const struct pf_vmm_hello hello = {.version = PF_VMM_VERSION, .destination = true,
					   .stage = PF_VMM_ACCEPTED, .owed = 2, .vcpu_count = 3,
					   .vcpu_tid = {7, 8, 9}};
	struct pf_vmm_hello out;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_vmm_save_hello(&dir, &hello, &err), 0);
	assert_int_equal(pf_vmm_recall_hello(&dir, &out, &err), 0);
	assert_memory_equal(&out, &hello, sizeof(out));
}

/* The files of save() once more; the caller's. */
static void save_open(int fds[PF_UNIX_FDS_MAX])
{
	struct pf_err err;

	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		fds[i] = -1;
	make_files(fds);
	if (pf_vmm_save_regions(&dir, &regions, fds, &err))
		fail_msg("%s", err.text);
}

static int match(const struct pf_vmm_regions *now, const int *fds, struct pf_err *err)
{
	struct pf_vmm_regions out;
	int found_fds[PF_UNIX_FDS_MAX];
	int found = pf_vmm_match_saved(&dir, now, fds, &out, found_fds, err);

	if (found == 0)
		assert_same(&out, &regions);
	for (int i = 0; i < FDS; i++)
		if (found == 0)
			assert_int_equal(lseek(found_fds[i], 0, SEEK_END), 100 + i);
		else
			assert_int_equal(found_fds[i], -1);
	assert_int_equal(found_fds[FDS], -1);
	if (found == 0)
		pf_unix_close_fds(found_fds);
	return found;
}

static void the_same_memory_is_known_by_any_order_and_number(void **state)
{
	static const uint32_t number[FDS] = {3, 0, 5, 1, 4, 2}; /* of the descriptor that had been i */
	struct pf_vmm_regions now = regions;
	int fds[PF_UNIX_FDS_MAX], again[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	save_open(fds);
	assert_int_equal(match(&regions, fds, &err), 0);
	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		again[i] = -1;
	for (int i = 0; i < FDS; i++)
		again[number[i]] = fds[i];
	now.region[0] = regions.region[1];
	now.region[1] = regions.region[0];
	now.range[0].region = 1;
	now.region[0].fd = number[0];
	now.region[0].mapping[0].uffd = number[2];
	now.region[0].bitmap_fd = number[5];
	now.region[1].fd = number[1];
	now.region[1].mapping[0] = regions.region[0].mapping[1];
	now.region[1].mapping[1] = regions.region[0].mapping[0];
	now.region[1].mapping[0].uffd = number[4];
	now.region[1].mapping[1].uffd = number[2];
	now.fault_socket = number[3];
	assert_int_equal(match(&now, again, &err), 0);
	pf_unix_close_fds(fds);
}

/* Of the same length: nothing else tells them apart. */
static void another_file_is_refused(void **state)
{
	static const char *what[FDS] = {"the file", "the file", "the userfaultfd", NULL, "the userfaultfd",
					"the bitmap"};
	int fds[PF_UNIX_FDS_MAX], other[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	save_open(fds);
	for (int i = 0; i < FDS; i++) {
		memcpy(other, fds, sizeof(other));
		other[i] = memfd_create("other", MFD_CLOEXEC);
		assert_int_equal(ftruncate(other[i], 100 + i), 0);
		assert_int_equal(match(&regions, other, &err), what[i] ? -1 : 0);
		if (what[i]) {
			assert_int_equal(err.class, PF_ERR_PROTOCOL);
			assert_non_null(strstr(err.text, what[i]));
		}
		close(other[i]);
	}
	pf_unix_close_fds(fds);
}

/* The second of two that had been one, and is another file now. */
static void two_descriptors_for_what_was_one_are_the_same_file(void **state)
{
	struct pf_vmm_regions now = regions;
	int fds[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	save_open(fds);
	now.region[1].mapping[0].uffd = FDS;
	fds[FDS] = dup(fds[2]);
	assert_int_equal(match(&now, fds, &err), 0);
	close(fds[FDS]);
	fds[FDS] = dup(fds[4]);
	assert_int_equal(match(&now, fds, &err), -1);
	pf_unix_close_fds(fds);
}

static void change_size(struct pf_vmm_regions *now)
{
	now->region[1].shape.size += 4096;
}

static void change_base(struct pf_vmm_regions *now)
{
	now->region[0].mapping[1].base += 4096;
}

static void change_offset(struct pf_vmm_regions *now)
{
	now->region[0].offset = 4096;
}

static void change_range(struct pf_vmm_regions *now)
{
	now->range[0].count++;
}

static void change_count(struct pf_vmm_regions *now)
{
	now->count = 1;
}

static void change_place(struct pf_vmm_regions *now)
{
	now->region[1].shape.gpa += MIB;
}

static void change_bitmap(struct pf_vmm_regions *now)
{
	now->region[1].bitmap_fd = PF_VMM_NO_FD;
}

static void other_memory_than_before_is_refused(void **state)
{
	static void (*const change[])(struct pf_vmm_regions *) = {
		change_size, change_base, change_offset, change_range, change_count, change_place, change_bitmap};
	int fds[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	save_open(fds);
	for (unsigned i = 0; i < sizeof(change) / sizeof(change[0]); i++) {
		struct pf_vmm_regions now = regions;

		change[i](&now);
		assert_int_equal(match(&now, fds, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_non_null(strstr(err.text, "other memory than before"));
	}
	pf_unix_close_fds(fds);
}

static void without_the_files_names_it_is_damage(void **state)
{
	int fds[PF_UNIX_FDS_MAX];
	struct pf_err err;

	(void)state;
	save_open(fds);
	assert_int_equal(unlinkat(dir.fd, "vmm-files", 0), 0);
	assert_int_equal(match(&regions, fds, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	pf_unix_close_fds(fds);
}

/* One bit of the file, one after the other: it says so, or is still a table that passes every check. */
static void damage_is_said_or_harmless(void **state)
{
	uint8_t bytes[PF_VMM_MESSAGE_MAX];
	struct pf_vmm_regions out;
	int fds[PF_UNIX_FDS_MAX];
	struct pf_kept next;
	unsigned refused = 0;
	struct pf_err err;
	size_t length;

	(void)state;
	save();
	inherit(&next);
	assert_int_equal(pf_statedir_read_most(&dir, "vmm-regions", bytes, sizeof(bytes), &length,
					       &err), 0);
	for (size_t bit = 0; bit < 8 * length; bit++) {
		struct pf_kept none = {.keeper_fd = -1};
		int found;

		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(pf_statedir_write(&dir, "vmm-regions", bytes, length, &err), 0);
		found = pf_vmm_recall_regions(&dir, &none, &out, fds, &err);
		assert_true(found == 1 || (found == -1 && err.class == PF_ERR_CONFIG));
		refused += found == -1;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(refused > 2 * length);
	pf_kept_close(&next);
}

static void what_was_not_said_to_be_armed_is_not(void **state)
{
	struct pf_err err;
	bool armed = true;

	(void)state;
	assert_int_equal(pf_vmm_recall_armed(&dir, &armed, &err), 0);
	assert_false(armed);
	assert_int_equal(pf_vmm_save_armed(&dir, true, &err), 0);
	assert_int_equal(pf_vmm_recall_armed(&dir, &armed, &err), 0);
	assert_true(armed);
	/* Another VMM's memory. */
	assert_int_equal(pf_vmm_save_armed(&dir, false, &err), 0);
	assert_int_equal(pf_vmm_recall_armed(&dir, &armed, &err), 0);
	assert_false(armed);
	assert_int_equal(pf_statedir_write(&dir, "armed", "11", 2, &err), 0);
	assert_int_equal(pf_vmm_recall_armed(&dir, &armed, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(unlinkat(dir.fd, "armed", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(regions_and_their_descriptors_come_back, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_one_of_them_there_are_none, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(nothing_was_saved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_hello_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_same_memory_is_known_by_any_order_and_number, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_file_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(two_descriptors_for_what_was_one_are_the_same_file, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(other_memory_than_before_is_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_the_files_names_it_is_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_not_said_to_be_armed_is_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damage_is_said_or_harmless, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("vmm-saved", tests, scratch_make, scratch_remove);
}
