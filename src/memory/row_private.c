/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row_private.c - the row of private anonymous memory: UFFDIO_COPY, UFFDIO_ZEROPAGE.
 *
 * There is no file: one ioctl allocates the page in the VMM, fills it and maps it, in the one mapping
 * that private memory has.  Pages of zeros share the kernel's zero page until they are written to.
 * Any thread; does not block; fails with errno.
 *
 * REMOVE and a COPY in flight.  madvise(MADV_DONTNEED) announces itself (mmap_changing goes up, every
 * COPY fails with EAGAIN), waits until its REMOVE event has been *read*, lets COPY in again, and only
 * then takes the pages (mm/madvise.c, fs/userfaultfd.c: userfaultfd_remove).  A page that is claimed
 * before the read and copied after the pages went would bring discarded bytes back.  So a claim and
 * its COPY are one step against the reading of events (pf_guest.discards): whoever copies sees
 * EAGAIN while the event is unread, or finds the page FILLED without data afterwards; and what was
 * copied before is taken by the madvise itself.
 */
#include <errno.h>
#include <inttypes.h>

#include "memory/row.h"

static int region_uffd(const struct pf_guest *guest, uint32_t region)
{
	return guest->uffd[guest->region[region].mapping[0].uffd].fd;
}

static uint64_t page_address(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	return guest->region[region].mapping[0].base +
	       page * guest->region[region].shape.page_size;
}

/* As map_in() of memory/place.c: what is not all in one VMA is asked for in halves. */
static int private_populate(const struct pf_guest *guest, uint32_t region, uint64_t first,
			    uint32_t count, const uint8_t *bytes)
{
	uint64_t page_size = guest->region[region].shape.page_size, placed;
	enum pf_map_result result;

	do {
		result = pf_uffd_place(region_uffd(guest, region),
				       page_address(guest, region, first), count * page_size, bytes,
				       &placed);
		count /= 2;
	} while (result == PF_MAP_UNMAPPED && placed == 0 && count > 0);
	/* Poison, perhaps, of a process that died before its page was LOST: COPY takes its place, and
	 * ZEROPAGE does not.  A page that is there is EEXIST for both. */
	if (result == PF_MAP_EXISTS && placed == 0 && !bytes &&
	    pf_journal_tried(&guest->journal, region, first))
		(void)pf_uffd_place(region_uffd(guest, region), page_address(guest, region, first),
				    page_size, pf_row_zeros, &placed);
	return placed > 0 ? (int)(placed / page_size) : -1;
}

/* Of FILLED pages that trap MISSING: they were discarded, and read zeros from then on. */
static enum pf_map_result private_map(const struct pf_guest *guest, uint32_t region,
				      uint32_t mapping, uint64_t first, uint32_t count,
				      uint32_t *out_pages)
{
	uint64_t page_size = guest->region[region].shape.page_size, placed;
	enum pf_map_result result;

	(void)mapping;
	result = pf_uffd_place(region_uffd(guest, region), page_address(guest, region, first),
			       count * page_size, NULL, &placed);
	*out_pages = (uint32_t)(placed / page_size);
	return result;
}

static int private_fill_hole(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	(void)guest, (void)region, (void)page;
	errno = EFAULT; /* map() never says PF_MAP_ABSENT: it fills holes itself */
	return -1;
}

/* Nobody but the VMM can take its private pages away (process_madvise(2) has no MADV_DONTNEED). */
static int private_drop(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	uint64_t pages = pf_region_pages(&guest->region[region].shape), page = 0;

	while (page < pages && pf_journal_untouched(&guest->journal, region, page))
		page++;
	if (page == pages)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "page %" PRIu64 " of region %" PRIu32
		   " has come, or may have, the source starts again, and private memory can be emptied "
		   "by its own process only",
		   page, region);
	return pf_err_hint(err, "start a new destination VMM and agent");
}

const struct pf_placer pf_placer_private = {
	.name = "private",
	.modes = UFFDIO_REGISTER_MODE_MISSING,
	.ioctls = UINT64_C(1) << _UFFDIO_COPY | UINT64_C(1) << _UFFDIO_ZEROPAGE,
	.visible_at_once = true,
	.populate = private_populate,
	.map = private_map,
	.fill_hole = private_fill_hole,
	.drop = private_drop,
};
