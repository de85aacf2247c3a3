/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/memfile.c - see memory/memfile.h. */
#include "memory/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "memory/gmem.h"

#ifndef F_SEAL_FUTURE_WRITE /* linux/fcntl.h cannot be included beside fcntl.h */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define BACK_BY_MEMFD "back the guest with a memfd or a file on tmpfs, mapped shared"

/* What each kind of memory file looks like, and what is wanted instead of another one. */
static const struct file_kind {
	const char *name, *wanted;
	long magic; /* 0: guest_memfd has had several */
	uint32_t page_size;
	const char *lacking; /* of what is not served */
} kinds[] = {
	[PF_MEMORY_MEMFD] = {"memfd", "a memfd without MFD_HUGETLB or a file on tmpfs is wanted",
			     TMPFS_MAGIC, 4096, NULL},
	[PF_MEMORY_GUEST_MEMFD] = {"guest_memfd", "a guest_memfd of KVM_CREATE_GUEST_MEMFD is wanted",
				   .page_size = PF_GMEM_PAGE},
	[PF_MEMORY_HUGETLBFS] = {"hugetlbfs file",
				 "a memfd of MFD_HUGETLB | MFD_HUGE_2MB or a file on hugetlbfs with "
				 "pages of 2 MiB is wanted",
				 HUGETLBFS_MAGIC, 2 << 20, NULL},
	[PF_MEMORY_PRIVATE] = {"private anonymous",
			       "back the guest with a memfd or a file on tmpfs here; what the "
			       "destination's memory is made of does not depend on it",
			       .lacking = "nobody but its own process can read it"},
};

/*
 * Asked first, since nobody has to be waited for: only files of tmpfs and hugetlbfs have seals, and
 * guest_memfd has a name that no file has by chance.  fstatfs(2)
 * and fstat(2) of a file on FUSE wait for whoever serves it, who may be the VMM itself, or hang.
 */
static int check_kept_by_kernel(int fd, enum pf_memory_kind kind, const struct file_kind *is,
				struct pf_err *err)
{
	bool gmem = kind == PF_MEMORY_GUEST_MEMFD;
	int flags = fcntl(fd, F_GETFL);
	char name[128];

	if (flags < 0)
		return pf_err_sys(err, "looking at its memory file's descriptor");
	if (flags & O_PATH) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file is not open for reading and writing (O_PATH)");
		return pf_err_hint(err, "hand over a descriptor that was opened with O_RDWR");
	}
	pf_memfile_name(fd, name, sizeof(name));
	if (gmem ? pf_gmem_is_named(name) : fcntl(fd, F_GET_SEALS) >= 0)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL, "its memory file is said to be a %s, but is %s%s", is->name, name,
		   gmem ? "" : ", which is no file of tmpfs or hugetlbfs");
	return pf_err_hint(err, "%s", is->wanted);
}

int pf_memfile_refuse_bitmap(struct pf_err *err)
{
	pf_err_set(err, PF_ERR_PROTOCOL, "its userfault bitmap is not a memfd that can be written");
	return pf_err_hint(err, "make it with memfd_create(2), and map that for KVM");
}

int pf_memfile_check_bitmap(int fd, struct pf_err *err)
{
	return fcntl(fd, F_GET_SEALS) >= 0 ? 0 : pf_memfile_refuse_bitmap(err);
}

void pf_memfile_name(int fd, char *out, size_t size)
{
	char link[48];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	out[0] = '?';
	length = readlink(link, out, size - 1);
	out[length > 0 ? length : 1] = '\0';
}

static int check_kind(int fd, enum pf_memory_kind kind, const struct pf_region_shape *shape,
		      struct pf_err *err)
{
	bool known = kind > 0 && (size_t)kind < sizeof(kinds) / sizeof(kinds[0]);
	const struct file_kind *is = &kinds[known ? kind : 0];
	struct statfs fs;

