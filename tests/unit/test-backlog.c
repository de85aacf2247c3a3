/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-backlog.c - what is heard behind an unwritten record keeps its order, and has an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/backlog.h"

static void events_come_out_as_they_came_in(void **unused)
{
	static const uint8_t order[] = {PF_SE_RUN, PF_SE_RESUMED, PF_SE_COMPLETE};
	static struct pf_backlog backlog;

	(void)unused;
	backlog.count = 0;
	for (size_t i = 0; i < sizeof(order); i++)
		pf_backlog_add(&backlog, order[i], NULL);
	for (size_t i = 0; i < sizeof(order); i++) {
		assert_int_equal(pf_backlog_first(&backlog)->event, order[i]);
		pf_backlog_drop_first(&backlog);
	}
	assert_null(pf_backlog_first(&backlog));
	pf_backlog_drop_first(&backlog);
	assert_null(pf_backlog_first(&backlog));
}

static void a_reason_stays_with_its_event(void **unused)
{
	static struct pf_backlog backlog;
	struct pf_err refused = {0}, gone = {0};

	(void)unused;
	backlog.count = 0;
	pf_err_set(&refused, PF_ERR_PROTOCOL, "it refused");
	pf_err_set(&gone, PF_ERR_SYSTEM, "it is gone");
	pf_backlog_add(&backlog, PF_DE_VMM_REFUSED, &refused);
	pf_backlog_add(&backlog, PF_DE_ACK, NULL);
	pf_backlog_add(&backlog, PF_DE_VMM_LOST, &gone);
	assert_true(pf_backlog_first(&backlog)->failed);
	assert_string_equal(pf_backlog_first(&backlog)->why.text, "it refused");
	pf_backlog_drop_first(&backlog);
	assert_false(pf_backlog_first(&backlog)->failed);
	pf_backlog_drop_first(&backlog);
	assert_string_equal(pf_backlog_first(&backlog)->why.text, "it is gone");
}

/* A peer can say the same for ever. */
static void an_event_waits_once(void **unused)
{
	static struct pf_backlog backlog;

	(void)unused;
	backlog.count = 0;
	for (unsigned times = 0; times < 1000; times++)
		for (unsigned event = PF_BACKLOG_MAX; event-- > 0;)
			pf_backlog_add(&backlog, (uint8_t)event, NULL);
	assert_int_equal(backlog.count, PF_BACKLOG_MAX);
	for (unsigned event = PF_BACKLOG_MAX; event-- > 0;) {
		assert_int_equal(pf_backlog_first(&backlog)->event, event);
		pf_backlog_drop_first(&backlog);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_come_out_as_they_came_in),
		cmocka_unit_test(a_reason_stays_with_its_event),
		cmocka_unit_test(an_event_waits_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
