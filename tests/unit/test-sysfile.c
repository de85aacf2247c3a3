/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-sysfile.c - numbers of the kernel's files, and sizes as people read them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "base/sysfile.h"
#include "tests/unit/scratch.h"

static const char *put(char path[128], const char *text)
{
	FILE *file = fopen(scratch_path(path, "file"), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return path;
}

static void test_a_number_alone_is_read(void **state)
{
	const struct {
		const char *text;
		uint64_t number;
	} good[] = {{"0\n", 0},
		    {"42", 42},
		    {"max\n", UINT64_MAX},
		    {"18446744073709551615\n", UINT64_MAX}};
	const char *const bad[] = {"", "\n", "-1\n", "plenty\n", "maximum\n"};
	uint64_t number;
	struct pf_err err;
	char path[128];

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(good); i++) {
		assert_int_equal(pf_sysfile_number(put(path, good[i].text), &number, &err), 0);
		assert_true(number == good[i].number);
	}
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++)
		assert_int_equal(pf_sysfile_number(put(path, bad[i]), &number, &err), -1);
}

static void test_a_file_that_is_not_there_is_named(void **state)
{
	uint64_t number;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_sysfile_number("/proc/nothing", &number, &err), -1);
	assert_int_equal(err.sys, ENOENT);
	assert_non_null(strstr(err.text, "/proc/nothing"));
	assert_int_equal(pf_sysfile_field("/proc/nothing", "x", &number, &err), -1);
}

static void test_a_field_is_found_by_its_whole_name(void **state)
{
	const char *text = "inactive_file_old 1\ninactive_file 7\nMemTotal:   24000 kB\n";
	uint64_t number;
	struct pf_err err;
	char path[128];

	(void)state;
	assert_int_equal(pf_sysfile_field(put(path, text), "inactive_file", &number, &err), 0);
	assert_int_equal(number, 7);
	assert_int_equal(pf_sysfile_field(path, "MemTotal", &number, &err), 0);
	assert_int_equal(number, 24000);
	assert_int_equal(pf_sysfile_field(path, "Mem", &number, &err), -1);
	assert_non_null(strstr(err.text, "Mem"));
}

static void test_sizes_are_short_and_never_more_than_there_is(void **state)
{
	const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 bytes"},
		{1023, "1023 bytes"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{(UINT64_C(1) << 20) - 1, "1023.9 KiB"},
		{UINT64_C(1) << 30, "1 GiB"},
		{UINT64_C(23) << 30 | UINT64_C(512) << 20, "23.5 GiB"},
		{UINT64_MAX - 1, "15.9 EiB"},
		{UINT64_MAX, "no limit"},
	};
	char text[PF_SIZE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(cases); i++) {
		pf_size_print(cases[i].bytes, text);
		assert_string_equal(text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_number_alone_is_read, scratch_make,
						scratch_remove),
		cmocka_unit_test(test_a_file_that_is_not_there_is_named),
		cmocka_unit_test_setup_teardown(test_a_field_is_found_by_its_whole_name,
						scratch_make, scratch_remove),
		cmocka_unit_test(test_sizes_are_short_and_never_more_than_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
