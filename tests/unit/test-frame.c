/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-frame.c - the frame header: golden bytes, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/vectors.h"
#include "wire/frame.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define STATE 100000u /* bytes of device state */

/* 4096 pages of 4 KiB, and 2 pages of 2 MiB. */
static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = 16 * MIB, .page_size = 4096},
		   {.gpa = GIB, .size = 4 * MIB, .page_size = 2 * MIB}},
};

#define RULES(source_, urgent_, epoch_)                                                            \
	{                                                                                          \
		.from_source = source_, .urgent = urgent_, .epoch = epoch_, .table = &table,       \
		.device_state_size = STATE,                                                        \
	}
static const struct pf_frame_rules greet_src = {.from_source = true, .urgent = true};
static const struct pf_frame_rules greet_dst = {.from_source = false, .urgent = true};
static const struct pf_frame_rules src_urgent = RULES(true, true, 7);
static const struct pf_frame_rules src_bulk = RULES(true, false, 7);
static const struct pf_frame_rules dst_urgent = RULES(false, true, 7);
static const struct pf_frame_rules dst_bulk = RULES(false, false, 7);
static const struct pf_frame_rules no_table = {
	.from_source = true, .urgent = true, .epoch = 7, .device_state_size = STATE};
static const struct pf_frame_rules no_state = {
	.from_source = true, .urgent = false, .epoch = 7, .table = &table};

/* clang-format off */
static const struct good {
	const char *name;
	const struct pf_frame_rules *rules;
	struct pf_frame frame;
} goods[] = {
	{"hello", &greet_src, {.type = PF_FRAME_HELLO, .length = 40}},
	{"welcome", &greet_dst, {.type = PF_FRAME_WELCOME, .length = 60}},
	{"failure-greeting", &greet_dst, {.type = PF_FRAME_FAILURE, .length = 20}},
	{"regions", &src_urgent, {.type = PF_FRAME_REGIONS, .epoch = 7, .length = 30}},
	{"regions-ok", &dst_urgent, {.type = PF_FRAME_REGIONS_OK, .epoch = 7}},
	{"paused", &src_bulk, {.type = PF_FRAME_PAUSED, .epoch = 7, .length = 4}},
	{"device", &src_bulk,
	 {.type = PF_FRAME_DEVICE, .epoch = 7, .length = STATE - 65536, .page = 65536}},
	{"ready", &dst_urgent, {.type = PF_FRAME_READY, .epoch = 7, .length = 4}},
	{"commit", &src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 7, .length = 4}},
	{"run", &dst_urgent, {.type = PF_FRAME_RUN, .epoch = 7, .length = 4}},
	{"resumed", &dst_urgent, {.type = PF_FRAME_RESUMED, .epoch = 7}},
	{"refused", &dst_urgent, {.type = PF_FRAME_REFUSED, .epoch = 7, .length = 30}},
	{"abort", &src_urgent, {.type = PF_FRAME_ABORT, .epoch = 7, .length = 4}},
	{"aborted", &dst_urgent, {.type = PF_FRAME_ABORTED, .epoch = 7, .length = 4}},
	{"complete", &dst_urgent, {.type = PF_FRAME_COMPLETE, .epoch = 7}},
	{"complete-ack", &src_urgent, {.type = PF_FRAME_COMPLETE_ACK, .epoch = 7}},
	{"failure", &src_urgent, {.type = PF_FRAME_FAILURE, .epoch = 7, .length = 512}},
	{"failure-bulk", &dst_bulk, {.type = PF_FRAME_FAILURE, .epoch = 7}},
	{"heartbeat", &dst_urgent, {.type = PF_FRAME_HEARTBEAT, .epoch = 7}},
	{"request", &dst_urgent,
	 {.type = PF_FRAME_REQUEST, .epoch = 7, .page = 0x123, .count = 64}},
	{"pages-urgent", &src_urgent,
	 {.type = PF_FRAME_PAGES, .epoch = 7, .length = 16384, .page = 4092, .count = 4}},
	{"pages-bulk", &src_bulk,
	 {.type = PF_FRAME_PAGES, .epoch = 7, .length = 65536, .page = 4080, .count = 16}},
	{"pages-part", &src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 65536, .page = 1, .count = 1,
	  .extra = 2 * 1024 * 1024 - 65536}},
	{"zero", &src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .count = 4096}},
	{"zero-large", &src_urgent,
	 {.type = PF_FRAME_ZERO, .region = 1, .epoch = 7, .page = 1, .count = 1}},
	{"page-error", &src_urgent,
	 {.type = PF_FRAME_PAGE_ERROR, .epoch = 7, .page = 4095, .count = 1, .extra = 5}},
	{"credit", &dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 524288}},
	{"received", &dst_bulk,
	 {.type = PF_FRAME_RECEIVED, .epoch = 7, .length = 3, .page = 2048, .count = 2048}},
};

