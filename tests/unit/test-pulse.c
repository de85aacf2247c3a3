/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pulse.c - signs of life: when they are due, and what silence comes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/pulse.h"

#define MS UINT64_C(1000000)
#define BEGIN (1000 * MS)

static _Atomic uint64_t timeout;

static struct pf_pulse begin(uint64_t patience_ms)
{
	struct pf_pulse pulse = {.timeout_ns = &timeout};

	timeout = 750 * MS;
	pf_pulse_begin(&pulse, BEGIN, 100, 100, patience_ms * MS);
	return pulse;
}

/* Looks every 10 ms up to that moment; the last thing that was news, and when. */
static enum pf_pulse_news look_until(struct pf_pulse *pulse, uint64_t *ms, uint64_t end_ms,
				     uint64_t received, uint64_t sent)
{
	while (*ms < end_ms) {
		enum pf_pulse_news news;

		*ms += 10;
		news = pf_pulse_look(pulse, BEGIN + *ms * MS, received, sent);
		if (news != PF_PULSE_NOTHING)
			return news;
	}
	return PF_PULSE_NOTHING;
}

static void silence_is_suspected_once_and_then_silent(void **state)
{
	struct pf_pulse pulse = begin(0);
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&pulse, &ms, 5000, 100, 100), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 750);
	assert_int_equal(look_until(&pulse, &ms, 5000, 100, 100), PF_PULSE_SILENT);
	assert_int_equal(ms, 1500);
}

static void one_byte_is_a_sign_of_life(void **state)
{
	struct pf_pulse pulse = begin(0);
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&pulse, &ms, 740, 100, 100), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&pulse, &ms, 750, 101, 100), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&pulse, &ms, 5000, 101, 100), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 1500);
	assert_int_equal(look_until(&pulse, &ms, 5000, 102, 100), PF_PULSE_TRUST);
	assert_int_equal(look_until(&pulse, &ms, 2000, 102, 100), PF_PULSE_NOTHING);
}

static void before_the_first_sign_there_is_patience(void **state)
{
	struct pf_pulse pulse = begin(5000);
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&pulse, &ms, 10000, 100, 100), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 5750);
	assert_int_equal(look_until(&pulse, &ms, 10000, 101, 100), PF_PULSE_TRUST);
	assert_int_equal(look_until(&pulse, &ms, 10000, 101, 100), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 5760 + 750);
}

/* Stopped for a minute: what the other side said meanwhile was lost with its patience, or comes now. */
static void who_was_away_cannot_tell(void **state)
{
	struct pf_pulse pulse = begin(0);
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&pulse, &ms, 100, 100, 100), PF_PULSE_NOTHING);
	ms += 60000;
	assert_int_equal(pf_pulse_look(&pulse, BEGIN + ms * MS, 100, 100), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&pulse, &ms, 70000, 100, 100), PF_PULSE_SUSPECT);
	assert_in_range(ms, 60100 + 400, 60100 + 750);
}

static void a_beat_is_due_when_nothing_was_sent_for_a_while(void **state)
{
	struct pf_pulse pulse = begin(0);
	uint64_t ms = 0;

	(void)state;
	assert_true(pf_pulse_due(&pulse, BEGIN)); /* the first one says that this side is there */
	(void)look_until(&pulse, &ms, 10, 100, 132);
	assert_false(pf_pulse_due(&pulse, BEGIN + 250 * MS));
	assert_true(pf_pulse_due(&pulse, BEGIN + 260 * MS));
	(void)look_until(&pulse, &ms, 200, 100, 132);
	(void)look_until(&pulse, &ms, 210, 100, 200);
	assert_false(pf_pulse_due(&pulse, BEGIN + 450 * MS));
	assert_true(pf_pulse_due(&pulse, BEGIN + 460 * MS));
}

static void the_next_look_is_a_beat_away_or_at_the_verdict(void **state)
{
	struct pf_pulse pulse = begin(0);
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(pf_pulse_wake_ns(&pulse), BEGIN + 250 * MS);
	(void)look_until(&pulse, &ms, 600, 100, 100);
	assert_int_equal(pf_pulse_wake_ns(&pulse), BEGIN + 750 * MS);
	(void)look_until(&pulse, &ms, 750, 100, 100);
	assert_int_equal(pf_pulse_wake_ns(&pulse), BEGIN + 1000 * MS);
	timeout = 300 * MS;
	assert_int_equal(pf_pulse_wake_ns(&pulse), BEGIN + 600 * MS); /* a parameter: at once */
}

static void without_a_time_out_nothing_is_said_and_nothing_judged(void **state)
{
	struct pf_pulse pulse = {0};

	(void)state;
	pf_pulse_begin(&pulse, BEGIN, 0, 0, 0);
	assert_int_equal(pf_pulse_look(&pulse, BEGIN + 100000 * MS, 0, 0), PF_PULSE_NOTHING);
	assert_false(pf_pulse_due(&pulse, BEGIN + 100000 * MS));
	assert_int_equal(pf_pulse_wake_ns(&pulse), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_is_suspected_once_and_then_silent),
		cmocka_unit_test(one_byte_is_a_sign_of_life),
		cmocka_unit_test(before_the_first_sign_there_is_patience),
		cmocka_unit_test(who_was_away_cannot_tell),
		cmocka_unit_test(a_beat_is_due_when_nothing_was_sent_for_a_while),
		cmocka_unit_test(the_next_look_is_a_beat_away_or_at_the_verdict),
		cmocka_unit_test(without_a_time_out_nothing_is_said_and_nothing_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
