/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-received.c - the received bitmap in parts: what goes in comes out, and nothing else passes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "wire/received.h"

#define PAGE 4096u
#define PAGES 1000u
#define LARGE (2u << 20)
#define WORDS (PAGES / 64 + 1)

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = (uint64_t)PAGES * PAGE, .page_size = PAGE},
		   {.gpa = UINT64_C(1) << 32, .size = 3 * LARGE, .page_size = LARGE}},
};

struct bits {
	uint64_t region[2][WORDS];
};

static void set_run(void *opaque, uint32_t region, uint64_t first, uint64_t count)
{
	struct bits *bits = opaque;

	for (uint64_t page = first; page < first + count; page++)
		bits->region[region][page / 64] |= UINT64_C(1) << page % 64;
}

/* Through parts of at most `size` bytes; returns how many. */
static unsigned send_all(const struct bits *in, struct bits *out, size_t size)
{
	struct pf_received_cursor here = {0}, there = {0};
	struct pf_err err = {0};
	unsigned parts = 0;

	while (!pf_received_done(&here, &table)) {
		uint8_t body[4096];
		struct pf_frame frame;

		pf_received_pack(&here, &table, in->region[here.region], body, size, &frame);
		assert_true(frame.count > 0 && frame.length <= size);
		if (pf_received_take(&there, &table, &frame, body, set_run, out, &err))
			fail_msg("%s", err.text);
		assert_true(here.region == there.region && here.page == there.page);
		parts++;
	}
	return parts;
}

static void any_bitmap_comes_out_as_it_went_in(void **state)
{
	unsigned seed = 20260;

	(void)state;
	for (unsigned density = 0; density <= 8; density++) {
		for (size_t size = PF_RECEIVED_ROOM; size < 64; size += 7) {
			struct bits in = {0}, out = {0};

			for (uint64_t page = 0; page < PAGES; page++)
				if (rand_r(&seed) % 8 < (int)density)
					set_run(&in, 0, page, 1);
			set_run(&in, 1, density % 3, 1);
			(void)send_all(&in, &out, size);
			assert_memory_equal(&in, &out, sizeof(in));
		}
	}
}

static void a_uniform_region_is_one_part_of_a_few_bytes(void **state)
{
	struct bits in = {0}, out = {0};
	struct pf_received_cursor cursor = {0};
	struct pf_frame frame;
	uint8_t body[64];

	(void)state;
	assert_int_equal(send_all(&in, &out, PF_RECEIVED_ROOM), 2);
	set_run(&in, 0, 0, PAGES);
	assert_int_equal(send_all(&in, &out, 16), 2);
	pf_received_pack(&cursor, &table, in.region[0], body, sizeof(body), &frame);
	assert_int_equal(frame.length, 3);
	assert_memory_equal(body, "\x00\xe8\x07", 3); /* none absent, then 1000 */
	assert_int_equal(frame.count, PAGES);
}

static void ignore_run(void *opaque, uint32_t region, uint64_t first, uint64_t count)
{
	(void)region, (void)first, (void)count;
	(*(unsigned *)opaque)++;
}

struct bad {
	struct pf_frame frame;
	const char *body;
	const char *text;
};

#define FRAME(r, p, n, l)                                                                          \
	{                                                                                          \
		.type = PF_FRAME_RECEIVED, .region = r, .page = p, .count = n, .length = l         \
	}

static void bad_parts_are_refused_and_nothing_of_them_counts(void **state)
{
	static const char next[] = "not the part that comes next";
	static const char varint[] =
		"a length that is cut off, too large, or not in its shortest form";
	static const struct bad bads[] = {
		{FRAME(1, 0, 1, 1), "\x01", next},
		{FRAME(0, 11, 1, 1), "\x01", next},
		{FRAME(0, 9, 1, 1), "\x01", next},
		{FRAME(0, 10, 8, 2), "\x04\x03", "the lengths of its runs are not its pages"},
		{FRAME(0, 10, 8, 2), "\x04\x05", "the lengths of its runs are not its pages"},
		{FRAME(0, 10, 4, 3), "\x02\x00\x02", "a run of no pages"},
		{FRAME(0, 10, 4, 2), "\x04\x00", "a run of no pages"},
		{FRAME(0, 10, 8, 3), "\x04\x84\x00", varint},
		{FRAME(0, 10, 8, 2), "\x04\x84", varint},
		{FRAME(0, 10, 8, 6), "\x04\x80\x80\x80\x80\x10", varint},
		{FRAME(0, 10, 8, 7), "\x04\x84\x80\x80\x80\x80\x01", varint},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bads); i++) {
		struct pf_received_cursor cursor = {0, 10};
		struct pf_err err = {0};
		unsigned runs = 0;

		assert_int_equal(pf_received_take(&cursor, &table, &bads[i].frame,
						  (const uint8_t *)bads[i].body, ignore_run, &runs,
						  &err),
				 -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		if (!strstr(err.text, bads[i].text))
			fail_msg("%zu: %s", i, err.text);
		assert_int_equal(runs, 0);
		assert_int_equal(cursor.page, 10);
	}
}

static void nothing_comes_behind_the_last_part(void **state)
{
	struct pf_received_cursor cursor = {2, 0};
	struct pf_frame frame = FRAME(1, 0, 3, 1);
	struct pf_err err = {0};
	unsigned runs = 0;

	(void)state;
	assert_true(pf_received_done(&cursor, &table));
	assert_int_equal(pf_received_take(&cursor, &table, &frame, (const uint8_t *)"\x03",
					  ignore_run, &runs, &err),
			 -1);
}

/* More pages than a frame can count. */
static void a_region_of_16_tib_takes_more_than_one_part(void **state)
{
	static const struct pf_region_table huge = {
		.count = 1,
		.region = {{.gpa = 0, .size = (UINT64_C(1) << 32) * PAGE + 2 * PAGE, .page_size = PAGE}},
	};
	const uint64_t pages = pf_region_pages(&huge.region[0]);
	uint64_t *bits = calloc(pages / 64 + 1, sizeof(*bits)); /* 512 MiB of address space alone */
	struct pf_received_cursor cursor = {0}, there = {0};
	struct pf_frame frame;
	struct pf_err err = {0};
	unsigned runs = 0;
	uint8_t body[PF_RECEIVED_ROOM];

	(void)state;
	assert_non_null(bits);
	cursor.page = there.page = 1; /* what is left is one more than UINT32_MAX + 1 */
	pf_received_pack(&cursor, &huge, bits, body, sizeof(body), &frame);
	assert_int_equal(frame.count, UINT32_MAX);
	assert_int_equal(pf_received_take(&there, &huge, &frame, body, ignore_run, &runs, &err), 0);
	assert_int_equal(there.page, UINT64_C(1) << 32);
	pf_received_pack(&cursor, &huge, bits, body, sizeof(body), &frame);
	assert_int_equal(frame.count, 2);
	assert_int_equal(pf_received_take(&there, &huge, &frame, body, ignore_run, &runs, &err), 0);
	assert_true(pf_received_done(&there, &huge));
	free(bits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_bitmap_comes_out_as_it_went_in),
		cmocka_unit_test(a_uniform_region_is_one_part_of_a_few_bytes),
		cmocka_unit_test(bad_parts_are_refused_and_nothing_of_them_counts),
		cmocka_unit_test(nothing_comes_behind_the_last_part),
		cmocka_unit_test(a_region_of_16_tib_takes_more_than_one_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
