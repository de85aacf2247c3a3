/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-repeats.c - what is told of somebody once, and when again, on a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "migrate/repeats.h"

#define S PF_NS_PER_S

/* true: it was to be told, and was. */
static bool tell(struct pf_repeats *repeats, const char *address, const char *what, uint64_t state,
		 uint64_t now)
{
	if (pf_repeats_is_told(repeats, address, what, state, now))
		return false;
	pf_repeats_told(repeats, address, what, state, now);
	return true;
}

static void a_strangers_words_are_told_once_a_minute(void **unused)
{
	struct pf_repeats repeats = {0};

	(void)unused;
	assert_true(tell(&repeats, "192.0.2.1:1000", "no TLS", 0, S));
	assert_false(tell(&repeats, "192.0.2.1:1001", "no TLS", 0, 60 * S));
	assert_true(tell(&repeats, "192.0.2.1:1002", "no TLS", 0, 61 * S));
	assert_false(tell(&repeats, "192.0.2.1:1003", "no TLS", 0, 62 * S));
	assert_true(tell(&repeats, "192.0.2.1:1004", "with 192.0.2.1:1004: gone", 0, 62 * S));
	assert_false(tell(&repeats, "192.0.2.1:1005", "with 192.0.2.1:1005: gone", 0, 63 * S));
}

static void another_host_and_another_reason_are_news(void **unused)
{
	struct pf_repeats repeats = {0};

	(void)unused;
	assert_true(tell(&repeats, "[2001:db8::1]:1000", "no TLS", 0, S));
	assert_true(tell(&repeats, "[2001:db8::2]:1000", "no TLS", 0, S));
	assert_true(tell(&repeats, "[2001:db8::1]:1000", "no certificate", 0, S));
	/* In turns they are no news. */
	assert_false(tell(&repeats, "[2001:db8::1]:1000", "no TLS", 0, 2 * S));
	assert_false(tell(&repeats, "[2001:db8::1]:1000", "no certificate", 0, 2 * S));
}

static void a_peer_of_the_session_is_told_of_once_in_a_state(void **unused)
{
	struct pf_repeats repeats = {0};

	(void)unused;
	assert_true(tell(&repeats, "192.0.2.1:1", "paused", 7, S));
	assert_false(tell(&repeats, "192.0.2.1:2", "paused", 7, 10000 * S));
	assert_true(tell(&repeats, "192.0.2.2:3", "no TLS", 0, 10000 * S));
	assert_false(tell(&repeats, "192.0.2.1:4", "paused", 7, 20000 * S));
	assert_true(tell(&repeats, "192.0.2.1:5", "paused", 8, 20000 * S));
	assert_true(tell(&repeats, "192.0.2.1:6", "no room", 8, 20001 * S));
	assert_false(tell(&repeats, "192.0.2.1:7", "paused", 8, 20002 * S));
	assert_true(tell(&repeats, "192.0.2.1:8", "paused", 8, 20061 * S));
}

static void the_oldest_is_forgotten_first(void **unused)
{
	struct pf_repeats repeats = {0};
	char text[16];

	(void)unused;
	for (unsigned i = 0; i <= PF_REPEATS; i++) {
		snprintf(text, sizeof(text), "reason %u", i);
		assert_true(tell(&repeats, "192.0.2.1:1", text, 0, S + i));
	}
	assert_false(tell(&repeats, "192.0.2.1:1", "reason 1", 0, 2 * S));
	assert_true(tell(&repeats, "192.0.2.1:1", "reason 0", 0, 2 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_strangers_words_are_told_once_a_minute),
		cmocka_unit_test(another_host_and_another_reason_are_news),
		cmocka_unit_test(a_peer_of_the_session_is_told_of_once_in_a_state),
		cmocka_unit_test(the_oldest_is_forgotten_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
