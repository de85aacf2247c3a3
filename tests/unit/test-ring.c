/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-ring.c - no event is lost, whoever dies.
 *
 * Positions, wrap and fullness are driven through a pipe, which hands out the same 32-byte messages
 * in numbers that can be chosen; what is lost or not by a killed reader is tried on a userfaultfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/ring.h"
#include "memory/uffd.h"

#define CAPACITY (PF_RING_SLOTS - 1)

static int dirfd = -1;
static int end[2] = {-1, -1}; /* of a pipe */
static unsigned seed;

static int set_up(void **state)
{
	(void)state;
	dirfd = dir_make();
	return pipe2(end, O_NONBLOCK | O_CLOEXEC);
}

static int tear_down(void **state)
{
	(void)state;
	close(end[0]);
	close(end[1]);
	dir_remove(dirfd);
	return 0;
}

static void open_ring(struct pf_ring *ring)
{
	struct pf_err err = {0};

	memset(ring, 0, sizeof(*ring));
	if (pf_ring_open(ring, dirfd, 3, &err))
		fail_msg("%s", err.text);
}

static void reopen(struct pf_ring *ring)
{
	pf_ring_close(ring);
	open_ring(ring);
}

/* Events number, number + 1, ... into the pipe. */
static void send_events(uint64_t number, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct uffd_msg event = {.event = UFFD_EVENT_PAGEFAULT};

		event.arg.pagefault.address = number + i;
		assert_int_equal(write(end[1], &event, sizeof(event)), sizeof(event));
	}
}

static void receive(struct pf_ring *ring)
{
	enum pf_ring_read result;

	do
		result = pf_ring_read(ring, end[0]);
	while (result == PF_RING_EVENTS);
	assert_true(result == PF_RING_EMPTY || result == PF_RING_FULL);
}

static void take(struct pf_ring *ring, uint64_t number, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct uffd_msg *event = pf_ring_peek(ring);

		assert_non_null(event);
		assert_int_equal(event->arg.pagefault.address, number + i);
		pf_ring_pop(ring);
	}
}

static void an_event_stays_until_it_is_popped(void **state)
{
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	assert_null(pf_ring_peek(&ring));
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_EMPTY);
	send_events(100, 2);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_EVENTS);
	assert_int_equal(pf_ring_peek(&ring)->arg.pagefault.address, 100);
	reopen(&ring);
	take(&ring, 100, 1);
	reopen(&ring);
	take(&ring, 101, 1);
	assert_null(pf_ring_peek(&ring));
	pf_ring_pop(&ring);
	reopen(&ring);
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static void a_full_ring_refuses_to_read_and_keeps_its_order_when_reopened(void **state)
{
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	send_events(0, 701);
	receive(&ring);
	take(&ring, 0, 700);
	send_events(701, CAPACITY - 1);
	receive(&ring);
	send_events(700 + CAPACITY, 1);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_FULL);
	reopen(&ring);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_FULL);
	take(&ring, 700, 1);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_EVENTS);
	take(&ring, 701, CAPACITY);
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static void reads_go_on_behind_the_wrap(void **state)
{
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	send_events(0, 1000);
	receive(&ring);
	take(&ring, 0, 999);
	/* 24 slots to the wrap: one read stops there, the next goes on at slot 0. */
	send_events(1000, 60);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_EVENTS);
	assert_int_equal(ring.head - ring.tail, 25);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_EVENTS);
	assert_int_equal(ring.head - ring.tail, 61);
	reopen(&ring);
	take(&ring, 999, 61);
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static bool slot_was_used(const struct pf_ring *ring, uint32_t slot)
{
	return ring->slot[slot].arg.pagefault.address != 0;
}

/* What is dealt with leaves its address behind. */
static void a_ring_that_is_emptied_each_time_stays_in_its_first_page(void **state)
{
	const uint32_t slots = 4096 / sizeof(struct uffd_msg);
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	for (uint32_t i = 0; i < 3 * PF_RING_SLOTS; i += 16) {
		send_events(1 + i, 16);
		receive(&ring);
		take(&ring, 1 + i, 16);
	}
	assert_true(slot_was_used(&ring, 0));
	for (uint32_t i = slots; i < PF_RING_SLOTS; i++)
		assert_false(slot_was_used(&ring, i));
	/* Emptied in the middle of the last page, too. */
	send_events(9000, 1000);
	receive(&ring);
	take(&ring, 9000, 1000);
	send_events(10000, 2);
	receive(&ring);
	assert_int_equal(ring.slot[1].arg.pagefault.address, 10001);
	reopen(&ring);
	take(&ring, 10000, 2);
	pf_ring_close(&ring);
}

