/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/hugepool.c - see tests/unit/hugepool.h. */
#include "hugepool.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/file.h>

#include <cmocka.h>

/* Not the sysctl's: that one is scripts/check's to lock. */
#define FREE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

void hugepool_hold(bool alone)
{
	static int fd = -1;
	int held;

	if (fd >= 0)
		return;
	fd = open(FREE_PAGES, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* no such pool: nothing to share */
	do
		held = flock(fd, alone ? LOCK_EX : LOCK_SH);
	while (held != 0 && errno == EINTR);
	assert_int_equal(held, 0);
}

long long hugepool_free(void)
{
	FILE *file = fopen(FREE_PAGES, "re");
	long long pages = 0;

	if (file && fscanf(file, "%lld", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages;
}
