/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kill/machine.c - see tests/kill/machine.h; Documentation/virt/kvm/api.rst. */
#include "machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "tests/unit/memhelp.h"
#include "vmm/faults.h"

#define VCPUS_MAX 8u
#define CODE_GPA (UINT64_C(3) << 30)
#define CODE_SLOT REGIONS_MAX

/* Real mode; the data segments begin at the word.  `outsl` is done by KVM, a half of it each. */
static const struct program {
	uint8_t code[14];
} programs[READERS] = {
	/* mov eax, [0]; mov edx, [4]; hlt */
	[BY_VCPU] = {{0x66, 0xa1, 0x00, 0x00, 0x66, 0x8b, 0x16, 0x04, 0x00, 0xf4}},
	/* mov dx, 16; mov si, 0; outsl; outsl; hlt */
	[BY_KVM] = {{0xba, 0x10, 0x00, 0xbe, 0x00, 0x00, 0x66, 0x6f, 0x66, 0x6f, 0xf4}},
};

struct machine_vcpu {
	int fd;
	struct kvm_run *run;
	bool waits; /* under the machine's lock */
};

struct machine {
	struct pf_vmm_faults faults;
	pthread_t dispatcher;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	_Atomic uint64_t exits;
};

/* What can be made once only: the process's, from machine to machine. */
static struct machine_vcpu vcpu_of[VCPUS_MAX];
static unsigned vcpus_made;

/* ---- memory ---- */

static void set_slot(const struct pf_kvm_memory_region2 *slot)
{
	assert_int_equal(ioctl(row_machine(), PF_KVM_SET_USER_MEMORY_REGION2, slot), 0);
}

static void add_code(void)
{
	static uint8_t *code;

	if (!code) {
		code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true(code != MAP_FAILED);
		memcpy(code, programs, sizeof(programs));
	}
	set_slot(&(struct pf_kvm_memory_region2){.slot = CODE_SLOT,
						 .guest_phys_addr = CODE_GPA,
						 .memory_size = PAGE,
						 .userspace_addr = (uintptr_t)code});
}

static void set_region(const struct stage *stage, uint32_t r, uint64_t size)
{
	set_slot(&(struct pf_kvm_memory_region2){
		.slot = r,
		.flags = PF_KVM_MEM_GUEST_MEMFD | PF_KVM_MEM_USERFAULT,
		.guest_phys_addr = stage->table.region[r].gpa,
		.memory_size = size, /* 0: takes it away */
		.userspace_addr = stage->region[r].base[0],
		.guest_memfd = (uint32_t)stage->region[r].fd,
		.userfault_bitmap = (uintptr_t)stage->region[r].bitmap});
}

/* ---- vCPUs ---- */

static void make_vcpu(struct machine_vcpu *vcpu, unsigned number)
{
	vcpu->fd = ioctl(row_machine(), KVM_CREATE_VCPU, (unsigned long)number);
	assert_true(vcpu->fd >= 0);
	vcpu->run = mmap(NULL, sizeof(struct kvm_run) + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	assert_true(vcpu->run != MAP_FAILED);
}

static void on_resolved(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	struct machine *machine = opaque;

	(void)gpa;
	pthread_mutex_lock(&machine->lock);
	vcpu_of[vcpu].waits = false;
	pthread_cond_broadcast(&machine->answered);
	pthread_mutex_unlock(&machine->lock);
}

static const struct pageferry_vmm_ops ops = {.resolved = on_resolved};

/* Until the agents' end is closed by the last who has it. */
static void *dispatch(void *opaque)
{
	struct machine *machine = opaque;
	struct pollfd pfd = {.fd = machine->faults.fd, .events = POLLIN};

	do
		(void)poll(&pfd, 1, -1);
	while (pf_vmm_faults_dispatch(&machine->faults, &ops, machine) == 0);
	return NULL;
}

struct machine *machine_open(struct stage *stage, unsigned vcpus)
{
	struct machine *machine = NULL;
	struct pf_err err;

	stage->fault_fd = -1;
	for (uint32_t r = 0; r < stage->table.count; r++) {
		if (stage_row(stage, r)->kind != PF_MEMORY_GUEST_MEMFD)
			continue;
		machine = machine ? machine : calloc(1, sizeof(*machine));
		set_region(stage, r, stage->table.region[r].size);
	}
	if (!machine)
		return NULL;
	add_code();
	for (; vcpus_made < vcpus; vcpus_made++)
		make_vcpu(&vcpu_of[vcpus_made], vcpus_made);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->answered, NULL);
	if (pf_vmm_faults_open(&machine->faults, &stage->fault_fd, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&machine->dispatcher, NULL, dispatch, machine), 0);
	return machine;
}

