/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/frame.c - see wire/frame.h; proto/WIRE.md, "Frame types", is this table in words.
 *
 * One table says what each type is, and pf_frame_check() judges a header by it alone.  Pure: any
 * thread, no state, never blocks; fails only by saying what was wrong with the peer's bytes.
 */
#include "wire/frame.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/cleanup.h"

#define SRC 1u
#define DST 2u

#define URGENT 1u
#define BULK 2u
#define BOTH (URGENT | BULK)

/* Phases of a connection: before it has an epoch, and from then on. */
#define GREET 1u
#define SERVE 2u

#define CONTROL_MAX 512u /* the longest Hello takes less than 300 */
#define TABLE_MAX 4096u	 /* 64 regions of at most 30 bytes each, and room */
#define RUN_MAX PF_REQUEST_PAGES_MAX
#define REGION_MAX UINT32_MAX /* the region's end is the only limit */
#define ERRNO_MAX 4095u	      /* include/linux/err.h */
#define PART_UNIT 4096u

enum body {
	NO_BODY,
	MESSAGE, /* protobuf, 0..body_max bytes */
	PAGES,	 /* `count` pages, or a part of one large page */
	DEVICE,	 /* device state; `page` is the offset of the first byte */
	LIMIT,	 /* none; `page` is a number of bytes, never 0 */
	RUNS,	 /* lengths of runs of pages, not empty: wire/received.c judges them */
};

enum extra {
	UNUSED,
	OFFSET, /* of the part within its page; 0 for whole pages */
	ERRNO,
};

struct kind {
	const char *name;
	unsigned from, on, phase;
	enum body body;
	uint32_t body_max;  /* the channel's limit holds too */
	uint32_t count_max; /* 0: region, page and count are unused */
	enum extra extra;
};

