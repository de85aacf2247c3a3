/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row_memfd.c - the row of memfd and tmpfs: pwrite, then CONTINUE in each mapping.
 *
 * Any thread; blocks only in pwrite(2) and fallocate(2) of page cache; fails with errno.
 */
#include "memory/row.h"

static int memfd_stock(const struct pf_guest *guest, uint32_t region, uint64_t first, uint64_t count,
		       struct pf_memfile_stock *out, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];

	return pf_memfile_take_stock(at->fd, at->offset, at->shape.page_size, first, count, out,
				     err);
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
	.ioctls = PF_ROW_CONTINUE,
	.empty = "hand over an empty file: fallocate(FALLOC_FL_PUNCH_HOLE) what was touched, or "
		 "declare it populated",
	.collapses = true,
	.take_stock = memfd_stock,
	.populate = pf_row_file_write,
	.map = pf_row_file_map,
	.fill_hole = memfd_fill_hole,
	.drop = pf_row_file_drop,
};
