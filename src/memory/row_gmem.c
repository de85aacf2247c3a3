/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/row_gmem.c - the rows of guest_memfd, and which of them this kernel can do.
 *
 * Two traps hold a page.  userfaultfd holds what goes through a mapping: the VMM, and KVM itself
 * (string I/O, page tables, clocks); CONTINUE lets it go on.  A vCPU does not go through a mapping: KVM
 * looks into the userfault bitmap of the memory slot, and a bit that is clear lets the vCPU in.  So to
 * map is both, and the bit is cleared with release order after the page's last byte.
 *
 *   write            pwrite(2), whole pages, filled under the folio lock
 *   without write    a copy through a mapping of the agent's own; what traps MINOR does not show it
 *   MISSING only     pwrite(2); a page can be mapped as soon as it is filled, without an event, so
 *                    that it must be filled at once, which the VMM has to declare, and only once
 *
 * The bitmap is the VMM's file too, and touched under the guard.  Any thread; blocks only in filling
 * pages; fails with errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "memory/gmem.h"
#include "memory/row.h"
#include "memory/touch.h"

#define WORD_BITS (8 * sizeof(unsigned long))
#define BOTH (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR)
#define NO_USERFAULT                                                                               \
	"its vCPUs' accesses could not be trapped, and would read zeros"
#define NEEDS_USERFAULT                                                                            \
	"give its memory slot KVM_MEM_USERFAULT and a bitmap in a memfd, and hand that over; it takes " \
	"a kernel with KVM userfault (KVM_CAP_USERFAULT)"

/* ---- the bitmap ---- */

/* The bits of one word that pages [first, end) have; *at: the word. */
static unsigned long word_mask(uint64_t first, uint64_t end, uint64_t *at)
{
	uint64_t from = first % WORD_BITS, count = end - first;

	*at = first / WORD_BITS;
	if (count > WORD_BITS - from)
		count = WORD_BITS - from;
	return (count == WORD_BITS ? ~0ul : (1ul << count) - 1) << from;
}

static int gmem_set_traps(const struct pf_guest *guest, uint32_t region, uint64_t first,
			  uint64_t count, bool on)
{
	const struct pf_guest_region *to = &guest->region[region];
	uint64_t end = first + count, at;

	while (first < end) {
		unsigned long bits = word_mask(first, end, &at);

		if (pf_touch_bits(to->bits + at, bits, on))
			return -1;
		first += (uint64_t)__builtin_popcountl(bits);
	}
	return 0;
}

/* A page that no vCPU traps on, and that nobody has declared. */
static int check_traps(const struct pf_guest_region *of, uint64_t first, uint64_t count,
		       struct pf_err *err)
{
	uint64_t end = first + count, at;

	while (first < end) {
		unsigned long bits = word_mask(first, end, &at), word;

		if (pf_touch_read(&word, of->bits + at, sizeof(word)))
			return pf_err_sys(err, "reading its userfault bitmap");
		if ((word & bits) != bits) {
			first += (uint64_t)__builtin_ctzl(bits & ~word) - first % WORD_BITS;
			pf_err_set(err, PF_ERR_PROTOCOL,
				   "the bit of page %" PRIu64
				   " in its userfault bitmap is clear: a vCPU would read zeros there",
				   first);
			return pf_err_hint(err, "set every bit before the bitmap is handed over, or "
						"declare the page populated");
		}
		first += (uint64_t)__builtin_popcountl(bits);
	}
	return 0;
}

static int check_bitmap(const struct pf_guest_region *at, struct pf_err *err)
{
	int flags = fcntl(at->bitmap_fd, F_GETFL), seals = fcntl(at->bitmap_fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (fstatfs(at->bitmap_fd, &fs) || fstat(at->bitmap_fd, &st))
		return pf_err_sys(err, "looking at its userfault bitmap");
	if (fs.f_type != TMPFS_MAGIC || !S_ISREG(st.st_mode) || (flags & O_ACCMODE) != O_RDWR ||
	    (seals >= 0 && seals & F_SEAL_WRITE))
		return pf_memfile_refuse_bitmap(err);
	if ((uint64_t)st.st_size >= at->bits_bytes)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "its userfault bitmap has %lld bytes, too short for a bit for each of its %" PRIu64
		   " pages (%zu bytes)",
		   (long long)st.st_size, pf_region_pages(&at->shape), at->bits_bytes);
	return pf_err_hint(err, "set its length with ftruncate(2) first");
}