	if (!known || is->lacking) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory is of kind %s (%d), which is not supported: %s",
			   known ? is->name : "unknown", (int)kind,
			   known ? is->lacking : "no such kind is known");
		return pf_err_hint(err, "%s", known ? is->wanted : BACK_BY_MEMFD);
	}
	if (check_kept_by_kernel(fd, kind, is, err))
		return -1;
	if (fstatfs(fd, &fs))
		return pf_err_sys(err, "looking at the file system of its memory file");
	if (is->magic ? fs.f_type != is->magic : !pf_gmem_has_type(fs.f_type)) {
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

static int check_access(int fd, enum pf_memory_kind kind, bool writable, struct pf_err *err)
{
	int flags = fcntl(fd, F_GETFL), seals;

	if (flags < 0)
		return pf_err_sys(err, "looking at its memory file's descriptor");
	if ((flags & O_ACCMODE) != O_RDWR && (writable || (flags & O_ACCMODE) != O_RDONLY)) {
		pf_err_set(err, PF_ERR_PROTOCOL, "its memory file is not open for %s",
			   writable ? "reading and writing" : "reading");
		return pf_err_hint(err, "hand over a descriptor that was opened with O_RDWR");
	}
	/* Linux then appends whatever offset pwrite(2) is given (its man page, BUGS). */
	if (writable && flags & O_APPEND) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its memory file is open with O_APPEND, which ignores where to write");
		return pf_err_hint(err, "open it without O_APPEND");
	}
	if (!writable || kind == PF_MEMORY_GUEST_MEMFD) /* which has no seals */
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
	return check_access(fd, kind, writable, err);
}

/* The pages to look at: those of a file from offset on, which is a region's. */
struct look {
	int fd;
	uint64_t offset;
	uint32_t page_size;
	uint64_t first, end;
};

/* The next range of data; 1, or 0 when there is none, or -1 with errno. */
static int next_data(const struct look *look, uint64_t from, uint64_t *out_first, uint64_t *out_end)
{
	off_t end = (off_t)(look->offset + look->end * look->page_size);
	off_t data = lseek(look->fd, (off_t)(look->offset + from * look->page_size), SEEK_DATA);
	off_t hole;

	if (data < 0)
		return errno == ENXIO ? 0 : -1;
	if (data >= end)
		return 0;
	hole = lseek(look->fd, data, SEEK_HOLE);
	if (hole < 0)
		return -1;
	*out_first = ((uint64_t)data - look->offset) / look->page_size;
	*out_end = ((uint64_t)(hole < end ? hole : end) - look->offset) / look->page_size;
	return 1;
}

void pf_memfile_count(struct pf_memfile_stock *stock, uint64_t first, uint64_t count)
{
	if (stock->pages == 0)
		stock->first = first;
	if (stock->pages == 0 || (stock->last + 1 == first && stock->pages == first - stock->first))
		stock->last = first + count - 1;
	stock->pages += count;
}

static int walk_data(const struct look *look, bool one_range, struct pf_memfile_stock *out)
{
	uint64_t at = look->first, first;
	int found = 0;

	while (at < look->end && (found = next_data(look, at, &first, &at)) > 0) {
		pf_memfile_count(out, first, at - first);
		if (one_range)
			break;
	}
	return found < 0 ? -1 : 0;
}

static int take_stock(const struct look *look, bool one_range, struct pf_memfile_stock *out,
		      struct pf_err *err)
{
	/* The file position belongs to the VMM too, which shares the open file with us. */
	off_t position = lseek(look->fd, 0, SEEK_CUR);
	int failed;

	if (position < 0)
		return pf_err_sys(err, "reading the position of its memory file");
	failed = walk_data(look, one_range, out);
	if (failed)
		pf_err_sys(err, "looking for pages that are present in its memory file");
	if (lseek(look->fd, position, SEEK_SET) < 0 && !failed)
		return pf_err_sys(err, "restoring the position of its memory file");
	return failed;
}

int pf_memfile_take_stock(int fd, uint64_t offset, uint32_t page_size, uint64_t first,
			  uint64_t count, struct pf_memfile_stock *out, struct pf_err *err)
{
	const struct look look = {fd, offset, page_size, first, first + count};

	return take_stock(&look, false, out, err);
}

int pf_memfile_next_data(int fd, uint64_t offset, uint32_t page_size, uint64_t first,
			 uint64_t count, struct pf_memfile_stock *out, struct pf_err *err)
{
	const struct look look = {fd, offset, page_size, first, first + count};

	*out = (struct pf_memfile_stock){0};
	return take_stock(&look, true, out, err);
}