static const struct bad {
	const struct pf_frame_rules *rules;
	struct pf_frame frame;
	const char *text;
} bads[] = {
	/* types */
	{&src_urgent, {.type = 0, .epoch = 7}, "a frame of the unknown type 0"},
	{&src_urgent, {.type = 18, .epoch = 7}, "a frame of the unknown type 18"},
	{&src_urgent, {.type = 38, .epoch = 7}, "a frame of the unknown type 38"},
	{&src_urgent, {.type = 255, .epoch = 7}, "a frame of the unknown type 255"},
	/* sender, connection, phase, epoch */
	{&greet_dst, {.type = PF_FRAME_HELLO}, "a HELLO frame from the destination"},
	{&greet_src, {.type = PF_FRAME_WELCOME}, "a WELCOME frame from the source"},
	{&src_urgent, {.type = PF_FRAME_RUN, .epoch = 7}, "a RUN frame from the source"},
	{&dst_urgent, {.type = PF_FRAME_COMMIT, .epoch = 7},
	 "a COMMIT frame from the destination"},
	{&dst_urgent, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 4096, .count = 1},
	 "a PAGES frame from the destination"},
	{&src_bulk, {.type = PF_FRAME_COMMIT, .epoch = 7}, "a COMMIT frame on a bulk connection"},
	{&dst_bulk, {.type = PF_FRAME_REQUEST, .epoch = 7, .count = 1},
	 "a REQUEST frame on a bulk connection"},
	{&src_urgent, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 1},
	 "a DEVICE frame on the urgent connection"},
	{&src_urgent, {.type = PF_FRAME_PAUSED, .epoch = 7, .length = 4},
	 "a PAUSED frame on the urgent connection"},
	{&dst_urgent, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1},
	 "a CREDIT frame on the urgent connection"},
	{&src_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1},
	 "a CREDIT frame from the source"},
	{&dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7}, "a CREDIT frame of 0 bytes"},
	{&dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1, .length = 1},
	 "a CREDIT frame of 1 bytes; 0 are allowed here"},
	{&dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1, .count = 1},
	 "a CREDIT frame with `count`, which it does not use"},
	{&dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1, .region = 1},
	 "a CREDIT frame with `region`, which it does not use"},
	{&dst_bulk, {.type = PF_FRAME_CREDIT, .epoch = 7, .page = 1, .extra = 1},
	 "a CREDIT frame with `extra`, which it does not use"},
	{&dst_bulk, {.type = PF_FRAME_HEARTBEAT, .epoch = 7},
	 "a HEARTBEAT frame on a bulk connection"},
	{&src_urgent, {.type = PF_FRAME_HEARTBEAT, .epoch = 7, .length = 1},
	 "a HEARTBEAT frame of 1 bytes; 0 are allowed here"},
	{&greet_src, {.type = PF_FRAME_HEARTBEAT},
	 "a HEARTBEAT frame before the connection is set up"},
	{&src_bulk, {.type = PF_FRAME_RECEIVED, .epoch = 7, .length = 1, .count = 1},
	 "a RECEIVED frame from the source"},
	{&dst_urgent, {.type = PF_FRAME_RECEIVED, .epoch = 7, .length = 1, .count = 1},
	 "a RECEIVED frame on the urgent connection"},
	{&dst_bulk, {.type = PF_FRAME_RECEIVED, .epoch = 7, .count = 1},
	 "a RECEIVED frame without a body"},
	{&dst_bulk, {.type = PF_FRAME_RECEIVED, .epoch = 7, .length = 1},
	 "a RECEIVED frame of 0 pages; 1 to 4294967295 are allowed"},
	{&dst_bulk, {.type = PF_FRAME_RECEIVED, .epoch = 7, .length = 1, .page = 4095, .count = 2},
	 "a RECEIVED frame for pages 4095 to 4096 of region 0, which has 4096"},
	{&greet_src, {.type = PF_FRAME_REGIONS},
	 "a REGIONS frame before the connection is set up"},
	{&greet_src, {.type = PF_FRAME_PAGES, .length = 4096, .count = 1},
	 "a PAGES frame before the connection is set up"},
	{&src_urgent, {.type = PF_FRAME_HELLO}, "a HELLO frame after the connection is set up"},
	{&dst_urgent, {.type = PF_FRAME_WELCOME, .epoch = 7},
	 "a WELCOME frame after the connection is set up"},
	{&greet_src, {.type = PF_FRAME_HELLO, .epoch = 1},
	 "a HELLO frame of epoch 1 on a connection of epoch 0"},
	{&src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 6},
	 "a COMMIT frame of epoch 6 on a connection of epoch 7"},
	{&src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 8},
	 "a COMMIT frame of epoch 8 on a connection of epoch 7"},
	{&src_urgent, {.type = PF_FRAME_FAILURE},
	 "a FAILURE frame of epoch 0 on a connection of epoch 7"},
	/* lengths */
	{&greet_src, {.type = PF_FRAME_HELLO, .length = 513},
	 "a HELLO frame of 513 bytes; 512 are allowed here"},
	{&src_urgent, {.type = PF_FRAME_REGIONS, .epoch = 7, .length = 4097},
	 "a REGIONS frame of 4097 bytes; 4096 are allowed here"},
	{&dst_urgent, {.type = PF_FRAME_REGIONS_OK, .epoch = 7, .length = 1},
	 "a REGIONS_OK frame of 1 bytes; 0 are allowed here"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .length = 1, .count = 1},
	 "a REQUEST frame of 1 bytes; 0 are allowed here"},
	{&src_urgent, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 20480, .count = 5},
	 "a PAGES frame of 20480 bytes; 16384 are allowed here"},
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 69632, .count = 17},
	 "a PAGES frame of 69632 bytes; 65536 are allowed here"},
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = UINT32_MAX, .count = 1},
	 "a PAGES frame of 4294967295 bytes; 65536 are allowed here"},
	/* fields that are not used */
	{&greet_src, {.type = PF_FRAME_HELLO, .region = 1},
	 "a HELLO frame with `region`, which it does not use"},
	{&src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 7, .page = 1},
	 "a COMMIT frame with `page`, which it does not use"},
	{&src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 7, .count = 1},
	 "a COMMIT frame with `count`, which it does not use"},
	{&src_urgent, {.type = PF_FRAME_COMMIT, .epoch = 7, .extra = 1},
	 "a COMMIT frame with `extra`, which it does not use"},
	{&src_bulk, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 1, .count = 1},
	 "a DEVICE frame with `count`, which it does not use"},
	{&src_bulk, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 1, .region = 1},
	 "a DEVICE frame with `region`, which it does not use"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .count = 1, .extra = 1},
	 "a REQUEST frame with `extra`, which it does not use"},
	{&src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .count = 1, .extra = 1},
	 "a ZERO frame with `extra`, which it does not use"},
	/* runs */
	{&no_table, {.type = PF_FRAME_ZERO, .epoch = 7, .count = 1},
	 "a ZERO frame before the regions are agreed"},
	{&src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .region = 2, .count = 1},
	 "a ZERO frame for region 2; there are 2"},
	{&src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .region = UINT16_MAX, .count = 1},
	 "a ZERO frame for region 65535; there are 2"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7},
	 "a REQUEST frame of 0 pages; 1 to 64 are allowed"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .count = 65},
	 "a REQUEST frame of 65 pages; 1 to 64 are allowed"},
	{&src_urgent, {.type = PF_FRAME_PAGE_ERROR, .epoch = 7, .count = 65, .extra = 5},
	 "a PAGE_ERROR frame of 65 pages; 1 to 64 are allowed"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .page = 4096, .count = 1},
	 "a REQUEST frame for pages 4096 to 4096 of region 0, which has 4096"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .page = 4095, .count = 2},
	 "a REQUEST frame for pages 4095 to 4096 of region 0, which has 4096"},
	{&dst_urgent, {.type = PF_FRAME_REQUEST, .epoch = 7, .page = UINT64_MAX, .count = 2},
	 "a REQUEST frame for pages 18446744073709551615 to 0 of region 0, which has 4096"},
	{&src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .count = 4097},
	 "a ZERO frame for pages 0 to 4096 of region 0, which has 4096"},
	{&src_bulk, {.type = PF_FRAME_ZERO, .epoch = 7, .page = 1, .count = UINT32_MAX},
	 "a ZERO frame for pages 1 to 4294967295 of region 0, which has 4096"},
	/* raw pages */
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 4096, .count = 2},
	 "a PAGES frame of 4096 bytes for 2 pages of 4096"},
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 0, .count = 1},
	 "a PAGES frame of 0 bytes for 1 pages of 4096"},
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 4095, .count = 1},
	 "a PAGES frame of 4095 bytes for 1 pages of 4096"},
	{&src_bulk, {.type = PF_FRAME_PAGES, .epoch = 7, .length = 4096, .count = 1, .extra = 4096},
	 "a PAGES frame with offset 4096 in a page of 4096 bytes, which travels whole"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 65536, .count = 2},
	 "a PAGES frame of 2 pages of 2097152 bytes; such pages travel in parts, one at a time"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 0, .count = 1},
	 "a PAGES frame with 0 bytes at offset 0 of a page; parts are multiples of 4096"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 100, .count = 1},
	 "a PAGES frame with 100 bytes at offset 0 of a page; parts are multiples of 4096"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 4096, .count = 1, .extra = 8},
	 "a PAGES frame with 4096 bytes at offset 8 of a page; parts are multiples of 4096"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 65536, .count = 1,
	  .extra = 2 * 1024 * 1024 - 4096},
	 "a PAGES frame with 65536 bytes at offset 2093056 of a page of 2097152"},
	{&src_bulk,
	 {.type = PF_FRAME_PAGES, .region = 1, .epoch = 7, .length = 4096, .count = 1,
	  .extra = 2 * 1024 * 1024},
	 "a PAGES frame with 4096 bytes at offset 2097152 of a page of 2097152"},
	/* page errors */
	{&src_urgent, {.type = PF_FRAME_PAGE_ERROR, .epoch = 7, .count = 1},
	 "a PAGE_ERROR frame with errno 0; 1 to 4095 are allowed"},
	{&src_urgent, {.type = PF_FRAME_PAGE_ERROR, .epoch = 7, .count = 1, .extra = 4096},
	 "a PAGE_ERROR frame with errno 4096; 1 to 4095 are allowed"},
	/* device state */
	{&no_state, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 1},
	 "a DEVICE frame, but no device state was announced"},
	{&src_bulk, {.type = PF_FRAME_DEVICE, .epoch = 7}, "a DEVICE frame without a body"},
	{&src_bulk, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 2, .page = STATE - 1},
	 "a DEVICE frame with 2 bytes at offset 99999 of a device state of 100000"},
	{&src_bulk, {.type = PF_FRAME_DEVICE, .epoch = 7, .length = 2, .page = UINT64_MAX},
	 "a DEVICE frame with 2 bytes at offset 18446744073709551615 of a device state of 100000"},
};
/* clang-format on */

