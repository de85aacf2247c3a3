/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/kvm_abi.h - KVM's interface of guest_memfd and of userfault.
 *
 * Under names of our own, since an older <linux/kvm.h> (Debian 12's) lacks all of it and a newer one
 * has some.  guest_memfd: include/uapi/linux/kvm.h since Linux 6.8, its flags since 6.18.  WRITE and
 * all that says USERFAULT: the patches of the kernel that Firecracker's secret-free guests run on,
 * and tests/kernel.  Numbers that are not upstream can come to mean something else there: try them
 * (memory/gmem_probe.h), never take them for granted.
 */
#ifndef PF_BASE_KVM_ABI_H
#define PF_BASE_KVM_ABI_H

#include <linux/kvm.h>
#include <stdint.h>

#define PF_KVM_CAP_USER_MEMORY2 231
#define PF_KVM_CAP_GUEST_MEMFD 234
#define PF_KVM_CAP_GUEST_MEMFD_FLAGS 244 /* its value is the mask of flags */
#define PF_KVM_CAP_USERFAULT 245	 /* not upstream */

#define PF_GUEST_MEMFD_MMAP (UINT64_C(1) << 0)
#define PF_GUEST_MEMFD_INIT_SHARED (UINT64_C(1) << 1)
#define PF_GUEST_MEMFD_WRITE (UINT64_C(1) << 3) /* not upstream: write(2) fills absent pages */

struct pf_kvm_guest_memfd {
	uint64_t size; /* bytes */
	uint64_t flags;
	uint64_t reserved[6];
};
#define PF_KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct pf_kvm_guest_memfd)

#define PF_KVM_MEM_GUEST_MEMFD (1u << 2)
#define PF_KVM_MEM_USERFAULT (1u << 3) /* not upstream */

struct pf_kvm_memory_region2 {
	uint32_t slot;
	uint32_t flags;
	uint64_t guest_phys_addr;
	uint64_t memory_size; /* bytes */
	uint64_t userspace_addr;
	uint64_t guest_memfd_offset;
	uint32_t guest_memfd;
	uint32_t pad;
	/* The address of a bit a page, in native unsigned longs: 1 traps.  Upstream: padding. */
	uint64_t userfault_bitmap;
	uint64_t reserved[13];
};
#define PF_KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct pf_kvm_memory_region2)

/* KVM_RUN returns -1 with EFAULT, and kvm_run says this. */
#define PF_KVM_EXIT_MEMORY_FAULT 39
#define PF_KVM_MEMORY_FAULT_USERFAULT (UINT64_C(1) << 4) /* not upstream */

struct pf_kvm_memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size;
};

/* What the exit says; all members of kvm_run's union begin where `hw` does. */
static inline const struct pf_kvm_memory_fault *pf_kvm_memory_fault(const struct kvm_run *run)
{
	return (const struct pf_kvm_memory_fault *)(const void *)&run->hw;
}

_Static_assert(sizeof(struct pf_kvm_guest_memfd) == 64, "struct kvm_create_guest_memfd");
_Static_assert(sizeof(struct pf_kvm_memory_region2) == 160, "struct kvm_userspace_memory_region2");

#endif
