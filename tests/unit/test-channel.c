/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-channel.c - frames over a real connection, however the bytes arrive. */
#include <openssl/err.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/channel.h"
#include "net/tcp.h"
#include "net/wait.h"
#include "netkit.h"

#define EPOCH 3u

static const struct pf_region_table table = {
	.count = 1,
	.region = {{.gpa = 0, .size = 1 << 20, .page_size = 4096}},
};

static struct kit_dir dir;
static struct pf_channel *source, *destination;
static struct pf_conn *raw; /* instead of source: the test encodes its own frames */
static uint64_t seed;

static uint32_t below(uint32_t bound)
{
	/* xorshift64*, Vigna 2016 */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % bound;
}

static int make_dir(void **state)
{
	const char *given = getenv("PAGEFERRY_SEED");

	(void)state;
	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -1;
	seed |= 1;
	print_message("PAGEFERRY_SEED=%#llx\n", (unsigned long long)seed);
	kit_dir_make(&dir, NULL);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	kit_dir_remove(&dir);
	return 0;
}

static void connect_channels(bool urgent)
{
	struct pf_conn *client, *server;
	struct pf_err err;

	kit_pair(&dir, &client, &server);
	assert_int_equal(pf_channel_new(client, PF_SOURCE, urgent, &source, &err), 0);
	assert_int_equal(pf_channel_new(server, PF_DESTINATION, urgent, &destination, &err), 0);
	pf_channel_expect(source, EPOCH, &table, 0);
	pf_channel_expect(destination, EPOCH, &table, 0);
}

static void connect_raw(bool urgent)
{
	struct pf_conn *server;
	struct pf_err err;

	kit_pair(&dir, &raw, &server);
	assert_int_equal(pf_channel_new(server, PF_DESTINATION, urgent, &destination, &err), 0);
	pf_channel_expect(destination, EPOCH, &table, 0);
}

static int close_all(void **state)
{
	(void)state;
	pf_channel_free(source);
	pf_channel_free(destination);
	pf_conn_close(raw);
	source = destination = NULL;
	raw = NULL;
	return 0;
}

static void await(struct pf_channel *channel)
{
	assert_int_equal(pf_wait_fd(pf_conn_fd(pf_channel_conn(channel)), pf_channel_wants(channel),
				    kit_deadline(), -1),
			 0);
}

static enum pf_io receive(struct pf_channel *channel, struct pf_frame *out, const uint8_t **body,
			  struct pf_err *err)
{
	enum pf_io io;

	while ((io = pf_channel_recv(channel, out, body, err)) == PF_IO_AGAIN)
		await(channel);
	assert_int_equal(ERR_peek_error(), 0);
	return io;
}

static void flush(struct pf_channel *channel)
{
	struct pf_err err;
	enum pf_io io;

	while ((io = pf_channel_flush(channel, &err)) == PF_IO_AGAIN)
		await(channel);
	assert_int_equal(io, PF_IO_OK);
	assert_int_equal(ERR_peek_error(), 0);
}

/* A page run whose content follows from its number. */
static struct pf_frame pages_frame(uint32_t number, uint32_t pages, uint8_t *body)
{
	for (uint32_t i = 0; i < pages * 4096; i++)
		body[i] = (uint8_t)(number * 31 + i + i / 251);
	return (struct pf_frame){
		.type = PF_FRAME_PAGES,
		.page = number % 128,
		.count = pages,
		.length = pages * 4096,
	};
}

static void expect_pages(uint32_t number, uint32_t pages, const struct pf_frame *got,
			 const uint8_t *body)
{
	static uint8_t expected[PF_BULK_BODY_MAX];
	struct pf_frame frame = pages_frame(number, pages, expected);

	assert_int_equal(got->type, frame.type);
	assert_int_equal(got->epoch, EPOCH);
	assert_int_equal(got->page, frame.page);
	assert_int_equal(got->count, pages);
	assert_int_equal(got->length, frame.length);
	assert_memory_equal(body, expected, frame.length);
}

