/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/threads.c - the backend without KVM: the same walk, natively, on the same memory.
 *
 * Runs in the vCPU's thread and faults like it; parks at visit boundaries only.  For machines
 * without /dev/kvm, and for sanitizers that must see the accesses.
 */
#include "tests/guest/machine.h"

static int open_machine(struct pf_machine *machine, struct pf_err *err)
{
	(void)machine;
	(void)err;
	return 0;
}

static int add_memory(struct pf_machine *machine, struct pf_err *err)
{
	(void)machine;
	(void)err;
	return 0;
}

static int open_vcpu(struct pf_vcpu *vcpu, struct pf_err *err)
{
	(void)vcpu;
	(void)err;
	return 0;
}

static void close_machine(struct pf_machine *machine)
{
	(void)machine;
}

static void prepare_run(struct pf_vcpu *vcpu)
{
	atomic_store(&vcpu->park, false);
}

static enum pf_vcpu_state run(struct pf_vcpu *vcpu)
{
	struct pf_walk *walk = pf_memory_walk(vcpu->machine->memory, vcpu->index);
	uintptr_t base = (uintptr_t)vcpu->machine->memory->base;

	while (!atomic_load(&vcpu->park)) {
		if (pf_walk_visit(walk, base, &vcpu->wrong))
			return PF_VCPU_WRONG;
		if (walk->visits % PF_GUEST_VISITS_PER_BEAT != 0)
			continue;
		pf_vcpu_heartbeat(vcpu, (uint32_t)walk->visits);
		if (atomic_load(&vcpu->machine->finish))
			return PF_VCPU_FINISHED;
	}
	return PF_VCPU_PARKED;
}

static void kick(struct pf_vcpu *vcpu)
{
	atomic_store(&vcpu->park, true);
}

static int save(struct pf_vcpu *vcpu, struct pf_registers *out, struct pf_err *err)
{
	(void)vcpu;
	(void)out;
	(void)err;
	return 0;
}

static int load(struct pf_vcpu *vcpu, const struct pf_registers *in, struct pf_err *err)
{
	(void)vcpu;
	(void)in;
	(void)err;
	return 0;
}

const struct pf_backend_ops pf_backend_threads = {
	.backend = PF_BACKEND_THREADS,
	.name = "threads",
	.open = open_machine,
	.add_memory = add_memory,
	.end_traps = add_memory,
	.open_vcpu = open_vcpu,
	.close = close_machine,
	.prepare_run = prepare_run,
	.run = run,
	.kick = kick,
	.save = save,
	.load = load,
};
