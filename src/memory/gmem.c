/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/gmem.c - see memory/gmem.h; virt/kvm/guest_memfd.c, mm/mincore.c. */
#include "memory/gmem.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_LOOK 16u
#define GUEST_MEMFD_MAGIC 0x474d454d /* linux/magic.h, since Linux 6.19 */

/* Before it had a file system of its own it was an anonymous inode. */
bool pf_gmem_is_named(const char *name)
{
	return strcmp(name, "/[kvm-gmem] (deleted)") == 0 ||
	       strcmp(name, "anon_inode:[kvm-gmem]") == 0;
}

bool pf_gmem_has_type(long magic)
{
	return magic == GUEST_MEMFD_MAGIC || magic == ANON_INODE_FS_MAGIC;
}

/* To whoever is neither its owner nor may write to it mincore(2) says that every page is there
 * (can_do_mincore()); by then this process has no capability left. */
static int check_may_look(int fd, struct pf_err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return pf_err_sys(err, "looking at its memory file");
	if (st.st_uid == geteuid() || st.st_mode & S_IWOTH)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "its memory file belongs to user %u, and this agent runs as user %u, so that it may "
		   "not look which pages are there",
		   st.st_uid, geteuid());
	return pf_err_hint(err, "run the agent as the VMM's user");
}

void *pf_gmem_map(int fd, uint64_t offset, uint64_t size, bool writable, struct pf_err *err)
{
	void *map;

	if (check_may_look(fd, err))
		return NULL;
	map = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
		   (off_t)offset);
	if (map != MAP_FAILED) {
		(void)madvise(map, size, MADV_DONTDUMP); /* guest memory, DESIGN.md section 7 */
		return map;
	}
	pf_err_sys(err, "mapping its memory file");
	if (errno == ENODEV) {
		err->class = PF_ERR_PROTOCOL;
		pf_err_hint(err, "make it with GUEST_MEMFD_FLAG_MMAP and GUEST_MEMFD_FLAG_INIT_SHARED "
				 "(Linux 6.18): what is private to the guest nobody can move");
	}
	return NULL;
}

/*
 * The kernel looks each page up (about 50 ns), also behind the end of the stretch: so the question gets
 * longer only while the answer stays the same.
 */
uint32_t pf_gmem_stretch(const uint8_t *map, uint64_t first, uint64_t count, bool *out_present)
{
	uint32_t all = count < PF_GMEM_STRETCH ? (uint32_t)count : PF_GMEM_STRETCH, same = 0;
	unsigned char there[PF_GMEM_STRETCH];

	for (uint32_t ask = FIRST_LOOK; same < all; ask *= 2) {
		uint32_t end = all - same < ask ? all : same + ask;
		/* mincore(2) takes no const: it does not write there. */
		void *at = (void *)(uintptr_t)(map + (first + same) * PF_GMEM_PAGE);

		if (mincore(at, (size_t)(end - same) * PF_GMEM_PAGE, there + same))
			return same;
		*out_present = there[0] & 1;
		while (same < end && (there[same] & 1) == *out_present)
			same++;
		if (same < end)
			break;
	}
	return same;
}
