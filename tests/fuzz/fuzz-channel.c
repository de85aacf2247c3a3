/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-channel.c - a stream of frames, cut anywhere, as pf_channel_recv() sees it.
 *
 * The connection below the channel is this file's: it hands out the stream in pieces and takes what
 * is flushed.  Input: two bytes of rules and pieces, then instructions that write the stream: frames
 * that mostly pass, with fields changed, and raw bytes.  The oracle is the whole stream judged header
 * by header: the channel must deliver the same frames and bodies, however the stream was cut, end
 * where it ends, and send them on as the same bytes.
 */
#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include "net/channel.h"
#include "tests/fuzz/fuzz.h"

#define STREAM_MAX (600u * 1024)
#define EPOCH 7u
#define PART 12u /* of the types: PAGES of a large page */

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = 16u << 20, .page_size = 4096},
		   {.gpa = 1u << 30, .size = 4u << 20, .page_size = 2u << 20}},
};

/* ---- the connection: what channel.c calls of net/conn.h ---- */

struct pf_conn {
	size_t at;     /* bytes of the stream that were read */
	uint32_t seed; /* of the pieces */
	bool pause;    /* AGAIN before the next piece */
	size_t sent;
};

static uint8_t stream[STREAM_MAX], sent[STREAM_MAX];
static size_t stream_length;

static size_t piece(struct pf_conn *conn, size_t most)
{
	static const size_t sizes[] = {1, 2, 31, 32, 33, 100, 4096, 16384};
	size_t size;

	conn->seed = conn->seed * 1664525u + 1013904223u; /* Numerical Recipes */
	size = sizes[conn->seed >> 29];
	return size < most ? size : most;
}

enum pf_io pf_conn_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
			struct pf_err *err)
{
	size_t left = stream_length - conn->at;

	FUZZ_ASSERT(size > 0);
	if (left == 0) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "the end");
		return PF_IO_EOF;
	}
	conn->pause = !conn->pause;
	if (conn->pause)
		return PF_IO_AGAIN;
	*out_done = piece(conn, left < size ? left : size);
	memcpy(buffer, stream + conn->at, *out_done);
	conn->at += *out_done;
	return PF_IO_OK;
}

enum pf_io pf_conn_write(struct pf_conn *conn, const void *buffer, size_t length, size_t *out_done,
			 struct pf_err *err)
{
	(void)err;
	conn->pause = !conn->pause;
	if (conn->pause)
		return PF_IO_AGAIN;
	*out_done = piece(conn, length);
	FUZZ_ASSERT(*out_done <= sizeof(sent) - conn->sent);
	memcpy(sent + conn->sent, buffer, *out_done);
	conn->sent += *out_done;
	return PF_IO_OK;
}

bool pf_conn_drained(const struct pf_conn *conn)
{
	return conn->at == stream_length;
}

short pf_conn_wants(const struct pf_conn *conn)
{
	(void)conn;
	return POLLIN;
}

void pf_conn_shrink(struct pf_conn *conn)
{
	(void)conn;
}

void pf_conn_close(struct pf_conn *conn)
{
	(void)conn;
}

/* ---- writing the stream ---- */

static void put(const uint8_t *bytes, size_t length)
{
	if (length > sizeof(stream) - stream_length)
		length = sizeof(stream) - stream_length;
	if (bytes)
		memcpy(stream + stream_length, bytes, length);
	else
		memset(stream + stream_length, (int)(stream_length & 0xff), length);
	stream_length += length;
}

static void put_frame(struct fuzz_input *input, uint32_t epoch)
{
	static const uint8_t types[] = {
		PF_FRAME_HELLO,	  PF_FRAME_REGIONS, PF_FRAME_PAUSED,  PF_FRAME_DEVICE,
		PF_FRAME_COMMIT,  PF_FRAME_READY,   PF_FRAME_RUN,     PF_FRAME_COMPLETE,
		PF_FRAME_FAILURE, PF_FRAME_REQUEST, PF_FRAME_PAGES,   PF_FRAME_ZERO,
		PF_FRAME_PAGES,	  PF_FRAME_CREDIT,  PF_FRAME_PAGE_ERROR, PF_FRAME_WELCOME,
	};
	uint8_t header[PF_FRAME_HEADER_BYTES];
	uint32_t word = fuzz_take(input, 2), mischief = fuzz_take(input, 1);
	struct pf_frame frame = {.type = types[word & 15], .epoch = epoch};

	if (frame.type == PF_FRAME_CREDIT) {
		frame.page = word;
	} else if ((word & 15) == PART) {
		frame.region = 1;
		frame.count = 1;
		frame.extra = (word >> 8) * 8192;
		frame.length = ((word >> 4 & 15) + 1) * 4096;
	} else if (frame.type >= PF_FRAME_REQUEST) {
		frame.count = (word >> 4 & 15) + 1;
		frame.page = word >> 8;
		frame.extra = frame.type == PF_FRAME_PAGE_ERROR;
		frame.length = frame.type == PF_FRAME_PAGES ? frame.count * 4096 : 0;
	} else if (frame.type != PF_FRAME_COMPLETE) {
		frame.length = (word >> 4) & 511;
	}
	pf_frame_encode(&frame, header);
	if (mischief & 0x80)
		header[mischief & 31] = (uint8_t)fuzz_take(input, 1);
	put(header, sizeof(header));
	put(NULL, mischief & 0x40 ? fuzz_take(input, 2) : frame.length);
}

