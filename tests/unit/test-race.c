/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-race.c - attempts beside each other: how often, how many, who makes room, who speaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/race.h"

#define MS UINT64_C(1000000)
#define BEGIN (1000 * MS)

/* Starts whatever is due each 10 ms up to that moment; how many were, and when the last one was. */
static unsigned start_until(struct pf_race *race, uint64_t *ms, uint64_t end_ms, uint64_t *last_ms)
{
	unsigned started = 0;

	for (; *ms <= end_ms; *ms += 10) {
		uint32_t slot, address;

		while (pf_race_start(race, BEGIN + *ms * MS, &slot, &address)) {
			started++;
			*last_ms = *ms;
		}
	}
	return started;
}

static void an_attempt_at_each_address_every_100_ms(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	unsigned at[3] = {0};

	(void)state;
	pf_race_begin(&race, 3, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 0, &last), 3);
	for (uint32_t i = 0; i < 3; i++)
		at[race.attempt[i].address]++;
	assert_true(at[0] == 1 && at[1] == 1 && at[2] == 1);
	assert_int_equal(start_until(&race, &ms, 90, &last), 0);
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 90 * MS), BEGIN + 100 * MS);
	assert_int_equal(start_until(&race, &ms, 100, &last), 3);
	assert_int_equal(start_until(&race, &ms, 1000, &last), 2); /* and no more than eight */
}

static void where_nobody_waits_they_back_off_to_a_second(void **state)
{
	static const uint64_t when[] = {0, 100, 300, 700, 1500, 2500, 3500};
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, false, BEGIN);
	for (unsigned i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
		assert_int_equal(start_until(&race, &ms, when[i], &last), 1);
		assert_int_equal(last, when[i]);
	}
}

/* A SYN that was dropped: the next tries must not wait five seconds for its end. */
static void the_oldest_makes_room_once_it_has_had_its_time(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot, address;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 700, &last), 8);
	assert_false(pf_race_evict(&race, BEGIN + 1490 * MS, &slot)); /* they have their time */
	assert_true(pf_race_evict(&race, BEGIN + 1600 * MS, &slot));
	assert_int_equal(race.attempt[slot].since_ns, BEGIN);
	assert_false(pf_race_evict(&race, BEGIN + 1600 * MS, &address)); /* one leaves already */
	pf_race_ready(&race, slot); /* too late */
	assert_int_equal(race.attempt[slot].state, PF_RACE_LEAVING);
	pf_race_over(&race, slot, false, BEGIN + 1610 * MS);
	assert_true(pf_race_start(&race, BEGIN + 1610 * MS, &slot, &address));
}

static void with_many_addresses_each_attempt_has_its_time(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 8, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 1000, &last), 8);
	assert_false(pf_race_evict(&race, BEGIN + 1490 * MS, &slot));
	assert_true(pf_race_evict(&race, BEGIN + 1500 * MS, &slot));
}

static void who_has_tls_does_not_make_room(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 1400, &last);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		pf_race_ready(&race, i);
	assert_false(pf_race_evict(&race, BEGIN + 3000 * MS, &slot));
}

/* Where TCP stands, and a handshake takes what it takes: eight beside each other would never end. */
static void where_tcp_stands_the_next_one_begins_a_second_later(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 40, &last), 1);
	pf_race_connected(&race, 0, BEGIN + 40 * MS);
	pf_race_connected(&race, 0, BEGIN + 90 * MS); /* it was known */
	assert_int_equal(start_until(&race, &ms, 1030, &last), 0);
	assert_int_equal(start_until(&race, &ms, 1040, &last), 1);
	/* A second one whose SYN is lost: that is no news of a handshake. */
	assert_int_equal(start_until(&race, &ms, 1340, &last), 3);
}

static void each_handshake_that_runs_out_of_time_doubles_that(void **state)
{
	static const uint64_t pause_ms[] = {1000, 2000, 4000, 4000};
	struct pf_race race;
	uint64_t now = BEGIN;

	(void)state;
	pf_race_begin(&race, 1, true, now);
	for (unsigned i = 0; i < sizeof(pause_ms) / sizeof(pause_ms[0]); i++) {
		uint32_t slot, address;

		assert_true(pf_race_start(&race, now, &slot, &address));
		pf_race_connected(&race, slot, now);
		assert_int_equal(race.next_ns[0], now + pause_ms[i] * MS);
		now += 5000 * MS;
		pf_race_over(&race, slot, false, now);
		assert_true(race.next_ns[0] <= now);
	}
}

