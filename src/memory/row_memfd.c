/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row_memfd.c - the row of memfd and tmpfs: pwrite, then CONTINUE in each mapping.
 *
 * Any thread; blocks only in pwrite(2) and fallocate(2) of page cache; fails with errno.
 */
#include <errno.h>
#include <unistd.h>

#include "memory/row.h"

static int memfd_populate(const struct pf_guest *guest, uint32_t region, uint64_t first,
			  uint32_t count, const uint8_t *bytes)
{
	size_t page_size = guest->region[region].shape.page_size, done = 0;
	off_t at = (off_t)pf_row_file_offset(guest, region, first);

	if (!bytes)
		bytes = pf_row_zeros;
	while (done < count * page_size) {
		ssize_t put = pwrite(guest->region[region].fd, bytes + done,
				     count * page_size - done, at + (off_t)done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			errno = EIO;
		if (put <= 0)
			break;
		done += (size_t)put;
	}
	return done < page_size ? -1 : (int)(done / page_size);
}

/*
 * Not pwrite: between EFAULT and a write of zeros another thread can have filled the hole and the
 * guest can have written to it.  fallocate(2) leaves a page that is present alone, and CONTINUE of
 * one that it has allocated shows zeros (mm/shmem.c, SGP_FALLOC).
 */
static int memfd_fill_hole(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	return pf_row_file_allocate(guest, region, page);
}

/* MISSING alone never: a torn or freshly allocated page would be mapped without an event. */
const struct pf_placer pf_placer_memfd = {
	.name = "memfd",
	.modes = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	.empty = "hand over an empty file: fallocate(FALLOC_FL_PUNCH_HOLE) what was touched, or "
		 "declare it populated",
	.take_stock = pf_row_file_stock,
	.populate = memfd_populate,
	.map = pf_row_file_map,
	.fill_hole = memfd_fill_hole,
	.drop = pf_row_file_drop,
};
