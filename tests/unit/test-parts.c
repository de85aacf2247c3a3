/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-parts.c - pages of 2 MiB on their way: through the sender's parts, TLS, the receiver's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/assembly.h"
#include "migrate/source.h"
#include "net/wait.h"
#include "netkit.h"

#define LARGE (UINT32_C(2) << 20)
#define PAGES 4u
#define EPOCH 1u

static struct kit_dir tls;
static struct pf_service service;
static struct pf_region_table *const table = &service.reader.table;
static struct pf_channel *source, *destination;
static struct pf_assembly assembly;
static uint8_t scratch[PF_BULK_BODY_MAX];
static uint8_t page_bytes[LARGE];

/* What is on its way of a run, as a thread of the source keeps it. */
static struct pf_run run, zeros;
static uint32_t offset;

static int open_all(void **state)
{
	struct pf_conn *client, *server;
	struct pf_err err;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	(void)state;
	kit_dir_make(&tls, NULL);
	memset(&service, 0, sizeof(service));
	table->count = 1;
	table->region[0] = (struct pf_region_shape){.size = PAGES * LARGE, .page_size = LARGE};
	service.reader.region[0].fd = fd;
	assert_int_equal(ftruncate(fd, PAGES * LARGE), 0);
	kit_pair(&tls, &client, &server);
	assert_int_equal(pf_channel_new(client, PF_SOURCE, false, &source, &err), 0);
	assert_int_equal(pf_channel_new(server, PF_DESTINATION, false, &destination, &err), 0);
	pf_channel_expect(source, EPOCH, table, 0);
	pf_channel_expect(destination, EPOCH, table, 0);
	assert_int_equal(pf_assembly_init(&assembly, table, &err), 0);
	run = (struct pf_run){.count = PAGES};
	zeros = (struct pf_run){0};
	offset = 0;
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	pf_channel_free(source);
	pf_channel_free(destination);
	pf_assembly_done(&assembly);
	pf_reader_done(&service.reader);
	kit_dir_remove(&tls);
	return 0;
}

/* Every 64-bit word of a page is another one; 0 leaves the file as it is: a hole. */
static void fill_page(uint64_t page)
{
	for (uint64_t i = 0; i < LARGE / 8; i++)
		memcpy(page_bytes + i * 8, &(uint64_t){(page + 1) << 32 | i}, 8);
	assert_int_equal(pwrite(service.reader.region[0].fd, page_bytes, LARGE, (off_t)(page * LARGE)),
			 LARGE);
}

static void wait_for(struct pf_channel *channel)
{
	assert_int_equal(pf_wait_fd(pf_conn_fd(pf_channel_conn(channel)), pf_channel_wants(channel),
				    kit_deadline(), -1),
			 0);
}

static void flush(void)
{
	struct pf_err err;
	enum pf_io io;

	while ((io = pf_channel_flush(source, &err)) == PF_IO_AGAIN)
		wait_for(source);
	assert_int_equal(io, PF_IO_OK);
}

/* One part, or whatever takes its place; the channel has room. */
static void put(void)
{
	assert_int_equal(pf_parts_put(&service, source, &run, &offset, &zeros, scratch,
				      PF_BULK_BODY_MAX),
			 1);
	flush();
}

/* The next frame at the destination; 1: *out_body is a whole page, 0: a part was kept. */
static int hear(struct pf_frame *frame, const uint8_t **out_body)
{
	struct pf_err err;
	enum pf_io io;
	int whole = 0;

	while ((io = pf_channel_recv(destination, frame, out_body, &err)) == PF_IO_AGAIN)
		wait_for(destination);
	if (io != PF_IO_OK)
		fail_msg("%s", err.text);
	if (frame->type == PF_FRAME_PAGE_ERROR)
		pf_assembly_lost(&assembly, frame);
	else
		whole = pf_assembly_take(&assembly, table, frame, out_body, &err);
	if (whole < 0)
		fail_msg("%s", err.text);
	return whole;
}

/* What is next to come is this page, whole and as it was. */
static void assert_comes(uint64_t page)
{
	const uint8_t *body = NULL;
	struct pf_frame frame;

	fill_page(page);
	do
		put();
	while (hear(&frame, &body) == 0);
	assert_int_equal(frame.page, page);
	assert_memory_equal(body, page_bytes, LARGE);
}

