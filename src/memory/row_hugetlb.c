/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row_hugetlb.c - the row of hugetlbfs, pages of 2 MiB: fallocate, copy, CONTINUE.
 *
 * hugetlbfs has no write(2), so that bytes go through a mapping of the agent's own.  That mapping
 * is also what makes sure of the pages: it reserves them for the file, from the pool that everybody
 * on the host shares, or says at once how many are missing.  What it shows nobody else sees before
 * CONTINUE: page tables are not shared with a mapping that traps (mm/hugetlb.c,
 * uffd_disable_huge_pmd_share()).
 *
 * Any thread; blocks in fallocate(2), which clears the page, and in the copy of it; fails with
 * errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/sysfile.h"
#include "memory/row.h"
#include "memory/touch.h"

static int not_reserved(uint64_t pages, struct pf_err *err)
{
	struct pf_hugepages pool;
	struct pf_err unknown;
	int sys = errno;
	bool known = pf_sysfile_hugepages(&pool, &unknown) == 0;

	errno = sys;
	if (known)
		pf_err_sys(err,
			   "reserving its %" PRIu64 " pages of 2 MiB (%" PRIu64
			   " are free on this host, %" PRIu64 " of them reserved already)",
			   pages, pool.free, pool.reserved);
	else
		pf_err_sys(err, "reserving its %" PRIu64 " pages of 2 MiB", pages);
	return pf_err_hint(err, "raise the sysctl vm.nr_hugepages, or the limit of the agent's "
				"hugetlb control group");
}

/* In place of what is mapped there already, if anything is. */
static int reserve(struct pf_guest_region *at, struct pf_err *err)
{
	void *map = mmap(at->map, at->shape.size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | (at->map ? MAP_FIXED : 0), at->fd, (off_t)at->offset);

	if (map == MAP_FAILED)
		at->map = NULL; /* mmap(2) may have taken the old one away before it failed */
	if (map == MAP_FAILED && errno == ENOMEM)
		return not_reserved(at->shape.size / at->shape.page_size, err);
	if (map == MAP_FAILED)
		return pf_err_sys(err, "mapping its memory file");
	at->map = map;
	(void)madvise(map, at->shape.size, MADV_DONTDUMP); /* guest memory, DESIGN.md section 7 */
	return 0;
}

static int hugetlb_attach(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	pf_touch_init();
	return reserve(&guest->region[region], err);
}

/* A userfaultfd on the agent's own mapping, for as long as it is open. */
static int open_probe(const struct pf_guest_region *at, struct pf_err *err)
{
	pf_auto_fd int fd = pf_uffd_open_own(err);

	if (fd < 0 ||
	    pf_uffd_register(fd, (uintptr_t)at->map, at->shape.size, UFFDIO_REGISTER_MODE_MINOR,
			     err))
		return pf_err_prefix(err, "looking for pages that are present");
	return pf_steal_fd(&fd);
}

/*
 * What there is in the file: SEEK_DATA says everything and mincore(2) what this mapping has
 * touched, but CONTINUE maps what is present and says EFAULT where nothing is.  That a page was
 * allocated and never touched cannot be told: as MAP_POPULATE leaves it, the VMM would not trap on
 * it.
 */
static int hugetlb_take_stock(const struct pf_guest *guest, uint32_t region, uint64_t first,
			      uint64_t count, struct pf_memfile_stock *out, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t mapped;
	pf_auto_fd int probe = -1;
	struct stat st;

	if (fstat(at->fd, &st))
		return pf_err_sys(err, "looking at its memory file");
	if (st.st_blocks == 0)
		return 0;
	probe = open_probe(at, err);
	if (probe < 0)
		return -1;
	for (uint64_t page = first; page < first + count; page++) {
		uint64_t address = (uintptr_t)at->map + page * at->shape.page_size;
		enum pf_map_result result =
			pf_uffd_continue(probe, address, at->shape.page_size, &mapped);

		if (result == PF_MAP_ABSENT)
			continue;
		if (result != PF_MAP_DONE)
			return pf_err_sys(err, "looking whether page %" PRIu64 " is present", page);
		pf_memfile_count(out, page, 1);
	}
	return 0;
}

/*
 * One page, which is progress: the caller comes for the next one.  Written also where zeros are
 * wanted and the page may be new: it can be what a process that died has left half written.
 */
static int hugetlb_populate(const struct pf_guest *guest, uint32_t region, uint64_t first,
			    uint32_t count, const uint8_t *bytes)
{
	(void)count;
	if (!guest->region[region].map) { /* dropped, and could not be reserved again */
		errno = ENOMEM;
		return -1;
	}
	if (pf_row_file_allocate(guest, region, first))
		return -1;
	pf_fault(PF_FAULT_ALLOCATED);
	return pf_row_map_write(guest, region, first, bytes) ? -1 : 1;
}

/* A page that is present stays what it is, as with a memfd. */
static int hugetlb_fill_hole(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	return pf_row_file_allocate(guest, region, page);
}

/* With a page that is punched goes its reservation: mapped anew, the file gets it again. */
static int hugetlb_drop(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	if (pf_row_file_drop(guest, region, err))
		return -1;
	if (reserve(&guest->region[region], err))
		return pf_err_prefix(err, "region %" PRIu32 ", after its pages were dropped",
				     region);
	return 0;
}

/* MISSING too: MINOR alone would give an absent page zeros without an event. */
const struct pf_placer pf_placer_hugetlb = {
	.name = "hugetlbfs",
	.modes = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	.ioctls = PF_ROW_CONTINUE,
	.empty = "hand over an empty file: fallocate(FALLOC_FL_PUNCH_HOLE) what is there; to "
		 "reserve "
		 "pages map it without MAP_NORESERVE and MAP_POPULATE",
	.attach = hugetlb_attach,
	.take_stock = hugetlb_take_stock,
	.populate = hugetlb_populate,
	.map = pf_row_file_map,
	.fill_hole = hugetlb_fill_hole,
	.drop = hugetlb_drop,
};
