/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/stock.c - see memory/stock.h. */
#include "memory/stock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "memory/memfile.h"
#include "memory/row.h"
#include "memory/touch.h"

#define BATCH_PAGES 512u
#define FOLIO_PAGES 512u /* the largest piece in which tmpfs allocates (huge=always) */

int pf_stock_declared(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];

	/* 0 is what a table made by hand says: nothing. */
	if (at->kind == PF_MEMORY_MEMFD || at->kind == PF_MEMORY_GUEST_MEMFD ||
	    at->populated <= PF_POPULATED_NONE)
		return 0;
	if (at->kind != PF_MEMORY_PRIVATE) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "it declares populated pages, which this version takes over in memfd, tmpfs "
			   "and guest_memfd only");
		return pf_err_hint(err, "%s, and declare `none`", at->placer->empty);
	}
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "it declares populated pages, but nobody except its own process can empty private "
		   "memory");
	return pf_err_hint(err, "madvise(MADV_DONTNEED) what was touched, and declare `none`");
}

/* The first page of a listed range at or after `from`, and the end of that range; else as they are. */
static void next_listed(const struct pf_guest *guest, uint32_t region, uint64_t from,
			uint64_t *out_first, uint64_t *out_end)
{
	const struct pf_guest_region *at = &guest->region[region];

	for (uint32_t i = 0; i < at->populated_count; i++) {
		const struct pf_run *range = &guest->populated[at->populated_first + i];
		uint64_t first = range->first > from ? range->first : from;

		if (range->first + range->count <= from || first >= *out_first)
			continue;
		*out_first = first;
		*out_end = range->first + range->count;
	}
}

/* Data in what lies between the listed ranges. */
static int check_unlisted(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t pages = pf_region_pages(&at->shape), from = 0, first, end;
	struct pf_memfile_stock stock = {0};

	while (from < pages) {
		first = end = pages;
		next_listed(guest, region, from, &first, &end);
		if (first > from &&
		    at->placer->take_stock(guest, region, from, first - from, &stock, err))
			return -1;
		from = end;
	}
	if (stock.pages == 0)
		return 0;
	/* What fallocate(2) has made of guest_memfd traps like a hole; what holds data is refused, since
	 * some kernels do not let it be written again. */
	if (at->populated == PF_POPULATED_PREALLOCATED) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "%" PRIu64 " of its preallocated pages hold data, which not every kernel lets "
			   "be written again; the first range is pages %" PRIu64 " to %" PRIu64,
			   stock.pages, stock.first, stock.last);
		return pf_err_hint(err, "preallocate by fallocate(2) without touching, or declare a list, "
					"which is punched");
	}
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "%" PRIu64 " pages of its memory file are present already "
		   "and nobody declared them; the first range is pages %" PRIu64 " to %" PRIu64,
		   stock.pages, stock.first, stock.last);
	return pf_err_hint(err, "%s", at->placer->empty);
}

/* ---- preallocated ---- */

/*
 * proc(5), /proc/pid/pagemap: bit 56, nobody but the reader maps the page.  So what is read in a
 * mapping of our own, and is not ours alone, is mapped by the VMM, and would not trap.
 */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)

static int read_pagemap(int pagemap, const uint8_t *at, uint32_t count, uint64_t *out,
			struct pf_err *err)
{
	size_t length = count * sizeof(*out);
	uint8_t byte;
	ssize_t got;

	for (uint32_t i = 0; i < count; i++)
		if (pf_touch_read(&byte, at + (size_t)i * 4096, 1))
			return pf_err_sys(err, "touching pages of its memory file");
	got = pread(pagemap, out, length, (off_t)((uintptr_t)at / 4096 * sizeof(*out)));
	if (got == (ssize_t)length)
		return 0;
	errno = got < 0 ? errno : EIO;
	return pf_err_sys(err, "looking whether its pages are mapped");
}

static void count_mapped(const uint64_t *entry, uint32_t count, uint64_t first,
			 struct pf_memfile_stock *mapped)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!(entry[i] & PAGEMAP_PRESENT) || entry[i] & PAGEMAP_EXCLUSIVE)
			continue;
		pf_memfile_count(mapped, first + i, 1);
	}
}