static void several_small_frames_are_one_flush(void **state)
{
	struct pf_frame request = {.type = PF_FRAME_REQUEST, .count = 1}, got;
	const uint8_t *body;
	struct pf_err err;

	(void)state;
	connect_channels(true);
	for (uint32_t i = 0; i < 5; i++) {
		request.page = i;
		assert_true(pf_channel_put(destination, &request, NULL));
	}
	assert_int_equal(pf_channel_unsent(destination), 5 * PF_FRAME_HEADER_BYTES);
	assert_int_equal(pf_channel_wants(destination), POLLIN | POLLOUT);
	flush(destination);
	assert_int_equal(pf_channel_unsent(destination), 0);
	assert_int_equal(pf_channel_wants(destination), POLLIN);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(receive(source, &got, &body, &err), PF_IO_OK);
		assert_int_equal(got.type, PF_FRAME_REQUEST);
		assert_int_equal(got.page, i);
	}
	assert_int_equal(pf_channel_recv(source, &got, &body, &err), PF_IO_AGAIN);
	assert_int_equal(pf_channel_bytes(destination, false), 5 * PF_FRAME_HEADER_BYTES);
	assert_int_equal(pf_channel_bytes(source, true), 5 * PF_FRAME_HEADER_BYTES);
	assert_int_equal(pf_channel_bytes(source, false), 0);
}

/* Until more stands in its socket than *waiting, which it becomes: what is sent arrives a little later. */
static void await_more(struct pf_channel *channel, uint64_t *waiting)
{
	uint64_t before = *waiting, deadline = kit_deadline();

	while ((*waiting = pf_tcp_waiting(pf_conn_fd(pf_channel_conn(channel)))) <= before) {
		assert_true(pf_now_ns() < deadline);
		(void)poll(NULL, 0, 1);
	}
}

/* Never while something is left to take: poll(2) does not tell of what is in a buffer. */
static void drained_is_only_what_holds_no_frame_and_no_byte(void **state)
{
	static uint8_t bytes[PF_BULK_BODY_MAX];
	struct pf_frame request = {.type = PF_FRAME_REQUEST, .count = 1}, got;
	uint64_t waiting = 0;
	const uint8_t *body;
	struct pf_err err;

	(void)state;
	connect_channels(true);
	/* Two in one record, and one more behind it in a record of its own. */
	assert_true(pf_channel_put(destination, &request, NULL));
	assert_true(pf_channel_put(destination, &request, NULL));
	flush(destination);
	await_more(source, &waiting);
	assert_true(pf_channel_put(destination, &request, NULL));
	flush(destination);
	await_more(source, &waiting);
	for (uint32_t left = 3; left > 0; left--) {
		assert_int_equal(receive(source, &got, &body, &err), PF_IO_OK);
		assert_int_equal(pf_channel_drained(source), left == 1);
	}
	got = pages_frame(1, PF_URGENT_BODY_MAX / 4096, bytes);
	assert_true(pf_channel_put(source, &got, bytes));
	flush(source);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
	assert_true(pf_channel_drained(destination));
}

static void greetings_bear_no_epoch(void **state)
{
	struct pf_frame hello = {.type = PF_FRAME_HELLO, .length = 3};
	struct pf_frame zero = {.type = PF_FRAME_ZERO, .count = 1}, got;
	const uint8_t *body;
	struct pf_err err;

	(void)state;
	connect_channels(false);
	pf_channel_expect(destination, 0, NULL, 0);
	assert_true(pf_channel_put(source, &hello, "abc"));
	assert_true(pf_channel_put(source, &zero, NULL));
	flush(source);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
	assert_int_equal(got.type, PF_FRAME_HELLO);
	assert_int_equal(got.epoch, 0);
	assert_memory_equal(body, "abc", 3);
	/* What came behind it, and is in the buffer already, is judged by the new rules. */
	pf_channel_expect(destination, EPOCH, &table, 0);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
	assert_int_equal(got.type, PF_FRAME_ZERO);
	assert_int_equal(got.epoch, EPOCH);
}

/* The largest runs until the kernel takes no more, then both sides in turn. */
static void full_buffers_lose_nothing(void **state)
{
	static uint8_t content[PF_BULK_BODY_MAX];
	const uint32_t pages = PF_BULK_BODY_MAX / 4096;
	uint32_t sent = 0, received = 0;
	struct pf_frame frame, got;
	const uint8_t *body;
	struct pf_err err;
	bool blocked = false;

	(void)state;
	connect_channels(false);
	while (received < 400) {
		for (; sent < 400; sent++) {
			frame = pages_frame(sent, pages, content);
			if (!pf_channel_put(source, &frame, content))
				break;
		}
		if (pf_channel_flush(source, &err) == PF_IO_AGAIN) {
			blocked = true;
			assert_true(pf_channel_wants(source) & POLLOUT);
		} else if (sent < 400) {
			continue;
		}
		assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
		expect_pages(received++, pages, &got, body);
	}
	assert_true(blocked);
	flush(source);
	assert_int_equal(pf_channel_bytes(source, false),
			 400 * (PF_BULK_BODY_MAX + PF_FRAME_HEADER_BYTES));
	assert_int_equal(pf_channel_bytes(destination, true), pf_channel_bytes(source, false));
}

