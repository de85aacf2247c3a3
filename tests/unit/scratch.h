/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/scratch.h - a folder for one test, gone afterwards; failures end the test. */
#ifndef PF_TESTS_UNIT_SCRATCH_H
#define PF_TESTS_UNIT_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch[32];

static inline int scratch_make(void **state)
{
	(void)state;
	memcpy(scratch, "/tmp/pageferry-test-XXXXXX", sizeof("/tmp/pageferry-test-XXXXXX"));
	return mkdtemp(scratch) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
				     struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static inline int scratch_remove(void **state)
{
	(void)state;
	return nftw(scratch, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline const char *scratch_path(char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", scratch, name);
	return out;
}

#endif
