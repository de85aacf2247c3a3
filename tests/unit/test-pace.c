/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pace.c - a limit of bytes a second holds, on a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/pace.h"

#define MS UINT64_C(1000000)
#define FRAME UINT64_C(65536)

static void without_a_limit_nothing_waits(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t when = 7;

	(void)unused;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(pf_pace_take(&pace, FRAME, 5 * MS, &when));
	assert_int_equal(when, 7);
}

/* Asks whenever it is told to, and no sooner: what went through in a second is the limit. */
static void the_limit_holds_over_a_second(void **unused)
{
	struct pf_pace pace = {.bytes_per_s = 100 * FRAME};
	uint64_t now = 5000 * MS, end = now + 1000 * MS, sent = 0, when = 0;

	(void)unused;
	while (now < end) {
		if (pf_pace_take(&pace, FRAME, now, &when)) {
			sent += FRAME;
			continue;
		}
		assert_true(when > now);
		now = when;
	}
	assert_in_range(sent / FRAME, 100, 102);
}

static void idle_time_is_made_up_for_by_10_ms_at_most(void **unused)
{
	struct pf_pace pace = {.bytes_per_s = 1000 * FRAME};
	uint64_t when = 0;
	unsigned burst = 0;

	(void)unused;
	assert_true(pf_pace_take(&pace, FRAME, 1000 * MS, &when));
	while (pf_pace_take(&pace, FRAME, 60000 * MS, &when))
		burst++;
	assert_in_range(burst, 10, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(the_limit_holds_over_a_second),
		cmocka_unit_test(idle_time_is_made_up_for_by_10_ms_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
