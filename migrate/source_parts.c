/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_parts.c - a page that no frame can hold, into a channel part by part.
 *
 * In the thread that owns the channel, which does what it likes between two parts: control, small
 * pages and zeros may go in front of the rest.  Whether a page is all zero is looked at before its
 * first part goes.  Blocks in pread(2) of page cache only.
 */
#include <errno.h>

#include "base/fault.h"
#include "migrate/source.h"

static struct pf_frame frame_of(enum pf_frame_type type, const struct pf_run *run, uint32_t extra,
				uint32_t length)
{
	return (struct pf_frame){
		.type = (uint8_t)type,
		.region = (uint16_t)run->region,
		.page = run->first,
		.count = 1,
		.extra = extra,
		.length = length,
	};
}

static void page_done(struct pf_run *run, uint32_t *offset)
{
	*offset = 0;
	run->first++;
	run->count--;
}

/* PAGE_ERROR, also behind parts that have gone: the receiver drops them. */
static int put_error(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		     uint32_t *offset)
{
	struct pf_frame frame = frame_of(PF_FRAME_PAGE_ERROR, run, (uint32_t)errno, 0);

	if (!pf_channel_put(channel, &frame, NULL))
		return 0;
	atomic_fetch_add_explicit(&service->count.lost, 1, memory_order_relaxed);
	page_done(run, offset);
	return 1;
}

/* 1: the page is zero behind this part; 0: it is not; -1 with errno: it cannot be read. */
static int rest_is_zero(const struct pf_reader *reader, struct pf_part part, uint8_t *scratch,
			uint32_t most)
{
	uint32_t page_size = reader->table.region[part.region].page_size;

	while ((part.offset += part.length) < page_size) {
		part.length = page_size - part.offset < most ? page_size - part.offset : most;
		if (pf_reader_read_part(reader, &part, scratch))
			return -1;
		if (!pf_all_zero(scratch, part.length))
			return 0;
	}
	return 1;
}

int pf_parts_put(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		 uint32_t *offset, struct pf_run *zeros, uint8_t *scratch, uint32_t most)
{
	uint32_t left = service->reader.table.region[run->region].page_size - *offset;
	const struct pf_part part = {.region = run->region,
				     .page = run->first,
				     .offset = *offset,
				     .length = left < most ? left : most};
	struct pf_frame frame = frame_of(PF_FRAME_PAGES, run, part.offset, part.length);
	uint8_t *body = pf_channel_reserve(channel, part.length);
	int zero = 0;

	if (!body)
		return 0;
	if (pf_reader_read_part(&service->reader, &part, body))
		return put_error(service, channel, run, offset);
	pf_fault(PF_FAULT_PAGE_READ);
	if (part.offset == 0 && pf_all_zero(body, part.length))
		zero = rest_is_zero(&service->reader, part, scratch, most);
	if (zero < 0)
		return put_error(service, channel, run, offset);
	if (zero)
		return pf_service_keep_zeros(service, channel, run, 1, zeros);
	pf_channel_commit(channel, &frame);
	*offset += part.length;
	if (part.length == left)
		page_done(run, offset);
	return 1;
}
