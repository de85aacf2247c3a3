/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/channel.c - see net/channel.h. */
#include "net/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fault.h"

#define TX_FRAMES 4 /* whole frames are gathered: of fewer, each second TLS record would be a short one */
/* Read where no header is known: a header, or the whole of the frame that somebody is blocked on. */
#define LOOK_BYTES (PF_FRAME_HEADER_BYTES + 4096u)

struct buffer {
	uint8_t *bytes;
	size_t size;
	size_t start, end; /* what is in it: [start, end) */
};

struct pf_channel {
	struct pf_conn *conn;
	struct pf_frame_rules rules; /* of what arrives */
	const _Atomic(const struct pf_region_table *) *agreed; /* NULL: rules.table is all there is */
	uint32_t body_max;
	struct buffer rx, tx;
	bool checked;	       /* rx.start is the header of `frame` */
	struct pf_frame frame; /* being received */
	size_t delivered;      /* bytes at rx.start that the last receive handed out */
	short rx_wants;	       /* of the connection, when a receive could not go on */
	uint32_t too_long;     /* a body that was asked for and fits no frame */
	_Atomic uint64_t received, sent;
	struct pf_fault_due due; /* of the frames in tx */
};

/* clang-format off: a table */
#define POINTS(type) [PF_FRAME_##type] = {PF_FAULT_##type##_SENT, PF_FAULT_##type##_HEARD}
static const struct {
	uint8_t sent, heard; /* enum pf_fault_point */
} fault_points[UINT8_MAX + 1] = {
	POINTS(HELLO),
	POINTS(WELCOME),
	POINTS(REGIONS),
	POINTS(REGIONS_OK),
	POINTS(PAUSED),
	POINTS(DEVICE),
	POINTS(READY),
	POINTS(COMMIT),
	POINTS(RUN),
	POINTS(RESUMED),
	POINTS(REFUSED),
	POINTS(ABORT),
	POINTS(ABORTED),
	POINTS(COMPLETE),
	POINTS(COMPLETE_ACK),
	POINTS(FAILURE),
	POINTS(HEARTBEAT),
	POINTS(REQUEST),
	POINTS(CREDIT),
	POINTS(RECEIVED),
	POINTS(PAGES),
	POINTS(ZERO),
	POINTS(PAGE_ERROR),
};
#undef POINTS
_Static_assert(PF_FAULT_COUNT_ <= UINT8_MAX, "a point is a byte");
/* clang-format on */

/* Guest memory passes through here and must not end in a core dump, DESIGN.md section 7. */
static int buffer_map(struct buffer *buffer, size_t size, struct pf_err *err)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		return pf_err_sys(err, "allocating %zu bytes of channel buffer", size);
	(void)madvise(bytes, size, MADV_DONTDUMP);
	*buffer = (struct buffer){.bytes = bytes, .size = size};
	return 0;
}

static void buffer_unmap(struct buffer *buffer)
{
	if (buffer->bytes)
		munmap(buffer->bytes, buffer->size);
}

static size_t buffer_used(const struct buffer *buffer)
{
	return buffer->end - buffer->start;
}

/* Makes room for `size` bytes from start on, moving what is there only if it must. */
static bool buffer_fit(struct buffer *buffer, size_t size)
{
	if (buffer->start == buffer->end)
		buffer->start = buffer->end = 0;
	if (buffer->size - buffer->start >= size)
		return true;
	if (buffer->size < size)
		return false;
	memmove(buffer->bytes, buffer->bytes + buffer->start, buffer_used(buffer));
	buffer->end -= buffer->start;
	buffer->start = 0;
	return true;
}

int pf_channel_new(struct pf_conn *conn, enum pf_side side, bool urgent, struct pf_channel **out,
		   struct pf_err *err)
{
	struct pf_channel *channel = calloc(1, sizeof(*channel));
	uint32_t body_max = urgent ? PF_URGENT_BODY_MAX : PF_BULK_BODY_MAX;
	size_t rx_size = body_max + LOOK_BYTES;
	size_t tx_size = TX_FRAMES * (size_t)(body_max + PF_FRAME_HEADER_BYTES);

	if (!channel) {
		pf_conn_close(conn);
		return pf_err_sys(err, "allocating a channel");
	}
	channel->conn = conn;
	channel->body_max = body_max;
	channel->rx_wants = POLLIN;
	channel->rules.from_source = side == PF_DESTINATION;
	channel->rules.urgent = urgent;
	if (buffer_map(&channel->rx, rx_size, err) || buffer_map(&channel->tx, tx_size, err)) {
		pf_channel_free(channel);
		return -1;
	}
	*out = channel;
	return 0;
}

void pf_channel_free(struct pf_channel *channel)
{
	if (!channel)
		return;
	pf_conn_close(channel->conn);
	buffer_unmap(&channel->rx);
	buffer_unmap(&channel->tx);
	free(channel);
}

void pf_channel_become_urgent(struct pf_channel *channel)
{
	channel->body_max = PF_URGENT_BODY_MAX;
	channel->rules.urgent = true;
	pf_conn_shrink(channel->conn);
}

struct pf_conn *pf_channel_conn(struct pf_channel *channel)
{
	return channel->conn;
}

void pf_channel_expect(struct pf_channel *channel, uint32_t epoch,
		       const struct pf_region_table *table, uint64_t device_state_size)
{
	channel->rules.epoch = epoch;
	channel->rules.table = table;
	channel->rules.device_state_size = device_state_size;
	channel->checked = false; /* a frame that is half here is judged anew */
}

void pf_channel_follow(struct pf_channel *channel, const _Atomic(const struct pf_region_table *) *agreed)
{
	channel->agreed = agreed;
}

