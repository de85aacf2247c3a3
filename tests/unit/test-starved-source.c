/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-starved-source.c - the source's threads, where the kernel has no memory to read a page with.
 *
 * pread(2) of guest memory says so for a page that is swapped out while its control group is full.  Here a
 * filter of system calls says it: each such read asks a thread of the test, which lets it be done or has it
 * fail.
 */
#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "migrate/source.h"
#include "net/wait.h"
#include "netkit.h"

#define PAGES 8u
#define EPOCH 1u
#define GUEST_FD 900 /* of guest memory, and of nothing else in this process: what the filter knows it by */
#define NONE UINT64_MAX
#define OTHERS 40u

static struct kit_dir tls;
static struct pf_service service;
static struct pf_region_table *const table = &service.reader.table;
static struct pf_channel *destination;
static struct pf_mailbox inbox;
static struct pf_link source;
static struct pf_answers answers;
static struct pf_pusher pusher;

/* ---- memory that is not there ---- */

static _Atomic uint64_t starved = NONE; /* the page that cannot be read now */
static _Atomic int shortage;		/* what such a read says: ENOMEM, EAGAIN */
static _Atomic uint64_t refused;	/* reads of it */
static int notify_fd;

static bool has_starved(const struct seccomp_data *call)
{
	uint64_t page = starved, first = call->args[3] / PAGE;

	return page != NONE && page >= first && page < first + call->args[2] / PAGE;
}

static void *decide(void *unused)
{
	struct seccomp_notif asked;
	struct seccomp_notif_resp answer;

	for (;;) {
		memset(&asked, 0, sizeof(asked));
		if (seccomp_notify_receive(notify_fd, &asked))
			continue;
		answer = (struct seccomp_notif_resp){.id = asked.id};
		if (has_starved(&asked.data)) {
			refused++;
			answer.error = -shortage;
		} else {
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		}
		(void)seccomp_notify_respond(notify_fd, &answer);
	}
	return unused;
}

/* For good, and for every thread that is started from here on.  false: it cannot be had here. */
static bool have_reads_decided(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	pthread_t thread;

	if (!filter || seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(pread64), 1,
					SCMP_CMP(0, SCMP_CMP_EQ, GUEST_FD, 0)) ||
	    seccomp_load(filter)) {
		fprintf(stderr, "skip all: no filter of system calls here that asks somebody\n");
		return false;
	}
	notify_fd = seccomp_notify_fd(filter);
	seccomp_release(filter);
	return pthread_create(&thread, NULL, decide, NULL) == 0 && pthread_detach(thread) == 0;
}

/* ---- a source, and what its destination hears ---- */

static void fill_memory(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint8_t bytes[PAGES * PAGE];

	page_fill(bytes, 1, PAGES); /* no page of zeros */
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(dup2(fd, GUEST_FD), GUEST_FD);
	close(fd);
	service.reader.region[0].fd = GUEST_FD;
}

static void start(bool urgent, const struct pf_link_user *user, void *opaque)
{
	struct pf_channel *channel;
	struct pf_conn *client, *server;
	struct pf_err err;

	kit_dir_make(&tls, NULL);
	memset(&service, 0, sizeof(service));
	table->count = 1;
	table->region[0] = (struct pf_region_shape){.size = PAGES * PAGE, .page_size = PAGE};
	fill_memory();
	assert_int_equal(pf_push_init(&service.push, table, &err), 0);
	kit_pair(&tls, &client, &server);
	assert_int_equal(pf_channel_new(client, PF_SOURCE, urgent, &channel, &err), 0);
	assert_int_equal(pf_channel_new(server, PF_DESTINATION, urgent, &destination, &err), 0);
	pf_channel_expect(channel, EPOCH, table, 0);
	pf_channel_expect(destination, EPOCH, table, 0);
	assert_int_equal(pf_mailbox_init(&inbox, &err), 0);
	assert_int_equal(pf_link_start(&source, channel, &inbox, urgent ? 0 : 1, EPOCH, user, opaque,
				       "source", &err), 0);
	pf_link_agree(&source, table);
}

static void stop(void)
{
	pf_link_stop(&source, false);
	pf_channel_free(destination);
	pf_mailbox_done(&inbox);
	pf_push_done(&service.push);
	pf_reader_done(&service.reader);
	kit_dir_remove(&tls);
}

static void wait_for_channel(void)
{
	assert_int_equal(pf_wait_fd(pf_conn_fd(pf_channel_conn(destination)),
				    pf_channel_wants(destination), kit_deadline(), -1), 0);
}

