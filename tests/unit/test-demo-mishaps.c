/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-demo-mishaps.c - what goes wrong in the demo, in which order, and what is measured of it;
 * the counts of an agent that had several workers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/demo/mishaps.h"
#include "migrate/demo/tally.h"

#define TOTAL 6400u
#define T(ms) (1000 * PF_NS_PER_S + (ms)*PF_NS_PER_MS)

/* A migration as the orchestrator sees it. */
struct play {
	struct pf_mishaps mishaps;
	struct pf_mishap_pages pages;
};

static enum pf_mishap_due look(struct play *play, uint64_t now_ns)
{
	pf_mishaps_pages(&play->mishaps, &play->pages, now_ns);
	return pf_mishaps_due(&play->mishaps, &play->pages, now_ns);
}

static void expect(struct play *play, enum pf_mishap_due due, uint64_t now_ns)
{
	assert_int_equal(look(play, now_ns), due);
	pf_mishaps_done(&play->mishaps, due, now_ns);
}

static void both_say(struct play *play, const char *event)
{
	pf_mishaps_event(&play->mishaps, PF_SOURCE, event);
	pf_mishaps_event(&play->mishaps, PF_DESTINATION, event);
}

static struct play begin(uint64_t filled)
{
	return (struct play){.pages = {.total = TOTAL, .filled = filled, .requested = 70}};
}

/* The link is cut at T(0), and both have noticed. */
static struct play cut_off(void)
{
	struct play play = begin(TOTAL / 64);

	expect(&play, PF_DUE_CUT, T(0));
	both_say(&play, "OUTAGE");
	assert_int_equal(look(&play, T(1600)), PF_DUE_NOTHING);
	return play;
}

static void recover(struct play *play, uint64_t now_ns)
{
	both_say(play, "RECOVERED");
	play->pages.requested++;
	pf_mishaps_pages(&play->mishaps, &play->pages, now_ns);
}

static void test_nothing_happens_before_its_part_of_the_pages_is_there(void **state)
{
	struct play play = begin(TOTAL / 64 - 1);

	(void)state;
	assert_int_equal(look(&play, T(0)), PF_DUE_NOTHING);
	assert_null(pf_mishaps_now(&play.mishaps));
	play.pages.filled++;
	assert_int_equal(look(&play, T(1)), PF_DUE_CUT);
	play.pages.total = play.pages.filled = 0; /* an agent that knows no region yet */
	assert_int_equal(look(&play, T(2)), PF_DUE_NOTHING);
}

static void test_the_link_is_down_for_five_seconds_and_until_both_have_noticed(void **state)
{
	struct play play = begin(TOTAL / 64);

	(void)state;
	expect(&play, PF_DUE_CUT, T(0));
	pf_mishaps_event(&play.mishaps, PF_DESTINATION, "OUTAGE");
	assert_int_equal(look(&play, T(5100)), PF_DUE_NOTHING);
	pf_mishaps_event(&play.mishaps, PF_SOURCE, "OUTAGE");
	assert_int_equal(look(&play, T(4999)), PF_DUE_NOTHING);
	assert_int_equal(look(&play, T(5000)), PF_DUE_HEAL);
}

static void test_what_is_measured_is_the_first_page_asked_for_since(void **state)
{
	struct play play = cut_off();
	const struct pf_mishap_course *course = &play.mishaps.course[0];

	(void)state;
	play.pages.requested += 9; /* they were under way when it was cut */
	expect(&play, PF_DUE_HEAL, T(5000));
	both_say(&play, "RECOVERED");
	assert_int_equal(look(&play, T(5030)), PF_DUE_NOTHING);
	assert_int_equal(course->page_ns, 0);
	assert_non_null(pf_mishaps_now(&play.mishaps));
	play.pages.requested++;
	assert_int_equal(look(&play, T(5040)), PF_DUE_NOTHING);
	assert_int_equal(course->struck_ns, T(0));
	assert_int_equal(course->mended_ns, T(5000));
	assert_int_equal(course->page_ns, T(5040));
	assert_null(pf_mishaps_now(&play.mishaps));
}

static void test_each_waits_for_the_one_before(void **state)
{
	struct play play = cut_off();

	(void)state;
	play.pages.filled = TOTAL - 1;
	expect(&play, PF_DUE_HEAL, T(5000));
	play.pages.requested++;
	pf_mishaps_event(&play.mishaps, PF_DESTINATION, "RECOVERED");
	assert_int_equal(look(&play, T(5040)), PF_DUE_NOTHING); /* the source has not said it */
	assert_int_equal(pf_mishaps_stuck(&play.mishaps), PF_SOURCE);
	pf_mishaps_event(&play.mishaps, PF_SOURCE, "RECOVERED");
	assert_int_equal(play.mishaps.turn, 1);
	assert_int_equal(look(&play, T(5041)), PF_DUE_KILL);
}

static void test_a_killed_worker_is_back_when_it_says_recovered_after_its_restart(void **state)
{
	struct play play = cut_off();

	(void)state;
	expect(&play, PF_DUE_HEAL, T(5000));
	recover(&play, T(5040));
	play.pages.filled = TOTAL * 2 / 64;
	expect(&play, PF_DUE_KILL, T(6000));
	assert_int_equal(pf_mishap_table[play.mishaps.turn].victim, PF_SOURCE);
	both_say(&play, "RECOVERED"); /* of before: nobody has been hit */
	assert_int_equal(pf_mishaps_stuck(&play.mishaps), PF_SOURCE);
	pf_mishaps_event(&play.mishaps, PF_DESTINATION, "OUTAGE");
	pf_mishaps_event(&play.mishaps, PF_SOURCE, "WORKER_RESTARTED");
	play.pages.requested += 5; /* known only after it had noticed: they came before */
	assert_int_equal(look(&play, T(6020)), PF_DUE_NOTHING);
	assert_int_equal(play.mishaps.course[1].page_ns, 0);
	recover(&play, T(6060));
	assert_int_equal(play.mishaps.course[1].page_ns, T(6060));
	assert_int_equal(play.mishaps.turn, 2);
}

