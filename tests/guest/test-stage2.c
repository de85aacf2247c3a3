/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/test-stage2.c - vCPUs that left the guest for a page, and when they enter it again.
 *
 * No KVM and no agent: what KVM reports is said by the test, and the threads that wait are real.  A vCPU
 * that waits for ever is ended by alarm(2).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "tests/guest/stage2.h"

#define PATIENCE_S 30
#define GPA 0x5000u

static const volatile uint8_t runs, parks = 1;
static const bool set = true, cleared;

static bool is_set(const void *opaque, uint64_t gpa)
{
	(void)gpa;
	return *(const bool *)opaque;
}

static int set_up(void **state)
{
	static struct pf_stage2 stage2;

	pf_stage2_init(&stage2);
	*state = &stage2;
	alarm(PATIENCE_S);
	return 0;
}

static int tear_down(void **state)
{
	alarm(0);
	pf_stage2_done(*state);
	return 0;
}

/* Who has to wait is seen by what it does when it is told to park: it comes back without an answer. */
static void without_an_answer_nobody_enters(void **state)
{
	struct pf_stage2 *stage2 = *state;

	assert_true(pf_stage2_wait(stage2, 0, &runs));
	pf_stage2_fault(stage2, 0, GPA + 12, is_set, &set);
	assert_false(pf_stage2_wait(stage2, 0, &parks));
	pf_stage2_resolved(stage2, 0, GPA + 4096);
	pf_stage2_resolved(stage2, 1, GPA);
	assert_false(pf_stage2_wait(stage2, 0, &parks));
	pf_stage2_resolved(stage2, 0, GPA);
	assert_true(pf_stage2_wait(stage2, 0, &runs));
}

/* It read the bit, then came everything: the page, COMPLETE, the end of the connection; then it says so. */
static void a_vcpu_that_is_late_finds_nobody_to_ask_and_enters(void **state)
{
	struct pf_stage2 *stage2 = *state;

	pf_stage2_complete(stage2);
	pf_stage2_connect(stage2, NULL);
	pf_stage2_fault(stage2, 3, GPA, is_set, &cleared);
	assert_true(pf_stage2_wait(stage2, 3, &runs));
}

static void *wait_for_page(void *opaque)
{
	return pf_stage2_wait(opaque, 2, &runs) ? opaque : NULL;
}

static void who_waits_when_all_is_complete_enters(void **state)
{
	struct pf_stage2 *stage2 = *state;
	pthread_t vcpu;
	void *entered;

	pf_stage2_fault(stage2, 2, GPA, is_set, &set);
	assert_int_equal(pthread_create(&vcpu, NULL, wait_for_page, stage2), 0);
	pf_stage2_complete(stage2);
	pf_stage2_connect(stage2, NULL);
	assert_int_equal(pthread_join(vcpu, &entered), 0);
	assert_ptr_equal(entered, stage2);
}

/* Told so, or found so after the end: it does not enter, and the next one is told on its own. */
static void who_came_for_a_lost_page_stays_where_he_is(void **state)
{
	struct pf_stage2 *stage2 = *state;

	pf_stage2_fault(stage2, 0, GPA, is_set, &set);
	pf_stage2_lost(stage2, 0, GPA);
	assert_false(pf_stage2_wait(stage2, 0, &parks));
	pf_stage2_complete(stage2);
	assert_false(pf_stage2_wait(stage2, 0, &parks));
	pf_stage2_fault(stage2, 1, GPA, is_set, &set);
	assert_false(pf_stage2_wait(stage2, 1, &parks));
	pf_stage2_fault(stage2, 2, GPA + 4096, is_set, &cleared);
	assert_true(pf_stage2_wait(stage2, 2, &runs));
}

static bool set_until_now;

/* Its reader is preempted with what it read, and meanwhile the last page comes, and COMPLETE. */
static bool read_too_early(const void *opaque, uint64_t gpa)
{
	struct pf_stage2 *stage2 = *(struct pf_stage2 *const *)opaque;
	bool read = set_until_now;

	(void)gpa;
	set_until_now = false;
	if (!stage2->complete)
		pf_stage2_complete(stage2);
	return read;
}

static void a_bit_that_was_cleared_before_complete_is_not_a_lost_page(void **state)
{
	struct pf_stage2 *stage2 = *state;

	set_until_now = true;
	pf_stage2_fault(stage2, 3, GPA, read_too_early, &stage2);
	set_until_now = false;
	pf_stage2_complete(stage2);
	assert_true(pf_stage2_wait(stage2, 3, &parks));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_an_answer_nobody_enters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_vcpu_that_is_late_finds_nobody_to_ask_and_enters,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_waits_when_all_is_complete_enters, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_came_for_a_lost_page_stays_where_he_is, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_bit_that_was_cleared_before_complete_is_not_a_lost_page, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("stage2", tests, NULL, NULL);
}
