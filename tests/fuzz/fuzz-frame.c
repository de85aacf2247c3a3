/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-frame.c - any 32 bytes as a header, for any receiver.
 *
 * Input: one byte that chooses the rules (bit 0: from the source, 1: urgent, 2: epoch 7, 3: a
 * table, 4: device state), then the header.  What is accepted must encode to the same bytes again,
 * and must keep every promise of wire/frame.h, computed here in another way than there.
 */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = 16 * MIB, .page_size = 4096},
		   {.gpa = GIB, .size = 4 * MIB, .page_size = 2 * MIB}},
};

static bool names_pages(uint8_t type)
{
	return (type >= PF_FRAME_REQUEST && type <= PF_FRAME_PAGE_ERROR) || type == PF_FRAME_RECEIVED;
}

static void check_run(const struct pf_frame *frame, const struct pf_frame_rules *rules)
{
	const struct pf_region_shape *shape;
	__uint128_t first, bytes;

	FUZZ_ASSERT(rules->table && frame->region < rules->table->count);
	shape = &rules->table->region[frame->region];
	first = (__uint128_t)frame->page * shape->page_size;
	bytes = (__uint128_t)frame->count * shape->page_size;
	FUZZ_ASSERT(frame->count > 0 && first + bytes <= shape->size);
	if (frame->type == PF_FRAME_PAGES && shape->page_size <= PF_BULK_BODY_MAX)
		FUZZ_ASSERT(frame->length == bytes && frame->count <= PF_RUN_PAGES_MAX);
	else if (frame->type == PF_FRAME_PAGES)
		FUZZ_ASSERT(frame->length > 0 && frame->count == 1 &&
			    (uint64_t)frame->extra + frame->length <= shape->page_size);
	else if (frame->type == PF_FRAME_RECEIVED)
		FUZZ_ASSERT(frame->length > 0 && !rules->urgent && !rules->from_source);
	else
		FUZZ_ASSERT(frame->length == 0);
}

static void check_promises(const struct pf_frame *frame, const struct pf_frame_rules *rules)
{
	FUZZ_ASSERT(strcmp(pf_frame_name(frame->type), "?") != 0);
	FUZZ_ASSERT(frame->length <= (rules->urgent ? PF_URGENT_BODY_MAX : PF_BULK_BODY_MAX));
	FUZZ_ASSERT(frame->epoch == rules->epoch);
	if (names_pages(frame->type))
		check_run(frame, rules);
	else
		FUZZ_ASSERT(frame->region == 0 && frame->count == 0 && frame->extra == 0);
	if (frame->type == PF_FRAME_CREDIT)
		FUZZ_ASSERT(!rules->urgent && !rules->from_source && frame->page > 0 &&
			    frame->length == 0);
	if (frame->type == PF_FRAME_DEVICE)
		FUZZ_ASSERT(!rules->urgent &&
			    (__uint128_t)frame->page + frame->length <= rules->device_state_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[PF_FRAME_HEADER_BYTES];
	struct pf_frame_rules rules = {0};
	struct pf_frame frame;
	struct pf_err err = {0};

	if (size != 1 + PF_FRAME_HEADER_BYTES)
		return 0;
	rules.from_source = data[0] & 1;
	rules.urgent = data[0] & 2;
	rules.epoch = data[0] & 4 ? 7 : 0;
	rules.table = data[0] & 8 ? &table : NULL;
	rules.device_state_size = data[0] & 16 ? 100000 : 0;
	if (pf_frame_check(data + 1, &rules, &frame, &err)) {
		FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0]);
		return 0;
	}
	check_promises(&frame, &rules);
	pf_frame_encode(&frame, again);
	FUZZ_ASSERT(memcmp(again, data + 1, sizeof(again)) == 0);
	return 0;
}
