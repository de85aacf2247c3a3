/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-page.c - region tables: what is accepted, what is refused and how it is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/page.h"

#define K4 UINT32_C(4096)
#define M2 (UINT32_C(2) << 20)

static const struct pf_region_table good = {
	.count = 3,
	.region = {
		{.gpa = 0, .size = 640 * 1024, .page_size = K4},
		{.gpa = 1 << 20, .size = 16 << 20, .page_size = K4},
		{.gpa = UINT64_C(4) << 30, .size = UINT64_C(8) << 20, .page_size = M2},
	},
};

static void a_good_table_is_accepted_and_counted(void **state)
{
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_table_check(&good, &err), 0);
	assert_int_equal(pf_table_pages(&good), 160 + 4096 + 4);
}

static void neighbours_may_touch(void **state)
{
	struct pf_region_table table = {
		.count = 2,
		.region = {
			{.gpa = 0, .size = K4, .page_size = K4},
			{.gpa = K4, .size = K4, .page_size = K4},
		},
	};
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_table_check(&table, &err), 0);
}

static void the_largest_table_is_accepted(void **state)
{
	struct pf_region_table table = {.count = PF_REGIONS_MAX};
	struct pf_err err;

	(void)state;
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++)
		table.region[i] = (struct pf_region_shape){
			.gpa = (uint64_t)i * M2, .size = K4, .page_size = K4};
	assert_int_equal(pf_table_check(&table, &err), 0);
	table.count++;
	assert_int_equal(pf_table_check(&table, &err), -1);
}

static void bad_tables_are_refused_by_region_and_reason(void **state)
{
	static const struct {
		const char *why;
		uint32_t region;
		struct pf_region_shape shape; /* takes the place of that region of the good table */
	} row[] = {
		{"page size", 0, {0, K4, 0}},
		{"page size", 0, {0, K4, 1024}},
		{"page size", 2, {UINT64_C(4) << 30, UINT64_C(1) << 30, 1u << 30}},
		{"size is not a positive multiple", 1, {1 << 20, 0, K4}},
		{"size is not a positive multiple", 1, {1 << 20, K4 + 1, K4}},
		{"size is not a positive multiple", 2, {UINT64_C(4) << 30, K4, M2}},
		{"GPA is not a multiple", 1, {(1 << 20) + 512, K4, K4}},
		{"GPA is not a multiple", 2, {(UINT64_C(4) << 30) + K4, M2, M2}},
		{"wraps around", 2, {UINT64_MAX - K4 + 1, K4, K4}},
		{"wraps around", 2, {UINT64_C(4) << 30, UINT64_MAX - M2 + 1, M2}},
		{"overlaps", 1, {636 * 1024, K4, K4}},
		{"overlaps", 1, {0, K4, K4}},
		{"not sorted", 2, {K4, K4, K4}},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(row); i++) {
		struct pf_region_table table = good;
		struct pf_err err = {0};
		char name[16];

		table.region[row[i].region] = row[i].shape;
		snprintf(name, sizeof(name), "region %u ", row[i].region);
		assert_int_equal(pf_table_check(&table, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_non_null(strstr(err.text, row[i].why));
		assert_non_null(strstr(err.text, name));
	}
}

static void counts_outside_the_limits_are_refused(void **state)
{
	static const uint32_t count[] = {0, PF_REGIONS_MAX + 1, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(count); i++) {
		struct pf_region_table table = good;
		struct pf_err err = {0};

		table.count = count[i];
		assert_int_equal(pf_table_check(&table, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_non_null(strstr(err.text, "1 to 64"));
	}
}

static void equal_tables_agree_whatever_stands_behind_them(void **state)
{
	struct pf_region_table theirs = good;
	struct pf_err err;

	(void)state;
	memset(&theirs.region[theirs.count], 0xff, sizeof(theirs.region[0]));
	assert_int_equal(pf_table_compare(&good, &theirs, &err), 0);
}

static void the_first_difference_is_named(void **state)
{
	static const struct pf_region_shape other[] = {
		{(1 << 20) + K4, 16 << 20, K4},
		{1 << 20, 17 << 20, K4},
		{1 << 20, 16 << 20, M2},
	};
	struct pf_region_table theirs;
	struct pf_err err = {0};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(other); i++) {
		theirs = good;
		theirs.region[1] = other[i];
		theirs.region[2].size = M2;
		assert_int_equal(pf_table_compare(&good, &theirs, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_non_null(strstr(err.text, "region 1 "));
	}
	theirs = good;
	theirs.count = 2;
	assert_int_equal(pf_table_compare(&good, &theirs, &err), -1);
	assert_non_null(strstr(err.text, "3 regions here, 2 at the peer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_table_is_accepted_and_counted),
		cmocka_unit_test(neighbours_may_touch),
		cmocka_unit_test(the_largest_table_is_accepted),
		cmocka_unit_test(bad_tables_are_refused_by_region_and_reason),
		cmocka_unit_test(counts_outside_the_limits_are_refused),
		cmocka_unit_test(equal_tables_agree_whatever_stands_behind_them),
		cmocka_unit_test(the_first_difference_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