/* Maps a piece of the file, touches every page of it (all hold data) and looks who else maps it. */
static int look_at_piece(const struct pf_guest_region *at, int pagemap, uint64_t first,
			 uint32_t count, struct pf_memfile_stock *mapped, struct pf_err *err)
{
	uint64_t entry[BATCH_PAGES];
	void *piece = mmap(NULL, (size_t)count * 4096, PROT_READ, MAP_SHARED, at->fd,
			   (off_t)(at->offset + first * 4096));
	int failed;

	if (piece == MAP_FAILED)
		return pf_err_sys(err, "mapping pages of its memory file");
	failed = read_pagemap(pagemap, piece, count, entry, err);
	munmap(piece, (size_t)count * 4096);
	if (!failed)
		count_mapped(entry, count, first, mapped);
	return failed;
}

static int check_unmapped(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	pf_auto_fd int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t pages = pf_region_pages(&at->shape), from = 0;
	struct pf_memfile_stock data, mapped = {0};

	pf_touch_init();
	while (from < pages) {
		uint32_t count;

		if (pf_memfile_next_data(at->fd, at->offset, at->shape.page_size, from, pages - from,
					 &data, err))
			return -1;
		if (data.pages == 0)
			break;
		if (pagemap < 0) {
			pf_err_set(err, PF_ERR_PROTOCOL,
				   "its preallocated pages hold data from page %" PRIu64
				   " on, and this agent may not look whether they are mapped",
				   data.first);
			return pf_err_hint(err, "preallocate by fallocate(2) without touching, or "
						"declare a list, which is punched");
		}
		count = data.pages < BATCH_PAGES ? (uint32_t)data.pages : BATCH_PAGES;
		if (look_at_piece(at, pagemap, data.first, count, &mapped, err))
			return -1;
		from = data.first + count;
	}
	if (mapped.pages == 0)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "%" PRIu64 " of its preallocated pages are mapped, and would not trap; the first "
		   "range is pages %" PRIu64 " to %" PRIu64,
		   mapped.pages, mapped.first, mapped.last);
	return pf_err_hint(err, "madvise(MADV_DONTNEED) them in every mapping: the pages stay, their "
				"mappings go");
}

int pf_stock_check(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];

	if (at->fd < 0)
		return 0; /* only the VMM could look: what is there shows when its copy comes */
	if (at->populated == PF_POPULATED_PREALLOCATED && at->kind == PF_MEMORY_MEMFD)
		return check_unmapped(guest, region, err);
	return check_unlisted(guest, region, err);
}

/* Any of the file's pages [first, first + FOLIO_PAGES) that are in this region has come. */
static bool any_came(const struct pf_guest *guest, uint32_t region, uint64_t first)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t begin = at->offset / 4096, pages = pf_region_pages(&at->shape);
	uint64_t page = first > begin ? first - begin : 0;

	for (; page < pages && begin + page < first + FOLIO_PAGES; page++)
		if (!pf_journal_untouched(&guest->journal, region, page))
			return true;
	return false;
}

bool pf_stock_unexpected(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t first = at->offset / 4096 + page;

	if ((at->kind != PF_MEMORY_MEMFD && at->kind != PF_MEMORY_GUEST_MEMFD) ||
	    at->populated == PF_POPULATED_PREALLOCATED)
		return false;
	/* What comes with a neighbour comes on tmpfs: guest_memfd allocates page by page. */
	if (at->kind == PF_MEMORY_GUEST_MEMFD)
		return pf_journal_untouched(&guest->journal, region, page);
	first -= first % FOLIO_PAGES;
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (guest->region[r].file == at->file && guest->region[r].kind == at->kind &&
		    any_came(guest, r, first))
			return false;
	return true;
}

int pf_stock_clear(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];

	for (uint32_t i = 0; i < at->populated_count; i++) {
		const struct pf_run *range = &guest->populated[at->populated_first + i];
		uint64_t page_size = at->shape.page_size;

		if (fallocate(at->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(at->offset + range->first * page_size),
			      (off_t)(range->count * page_size)) != 0)
			return pf_err_sys(err, "dropping the %" PRIu32
					  " populated pages from page %" PRIu64 " on",
					  range->count, range->first);
		if (at->placer->set_traps &&
		    at->placer->set_traps(guest, region, range->first, range->count, true))
			return pf_err_sys(err, "setting the bits of the %" PRIu32
					  " populated pages from page %" PRIu64 " on",
					  range->count, range->first);
	}
	return 0;
}
