/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-probe-cgroup.c - control groups as `pageferry probe` reads them.
 *
 * Texts of /proc are given; the files of the groups are in a folder that looks like a mount.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/probe/cgroup.h"
#include "tests/unit/scratch.h"

#define MIB (UINT64_C(1) << 20)
#define V2_MOUNT "30 22 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define V1_MOUNTS                                                                                  \
	"30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                               \
	"31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"              \
	"32 30 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define V1_GROUPS "9:name=systemd:/\n4:cpu,cpuacct:/x\n3:memory:/vm/7\n0::/unified\n"

/* ---- where the group is ---- */

static void expect_place(const char *groups, const char *mounts, const char *controller,
			 const char *group, bool partial)
{
	struct pf_cgroup_place place;
	struct pf_err err;

	assert_int_equal(pf_cgroup_find(groups, mounts, controller, &place, &err), 0);
	assert_string_equal(place.group, group);
	assert_int_equal(place.version, controller[0] ? 1 : 2);
	assert_int_equal(place.partial, partial);
}

static void test_the_group_of_version_2_is_found(void **state)
{
	(void)state;
	expect_place("0::/vm/7\n", V2_MOUNT, "", "/sys/fs/cgroup/vm/7", false);
	expect_place("0::/\n", V2_MOUNT, "", "/sys/fs/cgroup", false);
}

static void test_the_group_of_version_1_is_found_by_its_controller(void **state)
{
	(void)state;
	expect_place(V1_GROUPS, V1_MOUNTS, "memory", "/sys/fs/cgroup/memory/vm/7", false);
	expect_place(V1_GROUPS, V1_MOUNTS, "cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x", false);
}

static void test_a_mount_that_begins_at_a_group_is_below_others(void **state)
{
	(void)state;
	expect_place("0::/docker/a/vm\n",
		     "30 22 0:27 /docker/a /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "",
		     "/sys/fs/cgroup/vm", true);
	/* A name that only begins like it is another group. */
	expect_place("0::/docker/ab\n",
		     "30 22 0:27 /docker/a /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "",
		     "/sys/fs/cgroup", true);
	/* cgroup_namespaces(7): a group outside of the namespace's root. */
	expect_place("0::/../vm\n", V2_MOUNT, "", "/sys/fs/cgroup", true);
}

static void test_what_is_not_mounted_is_said(void **state)
{
	struct pf_cgroup_place place;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_cgroup_find(V1_GROUPS, V1_MOUNTS, "", &place, &err), -1);
	assert_non_null(strstr(err.text, "v2"));
	assert_int_equal(pf_cgroup_find("0::/\n", V2_MOUNT, "memory", &place, &err), -1);
	assert_non_null(strstr(err.text, "memory"));
	assert_int_equal(pf_cgroup_find("", "", "memory", &place, &err), -1);
	/* Not its neighbour's letters: "mem" is no word of "memory". */
	assert_int_equal(pf_cgroup_find(V1_GROUPS, V1_MOUNTS, "mem", &place, &err), -1);
	/* Damaged lines end nothing. */
	assert_int_equal(
		pf_cgroup_find("x\n::\n3:memory\n", " - \n- cgroup", "memory", &place, &err), -1);
}

/* ---- what is left ---- */

