/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/gmem_bench.c - see tests/unit/gmem_bench.h. */
#include "gmem_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "memory/gmem_probe.h"

bool gmem_is_plain(void)
{
	struct pf_gmem_probe probe;

	pf_gmem_probe(&probe);
	return probe.feature[PF_GMEM_FILE].works && !probe.feature[PF_GMEM_UFFD].works;
}

bool gmem_refused(void)
{
	struct pf_gmem_probe probe;

	pf_gmem_probe(&probe);
	for (int i = PF_GMEM_FILE; i <= PF_GMEM_UFFD; i++) {
		if (probe.feature[i].works)
			continue;
		fprintf(stderr, "skip all: %s: %s\n", pf_gmem_feature_name((enum pf_gmem_feature)i),
			probe.feature[i].why.text);
		return true;
	}
	return false;
}

int gmem_create(uint64_t flags)
{
	return gmem_create_as(flags, geteuid());
}

int gmem_create_as(uint64_t flags, uid_t user)
{
	struct pf_kvm_guest_memfd create = {
		.size = PAGES * (uint64_t)PAGE,
		.flags = PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED | flags};
	pf_auto_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1;
	int fd;

	assert_true(kvm >= 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0ul);
	assert_true(vm >= 0);
	setfsuid(user); /* of which the file will be */
	fd = ioctl(vm, PF_KVM_CREATE_GUEST_MEMFD, &create);
	setfsuid(geteuid());
	assert_true(fd >= 0);
	return fd;
}

void gmem_open(struct gmem_bench *gmem, uint64_t flags, uint32_t mappings)
{
	struct bench *bench = &gmem->bench;
	struct pf_guest_region *region = &bench->guest.region[REGION];

	bench->dirfd = dir_make();
	vmm_start(&bench->vmm, PAGES, mappings, 0, gmem_create(flags));
	guest_fill(&bench->guest, &bench->vmm, PAGES);
	gmem->bitmap_fd = memfd_create("bitmap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(gmem->bitmap_fd >= 0);
	assert_int_equal(ftruncate(gmem->bitmap_fd, PAGE), 0);
	gmem->bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gmem->bitmap_fd, 0);
	assert_ptr_not_equal(gmem->bitmap, MAP_FAILED);
	memset(gmem->bitmap, 0xff, PAGE);
	region->kind = PF_MEMORY_GUEST_MEMFD;
	region->has_bitmap = true;
	region->bitmap_fd = fcntl(gmem->bitmap_fd, F_DUPFD_CLOEXEC, 3);
}

void gmem_arm(struct gmem_bench *gmem)
{
	struct pf_err err = {0};

	if (pf_guest_arm(&gmem->bench.guest, gmem->bench.dirfd, &err))
		fail_msg("%s", err.text);
}

void gmem_assert_refused(struct gmem_bench *gmem, enum pf_err_class class, const char *text)
{
	struct pf_err err = {0};

	if (pf_guest_arm(&gmem->bench.guest, gmem->bench.dirfd, &err) == 0)
		fail_msg("armed, instead of: %s", text);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	assert_int_equal(err.class, class);
	assert_true(err.hint[0]);
}

void gmem_close(struct gmem_bench *gmem)
{
	bench_close(&gmem->bench);
	munmap(gmem->bitmap, PAGE);
	close(gmem->bitmap_fd);
	if (access("/sys/module/kvm/parameters/gmem_uffd_minor", F_OK) != 0)
		return; /* a kernel without the patches has neither */
	kvm_set_parameter("gmem_uffd_minor", "1");
	kvm_set_parameter("gmem_uffd_missing", "1");
	kvm_set_parameter("gmem_write_populated", "0");
}

bool gmem_lets_in(const struct gmem_bench *gmem, uint64_t page)
{
	const uint64_t bits = 8 * sizeof(unsigned long);

	return !(__atomic_load_n(&gmem->bitmap[page / bits], __ATOMIC_ACQUIRE) >> page % bits & 1);
}

void gmem_write_page(const struct gmem_bench *gmem, uint64_t page, uint8_t byte)
{
	uint8_t *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gmem->bench.vmm.memfd,
			   (off_t)(page * PAGE));

	assert_ptr_not_equal(at, MAP_FAILED);
	memset(at, byte, PAGE);
	munmap(at, PAGE);
}