static void print_hex(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		print_error("%02x%s", bytes[i], i % 4 == 3 ? " " : "");
	print_error("\n");
}

static void assert_same_frame(const struct pf_frame *a, const struct pf_frame *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->region, b->region);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->length, b->length);
	assert_int_equal(a->page, b->page);
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->extra, b->extra);
}

static void each_type_has_its_golden_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(goods); i++) {
		const struct vector *vector = vector_find(frame_vectors, goods[i].name);
		uint8_t golden[PF_FRAME_HEADER_BYTES] = {0}, bytes[PF_FRAME_HEADER_BYTES];
		size_t length = 0;

		pf_frame_encode(&goods[i].frame, bytes);
		if (vector && vector_bytes(vector->hex, golden, sizeof(golden), &length) &&
		    length == sizeof(golden) && memcmp(golden, bytes, sizeof(bytes)) == 0)
			continue;
		print_error("%s: ", goods[i].name);
		print_hex(bytes, sizeof(bytes));
		fail_msg("%s differs from its golden bytes, or has none", goods[i].name);
	}
}

static void every_golden_frame_is_accepted_and_unchanged(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(goods); i++) {
		const struct vector *vector = vector_find(frame_vectors, goods[i].name);
		uint8_t golden[PF_FRAME_HEADER_BYTES];
		struct pf_frame frame = {0};
		struct pf_err err = {0};
		size_t length;

		assert_non_null(vector);
		assert_true(vector_bytes(vector->hex, golden, sizeof(golden), &length));
		if (pf_frame_check(golden, goods[i].rules, &frame, &err))
			fail_msg("%s: %s", goods[i].name, err.text);
		assert_same_frame(&frame, &goods[i].frame);
	}
}

