/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire/received.c - see wire/received.h. */
#include "wire/received.h"

#include <inttypes.h>

#define VARINT_MAX 5u /* bytes: a length is at most 2^32 - 1 */

/* ---- packing ---- */

/* The first page in [from, end) whose bit is not `value`, or end. */
static uint64_t run_end(const uint64_t *bits, uint64_t from, uint64_t end, bool value)
{
	while (from < end) {
		uint64_t word = bits[from / 64], other = (value ? ~word : word) >> from % 64;

		if (other) {
			from += (unsigned)__builtin_ctzll(other);
			return from < end ? from : end;
		}
		from += 64 - from % 64;
	}
	return end;
}

static size_t put_varint(uint8_t *out, uint64_t value)
{
	size_t length = 0;

	for (; value >= 0x80; value >>= 7)
		out[length++] = (uint8_t)(value | 0x80);
	out[length++] = (uint8_t)value;
	return length;
}

void pf_received_pack(struct pf_received_cursor *cursor, const struct pf_region_table *table,
		      const uint64_t *bits, uint8_t *out, size_t size, struct pf_frame *out_frame)
{
	uint64_t pages = pf_region_pages(&table->region[cursor->region]), at = cursor->page;
	uint64_t end = pages - at > UINT32_MAX ? at + UINT32_MAX : pages;
	size_t length = 0;
	bool value = false;

	while (at < end && size - length >= VARINT_MAX) {
		uint64_t next = run_end(bits, at, end, value);

		length += put_varint(out + length, next - at);
		at = next;
		value = !value;
	}
	*out_frame = (struct pf_frame){
		.type = PF_FRAME_RECEIVED,
		.region = (uint16_t)cursor->region,
		.length = (uint32_t)length,
		.page = cursor->page,
		.count = (uint32_t)(at - cursor->page),
	};
	*cursor = at < pages ? (struct pf_received_cursor){cursor->region, at}
			     : (struct pf_received_cursor){cursor->region + 1, 0};
}

/* ---- taking ---- */

struct reader {
	const uint8_t *in, *end;
};

static int bad(const struct pf_frame *frame, const char *what, struct pf_err *err)
{
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "a RECEIVED frame for %" PRIu32 " pages from %" PRIu64 " of region %u: %s",
			  frame->count, frame->page, frame->region, what);
}

/* In its shortest form, and no larger than 32 bits. */
static bool get_varint(struct reader *reader, uint64_t *out)
{
	*out = 0;
	for (unsigned i = 0; i < VARINT_MAX && reader->in < reader->end; i++) {
		uint8_t byte = *reader->in++;

		*out |= (uint64_t)(byte & 0x7f) << 7 * i;
		if (!(byte & 0x80))
			return (byte != 0 || i == 0) && *out <= UINT32_MAX;
	}
	return false;
}

static int check_runs(const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	struct reader reader = {body, body + frame->length};
	uint64_t sum = 0;
	bool first = true;

	while (reader.in < reader.end) {
		uint64_t length;

		if (!get_varint(&reader, &length))
			return bad(frame, "a length that is cut off, too large, or not in its shortest form",
				   err);
		if (length == 0 && !first)
			return bad(frame, "a run of no pages", err);
		first = false;
		sum += length;
	}
	if (sum != frame->count)
		return bad(frame, "the lengths of its runs are not its pages", err);
	return 0;
}

int pf_received_take(struct pf_received_cursor *cursor, const struct pf_region_table *table,
		     const struct pf_frame *frame, const uint8_t *body,
		     void (*received)(void *opaque, uint32_t region, uint64_t first, uint64_t count),
		     void *opaque, struct pf_err *err)
{
	struct reader reader = {body, body + frame->length};
	uint64_t at = frame->page, length;
	bool value = false;

	if (pf_received_done(cursor, table) || frame->region != cursor->region ||
	    frame->page != cursor->page)
		return bad(frame, "not the part that comes next", err);
	if (check_runs(frame, body, err))
		return -1;
	for (; reader.in < reader.end && get_varint(&reader, &length); value = !value) {
		if (value)
			received(opaque, frame->region, at, length);
		at += length;
	}
	*cursor = at < pf_region_pages(&table->region[frame->region])
			  ? (struct pf_received_cursor){frame->region, at}
			  : (struct pf_received_cursor){frame->region + 1, 0};
	return 0;
}