/* Frames as one stream of bytes, handed to TLS in pieces that know nothing of frames. */
static void frames_survive_any_split(void **state)
{
	enum { FRAMES = 300 };
	static uint8_t content[PF_BULK_BODY_MAX];
	size_t capacity = FRAMES * (PF_BULK_BODY_MAX + PF_FRAME_HEADER_BYTES), length = 0, at = 0;
	uint8_t *stream = malloc(capacity);
	uint32_t pages[FRAMES], received = 0;
	struct pf_frame frame, got;
	const uint8_t *body;
	struct pf_err err;
	enum pf_io io;

	(void)state;
	assert_non_null(stream);
	connect_raw(false);
	for (uint32_t i = 0; i < FRAMES; i++) {
		pages[i] = 1 + below(PF_BULK_BODY_MAX / 4096);
		frame = pages_frame(i, pages[i], content);
		frame.epoch = EPOCH;
		pf_frame_encode(&frame, stream + length);
		memcpy(stream + length + PF_FRAME_HEADER_BYTES, content, frame.length);
		length += PF_FRAME_HEADER_BYTES + frame.length;
	}
	while (received < FRAMES) {
		size_t piece = 1 + below(below(4) == 0 ? 64 : 40000);

		piece = piece < length - at ? piece : length - at;
		assert_int_equal(kit_write_all(raw, stream + at, piece, &err), PF_IO_OK);
		at += piece;
		while ((io = pf_channel_recv(destination, &got, &body, &err)) == PF_IO_OK) {
			expect_pages(received, pages[received], &got, body);
			received++;
		}
		assert_int_equal(io, PF_IO_AGAIN);
		if (at == length && received < FRAMES)
			await(destination);
	}
	assert_int_equal(at, length);
	assert_int_equal(pf_channel_bytes(destination, true), length);
	free(stream);
}

static void send_header(const struct pf_frame *frame)
{
	uint8_t header[PF_FRAME_HEADER_BYTES];
	struct pf_err err;

	pf_frame_encode(frame, header);
	assert_int_equal(kit_write_all(raw, header, sizeof(header), &err), PF_IO_OK);
}

static void expect_refused(bool urgent, const struct pf_frame *frame)
{
	const uint8_t *body;
	struct pf_frame got;
	struct pf_err err;

	connect_raw(urgent);
	send_header(frame);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_ERROR);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	/* The header alone decides: nobody waits for the body. */
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_ERROR);
	close_all(NULL);
}

static void what_may_not_come_is_refused_by_its_header(void **state)
{
	const struct pf_frame good = {
		.type = PF_FRAME_PAGES, .epoch = EPOCH, .count = 1, .length = 4096};
	struct pf_frame bad;

	(void)state;
	bad = good;
	bad.length = PF_BULK_BODY_MAX + 4096;
	bad.count = bad.length / 4096;
	expect_refused(false, &bad);
	bad.length = UINT32_MAX;
	expect_refused(false, &bad);
	bad = good;
	bad.length = PF_URGENT_BODY_MAX + 4096;
	bad.count = bad.length / 4096;
	expect_refused(true, &bad);
	bad = good;
	bad.epoch = EPOCH - 1;
	expect_refused(false, &bad);
	bad = good;
	bad.page = 256; /* behind the region's end */
	expect_refused(false, &bad);
	bad = (struct pf_frame){.type = PF_FRAME_REQUEST, .epoch = EPOCH, .count = 1};
	expect_refused(true, &bad); /* ours to send, not the source's */
}

