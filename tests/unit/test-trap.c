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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_absent_page_is_asked_for_whatever_trapped),
		cmocka_unit_test(a_page_being_written_is_waited_for_whatever_trapped),
		cmocka_unit_test(a_page_that_is_here_is_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