static void a_page_arrives_whole_and_the_next_one_behind_it(void **state)
{
	(void)state;
	assert_comes(0);
	assert_int_equal(run.first, 1);
	assert_int_equal(offset, 0);
	assert_comes(1);
	assert_int_equal(run.count, PAGES - 2);
}

static void a_page_of_zeros_sends_nothing_and_its_neighbour_joins_it(void **state)
{
	struct pf_frame frame;
	const uint8_t *body;

	(void)state;
	run.count = 3;
	put();
	put();
	assert_int_equal(zeros.first, 0);
	assert_int_equal(zeros.count, 2);
	assert_int_equal(run.first, 2);
	assert_int_equal(offset, 0);
	assert_true(pf_service_put_zeros(&service, source, &zeros));
	flush();
	assert_int_equal(hear(&frame, &body), 1);
	assert_int_equal(frame.type, PF_FRAME_ZERO);
	assert_int_equal(frame.page, 0);
	assert_int_equal(frame.count, 2);
	assert_comes(2);
}

/* Its last byte alone is not zero: that is known before the first part goes. */
static void a_page_that_only_ends_otherwise_is_no_page_of_zeros(void **state)
{
	const uint8_t *body = NULL;
	struct pf_frame frame;
	uint8_t last = 7;

	(void)state;
	assert_int_equal(pwrite(service.reader.region[0].fd, &last, 1, LARGE - 1), 1);
	do
		put();
	while (hear(&frame, &body) == 0);
	assert_int_equal(zeros.count, 0);
	assert_true(pf_all_zero(body, LARGE - 64));
	assert_int_equal(body[LARGE - 1], last);
}

/* The file is cut while half of the page has gone: the receiver drops that half, and the page. */
static void a_page_that_cannot_be_read_to_its_end_is_an_error_and_the_next_one_comes(void **state)
{
	int fd = service.reader.region[0].fd;
	struct pf_frame frame;
	const uint8_t *body;

	(void)state;
	fill_page(0);
	put();
	put();
	assert_int_equal(hear(&frame, &body), 0);
	assert_int_equal(hear(&frame, &body), 0);
	assert_int_equal(frame.extra, PF_BULK_BODY_MAX);
	assert_int_equal(ftruncate(fd, PF_BULK_BODY_MAX), 0);
	put();
	assert_int_equal(hear(&frame, &body), 0);
	assert_int_equal(frame.type, PF_FRAME_PAGE_ERROR);
	assert_int_equal(frame.page, 0);
	assert_int_equal(frame.extra, EIO);
	assert_int_equal(offset, 0);
	assert_int_equal(run.first, 1);
	assert_int_equal(ftruncate(fd, PAGES * LARGE), 0);
	assert_comes(1);
}

/* Its first part is there and zero, and whether the rest is cannot be read. */
static void a_page_of_zeros_that_ends_too_early_is_an_error(void **state)
{
	struct pf_frame frame;
	const uint8_t *body;

	(void)state;
	assert_int_equal(ftruncate(service.reader.region[0].fd, LARGE / 2), 0);
	put();
	assert_int_equal(hear(&frame, &body), 0);
	assert_int_equal(frame.type, PF_FRAME_PAGE_ERROR);
	assert_int_equal(zeros.count, 0);
	assert_int_equal(run.first, 1);
}

static void a_channel_that_is_full_loses_no_part(void **state)
{
	const uint8_t *body = NULL;
	unsigned stops = 0;
	struct pf_frame frame;
	int whole = 0;

	(void)state;
	fill_page(0);
	while (run.first == 0) {
		if (pf_parts_put(&service, source, &run, &offset, &zeros, scratch, PF_BULK_BODY_MAX))
			continue;
		stops++;
		flush();
		while (!whole && assembly.got < offset)
			whole = hear(&frame, &body);
	}
	assert_true(stops > 1);
	flush();
	while (!whole)
		whole = hear(&frame, &body);
	assert_memory_equal(body, page_bytes, LARGE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_page_arrives_whole_and_the_next_one_behind_it),
		CASE(a_page_of_zeros_sends_nothing_and_its_neighbour_joins_it),
		CASE(a_page_that_only_ends_otherwise_is_no_page_of_zeros),
		CASE(a_page_that_cannot_be_read_to_its_end_is_an_error_and_the_next_one_comes),
		CASE(a_page_of_zeros_that_ends_too_early_is_an_error),
		CASE(a_channel_that_is_full_loses_no_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