static void request(uint64_t page)
{
	struct pf_frame frame = {.type = PF_FRAME_REQUEST, .page = page, .count = 1};
	struct pf_err err;

	assert_true(pf_channel_put(destination, &frame, NULL));
	while (pf_channel_flush(destination, &err) == PF_IO_AGAIN)
		wait_for_channel();
}

/* The next frame, which must be pages as they are; returns the first of them. */
static uint64_t hear_pages(uint32_t *out_count)
{
	uint8_t expected[PAGES * PAGE];
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err;
	enum pf_io io;

	while ((io = pf_channel_recv(destination, &frame, &body, &err)) == PF_IO_AGAIN)
		wait_for_channel();
	if (io != PF_IO_OK)
		fail_msg("%s", err.text);
	assert_string_equal(pf_frame_name(frame.type), "PAGES");
	page_fill(expected, 1 + frame.page, frame.count);
	assert_memory_equal(body, expected, frame.length);
	*out_count = frame.count;
	return frame.page;
}

static void await_trouble(uint64_t page)
{
	struct pf_mail_page trouble;
	struct pf_mail mail;

	wait_readable(inbox.event_fd);
	assert_true(pf_mailbox_take(&inbox, &mail));
	assert_int_equal(mail.kind, PF_MAIL_TROUBLE);
	memcpy(&trouble, mail.data, sizeof(trouble));
	free(mail.data);
	assert_int_equal(trouble.page, page);
	assert_int_equal(trouble.sys, shortage);
}

/* ---- the tests ---- */

static void a_request_waits_for_memory_and_the_others_do_not(void **state)
{
	uint64_t began = pf_now_ns();
	uint32_t count;

	(void)state;
	shortage = ENOMEM;
	starved = 3;
	refused = 0;
	answers = (struct pf_answers){.service = &service};
	start(true, &pf_answers_user, &answers);
	pf_link_tell(&source, PF_MAIL_SERVE, NULL, 0);
	request(3);
	await_trouble(3);
	for (unsigned i = 0; i < OTHERS; i++) {
		request(5);
		assert_int_equal(hear_pages(&count), 5);
	}
	/* It is tried again by the clock, two reads each time, and not in front of each of the others. */
	assert_true(refused <= 2 * ((pf_now_ns() - began) / PF_READ_AGAIN_NS + 2));
	/* Nor does push wait. */
	WAIT_UNTIL(service.gate.waiting == 0);
	starved = NONE;
	assert_int_equal(hear_pages(&count), 3);
	assert_int_equal(service.count.lost, 0);
	assert_int_equal(service.count.answered, OTHERS + 1);
	stop();
}

static void push_waits_for_memory_and_leaves_no_page_out(void **state)
{
	uint32_t heard = 0, count;

	(void)state;
	shortage = EAGAIN;
	starved = 3;
	pusher = (struct pf_pusher){.service = &service, .state_fd = -1};
	pf_credit_begin(&pusher.credit);
	start(false, &pf_pusher_user, &pusher);
	pf_link_tell(&source, PF_MAIL_PUSH, NULL, 0);
	await_trouble(3);
	for (; heard < 3; heard += count)
		assert_int_equal(hear_pages(&count), heard);
	starved = NONE;
	for (; heard < PAGES; heard += count)
		assert_int_equal(hear_pages(&count), heard);
	assert_int_equal(service.count.lost, 0);
	stop();
}

static void more_zeros_than_a_frame_can_name_go_in_two(void **state)
{
	struct pf_run zeros = {.count = UINT32_MAX - 3},
		      run = {.first = UINT32_MAX - 3, .count = 8};
	struct pf_channel *channel;
	struct pf_conn *client, *server;
	struct pf_err err;

	(void)state;
	kit_dir_make(&tls, NULL);
	kit_pair(&tls, &client, &server);
	assert_int_equal(pf_channel_new(client, PF_SOURCE, false, &channel, &err), 0);
	assert_true(pf_service_keep_zeros(&service, channel, &run, 8, &zeros));
	assert_int_equal(pf_channel_unsent(channel), PF_FRAME_HEADER_BYTES);
	assert_int_equal(zeros.first, UINT32_MAX - 3);
	assert_int_equal(zeros.count, 8);
	assert_int_equal(run.count, 0);
	pf_channel_free(channel);
	pf_conn_close(server);
	kit_dir_remove(&tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_waits_for_memory_and_the_others_do_not),
		cmocka_unit_test(push_waits_for_memory_and_leaves_no_page_out),
		cmocka_unit_test(more_zeros_than_a_frame_can_name_go_in_two),
	};

	if (!have_reads_decided())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
