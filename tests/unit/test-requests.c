/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-requests.c - what is owed: compared with a plain list under random use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/requests.h"

static struct pf_requests requests;

static int begin(void **unused)
{
	(void)unused;
	memset(&requests, 0, sizeof(requests));
	return 0;
}

static void one_that_was_opened_is_sent_once_and_closed_once(void **unused)
{
	struct pf_request *request;
	uint64_t since = 0;

	(void)unused;
	pf_requests_open(&requests, 3, 70, 1234);
	pf_requests_open(&requests, 3, 70, 9999); /* a second thread at the same page */
	assert_int_equal(requests.open, 1);
	request = pf_requests_next(&requests);
	assert_non_null(request);
	assert_int_equal(request->region, 3);
	assert_int_equal(request->page, 70);
	assert_false(pf_requests_owed(&requests, 3, 70));
	pf_requests_sent(&requests, request);
	assert_true(pf_requests_owed(&requests, 3, 70));
	assert_false(pf_requests_owed(&requests, 3, 71));
	assert_null(pf_requests_next(&requests));
	assert_true(pf_requests_close(&requests, 3, 70, &since));
	assert_int_equal(since, 1234);
	assert_false(pf_requests_close(&requests, 3, 70, &since));
}

static void after_a_cut_all_open_ones_are_sent_again(void **unused)
{
	unsigned sent = 0;
	struct pf_request *request;

	(void)unused;
	for (uint64_t page = 0; page < 100; page++)
		pf_requests_open(&requests, 0, page, page);
	while ((request = pf_requests_next(&requests)))
		pf_requests_sent(&requests, request);
	pf_requests_resend(&requests);
	while ((request = pf_requests_next(&requests))) {
		pf_requests_sent(&requests, request);
		sent++;
	}
	assert_int_equal(sent, 100);
}

static enum pf_retry judge_by_page(void *opaque, const struct pf_request *request)
{
	(*(unsigned *)opaque)++;
	switch (request->page % 3) {
	case 0:
		return PF_RETRY_SEND;
	case 1:
		return PF_RETRY_KEEP;
	default:
		return PF_RETRY_DONE;
	}
}

/* Every third stays parked, every third is gone, and what was never parked is nobody's business. */
/* Even pages have come by another way, odd ones have not, 9 is being filled. */
static enum pf_retry judge_after_a_cut(void *opaque, const struct pf_request *request)
{
	(void)opaque;
	if (request->page == 9)
		return PF_RETRY_KEEP;
	return request->page % 2 ? PF_RETRY_SEND : PF_RETRY_DONE;
}

static void of_what_is_owed_only_what_is_absent_is_asked_for_again(void **unused)
{
	struct pf_request *request;
	uint64_t asked = 0;

	(void)unused;
	for (uint64_t page = 0; page < 20; page++)
		pf_requests_open(&requests, 0, page, page);
	for (unsigned i = 0; i < 12 && (request = pf_requests_next(&requests)); i++)
		pf_requests_sent(&requests, request);
	pf_requests_park_all(&requests, 1000);
	assert_null(pf_requests_next(&requests));
	assert_false(pf_requests_owed(&requests, 0, 3));
	pf_requests_retry(&requests, 1000, judge_after_a_cut, NULL);
	assert_int_equal(requests.open, 10);
	assert_int_equal(requests.parked, 1);
	while ((request = pf_requests_next(&requests))) {
		asked |= UINT64_C(1) << request->page;
		pf_requests_sent(&requests, request);
	}
	assert_int_equal(asked, 0xaaaaa & ~(1 << 9));
}

