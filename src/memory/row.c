/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/row.c - see memory/row.h. */
#include "memory/row.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/reader.h"
#include "memory/touch.h"

const uint8_t pf_row_zeros[PF_RUN_BYTES_MAX];

const struct pf_placer *pf_placer_of(enum pf_memory_kind kind)
{
	static const struct pf_placer *const placers[] = {
		[PF_MEMORY_MEMFD] = &pf_placer_memfd,
		[PF_MEMORY_GUEST_MEMFD] = &pf_placer_gmem,
		[PF_MEMORY_HUGETLBFS] = &pf_placer_hugetlb,
		[PF_MEMORY_PRIVATE] = &pf_placer_private,
	};

	return (size_t)kind < sizeof(placers) / sizeof(placers[0]) ? placers[kind] : NULL;
}

uint64_t pf_row_file_offset(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	return guest->region[region].offset + page * guest->region[region].shape.page_size;
}

void pf_row_detach(struct pf_guest *guest, uint32_t region)
{
	struct pf_guest_region *at = &guest->region[region];

	if (at->map)
		munmap(at->map, at->shape.size);
	at->map = NULL;
	if (at->bits)
		munmap(at->bits, at->bits_bytes);
	at->bits = NULL;
}

int pf_row_file_write(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		      const uint8_t *bytes)
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

#define PIECE ((size_t)32 << 10) /* a copy in smaller ones takes longer: 20 % with 4 KiB, 2 % with these */
#define TAKEN_AWAY_MOST 16 /* and then it is tried again later, as whatever cannot be written now */

static size_t piece_of(size_t page_size)
{
	return page_size < PIECE ? page_size : PIECE;
}

static int put_pieces(uint8_t *page, const uint8_t *bytes, size_t page_size)
{
	const size_t piece = piece_of(page_size);

	for (size_t at = 0; at < page_size; at += piece)
		if (pf_touch_write(page + at, bytes + at, piece))
			return -1;
	return 0;
}

/*
 * A page that was punched while it was written, all of it, is a new one from there on, whose beginning is zeros.
 * Since the pieces went there in ascending order, the first that should be something else tells: it is wrong, or
 * nothing behind it is.
 */
static int is_whole(const uint8_t *page, const uint8_t *bytes, size_t page_size, bool *out_whole)
{
	const size_t piece = piece_of(page_size);

	for (size_t at = 0; at < page_size; at += piece) {
		if (pf_touch_compare(page + at, bytes + at, piece, out_whole))
			return -1;
		if (!*out_whole || !pf_all_zero(bytes + at, piece))
			break;
	}
	return 0;
}

int pf_row_map_write(const struct pf_guest *guest, uint32_t region, uint64_t page, const uint8_t *bytes)
{
	const struct pf_guest_region *at = &guest->region[region];
	size_t page_size = at->shape.page_size;
	uint8_t *to = at->map + page * page_size;
	bool whole = false;

	if (!bytes)
		return pf_touch_zero(to, page_size);
	for (int tries = 0; tries < TAKEN_AWAY_MOST && !whole; tries++)
		if (put_pieces(to, bytes, page_size) || is_whole(to, bytes, page_size, &whole))
			return -1;
	if (whole)
		return 0;
	errno = EBUSY;
	return -1;
}

static int change(const struct pf_guest_region *at, int mode, uint64_t offset, uint64_t length)
{
	int failed;

	do
		failed = fallocate(at->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
	while (failed && errno == EINTR);
	return failed;
}

int pf_row_file_allocate(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	return change(&guest->region[region], 0, pf_row_file_offset(guest, region, page),
		      guest->region[region].shape.page_size);
}

int pf_row_file_drop(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];

	if (change(at, FALLOC_FL_PUNCH_HOLE, at->offset, at->shape.size))
		return pf_err_sys(err, "dropping the pages of region %" PRIu32, region);
	if (at->populated != PF_POPULATED_PREALLOCATED ||
	    change(at, 0, at->offset, at->shape.size) == 0)
		return 0;
	pf_err_sys(err, "reserving the %" PRIu64 " preallocated bytes of region %" PRIu32
		   " again, after its pages were dropped", at->shape.size, region);
	return pf_err_hint(err, "make room for the guest: in the file system of its memory file, and "
				"within the limits of the agent's control group");
}

enum pf_map_result pf_row_file_map(const struct pf_guest *guest, uint32_t region, uint32_t mapping,
				   uint64_t first, uint32_t count, uint32_t *out_pages)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t page_size = at->shape.page_size, mapped;
	enum pf_map_result result;

	result = pf_uffd_continue(guest->uffd[at->mapping[mapping].uffd].fd,
				  at->mapping[mapping].base + first * page_size,
				  count * page_size, &mapped);
	*out_pages = (uint32_t)(mapped / page_size);
	return result;
}