static int map_bitmap(struct pf_guest_region *at, struct pf_err *err)
{
	void *map;

	if (!at->has_bitmap) {
		pf_err_set(err, PF_ERR_PROTOCOL, "it has no userfault bitmap: " NO_USERFAULT);
		return pf_err_hint(err, NEEDS_USERFAULT);
	}
	at->bits_bytes = (pf_region_pages(&at->shape) + WORD_BITS - 1) / WORD_BITS *
			 sizeof(unsigned long);
	if (check_bitmap(at, err))
		return -1;
	map = mmap(NULL, at->bits_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, at->bitmap_fd, 0);
	if (map == MAP_FAILED)
		return pf_err_sys(err, "mapping its userfault bitmap");
	at->bits = map;
	return 0;
}

/* ---- pages ---- */

/* Some kernels do not overwrite a page that is there, and say EEXIST; an older proposal says ENOSPC,
 * and has no other use for it. */
static int gmem_write(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		      const uint8_t *bytes)
{
	int done = pf_row_file_write(guest, region, first, count, bytes);
	bool there = false;

	if (done < 0 && errno == ENOSPC &&
	    pf_gmem_stretch(guest->region[region].map, first, 1, &there) == 1)
		errno = there ? EEXIST : ENOSPC;
	return done;
}

/*
 * Where a page shows without an event, whoever has met one that was there while the journal had forgotten it
 * (a process that died, a write that failed further on) may have changed it: it is not written again.
 */
static int gmem_write_absent(const struct pf_guest *guest, uint32_t region, uint64_t first,
			     uint32_t count, const uint8_t *bytes)
{
	bool there = false;
	uint32_t pages = pf_gmem_stretch(guest->region[region].map, first, count, &there);

	if (pages > 0 && !there)
		return gmem_write(guest, region, first, pages, bytes);
	if (pages > 0)
		errno = EEXIST;
	return -1;
}

static int gmem_copy(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		     const uint8_t *bytes)
{
	for (uint32_t i = 0; i < count; i++)
		if (pf_row_map_write(guest, region, first + i, bytes ? bytes + i * PF_GMEM_PAGE : NULL))
			return i > 0 ? (int)i : -1;
	return (int)count;
}

/* The first look at a page that is absent makes it one of zeros, and one that is there is left alone:
 * a vCPU, whose bit is clear, may have filled it meanwhile. */
static int gmem_fill_hole(const struct pf_guest *guest, uint32_t region, uint64_t page)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint8_t byte;

	return pf_touch_read(&byte, at->map + page * at->shape.page_size, 1);
}

/* Before any vCPU runs: what is punched is mapped nowhere, and each bit traps again. */
static int gmem_drop(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	if (gmem_set_traps(guest, region, 0, pf_region_pages(&guest->region[region].shape), true))
		return pf_err_sys(err, "setting the userfault bitmap of region %" PRIu32, region);
	return pf_row_file_drop(guest, region, err);
}

static int gmem_take_stock(const struct pf_guest *guest, uint32_t region, uint64_t first,
			   uint64_t count, struct pf_memfile_stock *out, struct pf_err *err)
{
	const struct pf_guest_region *at = &guest->region[region];
	uint64_t end = first + count;

	if (check_traps(at, first, count, err))
		return -1;
	while (first < end) {
		bool there = false;
		uint32_t pages = pf_gmem_stretch(at->map, first, end - first, &there);

		if (pages == 0)
			return pf_err_sys(err, "looking for pages that are present in its memory file");
		if (there)
			pf_memfile_count(out, first, pages);
		first += pages;
	}
	return 0;
}

/* ---- which row ---- */

#define ROW(as, traps, needs, fill, ...)                                                           \
	{                                                                                          \
		.name = as, .modes = traps, .ioctls = needs, .populate = fill,                     \
		.empty = "hand over an empty file: fallocate(FALLOC_FL_PUNCH_HOLE) what was "      \
			 "touched, or list it as populated",                                       \
		.take_stock = gmem_take_stock, .map = pf_row_file_map,                             \
		.set_traps = gmem_set_traps, .fill_hole = gmem_fill_hole, .drop = gmem_drop,       \
		__VA_ARGS__                                                                        \
	}