void machine_close(struct machine *machine, struct stage *stage)
{
	if (!machine)
		return;
	pf_close_fd(&stage->fault_fd);
	pthread_join(machine->dispatcher, NULL);
	pf_vmm_faults_close(&machine->faults);
	for (uint32_t r = 0; r < stage->table.count; r++)
		if (stage_row(stage, r)->kind == PF_MEMORY_GUEST_MEMFD)
			set_region(stage, r, 0);
	pthread_cond_destroy(&machine->answered);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}

/* Here nothing can fail but by a mistake of this file's, and no test can be told of it. */
static void must(const char *what, int failed)
{
	if (!failed)
		return;
	perror(what);
	abort();
}

static void begin(const struct machine_vcpu *vcpu, enum reader reader, uint64_t gpa)
{
	struct kvm_regs regs = {.rip = reader * sizeof(struct program), .rflags = 2};
	struct kvm_sregs sregs;

	must("KVM_GET_SREGS", ioctl(vcpu->fd, KVM_GET_SREGS, &sregs));
	sregs.cs.base = CODE_GPA;
	sregs.cs.selector = 0;
	sregs.ds.base = gpa;
	must("KVM_SET_SREGS", ioctl(vcpu->fd, KVM_SET_SREGS, &sregs));
	must("KVM_SET_REGS", ioctl(vcpu->fd, KVM_SET_REGS, &regs));
}

static void wait_for_page(struct machine *machine, unsigned number, uint64_t gpa)
{
	atomic_fetch_add(&machine->exits, 1);
	pthread_mutex_lock(&machine->lock);
	vcpu_of[number].waits = true;
	pthread_mutex_unlock(&machine->lock);
	must("asking for a page", pf_vmm_faults_ask(&machine->faults, number, gpa));
	pthread_mutex_lock(&machine->lock);
	while (vcpu_of[number].waits)
		pthread_cond_wait(&machine->answered, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

uint64_t machine_read(struct machine *machine, unsigned number, enum reader reader, uint64_t gpa)
{
	struct machine_vcpu *vcpu = &vcpu_of[number];
	const struct kvm_run *run = vcpu->run;
	uint32_t half[3] = {0};
	unsigned halves = 0;
	struct kvm_regs regs;

	begin(vcpu, reader, gpa);
	for (;;) {
		int failed = ioctl(vcpu->fd, KVM_RUN, 0ul);

		if (!failed && run->exit_reason == KVM_EXIT_HLT)
			break;
		if (!failed && run->exit_reason == KVM_EXIT_IO && halves < 2)
			memcpy(&half[halves++], (const char *)run + run->io.data_offset, 4);
		else if (failed && errno == EFAULT && run->exit_reason == PF_KVM_EXIT_MEMORY_FAULT)
			wait_for_page(machine, number, pf_kvm_memory_fault(run)->gpa);
		else if (!failed || errno != EINTR)
			must("KVM_RUN", -1);
	}
	if (reader == BY_KVM)
		return half[0] | (uint64_t)half[1] << 32;
	must("KVM_GET_REGS", ioctl(vcpu->fd, KVM_GET_REGS, &regs));
	return (uint32_t)regs.rax | regs.rdx << 32;
}

uint64_t machine_exits(const struct machine *machine)
{
	return atomic_load(&machine->exits);
}