/* clang-format off */
#define KIND(type, ...) [PF_FRAME_##type] = {#type, __VA_ARGS__}
static const struct kind kinds[] = {
	KIND(HELLO,	   SRC, BOTH,	GREET, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(WELCOME,	   DST, BOTH,	GREET, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(REGIONS,	   SRC, URGENT, SERVE, MESSAGE, TABLE_MAX, 0, UNUSED),
	KIND(REGIONS_OK,   DST, URGENT, SERVE, NO_BODY, 0, 0, UNUSED),
	KIND(PAUSED,	   SRC, BULK,	SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(DEVICE,	   SRC, BULK,	SERVE, DEVICE, PF_BULK_BODY_MAX, 0, UNUSED),
	KIND(READY,	   DST, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(COMMIT,	   SRC, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(RUN,	   DST, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(RESUMED,	   DST, URGENT, SERVE, NO_BODY, 0, 0, UNUSED),
	KIND(REFUSED,	   DST, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(ABORT,	   SRC, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(ABORTED,	   DST, URGENT, SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(COMPLETE,	   DST, URGENT, SERVE, NO_BODY, 0, 0, UNUSED),
	KIND(COMPLETE_ACK, SRC, URGENT, SERVE, NO_BODY, 0, 0, UNUSED),
	KIND(FAILURE, SRC | DST, BOTH, GREET | SERVE, MESSAGE, CONTROL_MAX, 0, UNUSED),
	KIND(HEARTBEAT, SRC | DST, URGENT, SERVE, NO_BODY, 0, 0, UNUSED),
	KIND(REQUEST,	   DST, URGENT, SERVE, NO_BODY, 0, RUN_MAX, UNUSED),
	KIND(PAGES,	   SRC, BOTH,	SERVE, PAGES, PF_BULK_BODY_MAX, PF_RUN_PAGES_MAX, OFFSET),
	KIND(ZERO,	   SRC, BOTH,	SERVE, NO_BODY, 0, REGION_MAX, UNUSED),
	KIND(PAGE_ERROR,   SRC, BOTH,	SERVE, NO_BODY, 0, RUN_MAX, ERRNO),
	KIND(CREDIT,	   DST, BULK,	SERVE, LIMIT, 0, 0, UNUSED),
	KIND(RECEIVED,	   DST, BULK,	SERVE, RUNS, PF_BULK_BODY_MAX, REGION_MAX, UNUSED),
};
#undef KIND
/* clang-format on */

static const struct kind *find_kind(uint8_t type)
{
	if (type >= PF_ARRAY_LEN(kinds) || !kinds[type].name)
		return NULL;
	return &kinds[type];
}

const char *pf_frame_name(uint8_t type)
{
	const struct kind *kind = find_kind(type);

	return kind ? kind->name : "?";
}

static void put_be(uint8_t *out, uint64_t value, unsigned bytes)
{
	while (bytes-- > 0) {
		out[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static uint64_t get_be(const uint8_t *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | in[i];
	return value;
}

void pf_frame_encode(const struct pf_frame *frame, uint8_t out[PF_FRAME_HEADER_BYTES])
{
	put_be(out, PF_FRAME_MAGIC, 2);
	out[2] = PF_FRAME_VERSION;
	out[3] = frame->type;
	put_be(out + 4, frame->region, 2);
	put_be(out + 6, 0, 2);
	put_be(out + 8, frame->epoch, 4);
	put_be(out + 12, frame->length, 4);
	put_be(out + 16, frame->page, 8);
	put_be(out + 24, frame->count, 4);
	put_be(out + 28, frame->extra, 4);
}

static int decode(const uint8_t in[PF_FRAME_HEADER_BYTES], struct pf_frame *out, struct pf_err *err)
{
	if (get_be(in, 2) != PF_FRAME_MAGIC)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a frame begins with 0x%04" PRIx64 " instead of 0x%04x",
				  get_be(in, 2), PF_FRAME_MAGIC);
	if (in[2] != PF_FRAME_VERSION)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a frame of version %u; this is version %u",
				  in[2], PF_FRAME_VERSION);
	if (get_be(in + 6, 2) != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a frame with its reserved bits set");
	*out = (struct pf_frame){
		.type = in[3],
		.region = (uint16_t)get_be(in + 4, 2),
		.epoch = (uint32_t)get_be(in + 8, 4),
		.length = (uint32_t)get_be(in + 12, 4),
		.page = get_be(in + 16, 8),
		.count = (uint32_t)get_be(in + 24, 4),
		.extra = (uint32_t)get_be(in + 28, 4),
	};
	return 0;
}

/* May this sender send this type on this connection, now? */
static int check_place(const struct pf_frame *frame, const struct kind *kind,
		       const struct pf_frame_rules *rules, struct pf_err *err)
{
	if (!(kind->from & (rules->from_source ? SRC : DST)))
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame from the %s", kind->name,
				  rules->from_source ? "source" : "destination");
	if (!(kind->on & (rules->urgent ? URGENT : BULK)))
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame on %s connection", kind->name,
				  rules->urgent ? "the urgent" : "a bulk");
	if (!(kind->phase & (rules->epoch == 0 ? GREET : SERVE)))
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame %s the connection is set up",
				  kind->name, rules->epoch == 0 ? "before" : "after");
	if (frame->epoch != rules->epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame of epoch %" PRIu32
				  " on a connection of epoch %" PRIu32,
				  kind->name, frame->epoch, rules->epoch);
	return 0;
}

static int check_length(const struct pf_frame *frame, const struct kind *kind,
			const struct pf_frame_rules *rules, struct pf_err *err)
{
	uint32_t limit = rules->urgent ? PF_URGENT_BODY_MAX : PF_BULK_BODY_MAX;

	if (kind->body_max < limit)
		limit = kind->body_max;
	if (frame->length > limit)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame of %" PRIu32 " bytes; %" PRIu32 " are allowed here",
				  kind->name, frame->length, limit);
	return 0;
}

static int check_unused(const struct pf_frame *frame, const struct kind *kind, struct pf_err *err)
{
	bool run = kind->count_max > 0;
	const char *field = NULL;

	if (!run && frame->region != 0)
		field = "region";
	else if (!run && kind->body != DEVICE && kind->body != LIMIT && frame->page != 0)
		field = "page";
	else if (!run && frame->count != 0)
		field = "count";
	else if (kind->extra == UNUSED && frame->extra != 0)
		field = "extra";
	if (field)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame with `%s`, which it does not use", kind->name, field);
	return 0;
}

static int check_run(const struct pf_frame *frame, const struct kind *kind,
		     const struct pf_region_table *table, struct pf_err *err)
{
	uint64_t pages;

	if (!table)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame before the regions are agreed",
				  kind->name);
	if (frame->region >= table->count)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame for region %u; there are %" PRIu32, kind->name,
				  frame->region, table->count);
	if (frame->count == 0 || frame->count > kind->count_max)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame of %" PRIu32 " pages; 1 to %" PRIu32 " are allowed",
				  kind->name, frame->count, kind->count_max);
	pages = pf_region_pages(&table->region[frame->region]);
	if (frame->page >= pages || frame->count > pages - frame->page)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s frame for pages %" PRIu64 " to %" PRIu64
				  " of region %u, which has %" PRIu64,
				  kind->name, frame->page, frame->page + (frame->count - 1),
				  frame->region, pages);
	return 0;
}

/* A page that no frame can hold: one page, and a part of it that begins at `extra`. */
static int check_part(const struct pf_frame *frame, uint32_t page_size, struct pf_err *err)
{
	if (frame->count != 1)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGES frame of %" PRIu32 " pages of %" PRIu32
				  " bytes; such pages travel in parts, one at a time",
				  frame->count, page_size);
	if (frame->length == 0 || frame->length % PART_UNIT != 0 || frame->extra % PART_UNIT != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGES frame with %" PRIu32 " bytes at offset %" PRIu32
				  " of a page; parts are multiples of %u",
				  frame->length, frame->extra, PART_UNIT);
	if (frame->extra >= page_size || frame->length > page_size - frame->extra)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGES frame with %" PRIu32 " bytes at offset %" PRIu32
				  " of a page of %" PRIu32,
				  frame->length, frame->extra, page_size);
	return 0;
}

static int check_pages(const struct pf_frame *frame, const struct pf_region_table *table,
		       struct pf_err *err)
{
	uint32_t page_size = table->region[frame->region].page_size;

	if (page_size > PF_BULK_BODY_MAX)
		return check_part(frame, page_size, err);
	if (frame->extra != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGES frame with offset %" PRIu32 " in a page of %" PRIu32
				  " bytes, which travels whole",
				  frame->extra, page_size);
	if (frame->length != (uint64_t)frame->count * page_size)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGES frame of %" PRIu32 " bytes for %" PRIu32
				  " pages of %" PRIu32,
				  frame->length, frame->count, page_size);
	return 0;
}