/* That CONTINUE works without MINOR is found out by trying: it is not among what is offered then. */
static const struct pf_placer by_write = ROW("guest_memfd", BOTH, PF_ROW_CONTINUE, gmem_write),
			      by_copy = ROW("guest_memfd without write", BOTH, PF_ROW_CONTINUE,
					    gmem_copy),
			      missing_only = ROW("guest_memfd, MISSING only",
						 UFFDIO_REGISTER_MODE_MISSING, 0, gmem_write_absent,
						 .shows_unasked = true);

/* Nothing is written: ESPIPE without GUEST_MEMFD_FLAG_WRITE, or on a kernel that has none. */
static bool takes_writes(int fd)
{
	return pwrite(fd, pf_row_zeros, 0, 0) == 0;
}

static bool traps(int uffd, const struct pf_guest_region *at, uint64_t modes)
{
	struct uffdio_register what = {.range = {(uintptr_t)at->map, at->shape.size},
				       .mode = modes};

	return ioctl(uffd, UFFDIO_REGISTER, &what) == 0;
}

static int lacks(struct pf_err *err, const char *what)
{
	pf_err_sys(err, "this kernel's userfaultfd %s on guest_memfd", what);
	return pf_err_hint(err, "it takes a kernel with userfaultfd on guest_memfd, MISSING and MINOR; "
				"`pageferry probe` says what this one has");
}

/* On the agent's own mapping, so that it is the kernel who is asked, and not the VMM. */
static int find_modes(const struct pf_guest_region *at, uint64_t *out_modes, struct pf_err *err)
{
	pf_auto_fd int uffd = pf_uffd_open_own(err);
	enum pf_map_result result;
	uint64_t mapped;

	if (uffd < 0)
		return -1;
	*out_modes = BOTH;
	if (!traps(uffd, at, BOTH)) {
		*out_modes = UFFDIO_REGISTER_MODE_MISSING;
		if (!traps(uffd, at, UFFDIO_REGISTER_MODE_MISSING) &&
		    traps(uffd, at, UFFDIO_REGISTER_MODE_MINOR)) {
			errno = EINVAL;
			return lacks(err, "traps MINOR, but not MISSING,");
		}
		if (!traps(uffd, at, UFFDIO_REGISTER_MODE_MISSING))
			return lacks(err, "traps nothing");
	}
	result = pf_uffd_continue(uffd, (uintptr_t)at->map, PF_GMEM_PAGE, &mapped);
	if (result == PF_MAP_FAILED)
		return lacks(err, "cannot CONTINUE a page");
	return 0;
}

static int choose(struct pf_guest_region *at, struct pf_err *err)
{
	bool writes = takes_writes(at->fd);
	uint64_t modes;

	if (find_modes(at, &modes, err))
		return -1;
	at->placer = modes != BOTH ? &missing_only : writes ? &by_write : &by_copy;
	if (at->placer != &missing_only)
		return 0;
	if (!writes) {
		pf_err_set(err, PF_ERR_SYSTEM,
			   "this kernel's userfaultfd traps MISSING only on guest_memfd, and the file "
			   "has no write(2): half a page could be seen");
		return pf_err_hint(err, "it takes MINOR, or GUEST_MEMFD_FLAG_WRITE");
	}
	if (at->fill_atomic && at->populated != PF_POPULATED_PREALLOCATED)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "this kernel's userfaultfd traps MISSING only on guest_memfd: a page can be seen as "
		   "soon as the file has it, and %s",
		   at->fill_atomic ? "this one is preallocated"
				   : "its VMM does not declare that it then has all of it");
	return pf_err_hint(err, at->fill_atomic ? "hand over an empty file"
						: "declare fill_atomic, if write(2) fills a page under "
						  "its lock, or use a kernel that traps MINOR too");
}

static int gmem_attach(struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	struct pf_guest_region *at = &guest->region[region];

	pf_touch_init();
	if (map_bitmap(at, err))
		return -1;
	at->map = pf_gmem_map(at->fd, at->offset, at->shape.size, true, err);
	return at->map ? choose(at, err) : -1;
}

/* What there is before the kernel was asked. */
const struct pf_placer pf_placer_gmem = {.name = "guest_memfd", .attach = gmem_attach};
