/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/rows.c - see tests/unit/rows.h. */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "memory/gmem_probe.h"
#include "hugepool.h"
#include "memhelp.h"

static int sized(int fd, uint64_t bytes)
{
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static int new_memfd(uint64_t bytes)
{
	return sized(memfd_create("row", MFD_CLOEXEC | MFD_ALLOW_SEALING), bytes);
}

/* Huge pages, so that a write brings its neighbours with it. */
static int new_tmpfs_file(uint64_t bytes)
{
	return sized(tmpfs_file("huge=always"), bytes);
}

static int new_hugetlb_file(uint64_t bytes)
{
	return sized(memfd_create("row", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB), bytes);
}

int row_machine(void)
{
	static int machine = -1;
	pf_auto_fd int kvm = -1;

	if (machine >= 0)
		return machine;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(kvm >= 0);
	machine = ioctl(kvm, KVM_CREATE_VM, 0ul);
	assert_true(machine >= 0);
	return machine;
}

static int new_gmem(uint64_t bytes)
{
	struct pf_kvm_guest_memfd create = {.size = bytes,
					    .flags = PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED |
						     PF_GUEST_MEMFD_WRITE};
	int fd = ioctl(row_machine(), PF_KVM_CREATE_GUEST_MEMFD, &create);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0); /* KVM does not */
	return fd;
}

/* The pages of hugetlbfs are the agent's to reserve. */
const struct memory_row memory_rows[ROWS] = {
	[ROW_MEMFD] = {"memfd", PF_MEMORY_MEMFD, PAGE, VMM_MAPPINGS, new_memfd, MAP_SHARED, true},
	[ROW_TMPFS] = {"tmpfs huge=always", PF_MEMORY_MEMFD, PAGE, VMM_MAPPINGS, new_tmpfs_file,
		       MAP_SHARED, true},
	[ROW_PRIVATE] = {"private", PF_MEMORY_PRIVATE, PAGE, 1, NULL, MAP_PRIVATE | MAP_ANONYMOUS,
			 false},
	[ROW_HUGETLB] = {"hugetlbfs", PF_MEMORY_HUGETLBFS, HUGE_PAGE, VMM_MAPPINGS, new_hugetlb_file,
			 MAP_SHARED | MAP_NORESERVE, true},
	[ROW_GMEM] = {"guest_memfd", PF_MEMORY_GUEST_MEMFD, PAGE, VMM_MAPPINGS, new_gmem, MAP_SHARED,
		      true},
};

/* All of it, for threads and vCPUs alike. */
static void gmem_needs(void)
{
	static struct pf_gmem_probe probe;

	pf_gmem_probe(&probe);
	for (enum pf_gmem_feature i = 0; i < PF_GMEM_FEATURES; i++) {
		if (probe.feature[i].works)
			continue;
		fprintf(stderr, "skip guest_memfd: no %s: %s\n", pf_gmem_feature_name(i),
			probe.feature[i].why.text);
		skip();
	}
}

void row_needs(const struct memory_row *row, uint64_t pages)
{
	if (row->kind == PF_MEMORY_GUEST_MEMFD)
		gmem_needs();
	if (row->page_size == PAGE)
		return;
	hugepool_take();
	if (hugepool_free() >= (long long)pages)
		return;
	fprintf(stderr, "skip %s: %" PRIu64 " free pages of 2 MiB are needed (vm.nr_hugepages)\n",
		row->name, pages);
	skip();
}

void row_done(void)
{
	hugepool_give();
}

int row_file(const struct memory_row *row, uint64_t bytes)
{
	return row->file ? row->file(bytes) : -1;
}

void *row_map(const struct memory_row *row, int fd, uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, row->map_flags, fd, 0);
}

int row_give_up(const struct memory_row *row, int fd, void *mapping, uint64_t page)
{
	uint64_t at = page * row->page_size;
	int failed = row->file ? fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)at, row->page_size)
			       : madvise((uint8_t *)mapping + at, row->page_size, MADV_DONTNEED);

	return failed ? errno : 0;
}
