/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/memfile.c - see memory/memfile.h. */
#include "memory/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE /* linux/fcntl.h cannot be included beside fcntl.h */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* What each kind of memory file looks like; the others are not served. */
static const struct file_kind {
	const char *name, *wanted;
	long magic;
	uint32_t page_size;
} kinds[] = {
	[PF_MEMORY_MEMFD] = {"memfd", "a memfd without MFD_HUGETLB or a file on tmpfs is wanted",
			     TMPFS_MAGIC, 4096},
	[PF_MEMORY_GUEST_MEMFD] = {.name = "guest_memfd"},
	[PF_MEMORY_HUGETLBFS] = {"hugetlbfs file",
				 "a memfd of MFD_HUGETLB | MFD_HUGE_2MB or a file on hugetlbfs with "
				 "pages of 2 MiB is wanted",
				 HUGETLBFS_MAGIC, 2 << 20},
	[PF_MEMORY_PRIVATE] = {.name = "private anonymous"},
};

static int check_kind(int fd, enum pf_memory_kind kind, const struct pf_region_shape *shape,
		      struct pf_err *err)
{
	bool known = kind > 0 && (size_t)kind < sizeof(kinds) / sizeof(kinds[0]);
	const struct file_kind *is = &kinds[known ? kind : 0];
	struct statfs fs;

	if (!is->wanted) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory is of kind %s (%d), which is not supported",
			   known ? is->name : "unknown", (int)kind);
		return pf_err_hint(err,
				   "back the guest with a memfd or a file on tmpfs or hugetlbfs, "
				   "mapped shared");
	}
	if (fstatfs(fd, &fs))
		return pf_err_sys(err, "looking at the file system of its memory file");
	if (fs.f_type != is->magic) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file is said to be a %s, but is on a "
			   "file system of type 0x%lx",
			   is->name, (unsigned long)fs.f_type);
		return pf_err_hint(err, "%s", is->wanted);
	}
	if (fs.f_bsize != is->page_size) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file has pages of %ld bytes; those of a %s must have %" PRIu32,
			   (long)fs.f_bsize, is->name, is->page_size);
		return pf_err_hint(err, "%s", is->wanted);
	}
	if (shape->page_size != is->page_size) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "pages of %" PRIu32 " bytes, but a %s has pages of %" PRIu32,
			   shape->page_size, is->name, is->page_size);
		return pf_err_hint(err, "describe it with the page size of its memory");
	}
	return 0;
}

static int check_length(int fd, uint64_t offset, const struct pf_region_shape *shape,
			struct pf_err *err)
{
	struct stat st;
	uint64_t end;

	if (fstat(fd, &st))
		return pf_err_sys(err, "looking at its memory file");
	if (!S_ISREG(st.st_mode))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "its memory is not a regular file (mode 0%o)", st.st_mode);
	if (offset % shape->page_size != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "its offset 0x%" PRIx64 " in the memory file "
				  "is not a multiple of its page size",
				  offset);
	if (__builtin_add_overflow(offset, shape->size, &end) || end > (uint64_t)st.st_size) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file has %lld bytes, too short for %" PRIu64
			   " bytes at offset %" PRIu64,
			   (long long)st.st_size, shape->size, offset);
		return pf_err_hint(err, "set the file's length with ftruncate(2) first");
	}
	return 0;
}

static int check_access(int fd, bool writable, struct pf_err *err)
{
	int flags = fcntl(fd, F_GETFL), seals;

	if (flags < 0)
		return pf_err_sys(err, "looking at its memory file's descriptor");
	if (flags & O_PATH || ((flags & O_ACCMODE) != O_RDWR &&
			       (writable || (flags & O_ACCMODE) != O_RDONLY))) {
		pf_err_set(err, PF_ERR_PROTOCOL, "its memory file is not open for %s%s",
			   writable ? "reading and writing" : "reading",
			   flags & O_PATH ? " (O_PATH)" : "");
		return pf_err_hint(err, "hand over a descriptor that was opened with O_RDWR");
	}
	/* Linux then appends whatever offset pwrite(2) is given (its man page, BUGS). */
	if (writable && flags & O_APPEND) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file is open with O_APPEND, which ignores where to write");
		return pf_err_hint(err, "open it without O_APPEND");
	}
	if (!writable)
		return 0;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return pf_err_sys(err, "reading the seals of its memory file");
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file is sealed against writing (seals 0x%x)",
			   (unsigned)seals);
		return pf_err_hint(err, "do not set F_SEAL_WRITE or F_SEAL_FUTURE_WRITE");
	}
	return 0;
}

int pf_memfile_check(int fd, enum pf_memory_kind kind, uint64_t offset,
		     const struct pf_region_shape *shape, bool writable, struct pf_err *err)
{
	if (check_kind(fd, kind, shape, err))
		return -1;
	if (check_length(fd, offset, shape, err))
		return -1;
	return check_access(fd, writable, err);
}

static int walk_data(int fd, uint64_t offset, const struct pf_region_shape *shape,
		     struct pf_memfile_stock *out)
{
	off_t at = (off_t)offset, end = (off_t)(offset + shape->size);

	while (at < end) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -1;
		if (data >= end)
			return 0;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		at = hole < end ? hole : end;
		if (out->pages == 0) {
			out->first = ((uint64_t)data - offset) / shape->page_size;
			out->last = ((uint64_t)at - offset) / shape->page_size - 1;
		}
		out->pages += (uint64_t)(at - data) / shape->page_size;
	}
	return 0;
}

int pf_memfile_take_stock(int fd, uint64_t offset, const struct pf_region_shape *shape,
			  struct pf_memfile_stock *out, struct pf_err *err)
{
	/* The file position belongs to the VMM too, which shares the open file with us. */
	off_t position = lseek(fd, 0, SEEK_CUR);
	int failed;

	*out = (struct pf_memfile_stock){0};
	if (position < 0)
		return pf_err_sys(err, "reading the position of its memory file");
	failed = walk_data(fd, offset, shape, out);
	if (failed)
		pf_err_sys(err, "looking for pages that are present in its memory file");
	if (lseek(fd, position, SEEK_SET) < 0 && !failed)
		return pf_err_sys(err, "restoring the position of its memory file");
	return failed;
}
