/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-received.c - parts of the received bitmap, as a destination that lies would send them.
 *
 * Input: frames, each 12 bytes of region, page and count and a body behind its length.  What
 * pf_frame_check() and pf_received_take() let through must lie in the regions, name each page at most
 * once and in order; packed again from what it said, it is the same bytes where it ends a region.
 */
#include <stdbool.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "wire/received.h"

#define EPOCH 7u
#define PAGES 4096u
#define WORDS (PAGES / 64)

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = (uint64_t)PAGES * 4096, .page_size = 4096},
		   {.gpa = UINT64_C(1) << 32, .size = UINT64_C(8) << 20, .page_size = 2u << 20}},
};

struct heard {
	uint64_t bits[2][WORDS];
	uint32_t region;
	uint64_t end; /* of the last run */
};

static void note_run(void *opaque, uint32_t region, uint64_t first, uint64_t count)
{
	struct heard *heard = opaque;
	uint64_t pages = pf_region_pages(&table.region[region]);

	FUZZ_ASSERT(region >= heard->region && count > 0 && first < pages && count <= pages - first);
	FUZZ_ASSERT(region > heard->region || first >= heard->end);
	heard->region = region;
	heard->end = first + count;
	for (uint64_t page = first; page < first + count; page++)
		heard->bits[region][page / 64] |= UINT64_C(1) << page % 64;
}

static void check_again(const struct pf_frame *frame, const uint8_t *body, const struct heard *heard)
{
	struct pf_received_cursor cursor = {frame->region, frame->page};
	static uint8_t bytes[PF_BULK_BODY_MAX];
	struct pf_frame again;

	pf_received_pack(&cursor, &table, heard->bits[frame->region], bytes, sizeof(bytes), &again);
	/* It goes to the region's end, and this part may have gone less far: then only its beginning. */
	if (again.count != frame->count)
		return;
	FUZZ_ASSERT(again.length == frame->length && memcmp(bytes, body, again.length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pf_frame_rules rules = {.epoch = EPOCH, .table = &table};
	struct pf_received_cursor cursor = {0};
	struct fuzz_input input = {data, size};
	static struct heard heard;

	memset(&heard, 0, sizeof(heard));
	while (input.size > 0) {
		struct pf_frame frame = {.type = PF_FRAME_RECEIVED, .epoch = EPOCH};
		uint8_t header[PF_FRAME_HEADER_BYTES];
		struct pf_err err = {0};

		frame.region = (uint16_t)fuzz_take(&input, 1);
		frame.page = fuzz_take(&input, 4);
		frame.count = fuzz_take(&input, 4);
		frame.length = fuzz_take(&input, 2);
		if (frame.length > input.size)
			frame.length = (uint32_t)input.size;
		pf_frame_encode(&frame, header);
		if (pf_frame_check(header, &rules, &frame, &err) == 0 &&
		    pf_received_take(&cursor, &table, &frame, input.data, note_run, &heard, &err) == 0)
			check_again(&frame, input.data, &heard);
		else
			FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0]);
		input.data += frame.length;
		input.size -= frame.length;
	}
	return 0;
}
