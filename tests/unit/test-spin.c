/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-spin.c - looking before sleeping: how long, when not, and that nothing is missed. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/spin.h"

#define US UINT64_C(1000)
#define LIMIT (100 * US)

static void short_waits_let_it_look_up_to_the_limit(void **unused)
{
	struct pf_spin spin = {0};

	(void)unused;
	for (int i = 0; i < 20; i++)
		pf_spin_learn(&spin, LIMIT, 90 * US);
	assert_in_range(spin.budget_ns, 90 * US, LIMIT);
}

static void long_waits_end_it(void **unused)
{
	struct pf_spin spin = {.budget_ns = LIMIT};

	(void)unused;
	for (int i = 0; i < 5; i++)
		pf_spin_learn(&spin, LIMIT, 5000 * US);
	assert_int_equal(spin.budget_ns, 0);
	pf_spin_learn(&spin, LIMIT, 30 * US);
	assert_true(spin.budget_ns > 0);
}

static void a_wait_within_the_budget_changes_nothing(void **unused)
{
	struct pf_spin spin = {.budget_ns = 40 * US};

	(void)unused;
	pf_spin_learn(&spin, LIMIT, 30 * US);
	assert_int_equal(spin.budget_ns, 40 * US);
	pf_spin_learn(&spin, 20 * US, 10 * US);
	assert_int_equal(spin.budget_ns, 20 * US);
}

static void who_loses_the_core_stops_for_a_while_and_longer_each_time(void **unused)
{
	struct pf_spin spin = {0};
	uint64_t first;

	(void)unused;
	pf_spin_note_gap(&spin, 1000, PF_SPIN_AWAY_NS);
	assert_int_equal(spin.off_until_ns, 0);
	pf_spin_note_gap(&spin, 1000, PF_SPIN_AWAY_NS + 1);
	first = spin.off_until_ns - 1000;
	assert_int_equal(first, 10 * PF_NS_PER_MS);
	for (int i = 0; i < 20; i++)
		pf_spin_note_gap(&spin, 1000, PF_SPIN_AWAY_NS + 1);
	assert_int_equal(spin.off_until_ns - 1000, PF_NS_PER_S);
	/* Left alone, it is trusted again. */
	for (int i = 0; i < 2000; i++)
		pf_spin_note_gap(&spin, 1000, US);
	pf_spin_note_gap(&spin, 1000, PF_SPIN_AWAY_NS + 1);
	assert_true(spin.off_until_ns - 1000 < 3 * first);
}

static void a_timeout_is_kept(void **unused)
{
	struct timespec timeout = {.tv_nsec = 2000000};
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct pf_spin spin = {.limit_ns = LIMIT, .budget_ns = LIMIT};
	uint64_t began = pf_now_ns();

	(void)unused;
	assert_int_equal(pf_spin_poll(&spin, &pfd, 1, &timeout), 0);
	assert_true(pf_now_ns() - began >= 2000 * US);
	atomic_store(&spin.limit_ns, 0);
	assert_int_equal(pf_spin_poll(&spin, &pfd, 1, &timeout), 0);
	close(fd);
}

#define ROUNDS 3000u

static int there, back;

static void *answer(void *unused)
{
	struct pollfd pfd = {.fd = there, .events = POLLIN};
	struct pf_spin spin = {.limit_ns = 50 * US};
	eventfd_t value;

	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		while (eventfd_read(there, &value) != 0)
			(void)pf_spin_poll(&spin, &pfd, 1, NULL);
		(void)eventfd_write(back, 1);
	}
	return NULL;
}

/* Spinning, sleeping, and everything between: an event that were missed would end this never. */
static void no_event_is_missed(void **unused)
{
	struct pf_spin spin = {.limit_ns = 20 * US};
	struct pollfd pfd;
	pthread_t thread;
	eventfd_t value;

	(void)unused;
	there = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	back = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pfd = (struct pollfd){.fd = back, .events = POLLIN};
	assert_int_equal(pthread_create(&thread, NULL, answer, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		(void)eventfd_write(there, 1);
		while (eventfd_read(back, &value) != 0)
			assert_true(pf_spin_poll(&spin, &pfd, 1, NULL) >= 0);
	}
	pthread_join(thread, NULL);
	close(there);
	close(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_waits_let_it_look_up_to_the_limit),
		cmocka_unit_test(long_waits_end_it),
		cmocka_unit_test(a_wait_within_the_budget_changes_nothing),
		cmocka_unit_test(who_loses_the_core_stops_for_a_while_and_longer_each_time),
		cmocka_unit_test(a_timeout_is_kept),
		cmocka_unit_test(no_event_is_missed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