/* A worker is killed while somebody shakes hands with it: the next one stands ready at once. */
static void a_connection_that_breaks_is_not_waited_for(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 0, &last);
	pf_race_connected(&race, 0, BEGIN);
	pf_race_over(&race, 0, false, BEGIN + 20 * MS);
	assert_int_equal(start_until(&race, &ms, 110, &last), 0);
	assert_int_equal(start_until(&race, &ms, 120, &last), 1);

	pf_race_connected(&race, 1, BEGIN + 120 * MS);
	pf_race_ready(&race, 1);
	assert_true(pf_race_speaker(&race, BEGIN + 130 * MS, &slot));
	pf_race_over(&race, 1, false, BEGIN + 140 * MS);
	assert_int_equal(start_until(&race, &ms, 240, &last), 1);
}

static void a_handshake_keeps_its_place(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 700, &last);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		pf_race_connected(&race, i, BEGIN + 700 * MS);
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 800 * MS), BEGIN + 1700 * MS);
	assert_false(pf_race_evict(&race, BEGIN + 4000 * MS, &slot));
	pf_race_ready(&race, 3);
	assert_int_equal(race.attempt[3].state, PF_RACE_READY);
}

static void an_address_without_an_attempt_gets_the_place_of_one_that_holds_two(void **state)
{
	struct pf_race race;
	uint32_t slot, address;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	race.next_ns[1] = BEGIN + 3000 * MS;
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		assert_true(pf_race_start(&race, BEGIN + i * 100 * MS, &slot, &address));
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		pf_race_connected(&race, i, BEGIN + 700 * MS);
	assert_false(pf_race_evict(&race, BEGIN + 1800 * MS, &slot)); /* the first one's turn: it has some */
	race.next_ns[0] = BEGIN + 4000 * MS;
	assert_true(pf_race_evict(&race, BEGIN + 3000 * MS, &slot));
	assert_int_equal(race.attempt[slot].since_ns, BEGIN);
	pf_race_over(&race, slot, false, BEGIN + 3010 * MS);
	assert_true(pf_race_start(&race, BEGIN + 3010 * MS, &slot, &address));
	assert_int_equal(address, 1);
}

/* Nothing is due, and one could be evicted: to ask again at once would be to spin. */
static void with_all_places_taken_it_sleeps_until_the_next_is_due(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 700, &last);
	pf_race_connected(&race, 7, BEGIN + 1400 * MS);
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 1600 * MS), BEGIN + 2400 * MS);
}

static void one_speaks_at_a_time_and_the_next_when_it_is_silent(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t first, second;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 200, &last);
	assert_false(pf_race_speaker(&race, BEGIN + 400 * MS, &first));
	pf_race_ready(&race, 1);
	pf_race_ready(&race, 2);
	assert_true(pf_race_speaker(&race, BEGIN + 400 * MS, &first));
	assert_int_equal(race.attempt[first].since_ns, BEGIN + 100 * MS);
	assert_false(pf_race_speaker(&race, BEGIN + 1390 * MS, &second));
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 290 * MS), BEGIN + 300 * MS);
	assert_true(pf_race_speaker(&race, BEGIN + 1400 * MS, &second));
	assert_int_not_equal(first, second);
	pf_race_over(&race, second, false, BEGIN + 1410 * MS);
	pf_race_ready(&race, 0);
	assert_true(pf_race_speaker(&race, BEGIN + 1410 * MS, &second)); /* the first one's time is over too */
}

static void an_address_that_refuses_is_asked_again_after_a_second(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 0, &last), 2);
	pf_race_over(&race, 0, true, BEGIN + 10 * MS);
	pf_race_over(&race, 1, false, BEGIN + 10 * MS);
	assert_int_equal(start_until(&race, &ms, 600, &last), 6); /* the other one's */
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		assert_true(race.attempt[i].state == PF_RACE_FREE || race.attempt[i].address == 1);
	assert_int_equal(race.next_ns[0], BEGIN + 1010 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_attempt_at_each_address_every_100_ms),
		cmocka_unit_test(where_nobody_waits_they_back_off_to_a_second),
		cmocka_unit_test(the_oldest_makes_room_once_it_has_had_its_time),
		cmocka_unit_test(with_many_addresses_each_attempt_has_its_time),
		cmocka_unit_test(who_has_tls_does_not_make_room),
		cmocka_unit_test(where_tcp_stands_the_next_one_begins_a_second_later),
		cmocka_unit_test(each_handshake_that_runs_out_of_time_doubles_that),
		cmocka_unit_test(a_connection_that_breaks_is_not_waited_for),
		cmocka_unit_test(a_handshake_keeps_its_place),
		cmocka_unit_test(an_address_without_an_attempt_gets_the_place_of_one_that_holds_two),
		cmocka_unit_test(with_all_places_taken_it_sleeps_until_the_next_is_due),
		cmocka_unit_test(one_speaks_at_a_time_and_the_next_when_it_is_silent),
		cmocka_unit_test(an_address_that_refuses_is_asked_again_after_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
