/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-trap.c - what a trap means in each of a page's states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "memory/trap.h"

static void an_absent_page_is_asked_for_whatever_trapped(void **state)
{
	(void)state;
	assert_int_equal(pf_trap_decide(PF_TRAP_MINOR, PF_PAGE_ABSENT), PF_TRAP_REQUEST);
	assert_int_equal(pf_trap_decide(PF_TRAP_MISSING, PF_PAGE_ABSENT), PF_TRAP_REQUEST);
}

static void a_page_being_written_is_waited_for_whatever_trapped(void **state)
{
	(void)state;
	assert_int_equal(pf_trap_decide(PF_TRAP_MINOR, PF_PAGE_FILLING), PF_TRAP_WAIT);
	assert_int_equal(pf_trap_decide(PF_TRAP_MISSING, PF_PAGE_FILLING), PF_TRAP_WAIT);
}

static void a_page_that_is_here_is_mapped(void **state)
{
	(void)state;
	assert_int_equal(pf_trap_decide(PF_TRAP_MINOR, PF_PAGE_FILLED), PF_TRAP_MAP);
	assert_int_equal(pf_trap_decide(PF_TRAP_MISSING, PF_PAGE_FILLED), PF_TRAP_MAP_OR_HOLE);
}

static void every_action_has_its_own_name(void **state)
{
	(void)state;
	for (int a = PF_TRAP_REQUEST; a <= PF_TRAP_MAP_OR_HOLE; a++) {
		const char *name = pf_trap_action_name((enum pf_trap_action)a);

		assert_string_not_equal(name, "?");
		for (int b = PF_TRAP_REQUEST; b < a; b++)
			assert_string_not_equal(name,
						pf_trap_action_name((enum pf_trap_action)b));
	}
	assert_string_equal(pf_trap_action_name((enum pf_trap_action)99), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_absent_page_is_asked_for_whatever_trapped),
		cmocka_unit_test(a_page_being_written_is_waited_for_whatever_trapped),
		cmocka_unit_test(a_page_that_is_here_is_mapped),
		cmocka_unit_test(every_action_has_its_own_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
