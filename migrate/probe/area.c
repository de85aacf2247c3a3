/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/area.c - see migrate/probe/area.h; memfd_create(2), open(2), ioctl_kvm(2). */
#include "migrate/probe/area.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"

#define SMALL 4096u
#define LARGE (2u << 20)
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

/* Where a privilege is missing, or memory, nothing is known about the kernel. */
static int failed(struct pf_err *err)
{
	return err->sys == EPERM || err->sys == EACCES || err->sys == ENOMEM ? 1 : -1;
}

static int map_twice(struct pf_area *area, struct pf_err *err)
{
	uint8_t **const maps[] = {&area->at, &area->second};

	for (size_t i = 0; i < PF_ARRAY_LEN(maps); i++) {
		void *at = mmap(NULL, area->kind->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
				area->fd, 0);

		if (at == MAP_FAILED) {
			pf_err_sys(err, "mapping a page of it");
			return failed(err);
		}
		*maps[i] = at;
	}
	return 0;
}

static int open_memfd(struct pf_area *area, struct pf_err *err)
{
	area->fd = memfd_create("pageferry-probe", MFD_CLOEXEC);
	if (area->fd < 0 || ftruncate(area->fd, SMALL) != 0) {
		pf_err_sys(err, "making a memfd");
		return failed(err);
	}
	return map_twice(area, err);
}

/* A file without a name, wherever one can be on tmpfs. */
static int open_tmpfs(struct pf_area *area, struct pf_err *err)
{
	static const char *const places[] = {"/dev/shm", "/run", "/tmp"};

	for (size_t i = 0; i < PF_ARRAY_LEN(places) && area->fd < 0; i++) {
		struct statfs fs;

		if (statfs(places[i], &fs) == 0 && fs.f_type == TMPFS_MAGIC)
			area->fd = open(places[i], O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	}
	if (area->fd < 0) {
		pf_err_set(
			err, PF_ERR_SYSTEM,
			"none of /dev/shm, /run and /tmp is a tmpfs that this user may write to");
		pf_err_hint(err, "a memfd does as well");
		return 1;
	}
	if (ftruncate(area->fd, SMALL) != 0)
		return pf_err_sys(err, "setting the length of a file on tmpfs");
	return map_twice(area, err);
}

static int open_hugetlbfs(struct pf_area *area, struct pf_err *err)
{
	int answer;

	area->fd = memfd_create("pageferry-probe", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (area->fd < 0 || ftruncate(area->fd, LARGE) != 0) {
		pf_err_sys(err, "making a memfd of huge pages of 2 MiB");
		return pf_err_hint(err, "the kernel needs CONFIG_HUGETLBFS, and pages of 2 MiB");
	}
	answer = map_twice(area, err);
	if (answer > 0)
		pf_err_hint(err, "no huge page is free: as root, raise the sysctl vm.nr_hugepages");
	return answer;
}

static int open_private(struct pf_area *area, struct pf_err *err)
{
	void *at = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return pf_err_sys(err, "mapping a page of it");
	area->at = at;
	return 0;
}

static int make_guest_memfd(struct pf_area *area, int kvm, struct pf_err *err)
{
	struct pf_kvm_guest_memfd create = {.size = SMALL};
	pf_auto_fd int vm = ioctl(kvm, KVM_CREATE_VM, 0ul);
	int flags;

	if (vm < 0)
		return pf_err_sys(err, "KVM_CREATE_VM");
	flags = ioctl(vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags < 0)
		flags = 0;
	create.flags = (uint64_t)flags &
		       (PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED | PF_GUEST_MEMFD_WRITE);
	area->fd = ioctl(vm, PF_KVM_CREATE_GUEST_MEMFD, &create);
	if (area->fd < 0) {
		pf_err_sys(err, "KVM_CREATE_GUEST_MEMFD");
		return pf_err_hint(err, "Linux 6.8 or later with CONFIG_KVM_GUEST_MEMFD has it");
	}
	if (create.flags & PF_GUEST_MEMFD_MMAP)
		return map_twice(area, err);
	pf_err_set(err, PF_ERR_SYSTEM,
		   "guest_memfd cannot be mapped here: KVM does not offer MMAP");
	return pf_err_hint(err, "Linux 6.18 or later");
}

static int open_guest_memfd(struct pf_area *area, struct pf_err *err)
{
	pf_auto_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm >= 0)
		return make_guest_memfd(area, kvm, err);
	pf_err_sys(err, "opening /dev/kvm");
	return 1;
}

static int put_by_write(const struct pf_area *area, const uint8_t *page, struct pf_err *err)
{
	if (pwrite(area->fd, page, area->kind->page_bytes, 0) == (ssize_t)area->kind->page_bytes)
		return 0;
	return pf_err_sys(err, "pwrite(2) of a page");
}

static int put_by_mapping(const struct pf_area *area, const uint8_t *page, struct pf_err *err)
{
	(void)err;
	memcpy(area->second, page, area->kind->page_bytes);
	return 0;
}

const struct pf_area_kind pf_area_memfd = {
	.name = "memfd",
	.page_bytes = SMALL,
	.open = open_memfd,
	.populate = put_by_write,
	.hint = "Linux 5.14 or later traps MISSING and MINOR faults on shared memory",
};

const struct pf_area_kind pf_area_tmpfs = {
	.name = "tmpfs",
	.page_bytes = SMALL,
	.open = open_tmpfs,
	.populate = put_by_write,
	.hint = "Linux 5.14 or later traps MISSING and MINOR faults on shared memory",
};

const struct pf_area_kind pf_area_hugetlbfs = {
	.name = "hugetlbfs",
	.page_bytes = LARGE,
	.open = open_hugetlbfs,
	.populate = put_by_mapping,
	.hint = "Linux 5.13 or later traps MISSING and MINOR faults on hugetlbfs",
};

const struct pf_area_kind pf_area_private = {
	.name = "private",
	.page_bytes = SMALL,
	.open = open_private,
	.hint = "private memory has no second way in: MINOR and CONTINUE belong to memory files",
};

const struct pf_area_kind pf_area_guest_memfd = {
	.name = "guest_memfd",
	.page_bytes = SMALL,
	.open = open_guest_memfd,
	.populate = put_by_mapping,
	.hint = "no released kernel has userfaultfd on guest_memfd; tests/kernel builds one that "
		"has",
	.without_minor = "a VMM that declares fill-atomic can do without; tests/kernel builds a "
			 "kernel that has it",
};

int pf_area_open(const struct pf_area_kind *kind, struct pf_area *out, struct pf_err *err)
{
	int answer;

	*out = (struct pf_area){.kind = kind, .fd = -1};
	answer = kind->open(out, err);
	if (answer != 0)
		pf_area_close(out);
	return answer;
}

void pf_area_close(struct pf_area *area)
{
	if (area->at)
		munmap(area->at, area->kind->page_bytes);
	if (area->second)
		munmap(area->second, area->kind->page_bytes);
	area->at = area->second = NULL;
	pf_close_fd(&area->fd);
}