static void a_parked_one_is_held_back_until_it_is_judged(void **unused)
{
	enum { PARKED = 3000 };
	struct pf_request *request;
	unsigned judged = 0, sent = 0;

	(void)unused;
	pf_requests_open(&requests, 1, 0, 5);
	for (uint64_t page = 0; page < PARKED; page++) {
		pf_requests_open(&requests, 0, page, page);
		if (page % 2) {
			while ((request = pf_requests_next(&requests)))
				pf_requests_sent(&requests, request);
			assert_true(pf_requests_owed(&requests, 0, page));
		}
		pf_requests_park(&requests, 0, page, 99);
		pf_requests_park(&requests, 0, page, 99);
		assert_false(pf_requests_owed(&requests, 0, page));
	}
	pf_requests_park(&requests, 2, 7, 99); /* was not open: a page that could not be mapped */
	assert_int_equal(requests.parked, PARKED + 1);
	assert_null(pf_requests_next(&requests));
	pf_requests_retry(&requests, 99, judge_by_page, &judged);
	assert_true(judged >= PARKED + 1);
	assert_int_equal(requests.parked, PARKED / 3 + 1);
	assert_int_equal(requests.unsent, PARKED / 3);
	assert_int_equal(requests.open, 2 * PARKED / 3 + 2);
	while ((request = pf_requests_next(&requests))) {
		assert_int_equal(request->page % 3, 0);
		assert_int_equal(request->since_ns, request->page); /* its waiter has waited on */
		pf_requests_sent(&requests, request);
		sent++;
	}
	assert_int_equal(sent, PARKED / 3);
	pf_requests_resend(&requests);
	assert_int_equal(requests.parked, 0);
	assert_int_equal(requests.unsent, requests.open);
}

static enum pf_retry send_it(void *opaque, const struct pf_request *request)
{
	(void)request;
	(*(unsigned *)opaque)++;
	return PF_RETRY_SEND;
}

static void one_that_is_handed_on_is_tried_less_and_less_often_and_has_no_latency(void **unused)
{
	uint64_t now = 1000, wait = PF_REQUESTS_AGAIN_NS, since;
	unsigned judged = 0;

	(void)unused;
	assert_true(pf_requests_reserve(&requests));
	pf_requests_hand_on(&requests, 0, 9, now);
	for (unsigned round = 0; round < 10; round++) {
		assert_true(pf_requests_handed(&requests, 0, 9));
		pf_requests_retry(&requests, now + wait - 1, send_it, &judged);
		assert_int_equal(judged, round);
		pf_requests_retry(&requests, now += wait, send_it, &judged);
		assert_int_equal(judged, round + 1);
		pf_requests_sent(&requests, pf_requests_next(&requests));
		pf_requests_park(&requests, 0, 9, now);
		wait = round < 6 ? wait * 2 : wait;
	}
	assert_int_equal(wait, PF_REQUESTS_AGAIN_NS << 6);
	assert_false(pf_requests_close(&requests, 0, 9, &since));
	assert_int_equal(requests.open + requests.parked + requests.handed, 0);
	assert_int_equal(requests.reserved, 0);
}

static void one_that_is_handed_on_is_like_any_other_once_somebody_waits(void **unused)
{
	unsigned judged = 0;
	uint64_t since;

	(void)unused;
	assert_true(pf_requests_reserve(&requests));
	pf_requests_hand_on(&requests, 0, 9, 1000);
	pf_requests_open(&requests, 0, 9, 2000);
	assert_int_equal(requests.handed + requests.reserved, 0);
	pf_requests_retry(&requests, 2000, send_it, &judged);
	assert_int_equal(judged, 1);
	assert_true(pf_requests_close(&requests, 0, 9, &since));
	assert_int_equal(since, 2000);
	/* And what somebody waits for is not handed on. */
	pf_requests_open(&requests, 0, 9, 3000);
	assert_true(pf_requests_reserve(&requests));
	pf_requests_hand_on(&requests, 0, 9, 4000);
	assert_int_equal(requests.reserved, 0);
	assert_int_equal(requests.parked, 0);
	assert_true(pf_requests_close(&requests, 0, 9, &since));
	assert_int_equal(since, 3000);
}

static void half_a_window_is_handed_on_and_no_more_sent_than_the_source_takes(void **unused)
{
	unsigned judged = 0, sent = 0;
	struct pf_request *request;

	(void)unused;
	for (uint64_t page = 0; page + 1 < PF_REQUESTS_OPEN_MAX; page++)
		pf_requests_open(&requests, 1, page, 1);
	for (uint64_t page = 0; page < PF_REQUESTS_HANDED_MAX; page++) {
		assert_true(pf_requests_reserve(&requests));
		pf_requests_hand_on(&requests, 0, page, 1);
	}
	assert_false(pf_requests_reserve(&requests));
	assert_true(pf_requests_full(&requests));
	pf_requests_retry(&requests, 1 + PF_REQUESTS_AGAIN_NS, send_it, &judged);
	assert_int_equal(judged, PF_REQUESTS_HANDED_MAX);
	while ((request = pf_requests_next(&requests))) {
		pf_requests_sent(&requests, request);
		sent++;
	}
	assert_int_equal(sent, PF_REQUESTS_OPEN_MAX);
}

