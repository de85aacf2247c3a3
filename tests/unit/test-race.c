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
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 1600 * MS), BEGIN + 1700 * MS); /* and no spinning */
	assert_int_equal(pf_race_connected(&race, slot, BEGIN + 1605 * MS), 0); /* too late */
	pf_race_ready(&race, slot);
	assert_int_equal(race.attempt[slot].state, PF_RACE_LEAVING);
	pf_race_over(&race, slot, PF_RACE_BROKE, BEGIN + 1610 * MS);
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

/* The only one that waits for TCP. */
static uint32_t connecting(const struct pf_race *race)
{
	uint32_t slot = 0;

	while (race->attempt[slot].state != PF_RACE_CONNECTING) {
		slot++;
		assert_true(slot < PF_RACE_TRIES);
	}
	return slot;
}

/* As if TLS stood in all of them at once, TCP having come one by one. */
static void secure(struct pf_race *race, uint32_t slot)
{
	race->attempt[slot].state = PF_RACE_SECURING;
	pf_race_ready(race, slot);
	assert_int_equal(race->attempt[slot].state, PF_RACE_READY);
}

/* All eight are one address's: the other one has none, and gets none. */
static void who_has_tls_does_not_make_room(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	race.at[1].next_ns = BEGIN + 1000 * MS;
	(void)start_until(&race, &ms, 900, &last);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		secure(&race, i);
	assert_false(pf_race_evict(&race, BEGIN + 3000 * MS, &slot));
}

/* It could speak at once when the one before is silent: more of them would only take places. */
static void where_one_is_ready_no_further_one_is_begun(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 100, &last);
	secure(&race, 0);
	assert_true(pf_race_speaker(&race, BEGIN + 100 * MS, &slot));
	secure(&race, 1);
	assert_int_equal(start_until(&race, &ms, 900, &last), 0);
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 900 * MS), BEGIN + 1100 * MS);
	assert_true(pf_race_speaker(&race, BEGIN + 1100 * MS, &slot));
	ms = 1100;
	assert_int_equal(start_until(&race, &ms, 1100, &last), 1);
}

/* A network heals: seven SYNs would be sent again within the next second, and share what the eighth needs. */
static void where_tcp_stands_all_others_that_wait_for_it_must_leave(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t leave;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	race.at[1].next_ns = BEGIN + 300 * MS;
	(void)start_until(&race, &ms, 500, &last);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		assert_int_equal(race.attempt[i].state, PF_RACE_CONNECTING);
	leave = pf_race_connected(&race, 4, BEGIN + 510 * MS);
	assert_int_equal(race.attempt[4].state, PF_RACE_SECURING);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		bool must = i != 4 && race.attempt[i].address == race.attempt[4].address;

		assert_int_equal(!!(leave & (1u << i)), must);
		assert_int_equal(race.attempt[i].state == PF_RACE_LEAVING, must);
	}
	assert_int_equal(pf_race_connected(&race, 4, BEGIN + 520 * MS), 0); /* it was known */
}

/* One alone would hang on a lost packet; each further one slows down those that are under way. */
static void beside_a_handshake_others_begin_later_and_later(void **state)
{
	static const uint64_t begin_ms[] = {0, 250, 750, 1750, 3750, 5750};
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	for (unsigned i = 0; i < sizeof(begin_ms) / sizeof(begin_ms[0]); i++) {
		assert_int_equal(start_until(&race, &ms, begin_ms[i], &last), 1);
		assert_int_equal(last, begin_ms[i]);
		slot = connecting(&race);
		assert_int_equal(pf_race_connected(&race, slot, BEGIN + begin_ms[i] * MS), 0);
	}
	/* Whose time is over is no reason for another one, and TLS that stands is the end of it. */
	pf_race_over(&race, 0, PF_RACE_LATE, BEGIN + 5760 * MS);
	assert_int_equal(race.at[0].next_ns, BEGIN + 7750 * MS);
	pf_race_ready(&race, slot);
	assert_int_equal(race.at[0].tls_ns, PF_RACE_TLS_NS);
	/* Nor is one that is alone slowed down by what was. */
	race.at[0].tls_ns = PF_RACE_TLS_MAX_NS;
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		race.attempt[i].state = PF_RACE_FREE;
	assert_int_equal(start_until(&race, &ms, 7750, &last), 1);
	slot = connecting(&race);
	(void)pf_race_connected(&race, slot, BEGIN + 7750 * MS);
	assert_int_equal(race.at[0].next_ns, BEGIN + 8000 * MS);
}

