/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-greet.c - parting from a peer that never pauses has an end.
 *
 * Over TLS no test can be sure to outrun the reader, so the connection below the channel is this file's: it
 * has another frame whenever it is asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "migrate/greet.h"
#include "net/conn.h"

#define PATIENCE_S 20 /* of the test; that of the code is 2 s */

/* ---- the connection: what channel.c and greet.c call of net/conn.h ---- */

struct pf_conn {
	uint64_t frames, left; /* read so far; 0 of left: none is there */
	bool said_goodbye;
};

enum pf_io pf_conn_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
			struct pf_err *err)
{
	static const struct pf_frame frame = {.type = PF_FRAME_COMPLETE, .epoch = 1};
	size_t fit = size / PF_FRAME_HEADER_BYTES;

	(void)err;
	if (conn->left == 0)
		return PF_IO_AGAIN;
	if (fit > conn->left)
		fit = conn->left;
	for (size_t i = 0; i < fit; i++)
		pf_frame_encode(&frame, (uint8_t *)buffer + i * PF_FRAME_HEADER_BYTES);
	conn->frames += fit;
	conn->left -= fit;
	*out_done = fit * PF_FRAME_HEADER_BYTES;
	return PF_IO_OK;
}

enum pf_io pf_conn_write(struct pf_conn *conn, const void *buffer, size_t length, size_t *out_done,
			 struct pf_err *err)
{
	(void)conn, (void)buffer, (void)err;
	*out_done = length;
	return PF_IO_OK;
}

void pf_conn_shrink(struct pf_conn *conn)
{
	(void)conn;
}

void pf_conn_goodbye(struct pf_conn *conn)
{
	conn->said_goodbye = true;
}

bool pf_conn_drained(const struct pf_conn *conn)
{
	return conn->left == 0;
}

short pf_conn_wants(const struct pf_conn *conn)
{
	(void)conn;
	return 0;
}

int pf_conn_fd(const struct pf_conn *conn)
{
	(void)conn;
	return -1; /* poll(2) waits for nothing there */
}

void pf_conn_close(struct pf_conn *conn)
{
	(void)conn;
}

static void part(struct pf_conn *conn)
{
	struct pf_channel *channel = NULL;
	struct pf_err err;

	assert_int_equal(pf_channel_new(conn, PF_SOURCE, true, &channel, &err), 0);
	pf_channel_expect(channel, 1, NULL, 0);
	alarm(PATIENCE_S);
	pf_greet_part(channel);
	alarm(0);
	pf_channel_free(channel);
	assert_true(conn->said_goodbye);
}

static void who_never_stops_talking_is_not_heard_for_ever(void **unused)
{
	struct pf_conn conn = {.left = UINT64_MAX};

	(void)unused;
	part(&conn);
	assert_true(conn.frames > 1000);
}

static void who_says_nothing_is_not_waited_for_for_ever(void **unused)
{
	struct pf_conn conn = {.left = 3};
	uint64_t began = pf_now_ns();

	(void)unused;
	part(&conn);
	assert_int_equal(conn.frames, 3);
	assert_true(pf_now_ns() - began >= PF_NS_PER_S); /* he might have said something */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_never_stops_talking_is_not_heard_for_ever),
		cmocka_unit_test(who_says_nothing_is_not_waited_for_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
