/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-stall.c - what follows from bytes that nobody acknowledges, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/stall.h"

#define MS UINT64_C(1000000)
#define BEGIN (1000 * MS)
#define NEVER_MS 100000

static _Atomic uint64_t timeout;

static struct pf_stall begin(void)
{
	timeout = 750 * MS;
	return (struct pf_stall){.timeout_ns = &timeout};
}

/*
 * Looks whenever that is due, up to that moment: the last acknowledgement came heard_ms after the beginning, and
 * something waits.  The first news, and when.
 */
static enum pf_pulse_news look_until(struct pf_stall *stall, uint64_t *ms, uint64_t end_ms,
				     int64_t heard_ms, uint64_t rtt_ms)
{
	for (; *ms <= end_ms; *ms += 10) {
		uint64_t now = BEGIN + *ms * MS;
		struct pf_flight flight = {
			.waits = true,
			.age_ns = (uint64_t)((int64_t)*ms - heard_ms) * MS,
			.rtt_ns = rtt_ms * MS,
		};
		enum pf_pulse_news news = PF_PULSE_NOTHING;

		if (pf_stall_due(stall, now, 1))
			news = pf_stall_look(stall, now, 1, &flight);
		if (news != PF_PULSE_NOTHING)
			return news;
	}
	return PF_PULSE_NOTHING;
}

static void what_is_never_acknowledged_is_suspected_once_and_then_silent(void **state)
{
	struct pf_stall stall = begin();
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&stall, &ms, 5000, 0, 0), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 750);
	ms += 10;
	assert_int_equal(look_until(&stall, &ms, 5000, 0, 0), PF_PULSE_SILENT);
	assert_int_equal(ms, 1500);
}

/* An idle connection has heard nothing for long, and that is no one's fault. */
static void it_counts_from_when_it_was_sent(void **state)
{
	struct pf_stall stall = begin();
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&stall, &ms, 740, -NEVER_MS, 0), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&stall, &ms, 5000, -NEVER_MS, 0), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 750);
}

static void a_round_trip_is_waited_for_besides(void **state)
{
	struct pf_stall stall = begin();
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&stall, &ms, 2700, 0, 2000), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&stall, &ms, 9000, 0, 2000), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 2750);
	ms += 10;
	assert_int_equal(look_until(&stall, &ms, 9000, 0, 2000), PF_PULSE_SILENT);
	assert_int_equal(ms, 3500);
}

/* Of bytes that were acknowledged before, or of some behind those that wait: the path is there. */
static void any_acknowledgement_is_a_sign_of_life(void **state)
{
	struct pf_stall stall = begin();
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&stall, &ms, 700, 0, 0), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&stall, &ms, 1400, 700, 0), PF_PULSE_NOTHING);
	assert_int_equal(look_until(&stall, &ms, 5000, 700, 0), PF_PULSE_SUSPECT);
	assert_int_equal(ms, 1500);
	ms += 10;
	assert_int_equal(look_until(&stall, &ms, 5000, 1500, 0), PF_PULSE_TRUST);
	assert_int_equal(look_until(&stall, &ms, 5000, 1500, 0), PF_PULSE_SUSPECT);
}

static void all_acknowledged_is_good_again_and_not_looked_at(void **state)
{
	static const struct pf_flight landed = {.age_ns = NEVER_MS * MS};
	struct pf_stall stall = begin();
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&stall, &ms, 5000, 0, 0), PF_PULSE_SUSPECT);
	assert_true(pf_stall_wake_ns(&stall, 1) > 0);
	assert_int_equal(pf_stall_look(&stall, BEGIN + 1000 * MS, 1, &landed), PF_PULSE_TRUST);
	assert_int_equal(pf_stall_wake_ns(&stall, 1), 0);
	assert_false(pf_stall_due(&stall, BEGIN + NEVER_MS * MS, 1));
	/* More was sent: it may be on its way. */
	assert_true(pf_stall_due(&stall, BEGIN + NEVER_MS * MS, 2));
}

static void without_a_time_out_nothing_is_judged(void **state)
{
	struct pf_stall stall = begin(), off = {0};
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(look_until(&off, &ms, NEVER_MS, 0, 0), PF_PULSE_NOTHING);
	timeout = 0;
	ms = 0;
	assert_int_equal(look_until(&stall, &ms, NEVER_MS, 0, 0), PF_PULSE_NOTHING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_never_acknowledged_is_suspected_once_and_then_silent),
		cmocka_unit_test(it_counts_from_when_it_was_sent),
		cmocka_unit_test(a_round_trip_is_waited_for_besides),
		cmocka_unit_test(any_acknowledgement_is_a_sign_of_life),
		cmocka_unit_test(all_acknowledged_is_good_again_and_not_looked_at),
		cmocka_unit_test(without_a_time_out_nothing_is_judged),
	};

	return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