static int judge(struct pf_channel *channel, struct pf_err *err)
{
	const struct buffer *rx = &channel->rx;
	const struct pf_region_table *agreed = channel->agreed ? atomic_load(channel->agreed) : NULL;

	if (agreed)
		channel->rules.table = agreed;
	if (pf_frame_check(rx->bytes + rx->start, &channel->rules, &channel->frame, err))
		return -1;
	channel->checked = true;
	return 0;
}

/*
 * More bytes behind those that are there; `whole` is how many the frame at the start will need.  Not
 * more than that: what is behind it stays in TLS's buffer, where it costs neither memory of its own nor a
 * system call, and is not moved to the front of this one later.
 */
static enum pf_io fill(struct pf_channel *channel, size_t whole, struct pf_err *err)
{
	struct buffer *rx = &channel->rx;
	size_t used = buffer_used(rx), want = channel->checked ? whole - used : LOOK_BYTES;
	size_t got = 0;
	enum pf_io io;

	/* Always true: a body that passed the check fits, with its header, and so does a look. */
	(void)buffer_fit(rx, used + want);
	io = pf_conn_read(channel->conn, rx->bytes + rx->end, want, &got, err);
	channel->rx_wants = pf_conn_wants(channel->conn);
	if (io == PF_IO_OK) {
		rx->end += got;
		atomic_fetch_add_explicit(&channel->received, got, memory_order_relaxed);
	} else if (io != PF_IO_AGAIN && buffer_used(rx) > 0) {
		pf_err_prefix(err, "in the middle of a frame%s%s", channel->checked ? ", " : "",
			      channel->checked ? pf_frame_name(channel->frame.type) : "");
	}
	return io;
}

enum pf_io pf_channel_recv(struct pf_channel *channel, struct pf_frame *out,
			   const uint8_t **out_body, struct pf_err *err)
{
	struct buffer *rx = &channel->rx;
	enum pf_io io;

	rx->start += channel->delivered;
	channel->delivered = 0;
	for (;;) {
		size_t whole = PF_FRAME_HEADER_BYTES;

		if (!channel->checked && buffer_used(rx) >= PF_FRAME_HEADER_BYTES && judge(channel, err))
			return PF_IO_ERROR;
		if (channel->checked)
			whole += channel->frame.length;
		if (channel->checked && buffer_used(rx) >= whole)
			break;
		io = fill(channel, whole, err);
		if (io != PF_IO_OK)
			return io;
	}
	*out = channel->frame;
	*out_body = rx->bytes + rx->start + PF_FRAME_HEADER_BYTES;
	channel->delivered = PF_FRAME_HEADER_BYTES + channel->frame.length;
	channel->checked = false;
	pf_fault(fault_points[out->type].heard);
	return PF_IO_OK;
}

bool pf_channel_drained(const struct pf_channel *channel)
{
	return buffer_used(&channel->rx) == channel->delivered && pf_conn_drained(channel->conn);
}

uint8_t *pf_channel_reserve(struct pf_channel *channel, uint32_t body)
{
	struct buffer *tx = &channel->tx;

	if (body > channel->body_max) {
		channel->too_long = body;
		return NULL;
	}
	if (!buffer_fit(tx, buffer_used(tx) + PF_FRAME_HEADER_BYTES + body))
		return NULL;
	return tx->bytes + tx->end + PF_FRAME_HEADER_BYTES;
}

void pf_channel_commit(struct pf_channel *channel, struct pf_frame *frame)
{
	struct buffer *tx = &channel->tx;
	bool greets = frame->type == PF_FRAME_HELLO || frame->type == PF_FRAME_WELCOME;

	/* An epoch is agreed on by these two, so they bear none. */
	frame->epoch = greets ? 0 : channel->rules.epoch;
	pf_frame_encode(frame, tx->bytes + tx->end);
	tx->end += PF_FRAME_HEADER_BYTES + frame->length;
	pf_fault_later(&channel->due, fault_points[frame->type].sent);
}

bool pf_channel_put(struct pf_channel *channel, struct pf_frame *frame, const void *body)
{
	uint8_t *place = pf_channel_reserve(channel, frame->length);

	if (!place)
		return false;
	if (frame->length > 0)
		memcpy(place, body, frame->length);
	pf_channel_commit(channel, frame);
	return true;
}

enum pf_io pf_channel_flush(struct pf_channel *channel, struct pf_err *err)
{
	struct buffer *tx = &channel->tx;

	/* Or the caller would flush and try again for ever. */
	if (channel->too_long > 0) {
		pf_err_set(err, PF_ERR_STATE,
			   "a frame with a body of %u bytes; %u is the limit here",
			   channel->too_long, channel->body_max);
		return PF_IO_ERROR;
	}
	while (buffer_used(tx) > 0) {
		size_t done = 0;
		enum pf_io io = pf_conn_write(channel->conn, tx->bytes + tx->start, buffer_used(tx),
					      &done, err);

		if (io != PF_IO_OK)
			return io;
		tx->start += done;
		atomic_fetch_add_explicit(&channel->sent, done, memory_order_relaxed);
	}
	pf_fault_now(&channel->due);
	return PF_IO_OK;
}

size_t pf_channel_unsent(const struct pf_channel *channel)
{
	return buffer_used(&channel->tx);
}

short pf_channel_wants(const struct pf_channel *channel)
{
	return (short)(channel->rx_wants | (pf_channel_unsent(channel) > 0 ? POLLOUT : 0));
}

uint64_t pf_channel_bytes(const struct pf_channel *channel, bool received)
{
	return atomic_load_explicit(received ? &channel->received : &channel->sent,
				    memory_order_relaxed);
}
