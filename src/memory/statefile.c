/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/statefile.c - see memory/statefile.h. */
#include "memory/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static int open_file(int dirfd, const char *name, enum pf_statefile_mode mode, struct pf_err *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW, fd;

	/* A new inode, not O_TRUNC: whoever still maps the old one keeps it, and gets no SIGBUS. */
	if (mode == PF_STATEFILE_NEW && unlinkat(dirfd, name, 0) && errno != ENOENT)
		return pf_err_sys(err, "removing the old %s from the state directory", name);
	if (mode == PF_STATEFILE_NEW)
		flags |= O_CREAT | O_EXCL;
	else if (mode == PF_STATEFILE_EITHER)
		flags |= O_CREAT;
	fd = openat(dirfd, name, flags, 0600);
	if (fd < 0) {
		pf_err_sys(err, "opening %s in the state directory", name);
		if (errno == ENOENT)
			err->class = PF_ERR_CONFIG;
		return -1;
	}
	return fd;
}

static int check_length(int fd, const char *name, enum pf_statefile_mode mode, size_t length,
			struct pf_err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return pf_err_sys(err, "looking at %s in the state directory", name);
	/* Length 0: made, but its maker died before it had allocated anything. */
	if (!S_ISREG(st.st_mode) ||
	    ((size_t)st.st_size != length && (mode == PF_STATEFILE_OPEN || st.st_size != 0)))
		return pf_err_set(err, PF_ERR_CONFIG,
				  "%s in the state directory has %lld bytes, not the %zu that this "
				  "guest's has: it is another guest's, or damaged",
				  name, (long long)st.st_size, length);
	return 0;
}

static int allocate(int fd, const char *name, size_t length, struct pf_err *err)
{
	int failed;

	do
		failed = posix_fallocate(fd, 0, (off_t)length);
	while (failed == EINTR);
	if (!failed)
		return 0;
	errno = failed;
	pf_err_sys(err, "allocating %zu bytes for %s in the state directory", length, name);
	if (failed == ENOSPC || failed == EDQUOT || failed == EFBIG) {
		err->class = PF_ERR_CONFIG;
		pf_err_hint(err, "make room for %zu bytes there, or give another --state-dir",
			    length);
	}
	return -1;
}

void *pf_statefile_map(int dirfd, const char *name, enum pf_statefile_mode mode, size_t length,
		       struct pf_err *err)
{
	pf_auto_fd int fd = open_file(dirfd, name, mode, err);
	void *map;

	if (fd < 0 || check_length(fd, name, mode, length, err))
		return NULL;
	if (allocate(fd, name, length, err)) {
		if (mode == PF_STATEFILE_NEW)
			unlinkat(dirfd, name, 0);
		return NULL;
	}
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		pf_err_sys(err, "mapping %s from the state directory", name);
		return NULL;
	}
	return map;
}