/* A worker is killed while somebody shakes hands with it: the next one stands ready at once. */
static void a_connection_that_breaks_is_made_anew_when_an_attempt_may_be(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 0, &last);
	(void)pf_race_connected(&race, 0, BEGIN + 10 * MS);
	pf_race_over(&race, 0, PF_RACE_BROKE, BEGIN + 90 * MS);
	assert_int_equal(start_until(&race, &ms, 90, &last), 0);
	assert_int_equal(start_until(&race, &ms, 100, &last), 1);

	slot = connecting(&race);
	(void)pf_race_connected(&race, slot, BEGIN + 110 * MS);
	pf_race_ready(&race, slot);
	assert_true(pf_race_speaker(&race, BEGIN + 210 * MS, &slot));
	pf_race_over(&race, slot, PF_RACE_BROKE, BEGIN + 220 * MS);
	assert_int_equal(start_until(&race, &ms, 220, &last), 1);
}

static void where_nobody_waits_one_that_breaks_is_made_anew_no_sooner_than_others(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, false, BEGIN);
	(void)start_until(&race, &ms, 0, &last);
	race.at[0].soon_ns = BEGIN + 1000 * MS; /* as behind the fourth */
	(void)pf_race_connected(&race, 0, BEGIN + 900 * MS);
	pf_race_over(&race, 0, PF_RACE_BROKE, BEGIN + 910 * MS);
	assert_int_equal(race.at[0].next_ns, BEGIN + 1000 * MS);
}

/* Also where the next attempt would have been later, or earlier. */
static void who_refuses_in_a_handshake_is_asked_again_after_a_second(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 0, &last);
	race.at[0].tls_ns = PF_RACE_TLS_MAX_NS;
	(void)pf_race_connected(&race, 0, BEGIN);
	pf_race_over(&race, 0, PF_RACE_REFUSED, BEGIN + 20 * MS);
	assert_int_equal(race.at[0].next_ns, BEGIN + 1020 * MS);
	assert_int_equal(race.at[0].tls_ns, PF_RACE_TLS_NS);
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
		race.attempt[i].state = PF_RACE_SECURING;
	assert_false(pf_race_evict(&race, BEGIN + 4000 * MS, &slot));
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 4000 * MS), BEGIN + 4100 * MS);
}

/* Three that take TCP and are silent then must not hide one that can be reached meanwhile. */
static void an_address_without_an_attempt_comes_first(void **state)
{
	struct pf_race race;
	uint32_t slot, address;

	(void)state;
	pf_race_begin(&race, 4, true, BEGIN);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		race.attempt[i].state = PF_RACE_SECURING;
		race.attempt[i].address = i % 3;
		race.attempt[i].since_ns = BEGIN + i * 100 * MS;
	}
	race.at[3].next_ns = BEGIN + 2100 * MS; /* the others have long been due */
	assert_false(pf_race_evict(&race, BEGIN + 2000 * MS, &slot));
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 2000 * MS), BEGIN + 2100 * MS);
	assert_true(pf_race_evict(&race, BEGIN + 2100 * MS, &slot));
	assert_int_equal(slot, 7); /* the one that has done least */
	pf_race_over(&race, slot, PF_RACE_LATE, BEGIN + 2110 * MS);
	assert_true(pf_race_start(&race, BEGIN + 2110 * MS, &slot, &address));
	assert_int_equal(address, 3);
	/* And there is no place for anybody who has one. */
	assert_false(pf_race_evict(&race, BEGIN + 2120 * MS, &slot));
}

/* Addresses that fail at once must not cost another one every SYN before its answer can be there. */
static void of_several_syns_the_oldest_but_one_makes_room(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	race.at[1].next_ns = BEGIN + 800 * MS;
	assert_int_equal(start_until(&race, &ms, 700, &last), 8);
	assert_true(pf_race_evict(&race, BEGIN + 800 * MS, &slot));
	assert_int_equal(race.attempt[slot].since_ns, BEGIN + 100 * MS);
	pf_race_over(&race, slot, PF_RACE_LATE, BEGIN + 810 * MS);
	race.attempt[slot].state = PF_RACE_CONNECTING;
	race.attempt[slot].since_ns = BEGIN + 810 * MS;
	assert_true(pf_race_evict(&race, BEGIN + 1500 * MS, &slot)); /* it has had its time */
	assert_int_equal(race.attempt[slot].since_ns, BEGIN);
}

