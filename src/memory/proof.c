/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/proof.c - see memory/proof.h. */
#include "memory/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "memory/row.h"

#define ROOM                                                                                       \
	"make room for the guest: in the file system of its memory file, and within the limits of the " \
	"agent's control group"
#define PIECE_MAX (UINT64_C(2) << 20) /* the largest in which tmpfs allocates */

static int punch(const struct pf_guest_region *at, uint64_t from, uint64_t length)
{
	int failed;

	do
		failed = fallocate(at->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				   (off_t)length);
	while (failed && errno == EINTR);
	return failed;
}

/*
 * guest_memfd does not show what was allocated and never written.  0, or -1 with errno; *out_grown: bytes
 * that the file has more than before, none if the page was reserved.
 */
static int have_page(const struct pf_guest *guest, uint32_t region, uint64_t page,
		     uint64_t *out_grown)
{
	const struct pf_guest_region *at = &guest->region[region];
	struct stat before, after;

	if (at->kind == PF_MEMORY_GUEST_MEMFD) { /* which counts no blocks */
		*out_grown = at->populated == PF_POPULATED_PREALLOCATED ? 0 : at->shape.page_size;
		return at->placer->populate(guest, region, page, 1, NULL) == 1 || errno == EEXIST
			       ? 0
			       : -1;
	}
	if (fstat(at->fd, &before) || pf_row_file_allocate(guest, region, page) ||
	    fstat(at->fd, &after))
		return -1;
	*out_grown = (uint64_t)(after.st_blocks - before.st_blocks) * 512;
	return 0;
}

/* Takes [offset, offset + length) from all mappings, and from the file unless it was reserved. */
static int take_back_range(struct pf_guest *guest, uint32_t region, uint64_t offset, uint64_t length,
			   bool reserved, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t page = (offset - at->offset) / at->shape.page_size;

	if (punch(at, offset, length))
		return pf_err_sys(err, "dropping page %" PRIu64 " of its memory file again", page);
	if (reserved && pf_row_file_allocate(guest, region, page))
		return pf_err_sys(err, "reserving page %" PRIu64 " of its memory file again", page);
	return 0;
}

/*
 * On tmpfs with huge=always the page's neighbours came with it, as far as its naturally aligned piece goes,
 * and go with it.  *offset: the page's, and then the piece's; returns its length.
 */
static uint64_t piece(const struct pf_guest_region *at, uint64_t grown, uint64_t *offset)
{
	bool is_piece = grown > at->shape.page_size && grown <= PIECE_MAX && (grown & (grown - 1)) == 0;
	uint64_t length = is_piece ? grown : at->shape.page_size;

	*offset = *offset / length * length;
	return length;
}

static int take_back(struct pf_guest *guest, uint32_t region, uint64_t page, uint64_t grown,
		     struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t offset = pf_row_file_offset(guest, region, page);
	uint64_t length = piece(at, grown, &offset);

	/* With a huge page goes its reservation: the row sees to that. */
	if (at->kind == PF_MEMORY_HUGETLBFS)
		return at->placer->drop(guest, region, err);
	return take_back_range(guest, region, offset, length, grown == 0, err);
}

static int note_page(struct pf_guest *guest, uint32_t region, uint64_t page, struct pf_err *err)
{
	struct pf_probing_note *note = guest->probing.note;
	struct stat st;

	if (fstat(guest->region[region].fd, &st))
		return pf_err_sys(err, "looking at its memory file");
	note->dev = st.st_dev;
	note->ino = st.st_ino;
	note->offset = pf_row_file_offset(guest, region, page);
	note->blocks = (uint64_t)st.st_blocks;
	note->grown = 0;
	atomic_store(&note->stage, PF_PROBING_ASKED);
	return 0;
}

typedef enum pf_map_result ask_fn(int fd, uint64_t start, uint64_t length);