static int check_device(const struct pf_frame *frame, uint64_t size, struct pf_err *err)
{
	if (size == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a DEVICE frame, but no device state was announced");
	if (frame->length == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a DEVICE frame without a body");
	if (frame->page > size || frame->length > size - frame->page)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a DEVICE frame with %" PRIu32 " bytes at offset %" PRIu64
				  " of a device state of %" PRIu64,
				  frame->length, frame->page, size);
	return 0;
}

static int check_error_number(const struct pf_frame *frame, struct pf_err *err)
{
	if (frame->extra == 0 || frame->extra > ERRNO_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a PAGE_ERROR frame with errno %" PRIu32 "; 1 to %u are allowed",
				  frame->extra, ERRNO_MAX);
	return 0;
}

int pf_frame_check(const uint8_t in[PF_FRAME_HEADER_BYTES], const struct pf_frame_rules *rules,
		   struct pf_frame *out, struct pf_err *err)
{
	const struct kind *kind;
	struct pf_frame frame;

	if (decode(in, &frame, err))
		return -1;
	kind = find_kind(frame.type);
	if (!kind)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a frame of the unknown type %u",
				  frame.type);
	if (check_place(&frame, kind, rules, err) || check_length(&frame, kind, rules, err) ||
	    check_unused(&frame, kind, err))
		return -1;
	if (kind->count_max > 0 && check_run(&frame, kind, rules->table, err))
		return -1;
	if (kind->body == PAGES && check_pages(&frame, rules->table, err))
		return -1;
	if (kind->body == DEVICE && check_device(&frame, rules->device_state_size, err))
		return -1;
	if (kind->body == RUNS && frame.length == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame without a body", kind->name);
	if (kind->body == LIMIT && frame.page == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s frame of 0 bytes", kind->name);
	if (kind->extra == ERRNO && check_error_number(&frame, err))
		return -1;
	*out = frame;
	return 0;
}
