/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_pages.c - from guest memory into a channel: read, look for zeros, frame.
 *
 * In the thread that owns the channel.  The guest stands, so a page is what it is however often it
 * is read.  Pages are read straight into the channel's buffer; only a run with both zero and other
 * pages is copied once more.  Blocks in pread(2) of page cache only.
 */
#include <errno.h>
#include <string.h>

#include "migrate/source.h"

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static struct pf_frame frame_of(enum pf_frame_type type, const struct pf_run *run, uint32_t count,
				uint32_t length)
{
	return (struct pf_frame){
		.type = (uint8_t)type,
		.region = (uint16_t)run->region,
		.page = run->first,
		.count = count,
		.length = length,
	};
}

static void advance(struct pf_run *run, uint32_t count)
{
	run->first += count;
	run->count -= count;
}

/* Puts the first `count` pages of the run, which are alike: all zero, or all not. */
static bool put_stretch(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
			uint32_t count, const uint8_t *bytes, uint32_t length)
{
	struct pf_frame frame = frame_of(bytes ? PF_FRAME_PAGES : PF_FRAME_ZERO, run, count,
					 bytes ? length : 0);

	if (!pf_channel_put(channel, &frame, bytes))
		return false;
	if (!bytes)
		add(&service->count.zero, count);
	advance(run, count);
	return true;
}

static bool put_mixed(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		      const uint8_t *bytes, uint32_t page_size)
{
	while (run->count > 0) {
		bool zero = pf_all_zero(bytes, page_size);
		uint32_t count = 1;

		while (count < run->count &&
		       pf_all_zero(bytes + (size_t)count * page_size, page_size) == zero)
			count++;
		if (!put_stretch(service, channel, run, count, zero ? NULL : bytes,
				 count * page_size))
			return false;
		bytes += (size_t)count * page_size;
	}
	return true;
}

static bool any_zero(const uint8_t *bytes, uint32_t count, uint32_t page_size)
{
	for (uint32_t i = 0; i < count; i++)
		if (pf_all_zero(bytes + (size_t)i * page_size, page_size))
			return true;
	return false;
}

/* A page that cannot be read is said to be so; its neighbours are tried one by one. */
static bool put_unreadable(struct pf_service *service, struct pf_channel *channel,
			   struct pf_run *run, uint8_t *scratch)
{
	while (run->count > 0) {
		struct pf_run one = {.region = run->region, .first = run->first, .count = 1};
		struct pf_frame frame = frame_of(PF_FRAME_PAGE_ERROR, &one, 1, 0);

		if (pf_reader_read(&service->reader, &one, scratch) == 0) {
			uint32_t page_size = service->reader.table.region[run->region].page_size;

			if (!put_mixed(service, channel, &one, scratch, page_size))
				return false;
			advance(run, 1);
			continue;
		}
		frame.extra = (uint32_t)errno;
		if (!pf_channel_put(channel, &frame, NULL))
			return false;
		advance(run, 1);
	}
	return true;
}

int pf_service_put(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		   uint8_t *scratch)
{
	uint32_t page_size = service->reader.table.region[run->region].page_size;
	uint32_t length = run->count * page_size;
	struct pf_frame frame = frame_of(PF_FRAME_PAGES, run, run->count, length);
	uint8_t *body = pf_channel_reserve(channel, length);

	if (!body)
		return 0;
	if (pf_reader_read(&service->reader, run, body))
		return put_unreadable(service, channel, run, scratch);
	if (any_zero(body, run->count, page_size)) {
		memcpy(scratch, body, length);
		return put_mixed(service, channel, run, scratch, page_size);
	}
	pf_channel_commit(channel, &frame);
	advance(run, run->count);
	return 1;
}
