/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-assembly.c - the parts of a large page: in order they are a page, otherwise an offence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/assembly.h"

#define LARGE (2u << 20)
#define PART (16u << 10)

/* Region 0 has small pages, regions 1 and 2 large ones. */
static const struct pf_region_table table = {
	.count = 3,
	.region = {{0, 16 * 4096, 4096}, {LARGE, 4 * LARGE, LARGE}, {8 * LARGE, 4 * LARGE, LARGE}},
};

struct scene {
	struct pf_assembly assembly;
	uint8_t part[64u << 10];
	const uint8_t *body; /* after the latest take() */
	struct pf_err err;
};

static int setup(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	assert_non_null(scene);
	assert_int_equal(pf_assembly_init(&scene->assembly, &table, &scene->err), 0);
	*state = scene;
	return 0;
}

static int teardown(void **state)
{
	struct scene *scene = *state;

	pf_assembly_done(&scene->assembly);
	free(scene);
	return 0;
}

static struct pf_frame part_of(uint16_t region, uint64_t page, uint32_t offset, uint32_t length)
{
	return (struct pf_frame){.type = PF_FRAME_PAGES,
				 .region = region,
				 .page = page,
				 .count = 1,
				 .extra = offset,
				 .length = length};
}

static int take(struct scene *scene, struct pf_frame frame)
{
	scene->body = scene->part;
	return pf_assembly_take(&scene->assembly, &table, &frame, &scene->body, &scene->err);
}

static void refused(struct scene *scene, struct pf_frame frame, const char *text)
{
	assert_int_equal(take(scene, frame), -1);
	assert_int_equal(scene->err.class, PF_ERR_PROTOCOL);
	if (!strstr(scene->err.text, text))
		fail_msg("'%s' does not say '%s'", scene->err.text, text);
}

/* Every part but the last is kept; the last one gives the page, byte for byte. */
static void send_page(struct scene *scene, uint16_t region, uint64_t page, uint32_t from,
		      uint32_t length)
{
	for (uint32_t at = from; at < LARGE; at += length) {
		memset(scene->part, (int)(page * 37 + at / length), length);
		assert_int_equal(take(scene, part_of(region, page, at, length)),
				 at + length == LARGE);
	}
	assert_ptr_equal(scene->body, scene->assembly.bytes);
}

static void parts_in_order_are_the_page(void **state)
{
	struct scene *scene = *state;

	for (uint64_t page = 0; page < 3; page++) {
		send_page(scene, 1, page, 0, PART);
		for (uint32_t at = 0; at < LARGE; at++)
			if (scene->body[at] != (uint8_t)(page * 37 + at / PART))
				fail_msg("page %u: byte %u is %u", (unsigned)page, at,
					 scene->body[at]);
	}
	send_page(scene, 2, 0, 0, sizeof(scene->part)); /* of any length that a frame may have */
	send_page(scene, 2, 3, 0, 4096);
}

static void whole_pages_and_zeros_pass_between_parts(void **state)
{
	struct scene *scene = *state;
	struct pf_frame small = part_of(0, 3, 0, 4096), zero = part_of(1, 1, 0, 0);

	zero.type = PF_FRAME_ZERO;
	zero.count = 3;
	assert_int_equal(take(scene, part_of(1, 0, 0, PART)), 0);
	assert_int_equal(take(scene, small), 1);
	assert_ptr_equal(scene->body, scene->part);
	assert_int_equal(take(scene, zero), 1); /* pages 1 to 3; page 0 is under way */
	assert_int_equal(take(scene, part_of(1, 0, PART, PART)), 0);
}

static void what_is_out_of_order_is_refused(void **state)
{
	struct scene *scene = *state;
	struct pf_frame zero = part_of(1, 0, 0, 0);

	zero.type = PF_FRAME_ZERO;
	zero.count = 2;
	refused(scene, part_of(1, 0, PART, PART), "begin with its first part");
	assert_int_equal(take(scene, part_of(1, 1, 0, PART)), 0);
	refused(scene, part_of(1, 1, 0, PART), "byte 16384 of page 1 of region 1"); /* again */
	refused(scene, part_of(1, 1, 2 * PART, PART), "has to come next");	    /* a gap */
	refused(scene, part_of(1, 1, PART / 2, PART), "has to come next");	    /* overlap */
	refused(scene, part_of(1, 0, PART, PART), "has to come next");		    /* page */
	refused(scene, part_of(2, 1, PART, PART), "has to come next");		    /* region */
	refused(scene, part_of(1, 0, 0, PART), "has to come next"); /* a second page */
	refused(scene, zero,
		"ZERO for page 1 of region 1, of which 16384 bytes have come"); /* in a run */
	/* Nothing of that has moved what is under way. */
	send_page(scene, 1, 1, PART, PART);
}

static void an_error_ends_the_page_under_way_and_no_other(void **state)
{
	struct scene *scene = *state;
	struct pf_frame error = part_of(1, 0, 5, 0);

	error.type = PF_FRAME_PAGE_ERROR;
	assert_int_equal(take(scene, part_of(1, 2, 0, PART)), 0);
	error.count = 2; /* pages 0 and 1 */
	pf_assembly_lost(&scene->assembly, &error);
	assert_int_equal(take(scene, part_of(1, 2, PART, PART)), 0);
	error.count = 3;
	pf_assembly_lost(&scene->assembly, &error);
	refused(scene, part_of(1, 2, 2 * PART, PART), "begin with its first part");
	send_page(scene, 1, 2, 0, PART); /* tried again, it comes whole */
}

static void a_new_connection_begins_with_no_page(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(take(scene, part_of(1, 2, 0, PART)), 0);
	pf_assembly_forget(&scene->assembly);
	refused(scene, part_of(1, 2, PART, PART), "begin with its first part");
	send_page(scene, 1, 2, 0, PART);
}

static void small_pages_alone_need_no_buffer(void **state)
{
	struct pf_region_table small = {.count = 1, .region = {{0, 16 * 4096, 4096}}};
	struct pf_assembly assembly = {0};
	struct pf_frame frame = part_of(0, 0, 0, 8192);
	const uint8_t *body = NULL;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_assembly_init(&assembly, &small, &err), 0);
	assert_null(assembly.bytes);
	frame.count = 2;
	assert_int_equal(pf_assembly_take(&assembly, &small, &frame, &body, &err), 1);
	assert_null(body);
	pf_assembly_done(&assembly);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(parts_in_order_are_the_page),
		TEST(whole_pages_and_zeros_pass_between_parts),
		TEST(what_is_out_of_order_is_refused),
		TEST(an_error_ends_the_page_under_way_and_no_other),
		TEST(a_new_connection_begins_with_no_page),
		TEST(small_pages_alone_need_no_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