static void test_a_destinations_new_worker_counts_from_zero(void **state)
{
	struct play play = cut_off();
	const struct pf_mishap_course *course = &play.mishaps.course[2];

	(void)state;
	expect(&play, PF_DUE_HEAL, T(5000));
	recover(&play, T(5040));
	play.pages.filled = TOTAL * 2 / 64;
	expect(&play, PF_DUE_KILL, T(6000));
	both_say(&play, "OUTAGE");
	assert_int_equal(look(&play, T(6001)), PF_DUE_NOTHING);
	recover(&play, T(6060));
	play.pages.filled = TOTAL * 3 / 64;
	expect(&play, PF_DUE_KILL, T(7000));
	assert_int_equal(pf_mishap_table[play.mishaps.turn].victim, PF_DESTINATION);
	assert_int_equal(look(&play, T(7001)), PF_DUE_NOTHING); /* the old one's words count no more */
	both_say(&play, "WORKER_RESTARTED");
	play.pages.requested = 2; /* so many had come by the time it was asked */
	assert_int_equal(look(&play, T(7070)), PF_DUE_NOTHING);
	assert_int_equal(course->page_ns - course->mended_ns, 70 * PF_NS_PER_MS);
	assert_int_equal(play.mishaps.turn, 2);
	recover(&play, T(7080));
	assert_int_equal(course->page_ns - course->mended_ns, 70 * PF_NS_PER_MS);
	assert_int_equal(play.mishaps.turn, PF_MISHAPS);
}

static void test_push_is_let_go_once_and_after_the_last(void **state)
{
	struct play play = begin(TOTAL);

	(void)state;
	play.mishaps.turn = PF_MISHAPS;
	expect(&play, PF_DUE_LET_GO, T(0));
	assert_int_equal(look(&play, T(1)), PF_DUE_NOTHING);
	assert_int_equal(pf_mishaps_look_again_ns(&play.mishaps), 0);
}

static void test_who_does_not_recover_in_a_minute_is_late_and_named(void **state)
{
	struct play play = cut_off(), deaf = begin(TOTAL);

	(void)state;
	expect(&play, PF_DUE_HEAL, T(5000));
	pf_mishaps_event(&play.mishaps, PF_SOURCE, "RECOVERED");
	assert_int_equal(look(&play, T(64999)), PF_DUE_NOTHING);
	assert_int_equal(look(&play, T(65000)), PF_DUE_LATE);
	assert_int_equal(pf_mishaps_stuck(&play.mishaps), PF_DESTINATION);
	expect(&deaf, PF_DUE_CUT, T(0)); /* and so is who notices nothing */
	assert_int_equal(look(&deaf, T(60000)), PF_DUE_LATE);
}

static void test_they_come_in_the_order_of_their_parts(void **state)
{
	(void)state;
	for (size_t i = 1; i < PF_MISHAPS; i++)
		assert_true(pf_mishap_table[i - 1].part * pf_mishap_table[i].of <
			    pf_mishap_table[i].part * pf_mishap_table[i - 1].of);
}

static json_t *load(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	assert_non_null(json);
	return json;
}

static void test_the_counts_of_two_workers_are_joined(void **state)
{
	json_t *earlier = load("{\"downtime-us\": 1500, \"pages\": {\"total\": 100, \"filled\": 75,"
			       " \"requested\": 30, \"pushed\": 45, \"resent-after-resume\": 1},"
			       " \"faults\": {\"count\": 31}, \"latency-us\": {\"p50\": 20,"
			       " \"max\": 5000000.5}}");
	json_t *status = load("{\"downtime-us\": 0, \"pages\": {\"total\": 100, \"filled\": 100,"
			      " \"requested\": 5, \"pushed\": 20, \"resent-after-resume\": 2},"
			      " \"faults\": {\"count\": 6}, \"latency-us\": {\"p50\": 30,"
			      " \"max\": 4000}}");
	json_t *sum = load("{\"downtime-us\": 1500, \"pages\": {\"total\": 100, \"filled\": 100,"
			   " \"requested\": 35, \"pushed\": 65, \"resent-after-resume\": 3},"
			   " \"faults\": {\"count\": 37}, \"latency-us\": {\"p50\": 30,"
			   " \"max\": 5000000.5}}");

	(void)state;
	pf_tally_add(status, earlier);
	assert_true(json_equal(status, sum));
	json_decref(earlier);
	json_decref(status);
	json_decref(sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_happens_before_its_part_of_the_pages_is_there),
		cmocka_unit_test(test_the_link_is_down_for_five_seconds_and_until_both_have_noticed),
		cmocka_unit_test(test_what_is_measured_is_the_first_page_asked_for_since),
		cmocka_unit_test(test_each_waits_for_the_one_before),
		cmocka_unit_test(test_a_killed_worker_is_back_when_it_says_recovered_after_its_restart),
		cmocka_unit_test(test_a_destinations_new_worker_counts_from_zero),
		cmocka_unit_test(test_push_is_let_go_once_and_after_the_last),
		cmocka_unit_test(test_who_does_not_recover_in_a_minute_is_late_and_named),
		cmocka_unit_test(test_they_come_in_the_order_of_their_parts),
		cmocka_unit_test(test_the_counts_of_two_workers_are_joined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