static void random_reads_pops_and_reopenings_keep_the_order(void **state)
{
	uint64_t sent = 0, taken = 0;
	unsigned draw = seed;
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	for (int step = 0; step < 1500; step++) {
		unsigned count = (unsigned)rand_r(&draw) % 400;

		if (sent - taken + count <= CAPACITY) {
			send_events(sent, count);
			sent += count;
			receive(&ring);
		}
		count = (unsigned)rand_r(&draw) % 400;
		if (count > sent - taken)
			count = (unsigned)(sent - taken);
		/* Mostly not to the last: an empty ring begins anew, and would rarely come to its end. */
		if (count > 0 && rand_r(&draw) % 8)
			count--;
		take(&ring, taken, count);
		taken += count;
		if (rand_r(&draw) % 4 == 0)
			reopen(&ring);
	}
	assert_true(sent > 50 * PF_RING_SLOTS);
	take(&ring, taken, (unsigned)(sent - taken));
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static void positions_may_overflow(void **state)
{
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	ring.head = ring.tail = UINT32_MAX - 10;
	send_events(0, 100);
	receive(&ring);
	take(&ring, 0, 100);
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static void a_created_ring_is_empty_whatever_was_there(void **state)
{
	struct pf_ring ring;
	struct pf_err err;

	(void)state;
	open_ring(&ring);
	send_events(0, 5);
	receive(&ring);
	pf_ring_close(&ring);
	assert_int_equal(pf_ring_create(&ring, dirfd, 3, &err), 0);
	assert_null(pf_ring_peek(&ring));
	reopen(&ring);
	assert_null(pf_ring_peek(&ring));
	pf_ring_close(&ring);
}

static void assert_open_refused(const char *why)
{
	struct pf_ring ring = {0};
	struct pf_err err = {0};

	assert_int_equal(pf_ring_open(&ring, dirfd, 3, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	assert_null(ring.slot);
}

static void a_ring_that_nobody_can_have_left_is_refused(void **state)
{
	struct pf_ring ring;
	int fd;

	(void)state;
	open_ring(&ring);
	send_events(0, 5);
	receive(&ring);
	ring.slot[2].event = 0;
	pf_ring_close(&ring);
	assert_open_refused("in 2 pieces");
	fd = openat(dirfd, "uffd-3.ring", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < PF_RING_SLOTS; i++)
		assert_int_equal(pwrite(fd, "\x12", 1, i * (off_t)sizeof(struct uffd_msg)), 1);
	assert_open_refused("in 0 pieces");
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_open_refused("4096 bytes");
	close(fd);
}

static void what_is_no_userfaultfd_fails(void **state)
{
	struct pf_ring ring;

	(void)state;
	open_ring(&ring);
	assert_int_equal(write(end[1], "abc", 3), 3);
	assert_int_equal(pf_ring_read(&ring, end[0]), PF_RING_FAILED);
	assert_int_equal(errno, EPROTO);
	assert_int_equal(pf_ring_read(&ring, -1), PF_RING_FAILED);
	assert_int_equal(errno, EBADF);
	pf_ring_close(&ring);
}

#define PAGES 64u
#define REPLAY_ROUNDS 60

static void resolve(const struct vmm *vmm, uint64_t address)
{
	uint64_t page = (address - vmm->base[0]) / PAGE, at = vmm->base[0] + page * PAGE, mapped;
	enum pf_map_result result;
	uint8_t bytes[PAGE];

	page_fill(bytes, page, 1);
	assert_int_equal(pwrite(vmm->memfd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
	result = pf_uffd_continue(vmm->uffd[0], at, PAGE, &mapped);
	if (result == PF_MAP_EXISTS)
		result = pf_uffd_wake(vmm->uffd[0], at, PAGE);
	assert_int_equal(result, PF_MAP_DONE);
}

/* Reads and serves until it is killed, wherever that may hit it. */
static void run_reader(const struct vmm *vmm)
{
	struct pf_ring ring;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	open_ring(&ring);
	for (;;) {
		const struct uffd_msg *event;

		while ((event = pf_ring_peek(&ring)) != NULL) {
			resolve(vmm, event->arg.pagefault.address);
			pf_ring_pop(&ring);
		}
		wait_readable(vmm->uffd[0]);
		if (pf_ring_read(&ring, vmm->uffd[0]) == PF_RING_FAILED)
			_exit(1);
	}
}

static pid_t start_reader(const struct vmm *vmm)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		run_reader(vmm);
	return pid;
}

static void kill_reader(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/*
 * No UFFDIO_WAKE of the region: a thread whose event was lost with a reader would stay blocked, and
 * its reply be missed.  The reader is killed after every few replies, under full load.
 */
static void every_fault_is_answered_though_its_reader_was_killed(void **state)
{
	unsigned draw = seed;

	(void)state;
	for (int round = 0; round < REPLAY_ROUNDS; round++) {
		unsigned until_kill = (unsigned)rand_r(&draw) % 8;
		struct vmm vmm;
		struct pf_err err;
		pid_t reader;

		vmm_start(&vmm, PAGES, 1, 0, -1);
		assert_int_equal(pf_uffd_register(vmm.uffd[0], vmm.base[0], PAGES * PAGE,
						  UFFDIO_REGISTER_MODE_MISSING |
							  UFFDIO_REGISTER_MODE_MINOR,
						  &err), 0);
		for (uint64_t p = 0; p < PAGES; p++)
			vmm_tell(&vmm, VMM_READ, 0, p, 0);
		reader = start_reader(&vmm);
		for (unsigned i = 0; i < PAGES; i++) {
			struct vmm_reply reply = vmm_reply(&vmm);

			assert_true(reply.uniform);
			assert_int_equal(reply.value, page_word(reply.page));
			if (until_kill-- > 0)
				continue;
			until_kill = (unsigned)rand_r(&draw) % 8;
			kill_reader(reader);
			reader = start_reader(&vmm);
		}
		kill_reader(reader);
		vmm_stop(&vmm);
		assert_int_equal(unlinkat(dirfd, "uffd-3.ring", 0), 0);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_event_stays_until_it_is_popped),
		CASE(a_full_ring_refuses_to_read_and_keeps_its_order_when_reopened),
		CASE(reads_go_on_behind_the_wrap),
		CASE(a_ring_that_is_emptied_each_time_stays_in_its_first_page),
		CASE(random_reads_pops_and_reopenings_keep_the_order),
		CASE(positions_may_overflow),
		CASE(a_created_ring_is_empty_whatever_was_there),
		CASE(a_ring_that_nobody_can_have_left_is_refused),
		CASE(what_is_no_userfaultfd_fails),
		CASE(every_fault_is_answered_though_its_reader_was_killed),
	};

	seed = test_seed();
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
