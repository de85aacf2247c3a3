/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm/bar.c - see vmm/bar.h. */
#include "vmm/bar.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PIECE_BYTES 512u /* of a bitmap, read at a time */
#define PIECE_PAGES (8u * PIECE_BYTES)

/* Of a destination, and of a kind whose poison does not hold. */
static bool needs_bars(const struct pf_vmm_region *region)
{
	return region->kind == PF_MEMORY_MEMFD && region->mapping_count > 0;
}

/* ---- bitmaps ---- */

static int new_bitmap(uint64_t pages, struct pf_err *err)
{
	pf_auto_fd int fd = memfd_create("pageferry-lost-pages", MFD_CLOEXEC);
	uint64_t bytes = (pages + 63) / 64 * 8;
	int failed;

	if (fd < 0)
		return pf_err_sys(err, "creating a bitmap of lost pages");
	do
		failed = fallocate(fd, 0, 0, (off_t)bytes);
	while (failed && errno == EINTR);
	if (failed)
		return pf_err_sys(err, "having %" PRIu64 " bytes for a bitmap of lost pages", bytes);
	return pf_steal_fd(&fd);
}

int pf_bar_prepare(struct pf_vmm_bitmaps *bitmaps, struct pf_vmm_description *described, struct pf_err *err)
{
	struct pf_vmm_regions *regions = &described->message.regions;

	for (uint32_t i = 0; i < regions->count && described->fds < PF_UNIX_FDS_MAX; i++) {
		struct pf_vmm_region *region = &regions->region[i];
		int fd;

		if (!needs_bars(region) || region->bitmap_fd != PF_VMM_NO_FD)
			continue;
		fd = new_bitmap(pf_region_pages(&region->shape), err);
		if (fd < 0)
			return -1;
		bitmaps->fd[bitmaps->count++] = fd;
		region->bitmap_fd = (uint32_t)described->fds;
		described->fd[described->fds++] = fd;
	}
	return 0;
}

void pf_bar_done(struct pf_vmm_bitmaps *bitmaps)
{
	while (bitmaps->count > 0)
		pf_close_fd(&bitmaps->fd[--bitmaps->count]);
}

/* ---- bars ---- */

int pf_bar_open(struct pf_err *err)
{
	pf_auto_fd int fd = memfd_create("pageferry-lost", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return pf_err_sys(err, "creating a file without a byte");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return pf_err_sys(err, "sealing a file without a byte");
	return pf_steal_fd(&fd);
}

/* Who was blocked in the mapping that was there before is woken by nobody else: munmap(2) does not. */
int pf_bar_pages(int empty, int uffd, uint64_t start, uint64_t bytes, struct pf_err *err)
{
	struct uffdio_range range = {.start = start, .len = bytes};

	if (mmap((void *)(uintptr_t)start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0) ==
	    MAP_FAILED)
		return pf_err_sys(err, "mapping over the %" PRIu64 " bytes at 0x%" PRIx64, bytes, start);
	/* It fails where the VMM has closed it already, and then nobody waits. */
	(void)ioctl(uffd, UFFDIO_WAKE, &range);
	return 0;
}

/* One region's, whose pages [first, first + count) are lost. */
struct bars {
	const struct pf_vmm_description *described;
	const struct pf_vmm_region *region;
	int *empty; /* made when it is needed first */
	uint64_t first, count;
};

static int end_run(struct bars *bars, struct pf_err *err)
{
	uint64_t page_size = bars->region->shape.page_size, count = bars->count;

	if (count == 0)
		return 0;
	bars->count = 0;
	if (*bars->empty < 0)
		*bars->empty = pf_bar_open(err);
	if (*bars->empty < 0)
		return -1;
	for (uint32_t m = 0; m < bars->region->mapping_count; m++)
		if (pf_bar_pages(*bars->empty, bars->described->fd[bars->region->mapping[m].uffd],
				 bars->region->mapping[m].base + bars->first * page_size, count * page_size,
				 err))
			return -1;
	return 0;
}

static int read_piece(const struct bars *bars, uint64_t first, uint8_t bits[PIECE_BYTES], struct pf_err *err)
{
	int fd = bars->described->fd[bars->region->bitmap_fd];
	ssize_t got;

	memset(bits, 0, PIECE_BYTES);
	do
		got = pread(fd, bits, PIECE_BYTES, (off_t)(first / 8));
	while (got < 0 && errno == EINTR);
	return got < 0 ? pf_err_sys(err, "reading its bitmap of lost pages") : 0;
}

static int look_at(struct bars *bars, uint64_t page, bool lost, struct pf_err *err)
{
	if (!lost)
		return end_run(bars, err);
	if (bars->count++ == 0)
		bars->first = page;
	return 0;
}

static int bar_region(struct bars *bars, struct pf_err *err)
{
	static const uint8_t none[PIECE_BYTES];
	uint64_t pages = pf_region_pages(&bars->region->shape);
	uint8_t bits[PIECE_BYTES];

	for (uint64_t first = 0; first < pages; first += PIECE_PAGES) {
		if (read_piece(bars, first, bits, err))
			return -1;
		if (bars->count == 0 && memcmp(bits, none, sizeof(bits)) == 0)
			continue;
		for (uint64_t i = 0; i < PIECE_PAGES && first + i < pages; i++)
			if (look_at(bars, first + i, bits[i / 8] >> i % 8 & 1, err))
				return -1;
	}
	return end_run(bars, err);
}

/* For ever: the VMM's one is closed at `complete`, and traps end with the last. */
static void keep_traps(const struct bars *bars, struct pf_err *err)
{
	int kept = 0;

	for (uint32_t m = 0; kept >= 0 && m < bars->region->mapping_count; m++)
		kept = fcntl(bars->described->fd[bars->region->mapping[m].uffd], F_DUPFD_CLOEXEC, 3);
	pf_err_prefix(err, "region with id %" PRIu32 ": its lost pages can not all be barred",
		      bars->region->id);
	if (kept >= 0)
		pf_err_hint(err, "who touches one waits, or gets SIGBUS, as long as this process lives; is "
				 "vm.max_map_count too low?");
	else
		pf_err_hint(err, "they read zeros once the userfaultfd is closed: keep it open");
}

int pf_bar_lost(const struct pf_vmm_description *described, struct pf_err *err)
{
	const struct pf_vmm_regions *regions = &described->message.regions;
	pf_auto_fd int empty = -1;
	struct pf_err this;
	int failed = 0;

	for (uint32_t i = 0; i < regions->count; i++) {
		struct bars bars = {.described = described, .region = &regions->region[i], .empty = &empty};

		if (!needs_bars(bars.region) || bars.region->bitmap_fd == PF_VMM_NO_FD ||
		    bar_region(&bars, &this) == 0)
			continue;
		keep_traps(&bars, &this);
		if (!failed)
			*err = this;
		failed = -1;
	}
	return failed;
}
