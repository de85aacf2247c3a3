/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/kvm_machine.c - see tests/guest/kvm_machine.h; Documentation/virt/kvm/api.rst. */
#include "tests/guest/kvm_machine.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "tests/guest/machine.h"

#define KVM_API 12
/* Three pages for KVM itself on Intel (KVM_SET_TSS_ADDR), above all guest memory. */
#define TSS_ADDRESS 0xfffbd000ul

static int check_kvm(int kvm, struct pf_err *err)
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
		{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
		{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
		{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	};

	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API)
		return pf_err_set(err, PF_ERR_SYSTEM, "/dev/kvm speaks another version than %d",
				  KVM_API);
	for (size_t i = 0; i < PF_ARRAY_LEN(needed); i++) {
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
			return pf_err_set(err, PF_ERR_SYSTEM, "/dev/kvm lacks %s", needed[i].name);
	}
	return 0;
}

int pf_kvm_open(struct pf_machine *machine, struct pf_err *err)
{
	int run_size;

	machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (machine->kvm < 0) {
		pf_err_sys(err, "opening /dev/kvm");
		return pf_err_hint(err, "use --backend threads where there is no KVM");
	}
	if (check_kvm(machine->kvm, err))
		return -1;
	machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0ul);
	if (machine->vm < 0)
		return pf_err_sys(err, "creating a virtual machine");
	if (ioctl(machine->kvm, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
	    ioctl(machine->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) != 0)
		return pf_err_sys(err, "placing KVM's task state segment");
	run_size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size < (int)sizeof(struct kvm_run))
		return pf_err_set(err, PF_ERR_SYSTEM, "KVM's vCPU area has %d bytes only",
				  run_size);
	machine->kvm_run_size = (size_t)run_size;
	return 0;
}

static int set_slot(const struct pf_machine *machine, uint32_t region, struct pf_err *err)
{
	const struct pf_guest_memory *memory = machine->memory;
	uint64_t start = memory->region_start[region];
	struct kvm_userspace_memory_region slot = {
		.slot = region,
		.guest_phys_addr = start,
		.memory_size = memory->region_start[region + 1] - start,
		.userspace_addr = (uintptr_t)memory->base + start,
	};

	if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &slot) != 0)
		return pf_err_sys(err, "giving KVM memory slot %u", region);
	return 0;
}

/* vCPUs go to the guest_memfd, KVM's own accesses to the user address. */
static int set_gmem_slot(const struct pf_machine *machine, uint32_t region, bool traps,
			 struct pf_err *err)
{
	const struct pf_guest_memory *memory = machine->memory;
	uint64_t start = memory->region_start[region];
	struct pf_kvm_memory_region2 slot = {
		.slot = region,
		.flags = PF_KVM_MEM_GUEST_MEMFD | (traps ? PF_KVM_MEM_USERFAULT : 0),
		.guest_phys_addr = start,
		.memory_size = memory->region_start[region + 1] - start,
		.userspace_addr = (uintptr_t)memory->base + start,
		.guest_memfd = (uint32_t)memory->fd[memory->plan.region[region]],
		.guest_memfd_offset = start,
		.userfault_bitmap = traps ? (uintptr_t)memory->bitmap[region].bits : 0,
	};

	if (ioctl(machine->vm, PF_KVM_SET_USER_MEMORY_REGION2, &slot) != 0)
		return pf_err_sys(err, "giving KVM memory slot %u, a guest_memfd%s", region,
				  traps ? " with a userfault bitmap" : "");
	return 0;
}

int pf_kvm_add_slots(struct pf_machine *machine, struct pf_err *err)
{
	const struct pf_guest_memory *memory = machine->memory;

	for (uint32_t i = 0; i < memory->plan.region_count; i++) {
		bool traps = memory->bitmap[i].bits != NULL;
		int failed = pf_backing_is_gmem(memory->plan.region[i])
				     ? set_gmem_slot(machine, i, traps, err)
				     : set_slot(machine, i, err);

		if (failed)
			return -1;
	}
	return 0;
}

int pf_kvm_end_userfault(struct pf_machine *machine, struct pf_err *err)
{
	for (uint32_t i = 0; i < machine->memory->plan.region_count; i++) {
		const struct pf_gmem_bitmap *bitmap = &machine->memory->bitmap[i];

		/* A bit that is left is that of a lost page: without the flag it would read zeros. */
		if (bitmap->bits && !pf_gmem_traps_any(bitmap) &&
		    set_gmem_slot(machine, i, false, err))
			return -1;
	}
	return 0;
}

void pf_kvm_close(struct pf_machine *machine)
{
	pf_close_fd(&machine->vm);
	pf_close_fd(&machine->kvm);
}
