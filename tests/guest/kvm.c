/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/kvm.c - the backend on /dev/kvm: 32-bit protected mode, flat, no paging.
 *
 * Two races decide the shape of the run loop; Documentation/virt/kvm/api.rst names both.
 *
 * The kick.  A signal interrupts KVM_RUN, but one that arrives just before the system call is
 * handled too early and lost.  So the kicker sets kvm_run->immediate_exit first and sends the
 * signal second: a vCPU that is not inside yet sees the flag ("immediate_exit": KVM_RUN exits
 * immediately, returning -EINTR), one that is inside gets the signal.  The flag stays set until the
 * next order to run, so there is no moment at which it can be missed.
 *
 * Pending I/O.  After KVM_EXIT_IO the instruction is complete, registers included, "only after
 * userspace has re-entered the kernel with KVM_RUN"; saved earlier, an `in` would lose its value
 * and an `out` be done twice.  So the loop leaves to park at one place only: after KVM_RUN has
 * returned EINTR with immediate_exit set, which finishes the pending operation and executes nothing
 * further.
 *
 * A page that has not come.  Accesses of the vCPU itself block in KVM_RUN where userfaultfd has
 * trapped the mapping; with guest_memfd they leave it (KVM_EXIT_MEMORY_FAULT), and stage2.c waits.
 * KVM's own accesses (string I/O) block in KVM_RUN either way.
 *
 * open/save/load: main thread, vCPUs parked.  run: the vCPU's thread.
 */
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "tests/guest/kvm_machine.h"
#include "tests/guest/machine.h"

#define KICK_SIGNAL SIGUSR1
#define CR0_PE 1u
#define EFLAGS_ALWAYS 2u

static void on_kick(int signal)
{
	(void)signal; /* all that matters is that KVM_RUN returns */
}

static int open_machine(struct pf_machine *machine, struct pf_err *err)
{
	struct sigaction action = {.sa_handler = on_kick}; /* no SA_RESTART */

	if (sigaction(KICK_SIGNAL, &action, NULL) != 0)
		return pf_err_sys(err, "installing the kick's signal handler");
	return pf_kvm_open(machine, err);
}