static void every_known_type_has_a_golden_frame(void **state)
{
	(void)state;
	for (unsigned type = 0; type <= UINT8_MAX; type++) {
		bool known = strcmp(pf_frame_name((uint8_t)type), "?") != 0, tested = false;

		for (size_t i = 0; i < PF_ARRAY_LEN(goods); i++)
			tested |= goods[i].frame.type == type;
		if (known != tested)
			fail_msg("type %u (%s)", type, pf_frame_name((uint8_t)type));
	}
}

static void every_bad_frame_is_refused_with_its_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bads); i++) {
		const struct pf_frame untouched = {.type = 99, .page = 99};
		struct pf_frame frame = untouched;
		uint8_t bytes[PF_FRAME_HEADER_BYTES];
		struct pf_err err = {0};

		pf_frame_encode(&bads[i].frame, bytes);
		if (pf_frame_check(bytes, bads[i].rules, &frame, &err) != -1)
			fail_msg("accepted: %s", bads[i].text);
		assert_string_equal(err.text, bads[i].text);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_same_frame(&frame, &untouched);
	}
}

static void assert_refused(const uint8_t *bytes, const char *text)
{
	struct pf_frame frame;
	struct pf_err err = {0};

	assert_int_equal(pf_frame_check(bytes, &src_urgent, &frame, &err), -1);
	assert_string_equal(err.text, text);
}

