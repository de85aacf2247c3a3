/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/gmem_probe.c - see memory/gmem_probe.h; Documentation/virt/kvm/api.rst, userfaultfd(2). */
#include "memory/gmem_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "memory/uffd_open.h"

#define PAGE 4096u
/* Where a vCPU that was reset fetches its first instruction: at the last 16 bytes below 4 GiB. */
#define RESET_PAGE UINT64_C(0xfffff000)
#define TSS_ADDRESS 0xfffbd000ul
#define SHARED_FLAGS (PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED)

struct toy {
	int kvm, vm, fd, uffd, vcpu;
	uint8_t *at;	 /* the page as a VMM maps it */
	uint8_t *second; /* and once more, never trapped */
};

const char *pf_gmem_feature_name(enum pf_gmem_feature feature)
{
	static const char *const names[PF_GMEM_FEATURES] = {
		[PF_GMEM_FILE] = "guest_memfd with mmap",
		[PF_GMEM_WRITE] = "write(2) on guest_memfd",
		[PF_GMEM_UFFD] = "userfaultfd on guest_memfd",
		[PF_GMEM_USERFAULT] = "KVM userfault",
	};

	return names[feature];
}

/* ---- the file ---- */

static uint8_t *map(int fd)
{
	uint8_t *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int make_vm(struct toy *toy, struct pf_err *err)
{
	toy->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (toy->kvm < 0)
		return pf_err_sys(err, "opening /dev/kvm");
	toy->vm = ioctl(toy->kvm, KVM_CREATE_VM, 0ul);
	return toy->vm >= 0 ? 0 : pf_err_sys(err, "KVM_CREATE_VM");
}

static int make_file(struct toy *toy, struct pf_gmem_probe *out, struct pf_err *err)
{
	struct pf_kvm_guest_memfd create = {.size = PAGE};
	int flags;

	if (make_vm(toy, err))
		return -1;
	if (ioctl(toy->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD) <= 0) {
		pf_err_set(err, PF_ERR_SYSTEM, "KVM has no guest_memfd");
		return pf_err_hint(err, "Linux 6.8 or later with CONFIG_KVM_GUEST_MEMFD");
	}
	flags = ioctl(toy->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD_FLAGS);
	out->flags = flags > 0 ? (uint64_t)flags : 0;
	if ((out->flags & SHARED_FLAGS) != SHARED_FLAGS) {
		pf_err_set(err, PF_ERR_SYSTEM,
			   "guest_memfd cannot be mapped here (flags 0x%" PRIx64 ")", out->flags);
		return pf_err_hint(err, "Linux 6.18 or later");
	}
	create.flags = SHARED_FLAGS | (out->flags & PF_GUEST_MEMFD_WRITE);
	toy->fd = ioctl(toy->vm, PF_KVM_CREATE_GUEST_MEMFD, &create);
	if (toy->fd < 0)
		return pf_err_sys(err, "KVM_CREATE_GUEST_MEMFD");
	toy->at = map(toy->fd);
	toy->second = map(toy->fd);
	return toy->at && toy->second ? 0 : pf_err_sys(err, "mapping guest_memfd");
}

/* ---- what can be done with it, in this order ---- */

static int try_write(struct toy *toy, struct pf_gmem_probe *out, struct pf_err *err)
{
	static const uint8_t bytes[PAGE] = {0x5a};

	if (!(out->flags & PF_GUEST_MEMFD_WRITE))
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "KVM does not offer guest_memfd's flag WRITE");
	if (pwrite(toy->fd, bytes, PAGE, 0) != PAGE)
		return pf_err_sys(err, "pwrite(2) of a page");
	if (*(volatile uint8_t *)toy->second != bytes[0])
		return pf_err_set(err, PF_ERR_SYSTEM, "pwrite(2) did not write the page");
	return 0;
}

static bool can_register(const struct toy *toy, uint64_t modes)
{
	struct uffdio_register what = {.range = {(uintptr_t)toy->at, PAGE}, .mode = modes};

	return ioctl(toy->uffd, UFFDIO_REGISTER, &what) == 0;
}