static void make_flat(struct kvm_segment *segment, unsigned char type)
{
	*segment = (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = type & 8 ? 8 : 16, /* never looked up: there is no GDT */
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/* Where guest.S expects to start. */
static int set_initial_registers(struct pf_vcpu *vcpu, struct pf_err *err)
{
	struct kvm_regs regs = {
		.rip = PF_GUEST_IMAGE,
		.rsp = PF_GUEST_STACKS + (vcpu->index + 1) * PF_GUEST_PAGE,
		.rbx = PF_GUEST_WALKS + vcpu->index * PF_GUEST_WALK_SPACING,
		.rflags = EFLAGS_ALWAYS,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->kvm_fd, KVM_GET_SREGS, &sregs) != 0)
		return pf_err_sys(err, "reading the reset state");
	make_flat(&sregs.cs, 11); /* code, readable, accessed */
	make_flat(&sregs.ds, 3);  /* data, writable, accessed */
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= CR0_PE;
	if (ioctl(vcpu->kvm_fd, KVM_SET_SREGS, &sregs) != 0)
		return pf_err_sys(err, "entering protected mode");
	if (ioctl(vcpu->kvm_fd, KVM_SET_REGS, &regs) != 0)
		return pf_err_sys(err, "setting registers");
	return 0;
}

static int open_vcpu(struct pf_vcpu *vcpu, struct pf_err *err)
{
	void *area;

	vcpu->kvm_fd = ioctl(vcpu->machine->vm, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->kvm_fd < 0)
		return pf_err_sys(err, "creating it");
	area = mmap(NULL, vcpu->machine->kvm_run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu->kvm_fd, 0);
	if (area == MAP_FAILED)
		return pf_err_sys(err, "mapping its shared area");
	vcpu->kvm_run = area;
	return set_initial_registers(vcpu, err);
}

static void close_machine(struct pf_machine *machine)
{
	for (uint32_t i = 0; i < PF_GUEST_VCPUS_MAX; i++) {
		struct pf_vcpu *vcpu = &machine->vcpu[i];

		if (vcpu->kvm_run)
			munmap(vcpu->kvm_run, machine->kvm_run_size);
		vcpu->kvm_run = NULL;
		pf_close_fd(&vcpu->kvm_fd);
	}
	pf_kvm_close(machine);
}

/* Every stop but PARKED is for good; RUNNING: enter the guest again. */
static enum pf_vcpu_state fail(struct pf_vcpu *vcpu)
{
	struct kvm_regs regs = {0};

	/* Only to say more; if it fails too, 0 is printed. */
	(void)ioctl(vcpu->kvm_fd, KVM_GET_REGS, &regs);
	pf_err_prefix(&vcpu->err, "vCPU %u at eip 0x%llx", vcpu->index,
		      (unsigned long long)regs.rip);
	return PF_VCPU_FAILED;
}

static enum pf_vcpu_state handle_out(struct pf_vcpu *vcpu, uint16_t port, uint32_t value)
{
	switch (port) {
	case PF_PORT_HEARTBEAT:
		pf_vcpu_heartbeat(vcpu, value);
		return PF_VCPU_RUNNING;
	case PF_PORT_ADDRESS:
		vcpu->wrong.address = value;
		return PF_VCPU_RUNNING;
	case PF_PORT_EXPECTED:
		vcpu->wrong.expected = value;
		return PF_VCPU_RUNNING;
	case PF_PORT_FOUND:
		vcpu->wrong.found = value;
		return PF_VCPU_WRONG;
	case PF_PORT_DEVICE:
		pf_device_transfer(&vcpu->machine->device, vcpu->machine->memory->base + value);
		return PF_VCPU_RUNNING;
	case PF_PORT_DONE:
		return PF_VCPU_FINISHED;
	default:
		pf_err_set(&vcpu->err, PF_ERR_STATE, "the guest wrote to unknown port 0x%x", port);
		return fail(vcpu);
	}
}

/* String I/O: KVM has read these words from guest memory, or will write them there. */
static enum pf_vcpu_state handle_echo(struct pf_vcpu *vcpu, uint32_t *words, uint32_t count)
{
	struct pf_echo *echo = &vcpu->echo;
	bool out = vcpu->kvm_run->io.direction == KVM_EXIT_IO_OUT;

	if (count > (out ? PF_GUEST_ECHO_WORDS - echo->count : echo->count)) {
		pf_err_set(&vcpu->err, PF_ERR_STATE, "%u words %s the echo, which holds %u", count,
			   out ? "for" : "from", echo->count);
		return fail(vcpu);
	}
	if (out) {
		memcpy(echo->word + echo->count, words, count * sizeof(*words));
		echo->count += count;
	} else {
		memcpy(words, echo->word, count * sizeof(*words));
		echo->count -= count;
		memmove(echo->word, echo->word + count, echo->count * sizeof(*words));
	}
	return PF_VCPU_RUNNING;
}

static enum pf_vcpu_state handle_io(struct pf_vcpu *vcpu)
{
	struct kvm_run *shared = vcpu->kvm_run;
	char *data = (char *)shared + shared->io.data_offset;
	uint32_t value;

	if (shared->io.port == PF_PORT_ECHO && shared->io.size == sizeof(value))
		return handle_echo(vcpu, (uint32_t *)(void *)data, shared->io.count);
	if (shared->io.size != sizeof(value) || shared->io.count != 1) {
		pf_err_set(&vcpu->err, PF_ERR_STATE, "port access of %u times %u bytes",
			   shared->io.count, shared->io.size);
		return fail(vcpu);
	}
	if (shared->io.direction == KVM_EXIT_IO_OUT) {
		memcpy(&value, data, sizeof(value));
		return handle_out(vcpu, shared->io.port, value);
	}
	value = atomic_load(&vcpu->machine->finish) ? PF_COMMAND_FINISH : PF_COMMAND_GO_ON;
	memcpy(data, &value, sizeof(value));
	return PF_VCPU_RUNNING;
}

static enum pf_vcpu_state handle_exit(struct pf_vcpu *vcpu)
{
	struct kvm_run *shared = vcpu->kvm_run;

	switch (shared->exit_reason) {
	case KVM_EXIT_IO:
		return handle_io(vcpu);
	case KVM_EXIT_MMIO:
		/* A poisoned page leaves this way too on a software KVM. */
		pf_err_set(&vcpu->err, PF_ERR_STATE, "no memory at 0x%llx, or a page that is lost",
			   (unsigned long long)shared->mmio.phys_addr);
		return fail(vcpu);
	case KVM_EXIT_SHUTDOWN:
		pf_err_set(&vcpu->err, PF_ERR_STATE, "triple fault: the guest's code is damaged");
		return fail(vcpu);
	default:
		pf_err_set(&vcpu->err, PF_ERR_STATE, "KVM_RUN returned with unexpected reason %u",
			   shared->exit_reason);
		return fail(vcpu);
	}
}

static bool is_userfault(const struct kvm_run *shared)
{
	return shared->exit_reason == PF_KVM_EXIT_MEMORY_FAULT &&
	       (pf_kvm_memory_fault(shared)->flags & PF_KVM_MEMORY_FAULT_USERFAULT);
}

static bool traps(const void *opaque, uint64_t gpa)
{
	const struct pf_guest_memory *memory = opaque;

	for (uint32_t i = 0; i < memory->plan.region_count; i++)
		if (gpa >= memory->region_start[i] && gpa < memory->region_start[i + 1])
			return memory->bitmap[i].bits &&
			       pf_gmem_traps(&memory->bitmap[i],
					     (gpa - memory->region_start[i]) / PF_GUEST_PAGE);
	return false;
}

static enum pf_vcpu_state run(struct pf_vcpu *vcpu)
{
	struct pf_stage2 *stage2 = &vcpu->machine->stage2;
	enum pf_vcpu_state state = PF_VCPU_RUNNING;

	while (state == PF_VCPU_RUNNING) {
		if (!pf_stage2_wait(stage2, vcpu->index, &vcpu->kvm_run->immediate_exit)) {
			state = PF_VCPU_PARKED;
		} else if (ioctl(vcpu->kvm_fd, KVM_RUN, 0) == 0) {
			state = handle_exit(vcpu);
		} else if (errno == EFAULT && is_userfault(vcpu->kvm_run)) {
			pf_stage2_fault(stage2, vcpu->index, pf_kvm_memory_fault(vcpu->kvm_run)->gpa,
					traps, vcpu->machine->memory);
		} else if (errno == EINTR || errno == EAGAIN) {
			if (__atomic_load_n(&vcpu->kvm_run->immediate_exit, __ATOMIC_SEQ_CST))
				state = PF_VCPU_PARKED;
		} else {
			pf_err_sys(&vcpu->err, "KVM_RUN");
			state = fail(vcpu);
		}
	}
	return state;
}

static void prepare_run(struct pf_vcpu *vcpu)
{
	__atomic_store_n(&vcpu->kvm_run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

static void kick(struct pf_vcpu *vcpu)
{
	__atomic_store_n(&vcpu->kvm_run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
	pf_stage2_kick(&vcpu->machine->stage2);
}

/*
 * No KVM_GET_MP_STATE: without an in-kernel interrupt controller every vCPU is runnable.  No FPU,
 * no MSRs, no clock: the guest has none of them in use.
 */
static int save(struct pf_vcpu *vcpu, struct pf_registers *out, struct pf_err *err)
{
	if (ioctl(vcpu->kvm_fd, KVM_GET_REGS, &out->regs) != 0)
		return pf_err_sys(err, "reading registers");
	if (ioctl(vcpu->kvm_fd, KVM_GET_SREGS, &out->sregs) != 0)
		return pf_err_sys(err, "reading special registers");
	if (ioctl(vcpu->kvm_fd, KVM_GET_VCPU_EVENTS, &out->events) != 0)
		return pf_err_sys(err, "reading events");
	return 0;
}

static int load(struct pf_vcpu *vcpu, const struct pf_registers *in, struct pf_err *err)
{
	/* KVM takes what it is told, and a guest of the wrong mode fails far from the cause. */
	if (!(in->sregs.cr0 & CR0_PE) || in->regs.rip >= PF_GUEST_STACKS)
		return pf_err_set(err, PF_ERR_STATE,
				  "these registers are not of this guest: eip 0x%llx, cr0 0x%llx",
				  (unsigned long long)in->regs.rip,
				  (unsigned long long)in->sregs.cr0);
	if (ioctl(vcpu->kvm_fd, KVM_SET_SREGS, &in->sregs) != 0)
		return pf_err_sys(err, "setting special registers");
	if (ioctl(vcpu->kvm_fd, KVM_SET_REGS, &in->regs) != 0)
		return pf_err_sys(err, "setting registers");
	if (ioctl(vcpu->kvm_fd, KVM_SET_VCPU_EVENTS, &in->events) != 0)
		return pf_err_sys(err, "setting events");
	return 0;
}

const struct pf_backend_ops pf_backend_kvm = {
	.backend = PF_BACKEND_KVM,
	.name = "kvm",
	.open = open_machine,
	.add_memory = pf_kvm_add_slots,
	.end_traps = pf_kvm_end_userfault,
	.open_vcpu = open_vcpu,
	.close = close_machine,
	.prepare_run = prepare_run,
	.run = run,
	.kick = kick,
	.save = save,
	.load = load,
};
