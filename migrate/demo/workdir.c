/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/workdir.c - see migrate/demo/workdir.h; mkdtemp(3), nftw(3). */
#include "migrate/demo/workdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REMOVE_FDS 16

static int make(const char *base, char *path, size_t size, struct pf_err *err)
{
	int length = snprintf(path, size, "%s/pageferry-demo-XXXXXX", base);

	if (length < 0 || (size_t)length >= size) {
		path[0] = '\0';
		pf_err_set(err, PF_ERR_USAGE, "the path of the temporary directory %s is too long",
			   base);
		return pf_err_hint(err, "set TMPDIR to a shorter one: the names of sockets are "
					"limited to 107 bytes");
	}
	if (mkdtemp(path))
		return 0;
	pf_err_sys(err, "making a directory in %s", base);
	path[0] = '\0';
	return -1;
}

int pf_workdir_make(struct pf_workdir *dir, struct pf_err *err)
{
	const char *base = getenv("TMPDIR");

	memset(dir, 0, sizeof(*dir));
	if (make(base && base[0] == '/' ? base : "/tmp", dir->path, sizeof(dir->path), err))
		return -1;
	if (make("/dev/shm", dir->state, sizeof(dir->state), err) == 0)
		return 0;
	/* No tmpfs there: the state files are slower on a disk and nothing else changes. */
	dir->state_inside = true;
	memcpy(dir->state, dir->path, sizeof(dir->state));
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	/* One that cannot be removed is named, and does not keep the others. */
	if (remove(path) != 0 && errno != ENOENT)
		fprintf(stderr, "pageferry demo: could not remove %s: %s\n", path, strerror(errno));
	return 0;
}

/* Not FTW_MOUNT: on overlayfs files can have another st_dev than their folder, and would stay. */
static void remove_tree(char *path)
{
	if (path[0] != '\0')
		(void)nftw(path, remove_one, REMOVE_FDS, FTW_DEPTH | FTW_PHYS);
	path[0] = '\0';
}

void pf_workdir_remove(struct pf_workdir *dir)
{
	if (!dir->state_inside)
		remove_tree(dir->state);
	remove_tree(dir->path);
}