/* What registering takes is one thing; that CONTINUE maps the page is another. */
static int try_uffd(struct toy *toy, struct pf_gmem_probe *out, struct pf_err *err)
{
	const uint64_t both = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_continue page = {.range = {(uintptr_t)toy->at, PAGE}};

	toy->uffd = pf_uffd_open(PF_UFFD_FULL, err); /* a VMM needs the traps of KVM's accesses too */
	if (toy->uffd < 0)
		return -1;
	if (ioctl(toy->uffd, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "UFFDIO_API");
	if (can_register(toy, both))
		out->modes = both;
	else if (can_register(toy, UFFDIO_REGISTER_MODE_MISSING))
		out->modes = UFFDIO_REGISTER_MODE_MISSING;
	else
		return pf_err_sys(err, "UFFDIO_REGISTER of a guest_memfd mapping");
	*(volatile uint8_t *)toy->second = 1; /* a page to map, whoever has written it */
	if (ioctl(toy->uffd, UFFDIO_CONTINUE, &page) != 0)
		return pf_err_sys(err, "UFFDIO_CONTINUE of a guest_memfd page");
	return 0;
}

/* The slot of a machine whose only page is trapped, and where its vCPU starts. */
static int add_slot(struct toy *toy, const unsigned long *bitmap, struct pf_err *err)
{
	struct pf_kvm_memory_region2 slot = {
		.flags = PF_KVM_MEM_GUEST_MEMFD | PF_KVM_MEM_USERFAULT,
		.guest_phys_addr = RESET_PAGE,
		.memory_size = PAGE,
		.userspace_addr = (uintptr_t)toy->at,
		.guest_memfd = (uint32_t)toy->fd,
		.userfault_bitmap = (uintptr_t)bitmap,
	};

	if (ioctl(toy->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_USERFAULT) <= 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "KVM does not offer KVM_CAP_USERFAULT");
	/* Intel without unrestricted guests needs it to run real mode; others have no such call. */
	(void)ioctl(toy->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (ioctl(toy->vm, PF_KVM_SET_USER_MEMORY_REGION2, &slot) != 0)
		return pf_err_sys(err, "KVM_SET_USER_MEMORY_REGION2 with KVM_MEM_USERFAULT");
	toy->vcpu = ioctl(toy->vm, KVM_CREATE_VCPU, 0ul);
	return toy->vcpu >= 0 ? 0 : pf_err_sys(err, "KVM_CREATE_VCPU");
}

/* Zeros, which is what it reads where nothing traps, end in an access that no memory answers. */
static int run_into_it(struct toy *toy, struct pf_err *err)
{
	int size = ioctl(toy->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run;
	bool left;

	if (size < (int)sizeof(*run))
		return pf_err_set(err, PF_ERR_SYSTEM, "KVM's vCPU area has %d bytes only", size);
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, toy->vcpu, 0);
	if (run == MAP_FAILED)
		return pf_err_sys(err, "mapping a vCPU's area");
	left = ioctl(toy->vcpu, KVM_RUN, 0) != 0 && errno == EFAULT &&
	       run->exit_reason == PF_KVM_EXIT_MEMORY_FAULT &&
	       (pf_kvm_memory_fault(run)->flags & PF_KVM_MEMORY_FAULT_USERFAULT) &&
	       pf_kvm_memory_fault(run)->gpa == RESET_PAGE;
	munmap(run, (size_t)size);
	if (left)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM,
			  "a vCPU touched a page whose bit was set, and KVM did not say so");
}

static int try_userfault(struct toy *toy, struct pf_gmem_probe *out, struct pf_err *err)
{
	static unsigned long bitmap[1] = {~0ul};

	(void)out;
	return add_slot(toy, bitmap, err) || run_into_it(toy, err) ? -1 : 0;
}

static void done(struct toy *toy)
{
	pf_close_fd(&toy->vcpu);
	pf_close_fd(&toy->uffd);
	if (toy->at)
		munmap(toy->at, PAGE);
	if (toy->second)
		munmap(toy->second, PAGE);
	pf_close_fd(&toy->fd);
	pf_close_fd(&toy->vm);
	pf_close_fd(&toy->kvm);
}

void pf_gmem_probe(struct pf_gmem_probe *out)
{
	static int (*const attempts[PF_GMEM_FEATURES])(struct toy *, struct pf_gmem_probe *,
						       struct pf_err *) = {
		[PF_GMEM_FILE] = make_file,
		[PF_GMEM_WRITE] = try_write,
		[PF_GMEM_UFFD] = try_uffd,
		[PF_GMEM_USERFAULT] = try_userfault,
	};
	struct toy toy = {.kvm = -1, .vm = -1, .fd = -1, .uffd = -1, .vcpu = -1};

	*out = (struct pf_gmem_probe){0};
	for (int i = 0; i < PF_GMEM_FEATURES; i++) {
		if (i != PF_GMEM_FILE && !out->feature[PF_GMEM_FILE].works)
			out->feature[i].why = out->feature[PF_GMEM_FILE].why;
		else
			out->feature[i].works = attempts[i](&toy, out, &out->feature[i].why) == 0;
	}
	done(&toy);
}