static void test_room_is_the_limit_less_what_cannot_be_taken_back(void **state)
{
	const struct {
		uint64_t limit, usage, reclaimable, room;
	} cases[] = {
		{100, 40, 0, 60},
		{100, 40, 30, 90},
		{100, 40, 50, 100},
		{100, 100, 0, 0},
		{100, 140, 0, 0},
		{100, 140, 100, 60},
		{UINT64_MAX, 40, 0, UINT64_MAX},
		{0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(cases); i++) {
		struct pf_cgroup_level level = {.limit = cases[i].limit,
						.usage = cases[i].usage,
						.reclaimable = cases[i].reclaimable};

		assert_true(pf_cgroup_room(&level) == cases[i].room);
	}
}

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *file = fopen(scratch_path(path, name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void make_group(const char *name)
{
	char path[128];

	assert_int_equal(mkdir(scratch_path(path, name), 0700), 0);
}

static struct pf_cgroup_place place_at(int version, const char *group)
{
	struct pf_cgroup_place place = {.version = version};
	char path[128];

	snprintf(place.mount, sizeof(place.mount), "%s", scratch);
	snprintf(place.group, sizeof(place.group), "%s", scratch_path(path, group));
	return place;
}

static void expect_tightest(const struct pf_cgroup_place *place, const char *group, uint64_t room)
{
	struct pf_cgroup_level level;
	struct pf_err err;
	char path[128];

	assert_int_equal(pf_cgroup_tightest(place, &pf_cgroup_memory, &level, &err), 0);
	assert_string_equal(level.path, group ? scratch_path(path, group) : scratch);
	assert_true(pf_cgroup_room(&level) == room);
}

static void fill_v2(const char *group, const char *max, const char *high, const char *current,
		    const char *stat)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/memory.max", group);
	put(name, max);
	snprintf(name, sizeof(name), "%s/memory.high", group);
	put(name, high);
	snprintf(name, sizeof(name), "%s/memory.current", group);
	put(name, current);
	snprintf(name, sizeof(name), "%s/memory.stat", group);
	put(name, stat);
}

/* The root of version 2 has no limit and no file for one. */
static void test_the_tightest_level_of_version_2_decides(void **state)
{
	struct pf_cgroup_place place;

	(void)state;
	make_group("a");
	make_group("a/b");
	fill_v2("a", "104857600\n", "max\n", "94371840\n", "anon 1\ninactive_file 4194304\n");
	fill_v2("a/b", "1073741824\n", "max\n", "1048576\n", "inactive_file 0\n");
	place = place_at(2, "a/b");
	expect_tightest(&place, "a", 14 * MIB);
	/* Throttling is felt before the limit is. */
	fill_v2("a/b", "1073741824\n", "2097152\n", "1048576\n", "inactive_file 0\n");
	expect_tightest(&place, "a/b", 1 * MIB);
	/* What cannot be read is not taken for room. */
	fill_v2("a/b", "max\n", "max\n", "1048576\n", "");
	fill_v2("a", "104857600\n", "max\n", "94371840\n", "");
	expect_tightest(&place, "a", 10 * MIB);
	fill_v2("a", "max\n", "max\n", "94371840\n", "");
	expect_tightest(&place, "a/b", UINT64_MAX);
}

static void test_the_largest_number_of_version_1_is_no_limit(void **state)
{
	struct pf_cgroup_place place;

	(void)state;
	make_group("vm");
	put("memory.limit_in_bytes", "9223372036854771712\n");
	put("memory.usage_in_bytes", "4096\n");
	put("memory.stat", "total_inactive_file 0\n");
	put("vm/memory.limit_in_bytes", "9223372036854771712\n");
	put("vm/memory.usage_in_bytes", "4096\n");
	put("vm/memory.stat", "total_inactive_file 0\n");
	place = place_at(1, "vm");
	expect_tightest(&place, "vm", UINT64_MAX);
	put("memory.limit_in_bytes", "1048576\n");
	expect_tightest(&place, NULL, MIB - 4096);
}

static void test_groups_without_the_controller_are_no_limit(void **state)
{
	struct pf_cgroup_place place = place_at(2, ".");
	struct pf_cgroup_level level;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_cgroup_tightest(&place, &pf_cgroup_memory, &level, &err), 1);
}

static void test_a_limit_that_is_no_number_is_an_error(void **state)
{
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	struct pf_err err;

	(void)state;
	make_group("a");
	fill_v2("a", "plenty\n", "max\n", "0\n", "");
	place = place_at(2, "a");
	assert_int_equal(pf_cgroup_tightest(&place, &pf_cgroup_memory, &level, &err), -1);
	assert_non_null(strstr(err.text, "memory.max"));
}

/* Whatever this machine has, it is one of the answers there are. */
static void test_this_process_has_an_answer(void **state)
{
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_cgroup_here(&pf_cgroup_memory, &place, &level, &err), 0);
	assert_in_range(place.version, 0, 2);
	if (place.version == 0)
		assert_true(level.limit == UINT64_MAX);
	else
		assert_int_equal(level.path[0], '/');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_group_of_version_2_is_found),
		cmocka_unit_test(test_the_group_of_version_1_is_found_by_its_controller),
		cmocka_unit_test(test_a_mount_that_begins_at_a_group_is_below_others),
		cmocka_unit_test(test_what_is_not_mounted_is_said),
		cmocka_unit_test(test_room_is_the_limit_less_what_cannot_be_taken_back),
		cmocka_unit_test_setup_teardown(test_the_tightest_level_of_version_2_decides,
						scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(test_the_largest_number_of_version_1_is_no_limit,
						scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(test_groups_without_the_controller_are_no_limit,
						scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(test_a_limit_that_is_no_number_is_an_error,
						scratch_make, scratch_remove),
		cmocka_unit_test(test_this_process_has_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
