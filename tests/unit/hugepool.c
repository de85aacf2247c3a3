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
#include <unistd.h>

#include <cmocka.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static int lock_fd = -1;

void hugepool_take(void)
{
	int held;

	if (lock_fd >= 0)
		return;
	/* Not the sysctl's file: that one is scripts/check's to lock. */
	lock_fd = open(POOL "free_hugepages", O_RDONLY | O_CLOEXEC);
	if (lock_fd < 0)
		return; /* no such pool: nothing to share */
	do
		held = flock(lock_fd, LOCK_EX);
	while (held != 0 && errno == EINTR);
	assert_int_equal(held, 0);
}

void hugepool_give(void)
{
	if (lock_fd < 0)
		return;
	/* Not by close(2) alone: a child of the test's may have the descriptor still. */
	assert_int_equal(flock(lock_fd, LOCK_UN), 0);
	close(lock_fd);
	lock_fd = -1;
}

static long long number_in(const char *path)
{
	FILE *file = fopen(path, "re");
	long long number = 0;

	if (file && fscanf(file, "%lld", &number) != 1)
		number = 0;
	if (file)
		fclose(file);
	return number;
}

long long hugepool_free(void)
{
	return number_in(POOL "free_hugepages") - number_in(POOL "resv_hugepages");
}
