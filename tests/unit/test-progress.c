/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-progress.c - the line for people, from complete, early and odd answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "migrate/progress.h"

static json_t *status(json_int_t filled, json_int_t received)
{
	return json_pack("{s:s, s:{s:i, s:I}, s:{s:i, s:i}, s:{s:i, s:i, s:i}, s:{s:i, s:I}}",
			 "state", "postcopy-active", "pages", "total", 262144, "filled", filled,
			 "faults", "count", 3021, "open", 2, "latency-us", "p50", 31, "p99", 210,
			 "max", 4000, "bytes", "sent", 0, "received", received);
}

static void show(struct pf_progress *progress, json_t *answer, uint64_t now_ns, char out[256])
{
	pf_progress_line(progress, answer, now_ns, out, 256);
	json_decref(answer);
}

static void the_whole_line(void **state)
{
	struct pf_progress progress = {0};
	char line[256];

	(void)state;
	show(&progress, status(100000, 0), PF_NS_PER_S, line);
	assert_string_equal(line, "postcopy-active 38 % 100000/262144 3021 faults"
				  " 31/210 us");
	show(&progress, status(107402, 812 << 20), 2 * PF_NS_PER_S, line);
	assert_string_equal(line, "postcopy-active 40 % 107402/262144 812 MiB/s"
				  " 3021 faults 31/210 us 21 s left");
}

static void the_rate_is_smoothed_over_spans_that_mean_something(void **state)
{
	struct pf_progress progress = {0};
	char line[256];

	(void)state;
	show(&progress, status(0, 0), PF_NS_PER_S, line);
	show(&progress, status(1000, 1000 << 10), 2 * PF_NS_PER_S, line);
	assert_true(progress.rate > 1023999 && progress.rate < 1024001);
	show(&progress, status(1000, 1000 << 10), 2 * PF_NS_PER_S + 1000, line);
	assert_true(progress.rate > 1023999 && progress.rate < 1024001);
	show(&progress, status(1000, 1000 << 10), 3 * PF_NS_PER_S, line);
	assert_true(progress.rate > 0.69 * 1024000 && progress.rate < 0.71 * 1024000);
	assert_non_null(strstr(line, " 700 KiB/s"));
}

static void a_finished_migration_shows_no_rate_and_no_time_left(void **state)
{
	struct pf_progress progress = {0};
	char line[256];

	(void)state;
	show(&progress, status(1000, 1000), PF_NS_PER_S, line);
	show(&progress, status(262144, 1 << 20), 2 * PF_NS_PER_S, line);
	assert_non_null(strstr(line, "100 %"));
	assert_null(strstr(line, "left"));
	assert_null(strstr(line, "/s"));
}

static void counters_that_go_back_start_anew(void **state)
{
	struct pf_progress progress = {0};
	char line[256];

	(void)state;
	show(&progress, status(5000, 5000), PF_NS_PER_S, line);
	show(&progress, status(10, 10), 2 * PF_NS_PER_S, line);
	assert_null(strstr(line, "/s"));
	show(&progress, status(1010, 1000010), 3 * PF_NS_PER_S, line);
	assert_non_null(strstr(line, " 977 KiB/s"));
}

static void early_and_odd_answers_show_what_they_say(void **state)
{
	static const struct {
		const char *answer, *line;
	} cases[] = {
		{"{\"state\":\"setup\"}", "setup"},
		{"{}", "?"},
		{"[]", "?"},
		{"{\"state\":7,\"pages\":[]}", "?"},
		{"{\"state\":\"active\",\"pages\":{\"total\":\"x\",\"filled\":1}}", "active"},
		{"{\"state\":\"active\",\"pages\":{\"total\":-5,\"filled\":1}}", "active"},
		{"{\"state\":\"active\",\"pages\":{\"total\":4,\"filled\":9}}",
		 "active 100 % 4/4 0 faults"},
		{"{\"state\":\"active\",\"pages\":{\"total\":1e300,\"filled\":1e300}}", "active"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pf_progress progress = {0};
		json_t *answer = json_loads(cases[i].answer, 0, NULL);
		char line[256];

		assert_non_null(answer);
		show(&progress, answer, 1, line);
		assert_string_equal(line, cases[i].line);
	}
}

static void a_short_buffer_gets_a_short_line(void **state)
{
	(void)state;
	for (size_t size = 1; size < 90; size++) {
		struct pf_progress progress = {0};
		json_t *answer = status(1, 1);
		char line[128], whole[256];

		memset(line, '#', sizeof(line));
		pf_progress_line(&progress, answer, 1, line, size);
		show(&progress, answer, 1, whole);
		assert_int_equal(line[size], '#');
		assert_true(strlen(line) < size);
		assert_memory_equal(line, whole, strlen(line));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_whole_line),
		cmocka_unit_test(the_rate_is_smoothed_over_spans_that_mean_something),
		cmocka_unit_test(a_finished_migration_shows_no_rate_and_no_time_left),
		cmocka_unit_test(counters_that_go_back_start_anew),
		cmocka_unit_test(early_and_odd_answers_show_what_they_say),
		cmocka_unit_test(a_short_buffer_gets_a_short_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