static void another_magic_version_or_reserved_bit_is_refused(void **state)
{
	const struct pf_frame good = {.type = PF_FRAME_COMPLETE_ACK, .epoch = 7};
	uint8_t bytes[PF_FRAME_HEADER_BYTES];

	(void)state;
	pf_frame_encode(&good, bytes);
	bytes[0] = 'Q';
	assert_refused(bytes, "a frame begins with 0x5146 instead of 0x5046");
	pf_frame_encode(&good, bytes);
	bytes[2] = 2;
	assert_refused(bytes, "a frame of version 2; this is version 1");
	pf_frame_encode(&good, bytes);
	bytes[7] = 1;
	assert_refused(bytes, "a frame with its reserved bits set");
	bytes[7] = 0;
	bytes[6] = 0x80;
	assert_refused(bytes, "a frame with its reserved bits set");
}

/* Whoever may send a type on a kind of connection: nobody else may, on no other. */
static void each_type_passes_on_no_other_way_than_its_own(void **state)
{
	unsigned passed = 0;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(goods); i++)
		for (unsigned way = 0; way < 4; way++) {
			struct pf_frame_rules rules = *goods[i].rules;
			uint8_t bytes[PF_FRAME_HEADER_BYTES];
			struct pf_frame frame;
			struct pf_err err;

			rules.from_source = way & 1;
			rules.urgent = way & 2;
			pf_frame_encode(&goods[i].frame, bytes);
			passed += pf_frame_check(bytes, &rules, &frame, &err) == 0;
		}
	/* By the table in WIRE.md: one way each for 18 vectors; two for HELLO, WELCOME, HEARTBEAT, the
	 * two of ZERO, PAGE_ERROR, pages-urgent; four for the three of FAILURE. */
	assert_int_equal(passed, 18 * 1 + 7 * 2 + 3 * 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_has_its_golden_bytes),
		cmocka_unit_test(every_golden_frame_is_accepted_and_unchanged),
		cmocka_unit_test(every_known_type_has_a_golden_frame),
		cmocka_unit_test(every_bad_frame_is_refused_with_its_reason),
		cmocka_unit_test(another_magic_version_or_reserved_bit_is_refused),
		cmocka_unit_test(each_type_passes_on_no_other_way_than_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