static enum pf_map_result ask_mapping(struct pf_guest *guest, uint32_t region, uint32_t mapping,
				      uint64_t page, ask_fn *ask)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint32_t uffd = at->mapping[mapping].uffd;
	uint64_t until = pf_now_ns() + PF_MM_CHANGES_NS;
	enum pf_map_result result;

	/* Who touches it all the same, against the rules, must not be let in to zeros. */
	do
		result = ask(guest->uffd[uffd].fd,
			     at->mapping[mapping].base + page * at->shape.page_size,
			     at->shape.page_size);
	while (result == PF_MAP_AGAIN && pf_guest_let_discard(guest, uffd, until));
	return result;
}

static int refuse_mapping(uint32_t mapping, uint64_t page, bool has, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_PROTOCOL,
		   has ? "mapping %" PRIu32 " does not show page %" PRIu64
			 ", which its memory file has: something else is mapped there"
		       : "mapping %" PRIu32 " shows a page %" PRIu64
			 ", which its memory file has not: something else is mapped there",
		   mapping, page);
	return pf_err_hint(err, "name the address where this file is mapped shared, from the region's "
				"offset on");
}

/* has: the file has the page. */
static int ask_all(struct pf_guest *guest, uint32_t region, uint64_t page, bool has,
		   struct pf_err *err)
{
	for (uint32_t m = 0; m < guest->region[region].mappings; m++) {
		enum pf_map_result result = ask_mapping(guest, region, m, page, pf_uffd_try_continue);
		bool shows = result == PF_MAP_DONE || result == PF_MAP_EXISTS;

		if (!shows && result != PF_MAP_ABSENT && result != PF_MAP_UNMAPPED)
			return pf_err_sys(err, "looking whether mapping %" PRIu32
					  " shows page %" PRIu64 " of its memory file", m, page);
		if (shows != has)
			return refuse_mapping(m, page, has, err);
	}
	return 0;
}

/* For ask_shared(): takes the page, and what came with it, from the file. */
static int take_away(struct pf_guest *guest, uint32_t region, uint64_t page, uint64_t grown,
		     struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t offset = pf_row_file_offset(guest, region, page), length = piece(at, grown, &offset);

	/* With a huge page goes its reservation, which the next one is to come from. */
	if (at->kind == PF_MEMORY_HUGETLBFS)
		return at->placer->drop(guest, region, err);
	return take_back_range(guest, region, offset, length, false, err);
}

/*
 * A private mapping shows the file's pages too, and what is written to it never reaches the file.  But a page
 * of zeros that is placed there, where the file has none, is the mapping's own (mm/userfaultfd.c,
 * mm/hugetlb.c; hugetlbfs has none to place, and is given a copy).
 */
static int ask_shared(struct pf_guest *guest, uint32_t region, uint32_t mapping, uint64_t page, uint64_t grown,
		      struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	bool huge = at->kind == PF_MEMORY_HUGETLBFS;
	struct pf_memfile_stock stock = {0};
	enum pf_map_result result;

	if (take_away(guest, region, page, grown, err))
		return -1;
	result = ask_mapping(guest, region, mapping, page,
			     huge ? pf_uffd_try_zeros : pf_uffd_try_zeropage);
	if (result != PF_MAP_DONE && result != PF_MAP_EXISTS) {
		pf_err_sys(err, "looking whether mapping %" PRIu32 " is shared, with page %" PRIu64, mapping,
			   page);
		return pf_err_hint(err, ROOM);
	}
	if (at->placer->take_stock(guest, region, page, 1, &stock, err))
		return -1;
	if (stock.pages > 0)
		return 0;
	if (result == PF_MAP_EXISTS)
		return refuse_mapping(mapping, page, false, err);
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "mapping %" PRIu32 " is private: what is written there would not reach its memory file",
		   mapping);
	return pf_err_hint(err, "map the memory file with MAP_SHARED");
}