static void a_syn_goes_before_a_handshake_of_the_same_address(void **state)
{
	struct pf_race race;
	uint32_t slot;

	(void)state;
	pf_race_begin(&race, 8, true, BEGIN);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		race.attempt[i].state = i == 2 ? PF_RACE_CONNECTING : PF_RACE_SECURING;
		race.attempt[i].address = i == 7 ? 2 : i;
		race.attempt[i].since_ns = BEGIN + i * 100 * MS;
	}
	assert_true(pf_race_evict(&race, BEGIN + 800 * MS, &slot));
	assert_int_equal(slot, 2);
}

/* Nothing is due, and one could be evicted: to ask again at once would be to spin. */
static void with_all_places_taken_it_sleeps_until_the_next_is_due(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 1, true, BEGIN);
	(void)start_until(&race, &ms, 700, &last);
	race.at[0].next_ns = BEGIN + 2400 * MS;
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
	secure(&race, 1);
	secure(&race, 2);
	assert_true(pf_race_speaker(&race, BEGIN + 400 * MS, &first));
	assert_int_equal(race.attempt[first].since_ns, BEGIN + 100 * MS);
	assert_false(pf_race_speaker(&race, BEGIN + 1390 * MS, &second));
	assert_int_equal(pf_race_wake_ns(&race, BEGIN + 410 * MS), BEGIN + 1400 * MS);
	assert_true(pf_race_speaker(&race, BEGIN + 1400 * MS, &second));
	assert_int_not_equal(first, second);
	pf_race_over(&race, second, PF_RACE_BROKE, BEGIN + 1410 * MS);
	secure(&race, 0);
	assert_true(pf_race_speaker(&race, BEGIN + 1410 * MS, &second)); /* the first one's time is over too */
}

static void an_address_that_refuses_is_asked_again_after_a_second(void **state)
{
	struct pf_race race;
	uint64_t ms = 0, last;

	(void)state;
	pf_race_begin(&race, 2, true, BEGIN);
	assert_int_equal(start_until(&race, &ms, 0, &last), 2);
	pf_race_over(&race, 0, PF_RACE_REFUSED, BEGIN + 10 * MS);
	pf_race_over(&race, 1, PF_RACE_BROKE, BEGIN + 10 * MS);
	assert_int_equal(start_until(&race, &ms, 600, &last), 6); /* the other one's */
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		assert_true(race.attempt[i].state == PF_RACE_FREE || race.attempt[i].address == 1);
	assert_int_equal(race.at[0].next_ns, BEGIN + 1010 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_attempt_at_each_address_every_100_ms),
		cmocka_unit_test(where_nobody_waits_they_back_off_to_a_second),
		cmocka_unit_test(the_oldest_makes_room_once_it_has_had_its_time),
		cmocka_unit_test(with_many_addresses_each_attempt_has_its_time),
		cmocka_unit_test(who_has_tls_does_not_make_room),
		cmocka_unit_test(where_tcp_stands_all_others_that_wait_for_it_must_leave),
		cmocka_unit_test(beside_a_handshake_others_begin_later_and_later),
		cmocka_unit_test(a_connection_that_breaks_is_made_anew_when_an_attempt_may_be),
		cmocka_unit_test(who_refuses_in_a_handshake_is_asked_again_after_a_second),
		cmocka_unit_test(a_handshake_keeps_its_place),
		cmocka_unit_test(an_address_without_an_attempt_comes_first),
		cmocka_unit_test(a_syn_goes_before_a_handshake_of_the_same_address),
		cmocka_unit_test(with_all_places_taken_it_sleeps_until_the_next_is_due),
		cmocka_unit_test(where_one_is_ready_no_further_one_is_begun),
		cmocka_unit_test(where_nobody_waits_one_that_breaks_is_made_anew_no_sooner_than_others),
		cmocka_unit_test(of_several_syns_the_oldest_but_one_makes_room),
		cmocka_unit_test(one_speaks_at_a_time_and_the_next_when_it_is_silent),
		cmocka_unit_test(an_address_that_refuses_is_asked_again_after_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
