/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-assembly.c - parts of large pages in any order, with other frames between them.
 *
 * Input: instructions, each of which makes a frame; what pf_frame_check() lets through goes into an
 * assembly.  The oracle keeps who wrote each 4 KiB of the page under way: a page is whole only of its own
 * parts, each once and in its place, and everything else costs the connection (which begins anew).
 */
#include <stdbool.h>
#include <string.h>

#include "migrate/assembly.h"
#include "tests/fuzz/fuzz.h"

#define EPOCH 7u
#define MIB (UINT64_C(1) << 20)
#define UNIT 4096u
#define LARGE (2 * MIB)
#define UNITS (LARGE / UNIT)
#define PART_UNITS (PF_BULK_BODY_MAX / UNIT)

static const struct pf_region_table table = {
	.count = 3,
	.region = {{.gpa = 0, .size = 16 * MIB, .page_size = UNIT},
		   {.gpa = 1024 * MIB, .size = 3 * LARGE, .page_size = LARGE},
		   {.gpa = 2048 * MIB, .size = 2 * LARGE, .page_size = LARGE}},
};

/* What the oracle knows of the page under way. */
static struct {
	bool under_way;
	uint16_t region;
	uint64_t page;
	uint32_t units;	       /* that have come */
	uint32_t stamp[UNITS]; /* of the frame that brought each */
} shadow;
static uint32_t frame_number;

/* ---- frames ---- */

static struct pf_frame part(uint16_t region, uint64_t page, uint32_t first, uint32_t units)
{
	return (struct pf_frame){
		.type = PF_FRAME_PAGES,
		.region = region,
		.page = page,
		.count = 1,
		.extra = first * UNIT,
		.length = units * UNIT,
	};
}

/* The part that has to come next, with so many units or what is left. */
static struct pf_frame next_part(uint32_t units)
{
	uint32_t left = UNITS - (shadow.under_way ? shadow.units : 0);

	if (units > left)
		units = left;
	if (!shadow.under_way)
		return part(1, units % 3, 0, units);
	return part(shadow.region, shadow.page, shadow.units, units);
}

static struct pf_frame other_frame(struct fuzz_input *input)
{
	static const uint8_t types[] = {PF_FRAME_ZERO, PF_FRAME_PAGE_ERROR, PF_FRAME_PAGES,
					PF_FRAME_ZERO};
	uint32_t word = fuzz_take(input, 2);
	struct pf_frame frame = {
		.type = types[word & 3],
		.region = word >> 2 & 3,
		.page = word >> 4 & 3,
		.count = (word >> 6 & 3) + 1,
	};

	frame.extra = frame.type == PF_FRAME_PAGE_ERROR ? 5 : 0;
	frame.length = frame.type == PF_FRAME_PAGES ? frame.count * UNIT : 0;
	return frame;
}

/* ---- the oracle ---- */

static bool names_page(const struct pf_frame *frame)
{
	return shadow.under_way && frame->region == shadow.region && frame->page <= shadow.page &&
	       shadow.page < frame->page + frame->count;
}

static bool is_part(const struct pf_frame *frame)
{
	return frame->type == PF_FRAME_PAGES && frame->region > 0;
}

static bool expect_good(const struct pf_frame *frame)
{
	if (!is_part(frame))
		return !(frame->type == PF_FRAME_ZERO && names_page(frame));
	return shadow.under_way ? names_page(frame) && frame->extra == shadow.units * UNIT :
				  frame->extra == 0;
}

static void note_part(const struct pf_frame *frame)
{
	if (!shadow.under_way)
		shadow.units = 0;
	shadow.under_way = true;
	shadow.region = frame->region;
	shadow.page = frame->page;
	for (uint32_t i = 0; i < frame->length / UNIT; i++)
		shadow.stamp[shadow.units++] = frame_number;
}

/* Every piece of it is that of the frame that brought it, and lies where that frame said. */
static void check_page(const uint8_t *bytes)
{
	for (uint32_t i = 0; i < UNITS; i++) {
		uint32_t found[2];

		memcpy(found, bytes + (size_t)i * UNIT, sizeof(found));
		FUZZ_ASSERT(found[0] == shadow.stamp[i] && found[1] == i);
	}
}

static const uint8_t *make_body(const struct pf_frame *frame)
{
	static uint8_t body[PF_BULK_BODY_MAX];

	for (uint32_t i = 0; i < frame->length / UNIT; i++) {
		uint32_t stamp[2] = {frame_number, frame->extra / UNIT + i};

		memcpy(body + (size_t)i * UNIT, stamp, sizeof(stamp));
	}
	return body;
}

static void begin_anew(struct pf_assembly *assembly)
{
	pf_assembly_forget(assembly);
	shadow.under_way = false;
}

static void give(struct pf_assembly *assembly, const struct pf_frame *frame)
{
	const uint8_t *body = make_body(frame), *given = body;
	struct pf_err err = {0};
	int got;

	if (frame->type == PF_FRAME_PAGE_ERROR) {
		pf_assembly_lost(assembly, frame);
		shadow.under_way = shadow.under_way && !names_page(frame);
		return;
	}
	got = pf_assembly_take(assembly, &table, frame, &body, &err);
	FUZZ_ASSERT((got >= 0) == expect_good(frame));
	if (got < 0) {
		FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0]);
		begin_anew(assembly);
		return;
	}
	if (!is_part(frame)) {
		FUZZ_ASSERT(got == 1 && body == given);
		return;
	}
	note_part(frame);
	FUZZ_ASSERT(got == (shadow.units == UNITS));
	if (got == 0)
		return;
	check_page(body);
	shadow.under_way = false;
}

/* true: it got through the check of its header. */
static bool try_frame(struct pf_assembly *assembly, const struct pf_frame *wanted)
{
	struct pf_frame_rules rules = {.from_source = true, .epoch = EPOCH, .table = &table};
	uint8_t header[PF_FRAME_HEADER_BYTES];
	struct pf_frame frame;
	struct pf_err err;

	frame_number++;
	frame = *wanted;
	frame.epoch = EPOCH;
	pf_frame_encode(&frame, header);
	if (pf_frame_check(header, &rules, &frame, &err))
		return false;
	give(assembly, &frame);
	return true;
}

static void obey(struct pf_assembly *assembly, struct fuzz_input *input)
{
	uint32_t what = fuzz_take(input, 1), units = (what >> 3 & 15) + 1;
	struct pf_frame frame;

	switch (what & 7) {
	case 0: /* all that is missing */
		do {
			frame = next_part(units);
			FUZZ_ASSERT(try_frame(assembly, &frame));
		} while (shadow.under_way);
		return;
	case 1: /* anywhere */
		frame = part((uint16_t)(1 + (what >> 7)), fuzz_take(input, 1) & 3, fuzz_take(input, 2) & 1023,
			     units);
		break;
	case 2: /* of another page, at the right place */
		frame = next_part(units);
		frame.page ^= 1;
		break;
	case 3:
		frame = other_frame(input);
		break;
	case 4:
		if (what < 32) {
			begin_anew(assembly);
			return;
		}
		frame = part(shadow.region, shadow.page, 0, units);
		break;
	default:
		frame = next_part(units);
	}
	(void)try_frame(assembly, &frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pf_assembly assembly;
	struct fuzz_input input = {data, size};
	struct pf_err err;

	FUZZ_ASSERT(pf_assembly_init(&assembly, &table, &err) == 0);
	begin_anew(&assembly);
	frame_number = 0;
	while (input.size > 0)
		obey(&assembly, &input);
	return 0;
}