static void a_frame_that_is_half_here_is_judged_again_by_new_rules(void **state)
{
	struct pf_frame frame = {
		.type = PF_FRAME_PAGES, .epoch = EPOCH, .count = 1, .length = 4096};
	const uint8_t *body;
	struct pf_frame got;
	struct pf_err err;

	(void)state;
	connect_raw(false);
	send_header(&frame);
	await(destination);
	assert_int_equal(pf_channel_recv(destination, &got, &body, &err), PF_IO_AGAIN);
	assert_int_equal(pf_channel_bytes(destination, true), PF_FRAME_HEADER_BYTES);
	pf_channel_expect(destination, EPOCH + 1, &table, 0);
	assert_int_equal(pf_channel_recv(destination, &got, &body, &err), PF_IO_ERROR);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
}

/* Another thread stores it and tells the peer, who sends at once: nothing is said to the channel in between. */
static void a_frame_is_judged_by_what_is_agreed_on_when_it_has_come(void **state)
{
	static _Atomic(const struct pf_region_table *) agreed;
	struct pf_frame zero = {.type = PF_FRAME_ZERO, .count = 1}, got;
	const uint8_t *body;
	struct pf_err err;

	(void)state;
	connect_channels(false);
	agreed = NULL;
	pf_channel_expect(destination, EPOCH, NULL, 0);
	pf_channel_follow(destination, &agreed);
	assert_int_equal(pf_channel_recv(destination, &got, &body, &err), PF_IO_AGAIN);
	agreed = &table;
	assert_true(pf_channel_put(source, &zero, NULL));
	flush(source);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
	agreed = NULL;
	pf_channel_expect(destination, EPOCH, NULL, 0);
	assert_true(pf_channel_put(source, &zero, NULL));
	flush(source);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_ERROR);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
}

static void a_frame_too_long_to_send_is_an_error_and_no_endless_flush(void **state)
{
	struct pf_err err;

	(void)state;
	connect_channels(true);
	assert_null(pf_channel_reserve(source, PF_URGENT_BODY_MAX + 1));
	assert_int_equal(pf_channel_flush(source, &err), PF_IO_ERROR);
	assert_int_equal(err.class, PF_ERR_STATE);
}

static void a_reserved_place_becomes_the_body(void **state)
{
	struct pf_frame frame = {.type = PF_FRAME_PAGES, .count = 1, .length = 4096}, got;
	const uint8_t *body;
	struct pf_err err;
	uint8_t *place;

	(void)state;
	connect_channels(true);
	place = pf_channel_reserve(source, PF_URGENT_BODY_MAX);
	assert_non_null(place);
	memset(place, 0xa5, 4096); /* less than was reserved */
	pf_channel_commit(source, &frame);
	assert_int_equal(pf_channel_unsent(source), 4096 + PF_FRAME_HEADER_BYTES);
	flush(source);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_OK);
	assert_int_equal(got.length, 4096);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(body[i], 0xa5);
}

static void an_end_between_frames_and_one_within_are_told_apart(void **state)
{
	struct pf_frame frame = {
		.type = PF_FRAME_PAGES, .epoch = EPOCH, .count = 1, .length = 4096};
	const uint8_t *body;
	struct pf_frame got;
	struct pf_err err;

	(void)state;
	connect_raw(false);
	pf_conn_close(raw);
	raw = NULL;
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_EOF);
	assert_int_equal(err.sys, 0);
	assert_null(strstr(err.text, "in the middle"));
	close_all(NULL);

	connect_raw(false);
	send_header(&frame);
	assert_int_equal(shutdown(pf_conn_fd(raw), SHUT_RDWR), 0);
	assert_int_equal(receive(destination, &got, &body, &err), PF_IO_EOF);
	assert_non_null(strstr(err.text, "in the middle of a frame, PAGES"));
	assert_non_null(strstr(err.text, "without a goodbye"));
}

#define closing(test) cmocka_unit_test_teardown(test, close_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		closing(several_small_frames_are_one_flush),
		closing(drained_is_only_what_holds_no_frame_and_no_byte),
		closing(greetings_bear_no_epoch),
		closing(full_buffers_lose_nothing),
		closing(frames_survive_any_split),
		closing(what_may_not_come_is_refused_by_its_header),
		closing(a_frame_that_is_half_here_is_judged_again_by_new_rules),
		closing(a_frame_is_judged_by_what_is_agreed_on_when_it_has_come),
		closing(a_frame_too_long_to_send_is_an_error_and_no_endless_flush),
		closing(a_reserved_place_becomes_the_body),
		closing(an_end_between_frames_and_one_within_are_told_apart),
	};

	return cmocka_run_group_tests_name("channel", tests, make_dir, remove_dir);
}
