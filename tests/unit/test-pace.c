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

static bool send_frame(struct pf_pace *pace, uint64_t now, uint64_t *when)
{
	if (!pf_pace_open(pace, now, when))
		return false;
	pf_pace_pay(pace, FRAME, now);
	return true;
}

/* Asks whenever it is told to, and no sooner; returns the frames of `ns`. */
static uint64_t run(struct pf_pace *pace, uint64_t *now, uint64_t ns)
{
	uint64_t end = *now + ns, sent = 0, when = 0;

	while (*now < end) {
		if (send_frame(pace, *now, &when)) {
			sent++;
			continue;
		}
		assert_true(when > *now);
		*now = when;
	}
	return sent;
}

static void without_a_limit_nothing_waits(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t when = 7;

	(void)unused;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(send_frame(&pace, 5 * MS, &when));
	assert_int_equal(when, 7);
}

static void the_limit_holds_over_a_second(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t now = 5000 * MS;

	(void)unused;
	pf_pace_set(&pace, 100 * FRAME, now);
	assert_in_range(run(&pace, &now, 1000 * MS), 100, 102);
}

static void idle_time_is_made_up_for_by_10_ms_at_most(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t when = 0;
	unsigned burst = 0;

	(void)unused;
	pf_pace_set(&pace, 1000 * FRAME, 0);
	assert_true(send_frame(&pace, 1000 * MS, &when));
	while (send_frame(&pace, 60000 * MS, &when))
		burst++;
	assert_in_range(burst, 10, 11);
}

/* 64 KiB at 1 KiB a second are a minute of waiting, which a new limit must not inherit. */
static void a_new_limit_holds_at_once(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t now = 5000 * MS, when = 0;

	(void)unused;
	pf_pace_set(&pace, 1024, now);
	assert_true(send_frame(&pace, now, &when));
	assert_false(send_frame(&pace, now + 1000 * MS, &when));
	now += 1000 * MS;
	pf_pace_set(&pace, 200 * FRAME, now);
	assert_in_range(run(&pace, &now, 1000 * MS), 200, 202);
	pf_pace_set(&pace, 0, now);
	assert_true(send_frame(&pace, now, &when));
}

static void small_frames_cost_what_they_are(void **unused)
{
	struct pf_pace pace = {0};
	uint64_t now = 5000 * MS, when = 0, sent = 0;

	(void)unused;
	pf_pace_set(&pace, 32000, now);
	while (now < 6000 * MS) {
		if (pf_pace_open(&pace, now, &when)) {
			pf_pace_pay(&pace, 32, now);
			sent++;
		} else {
			now = when;
		}
	}
	assert_in_range(sent, 999, 1012);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(the_limit_holds_over_a_second),
		cmocka_unit_test(idle_time_is_made_up_for_by_10_ms_at_most),
		cmocka_unit_test(a_new_limit_holds_at_once),
		cmocka_unit_test(small_frames_cost_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