static void write_stream(struct fuzz_input *input, uint32_t epoch)
{
	stream_length = 0;
	while (input->size > 0 && stream_length < sizeof(stream)) {
		uint32_t what = fuzz_take(input, 1);

		if (what < 0xf0) {
			put_frame(input, epoch);
		} else {
			size_t raw = what - 0xf0 < input->size ? what - 0xf0 : input->size;

			put(input->data, raw);
			input->data += raw;
			input->size -= raw;
		}
	}
}

/* ---- the oracle, and the channel beside it ---- */

/* The frame at *at of the whole stream; false: there is no whole good one. */
static bool next_frame(const struct pf_frame_rules *rules, size_t at, struct pf_frame *out)
{
	struct pf_err err;

	return stream_length - at >= PF_FRAME_HEADER_BYTES &&
	       pf_frame_check(stream + at, rules, out, &err) == 0 &&
	       stream_length - at - PF_FRAME_HEADER_BYTES >= out->length;
}

static void send_on(struct pf_channel *channel, struct pf_frame frame, const uint8_t *body)
{
	struct pf_err err;

	while (!pf_channel_put(channel, &frame, body))
		while (pf_channel_flush(channel, &err) == PF_IO_AGAIN)
			;
}

static void compare(struct pf_channel *channel, struct pf_channel *back,
		    const struct pf_frame_rules *rules, const struct pf_conn *back_conn)
{
	uint8_t header[PF_FRAME_HEADER_BYTES];
	struct pf_frame frame, expected;
	const uint8_t *body;
	struct pf_err err = {0};
	size_t at = 0;
	enum pf_io io;

	for (;;) {
		while ((io = pf_channel_recv(channel, &frame, &body, &err)) == PF_IO_AGAIN)
			;
		if (io != PF_IO_OK)
			break;
		FUZZ_ASSERT(next_frame(rules, at, &expected));
		pf_frame_encode(&frame, header);
		FUZZ_ASSERT(memcmp(header, stream + at, sizeof(header)) == 0);
		at += PF_FRAME_HEADER_BYTES;
		FUZZ_ASSERT(memcmp(body, stream + at, frame.length) == 0);
		send_on(back, frame, body);
		at += frame.length;
	}
	FUZZ_ASSERT(!next_frame(rules, at, &expected) && err.text[0]);
	while (pf_channel_flush(back, &err) == PF_IO_AGAIN)
		;
	FUZZ_ASSERT(back_conn->sent == at && memcmp(sent, stream, at) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint32_t mode = fuzz_take(&input, 1);
	struct pf_frame_rules rules = {
		.from_source = mode & 1,
		.urgent = mode & 2,
		.epoch = mode & 4 ? EPOCH : 0,
		.table = mode & 8 ? NULL : &table,
		.device_state_size = mode & 16 ? 100000 : 0,
	};
	struct pf_conn conn = {.seed = fuzz_take(&input, 1) << 24}, back_conn = {.seed = conn.seed};
	struct pf_channel *channel = NULL, *back = NULL;
	enum pf_side side = rules.from_source ? PF_DESTINATION : PF_SOURCE;
	struct pf_err err;

	write_stream(&input, rules.epoch);
	/* A connection is greeted as a bulk one, and HELLO makes it urgent. */
	FUZZ_ASSERT(pf_channel_new(&conn, side, rules.urgent && mode & 32, &channel, &err) == 0);
	FUZZ_ASSERT(pf_channel_new(&back_conn, side, rules.urgent, &back, &err) == 0);
	if (rules.urgent)
		pf_channel_become_urgent(channel);
	pf_channel_expect(channel, rules.epoch, rules.table, rules.device_state_size);
	pf_channel_expect(back, rules.epoch, NULL, 0);
	compare(channel, back, &rules, &back_conn);
	pf_channel_free(channel);
	pf_channel_free(back);
	return 0;
}