static enum pf_retry do_not_map(void *unused, const struct pf_request *request)
{
	(void)unused, (void)request;
	return PF_RETRY_UNMAPPED;
}

static void one_that_cannot_be_mapped_is_known_until_it_is_closed(void **unused)
{
	uint64_t since;

	(void)unused;
	pf_requests_map_begin(&requests, 16); /* a run, on its way from a bulk thread */
	assert_true(pf_requests_reserve(&requests));
	pf_requests_hand_on(&requests, 1, 5, 1);
	pf_requests_unmapped(&requests, 1, 5);
	pf_requests_map_end(&requests, 16);
	assert_false(pf_requests_all_mapped(&requests) || requests.mapped_all);
	pf_requests_retry(&requests, 1 + PF_REQUESTS_AGAIN_NS, do_not_map, NULL);
	assert_false(pf_requests_all_mapped(&requests));
	assert_int_equal(requests.slot[requests.scan].handed, 2); /* later, the next time */
	(void)pf_requests_close(&requests, 1, 5, &since);
	assert_true(pf_requests_all_mapped(&requests) && requests.mapped_all);
	assert_int_equal(atomic_load(&requests.reserved), 0);
}

static void the_window_fills_and_empties(void **unused)
{
	uint64_t since;

	(void)unused;
	for (uint64_t page = 0; page < PF_REQUESTS_OPEN_MAX; page++) {
		assert_false(pf_requests_full(&requests));
		pf_requests_open(&requests, (uint32_t)page % 64, page * 8192, page);
	}
	assert_true(pf_requests_full(&requests));
	for (uint64_t page = 0; page < PF_REQUESTS_OPEN_MAX; page++)
		assert_true(pf_requests_close(&requests, (uint32_t)page % 64, page * 8192, &since));
	assert_int_equal(requests.open, 0);
	assert_int_equal(requests.unsent, 0);
}

/* A small key space makes long probe sequences and many holes. */
static void random_use_agrees_with_a_plain_list(void **unused)
{
	static bool listed[2][3000], parked[2][3000];
	unsigned seed = 7, open = 0, held = 0;
	uint64_t since;

	(void)unused;
	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t region = (uint32_t)rand_r(&seed) % 2;
		uint64_t page = (uint64_t)rand_r(&seed) % 3000;

		if (rand_r(&seed) % 2 && !pf_requests_full(&requests)) {
			pf_requests_open(&requests, region, page, page);
			open += !listed[region][page];
			listed[region][page] = true;
			if (rand_r(&seed) % 8 == 0) {
				pf_requests_park(&requests, region, page, page);
				held += !parked[region][page];
				parked[region][page] = true;
			}
		} else {
			bool was = pf_requests_close(&requests, region, page, &since);

			assert_int_equal(was, listed[region][page]);
			assert_true(!was || since == page);
			open -= was;
			held -= parked[region][page];
			listed[region][page] = parked[region][page] = false;
		}
		assert_int_equal(requests.open, open);
		assert_int_equal(requests.parked, held);
		assert_int_equal(requests.unsent, open - held);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_that_was_opened_is_sent_once_and_closed_once, begin),
		cmocka_unit_test_setup(after_a_cut_all_open_ones_are_sent_again, begin),
		cmocka_unit_test_setup(of_what_is_owed_only_what_is_absent_is_asked_for_again, begin),
		cmocka_unit_test_setup(a_parked_one_is_held_back_until_it_is_judged, begin),
		cmocka_unit_test_setup(
			one_that_is_handed_on_is_tried_less_and_less_often_and_has_no_latency, begin),
		cmocka_unit_test_setup(
			one_that_is_handed_on_is_like_any_other_once_somebody_waits, begin),
		cmocka_unit_test_setup(
			half_a_window_is_handed_on_and_no_more_sent_than_the_source_takes, begin),
		cmocka_unit_test_setup(
			one_that_cannot_be_mapped_is_known_until_it_is_closed, begin),
		cmocka_unit_test_setup(the_window_fills_and_empties, begin),
		cmocka_unit_test_setup(random_use_agrees_with_a_plain_list, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
