/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-demo-guest.c - the demo's talk with a real pageferry-guest that does not move.
 *
 * $PAGEFERRY_GUEST, or the one of the build tree in which the tests run; its walk in threads, so
 * that no /dev/kvm is needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "migrate/demo/children.h"
#include "migrate/demo/guest.h"
#include "migrate/demo/workdir.h"

#define PATIENCE (60 * PF_NS_PER_S)

struct stage {
	struct pf_workdir dir;
	struct pf_children children;
	struct pf_demo_guest guest;
};

static int start(void **state, const char *const *argv)
{
	const struct pf_spawn spawn = {
		.name = "guest", .log = "guest.log", .argv = argv, .netns = -1, .pipes = true};
	struct stage *stage = calloc(1, sizeof(*stage));
	struct pf_err err;

	*state = stage;
	if (pf_workdir_make(&stage->dir, &err) ||
	    pf_children_open(&stage->children, stage->dir.path, &err) ||
	    pf_children_start(&stage->children, &spawn, &stage->guest.child, &err)) {
		print_error("%s\n", err.text);
		return -1;
	}
	return 0;
}

static int setup(void **state)
{
	const char *program = getenv("PAGEFERRY_GUEST");
	const char *const argv[] = {program ? program : "tests/guest/pageferry-guest",
				    "--role",
				    "solo",
				    "--memory",
				    "16M",
				    "--vcpus",
				    "2",
				    "--backend",
				    "threads",
				    NULL};

	return start(state, argv);
}

#define WRONG_WORD                                                                                 \
	"echo backend: kvm; echo verdict: DIFFERENT at 0x5 expected 0x01 found 0x02; exit 1"

/* Stands for a guest that finds a wrong word: it says so and goes, asked or not. */
static int setup_wrong(void **state)
{
	static const char *const argv[] = {"/bin/sh", "-c",
					   "echo running; echo error: before; " WRONG_WORD, NULL};

	return start(state, argv);
}

static int setup_wrong_when_asked(void **state)
{
	static const char *const argv[] = {"/bin/sh", "-c", "read word; " WRONG_WORD, NULL};

	return start(state, argv);
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	pf_children_close(&stage->children);
	pf_workdir_remove(&stage->dir);
	free(stage);
	return 0;
}

static uint64_t soon(void)
{
	return pf_now_ns() + PATIENCE;
}

static void test_a_guest_walks_and_its_memory_is_identical(void **state)
{
	struct stage *stage = *state;
	struct pf_demo_guest *guest = &stage->guest;
	struct pf_err err = {0};
	uint64_t first = 0, second = 0;

	assert_int_equal(
		pf_demo_guest_await(guest, &stage->children, PF_GUEST_RUNNING, soon(), &err), 0);
	assert_int_equal(pf_demo_guest_visits(guest, &stage->children, soon(), &first, &err), 0);
	assert_int_equal(pf_demo_guest_walk(guest, &stage->children, first + 100, soon(), &err), 0);
	assert_int_equal(pf_demo_guest_visits(guest, &stage->children, soon(), &second, &err), 0);
	assert_true(second >= first + 100);
	assert_int_equal(pf_demo_guest_finish(guest, &stage->children, soon(), &err), 0);
	assert_string_equal(guest->answer.backend, "threads");
	assert_int_equal(guest->answer.vcpus, 2);
	assert_int_equal(guest->answer.memory_bytes, 16 << 20);
	assert_true(guest->answer.visits >= second);
	assert_true(pf_demo_guest_identical(&guest->answer));
}

static void test_waiting_for_a_word_ends_at_the_deadline(void **state)
{
	struct stage *stage = *state;
	struct pf_err err = {0};

	assert_int_equal(pf_demo_guest_await(&stage->guest, &stage->children, PF_GUEST_RELEASED,
					     pf_now_ns() + 50 * PF_NS_PER_MS, &err),
			 -1);
	assert_non_null(strstr(err.text, "did not become `released` in time"));
}

static void test_too_few_visits_are_an_error_at_the_deadline(void **state)
{
	struct stage *stage = *state;
	struct pf_err err = {0};

	assert_int_equal(pf_demo_guest_walk(&stage->guest, &stage->children, UINT64_MAX,
					    pf_now_ns() + 500 * PF_NS_PER_MS, &err),
			 -1);
	assert_non_null(strstr(err.text, "were expected"));
}

static void test_a_guest_that_dies_is_an_error_at_once(void **state)
{
	struct stage *stage = *state;
	struct pf_err err = {0};

	kill(stage->guest.child->pid, SIGKILL);
	assert_int_equal(pf_demo_guest_await(&stage->guest, &stage->children, PF_GUEST_RELEASED,
					     soon(), &err),
			 -1);
	assert_non_null(strstr(err.text, "signal 9"));
}

static void test_a_verdict_given_unasked_is_found_in_the_pipe(void **state)
{
	struct stage *stage = *state;
	struct pf_demo_guest *guest = &stage->guest;
	struct pf_err err = {0};

	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, soon(), &err), -1);
	assert_non_null(strstr(err.text, "exit 1"));
	assert_int_equal(pf_demo_guest_drain(guest, &err), -1);
	assert_non_null(strstr(err.text, "before")); /* the complaint hides no line behind it */
	assert_int_equal(guest->words, PF_GUEST_RUNNING);
	assert_true(pf_demo_guest_different(&guest->answer));
	assert_string_equal(guest->answer.verdict, "DIFFERENT at 0x5 expected 0x01 found 0x02");
	assert_int_equal(pf_demo_guest_finish(guest, &stage->children, soon(), &err), 0);
}

static void test_different_needs_no_other_value(void **state)
{
	struct stage *stage = *state;
	struct pf_demo_guest *guest = &stage->guest;
	struct pf_err err = {0};

	assert_int_equal(pf_demo_guest_finish(guest, &stage->children, soon(), &err), 0);
	assert_true(pf_demo_guest_different(&guest->answer));
	assert_true(pf_demo_guest_knows(&guest->answer, PF_GUEST_BACKEND));
	assert_false(pf_demo_guest_knows(&guest->answer, PF_GUEST_VISITS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_guest_walks_and_its_memory_is_identical,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting_for_a_word_ends_at_the_deadline, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_too_few_visits_are_an_error_at_the_deadline,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_guest_that_dies_is_an_error_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_verdict_given_unasked_is_found_in_the_pipe,
						setup_wrong, teardown),
		cmocka_unit_test_setup_teardown(test_different_needs_no_other_value,
						setup_wrong_when_asked, teardown),
	};

	/* A guest that died is an error of write(2), as in the program itself. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
