/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/machine.c - see tests/guest/machine.h. */
#include "tests/guest/machine.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/clock.h"

void pf_vcpu_heartbeat(struct pf_vcpu *vcpu, uint32_t visits_low)
{
	uint64_t now = pf_now_ns();
	uint64_t before = atomic_load(&vcpu->visits);

	if (vcpu->heartbeats == 0 && vcpu->last_beat_ns != 0)
		vcpu->downtime_ns = now - vcpu->last_beat_ns;
	else if (vcpu->heartbeats != 0 && now - vcpu->last_beat_ns > vcpu->worst_stall_ns)
		vcpu->worst_stall_ns = now - vcpu->last_beat_ns;
	vcpu->heartbeats++;
	vcpu->last_beat_ns = now;
	/* The guest says 32 bits of a count that grows by a few: the difference is what is new. */
	atomic_store(&vcpu->visits, before + (uint32_t)(visits_low - (uint32_t)before));
}

static void announce(struct pf_machine *machine)
{
	uint64_t one = 1;
	ssize_t written;

	/* EAGAIN would mean 2^64 - 1 unread announcements; then the fd is readable anyway. */
	do {
		written = write(machine->event, &one, sizeof(one));
	} while (written < 0 && errno == EINTR);
}

static void *vcpu_main(void *opaque)
{
	struct pf_vcpu *vcpu = opaque;
	struct pf_machine *machine = vcpu->machine;

	pthread_mutex_lock(&machine->lock);
	vcpu->tid = (uint32_t)syscall(SYS_gettid);
	pthread_cond_broadcast(&machine->changed);
	while (!machine->end) {
		enum pf_vcpu_state stopped;

		if (!machine->run || vcpu->state != PF_VCPU_PARKED) {
			pthread_cond_wait(&machine->changed, &machine->lock);
			continue;
		}
		/*
		 * RUNNING and the withdrawal of an older kick are one step for whoever holds the
		 * lock: a kick comes before it, and then run is false, or after it, and stays.
		 */
		vcpu->state = PF_VCPU_RUNNING;
		machine->ops->prepare_run(vcpu);
		pthread_cond_broadcast(&machine->changed);
		pthread_mutex_unlock(&machine->lock);
		stopped = machine->ops->run(vcpu);
		pthread_mutex_lock(&machine->lock);
		vcpu->state = stopped;
		pthread_cond_broadcast(&machine->changed);
		if (stopped != PF_VCPU_PARKED)
			announce(machine);
	}
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

static int start_thread(struct pf_machine *machine, uint32_t index, struct pf_err *err)
{
	struct pf_vcpu *vcpu = &machine->vcpu[index];
	int sys;

	if (machine->ops->open_vcpu(vcpu, err))
		return pf_err_prefix(err, "vCPU %u", index);
	sys = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
	if (sys != 0) {
		errno = sys;
		return pf_err_sys(err, "starting the thread of vCPU %u", index);
	}
	machine->thread_count++;
	pthread_mutex_lock(&machine->lock);
	while (vcpu->tid == 0)
		pthread_cond_wait(&machine->changed, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
	return 0;
}

int pf_machine_open(struct pf_machine *machine, const struct pf_backend_ops *ops,
		    const struct pf_plan *plan, struct pf_err *err)
{
	memset(machine, 0, sizeof(*machine));
	machine->ops = ops;
	machine->plan = *plan;
	machine->kvm = machine->vm = -1;
	pf_stage2_init(&machine->stage2);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->changed, NULL);
	for (uint32_t i = 0; i < PF_GUEST_VCPUS_MAX; i++) {
		machine->vcpu[i].machine = machine;
		machine->vcpu[i].index = i;
		machine->vcpu[i].kvm_fd = -1;
	}
	machine->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->event < 0)
		return pf_err_sys(err, "creating an eventfd");
	return ops->open(machine, err) || pf_device_start(&machine->device, err) ? -1 : 0;
}

int pf_machine_equip(struct pf_machine *machine, struct pf_guest_memory *memory, struct pf_err *err)
{
	machine->memory = memory;
	if (machine->ops->add_memory(machine, err))
		return -1;
	for (uint32_t i = 0; i < machine->plan.vcpus; i++) {
		if (start_thread(machine, i, err))
			return -1;
	}
	return 0;
}

void pf_machine_destroy(struct pf_machine *machine)
{
	if (!machine->ops)
		return;
	pf_machine_park(machine);
	pthread_mutex_lock(&machine->lock);
	machine->end = true;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	for (uint32_t i = 0; i < machine->thread_count; i++)
		pthread_join(machine->vcpu[i].thread, NULL);
	pf_device_stop(&machine->device);
	machine->ops->close(machine);
	pf_stage2_done(&machine->stage2);
	pf_close_fd(&machine->event);
	pthread_cond_destroy(&machine->changed);
	pthread_mutex_destroy(&machine->lock);
	machine->ops = NULL;
}

void pf_machine_run(struct pf_machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->run = true;
	pthread_cond_broadcast(&machine->changed);
	for (uint32_t i = 0; i < machine->thread_count; i++) {
		while (machine->vcpu[i].state == PF_VCPU_PARKED)
			pthread_cond_wait(&machine->changed, &machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

void pf_machine_park(struct pf_machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->run = false;
	for (uint32_t i = 0; i < machine->thread_count; i++) {
		if (machine->vcpu[i].state == PF_VCPU_RUNNING)
			machine->ops->kick(&machine->vcpu[i]);
	}
	for (uint32_t i = 0; i < machine->thread_count; i++) {
		while (machine->vcpu[i].state == PF_VCPU_RUNNING)
			pthread_cond_wait(&machine->changed, &machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

void pf_machine_finish(struct pf_machine *machine)
{
	atomic_store(&machine->finish, true);
}

bool pf_machine_all_finished(struct pf_machine *machine)
{
	bool all = true;

	pthread_mutex_lock(&machine->lock);
	for (uint32_t i = 0; i < machine->thread_count; i++)
		all = all && machine->vcpu[i].state == PF_VCPU_FINISHED;
	pthread_mutex_unlock(&machine->lock);
	return all;
}

const struct pf_vcpu *pf_machine_casualty(struct pf_machine *machine)
{
	const struct pf_vcpu *found = NULL;

	pthread_mutex_lock(&machine->lock);
	for (uint32_t i = 0; i < machine->thread_count && !found; i++) {
		if (machine->vcpu[i].state == PF_VCPU_WRONG ||
		    machine->vcpu[i].state == PF_VCPU_FAILED)
			found = &machine->vcpu[i];
	}
	pthread_mutex_unlock(&machine->lock);
	return found;
}

int pf_machine_complete(struct pf_machine *machine, struct pf_err *err)
{
	for (uint32_t i = 0; i < machine->plan.vcpus; i++)
		machine->vcpu[i].visits_complete = atomic_load(&machine->vcpu[i].visits);
	return machine->ops->end_traps(machine, err);
}

uint64_t pf_machine_visits(struct pf_machine *machine)
{
	uint64_t visits = 0;

	for (uint32_t i = 0; i < machine->plan.vcpus; i++)
		visits += atomic_load(&machine->vcpu[i].visits);
	return visits;
}