/* Of guest_memfd there is no private mapping. */
static int ask_all_shared(struct pf_guest *guest, uint32_t region, uint64_t page, uint64_t grown,
			  struct pf_err *err)
{
	if (guest->region[region].kind == PF_MEMORY_GUEST_MEMFD)
		return 0;
	for (uint32_t m = 0; m < guest->region[region].mappings; m++)
		if (ask_shared(guest, region, m, page, grown, err))
			return -1;
	return 0;
}

static int no_room(uint64_t page, struct pf_err *err)
{
	pf_err_sys(err, "allocating page %" PRIu64 " of its memory file", page);
	return pf_err_hint(err, ROOM);
}

static int prove_page(struct pf_guest *guest, uint32_t region, uint64_t page, struct pf_err *err)
{
	struct pf_probing_note *note = guest->probing.note;
	struct pf_err later;
	int failed;

	if (note_page(guest, region, page, err))
		return -1;
	if (have_page(guest, region, page, &note->grown)) {
		atomic_store(&note->stage, PF_PROBING_NOTHING);
		return no_room(page, err);
	}
	atomic_store(&note->stage, PF_PROBING_THERE);
	failed = ask_all(guest, region, page, true, err);
	pf_fault(PF_FAULT_PROBED);
	if (!failed)
		failed = ask_all_shared(guest, region, page, note->grown, err);
	if (take_back(guest, region, page, note->grown, failed ? &later : err))
		return -1; /* noted still: the next one takes it back */
	atomic_store(&note->stage, PF_PROBING_NOTHING);
	/* Another file may have the page too. */
	if (failed || note->grown == 0)
		return failed;
	return ask_all(guest, region, page, false, err);
}

/* What the page that was asked for brought.  false: nothing to be taken back. */
static bool brought(const struct pf_guest_region *at, const struct stat *st,
		    const struct pf_probing_note *note, uint64_t *out_grown)
{
	*out_grown = note->grown;
	if (atomic_load(&note->stage) == PF_PROBING_THERE)
		return true;
	if (at->kind == PF_MEMORY_GUEST_MEMFD) { /* which counts no blocks */
		*out_grown = at->populated == PF_POPULATED_PREALLOCATED ? 0 : at->shape.page_size;
		return true;
	}
	/* A page that was reserved before holds no data yet, and stays. */
	if ((uint64_t)st->st_blocks <= note->blocks)
		return false;
	*out_grown = ((uint64_t)st->st_blocks - note->blocks) * 512;
	return true;
}

static int recover(struct pf_guest *guest, uint32_t region, const struct stat *st, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	const struct pf_probing_note *note = guest->probing.note;
	uint64_t offset = note->offset, length, grown;

	if (!brought(at, st, note, &grown))
		return 0;
	length = piece(at, grown, &offset);
	return take_back_range(guest, region, offset, length,
			       grown == 0 || at->populated == PF_POPULATED_PREALLOCATED, err);
}

int pf_proof_recover(struct pf_guest *guest, struct pf_err *err)
{
	struct pf_probing_note *note = guest->probing.note;

	for (uint32_t r = 0; atomic_load(&note->stage) != PF_PROBING_NOTHING && r < guest->table.count; r++) {
		const struct pf_guest_region *at = &guest->region[r];
		struct stat st;

		if (at->fd < 0 || note->offset - at->offset >= at->shape.size)
			continue;
		if (fstat(at->fd, &st))
			return pf_err_sys(err, "looking at the memory file of region %" PRIu32, r);
		if (st.st_dev != note->dev || st.st_ino != note->ino)
			continue;
		if (recover(guest, r, &st, err))
			return pf_err_prefix(err, "region %" PRIu32 ", which a process that died was proving", r);
		break;
	}
	/* Of another VMM's memory there is nothing to be taken back here. */
	atomic_store(&note->stage, PF_PROBING_NOTHING);
	return 0;
}

int pf_proof_check(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t last = pf_region_pages(&at->shape) - 1;

	if (at->fd < 0)
		return 0;
	if (prove_page(guest, region, 0, err))
		return -1;
	return last > 0 ? prove_page(guest, region, last, err) : 0;
}
