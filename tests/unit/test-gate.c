/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-gate.c - the gate: shut while a request waits, and whoever sleeps before it is woken. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/gate.h"

#define PATIENCE_MS 60000

static struct pf_gate gate;

static bool readable(int fd, int wait_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, wait_ms) == 1;
}

static void it_is_open_until_a_request_comes_and_again_when_all_are_answered(void **unused)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)unused;
	pf_gate_reset(&gate);
	assert_false(pf_gate_closed(&gate, 1, fd));
	pf_gate_request(&gate);
	pf_gate_request(&gate);
	assert_true(pf_gate_closed(&gate, 1, fd));
	assert_false(readable(fd, 0));
	pf_gate_answered(&gate);
	assert_true(readable(fd, 0));
	assert_false(pf_gate_closed(&gate, 1, fd));
	close(fd);
}

static void who_does_not_sleep_is_not_woken(void **unused)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)unused;
	pf_gate_reset(&gate);
	pf_gate_request(&gate);
	pf_gate_answered(&gate);
	assert_false(readable(fd, 0));
	close(fd);
}

#define ROUNDS 20000

static void *ask_and_answer(void *stop)
{
	while (!atomic_load((atomic_bool *)stop)) {
		pf_gate_request(&gate);
		pf_gate_answered(&gate);
	}
	return NULL;
}

/* The race: the gate opens between the look and the sleep.  Lost, it would be a sleep for ever. */
static void a_sleeper_is_woken_however_it_falls(void **unused)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_bool stop = false;
	pthread_t thread;
	eventfd_t ignored;

	(void)unused;
	pf_gate_reset(&gate);
	assert_int_equal(pthread_create(&thread, NULL, ask_and_answer, &stop), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (!pf_gate_closed(&gate, 31, fd))
			continue;
		assert_true(readable(fd, PATIENCE_MS));
		(void)eventfd_read(fd, &ignored);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			it_is_open_until_a_request_comes_and_again_when_all_are_answered),
		cmocka_unit_test(who_does_not_sleep_is_not_woken),
		cmocka_unit_test(a_sleeper_is_woken_however_it_falls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
