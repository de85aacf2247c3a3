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

#include "base/fault.h"
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

bool pf_service_put_zeros(struct pf_service *service, struct pf_channel *channel,
			  struct pf_run *zeros)
{
	struct pf_frame frame = frame_of(PF_FRAME_ZERO, zeros, zeros->count, 0);

	if (zeros->count == 0)
		return true;
	if (!pf_channel_put(channel, &frame, NULL))
		return false;
	add(&service->count.zero, zeros->count);
	zeros->count = 0;
	return true;
}

/* The first `count` pages of the run are zero: they join the zeros before them, or these go out. */
bool pf_service_keep_zeros(struct pf_service *service, struct pf_channel *channel,
			   struct pf_run *run, uint32_t count, struct pf_run *zeros)
{
	bool joins = zeros->region == run->region && zeros->first + zeros->count == run->first &&
		     count <= UINT32_MAX - zeros->count; /* what a frame can name: 16 TiB */

	if (zeros->count > 0 && !joins && !pf_service_put_zeros(service, channel, zeros))
		return false;
	if (zeros->count == 0)
		*zeros = (struct pf_run){.region = run->region, .first = run->first};
	zeros->count += count;
	advance(run, count);
	return true;
}

/* Bit i: page i is all zero. */
static uint32_t find_zeros(const uint8_t *bytes, uint32_t count, uint32_t page_size)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < count; i++)
		if (pf_all_zero(bytes + (size_t)i * page_size, page_size))
			mask |= UINT32_C(1) << i;
	return mask;
}

static bool put_bytes(struct pf_channel *channel, struct pf_run *run, uint32_t count,
		      const uint8_t *bytes, uint32_t page_size)
{
	struct pf_frame frame = frame_of(PF_FRAME_PAGES, run, count, count * page_size);

	if (!pf_channel_put(channel, &frame, bytes))
		return false;
	advance(run, count);
	return true;
}

/* Stretch by stretch, each all zero or all not; mask: as find_zeros(). */
static bool put_mixed(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		      const uint8_t *bytes, uint32_t mask, struct pf_run *zeros)
{
	uint32_t page_size = service->reader.table.region[run->region].page_size;

	while (run->count > 0) {
		bool zero = mask & 1;
		uint32_t alike = (uint32_t)__builtin_ctz((zero ? ~mask : mask) |
							 UINT32_C(1) << run->count);
		bool put = zero ? pf_service_keep_zeros(service, channel, run, alike, zeros) :
				  put_bytes(channel, run, alike, bytes, page_size);

		if (!put)
			return false;
		bytes += (size_t)alike * page_size;
		mask >>= alike;
	}
	return true;
}

/*
 * A page that is swapped out takes memory to be read, and where the control group that it is charged to is
 * full, and has nobody to kill, read(2) says so (mm/shmem.c): that passes, and a page that was said to be
 * lost is lost for ever.
 */
static bool is_passing(int sys)
{
	return sys == ENOMEM || sys == EAGAIN;
}

/* A page that cannot be read is said to be so; its neighbours are tried one by one. */
static int put_unreadable(struct pf_service *service, struct pf_channel *channel,
			  struct pf_run *run, struct pf_run *zeros, uint8_t *scratch)
{
	while (run->count > 0) {
		struct pf_run one = {.region = run->region, .first = run->first, .count = 1};
		struct pf_frame frame = frame_of(PF_FRAME_PAGE_ERROR, &one, 1, 0);

		if (pf_reader_read(&service->reader, &one, scratch) == 0) {
			uint32_t page_size = service->reader.table.region[run->region].page_size;

			if (!put_mixed(service, channel, &one, scratch,
				       find_zeros(scratch, 1, page_size), zeros))
				return 0;
			advance(run, 1);
			continue;
		}
		if (is_passing(errno))
			return -1;
		frame.extra = (uint32_t)errno;
		if (!pf_channel_put(channel, &frame, NULL))
			return 0;
		add(&service->count.lost, 1);
		advance(run, 1);
	}
	return 1;
}

void pf_service_tell_trouble(const struct pf_link *link, const struct pf_run *run, int sys,
			     uint64_t *trouble_ns)
{
	const struct pf_mail_page mail = {
		.region = run->region, .sys = (uint32_t)sys, .page = run->first};
	uint64_t now = pf_now_ns();

	if (now < *trouble_ns)
		return;
	*trouble_ns = now + PF_NS_PER_S;
	(void)pf_mail_post(link->inbox, link->origin, PF_MAIL_TROUBLE, 0, &mail, sizeof(mail));
}

int pf_service_put(struct pf_service *service, struct pf_channel *channel, struct pf_run *run,
		   struct pf_run *zeros, uint8_t *scratch)
{
	uint32_t page_size = service->reader.table.region[run->region].page_size;
	uint32_t length = run->count * page_size, mask;
	struct pf_frame frame = frame_of(PF_FRAME_PAGES, run, run->count, length);
	uint8_t *body = pf_channel_reserve(channel, length);

	if (!body)
		return 0;
	if (pf_reader_read(&service->reader, run, body))
		return put_unreadable(service, channel, run, zeros, scratch);
	pf_fault(PF_FAULT_PAGE_READ);
	mask = find_zeros(body, run->count, page_size);
	if (mask != 0) {
		memcpy(scratch, body, length);
		return put_mixed(service, channel, run, scratch, mask, zeros);
	}
	pf_channel_commit(channel, &frame);
	advance(run, run->count);
	return 1;
}
