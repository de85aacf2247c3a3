/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/machine.h - a virtual machine: its vCPU threads, and how they run, park and finish.
 *
 * The main thread gives orders, each vCPU has a thread of its own.  Lock order: there is one lock.
 * A vCPU's thread owns its counters while the vCPU is RUNNING, the main thread owns them otherwise.
 *
 *            pf_machine_run()            guest says DONE
 *   PARKED ------------------> RUNNING -----------------> FINISHED
 *          <------------------         -----------------> WRONG, FAILED
 *            pf_machine_park()           wrong word, or the backend cannot go on
 *
 * Every arrival in FINISHED, WRONG or FAILED is a write to the eventfd.
 */
#ifndef PF_GUEST_MACHINE_H
#define PF_GUEST_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/device.h"
#include "tests/guest/memory.h"
#include "tests/guest/stage2.h"
#include "tests/guest/state.h"

struct kvm_run;
struct pf_machine;

enum pf_vcpu_state {
	PF_VCPU_PARKED,
	PF_VCPU_RUNNING,
	PF_VCPU_FINISHED,
	PF_VCPU_WRONG,
	PF_VCPU_FAILED
};

struct pf_vcpu {
	struct pf_machine *machine;
	uint32_t index;
	pthread_t thread;
	uint32_t tid;
	enum pf_vcpu_state state; /* under the machine's lock */
	_Atomic uint64_t visits;  /* up to the last heartbeat; anybody may read it */

	uint64_t visits_before;	  /* this VMM ran it */
	uint64_t visits_complete; /* when every page had come; 0: that has not been */
	uint64_t heartbeats;	/* here */
	uint64_t last_beat_ns;	/* 0: none ever */
	uint64_t worst_stall_ns;
	uint64_t downtime_ns;

	struct pf_walk_wrong wrong; /* state WRONG */
	struct pf_err err;	    /* state FAILED */

	atomic_bool park; /* threads backend: stop at the next visit boundary */
	int kvm_fd;
	struct kvm_run *kvm_run;
	struct pf_echo echo;
};

/* What runs vCPUs.  run() returns the state in which the vCPU stopped. */
struct pf_backend_ops {
	enum pf_backend backend;
	const char *name;
	int (*open)(struct pf_machine *machine, struct pf_err *err);
	int (*add_memory)(struct pf_machine *machine, struct pf_err *err);
	/* No vCPU need be stopped before an absent page any more. */
	int (*end_traps)(struct pf_machine *machine, struct pf_err *err);
	int (*open_vcpu)(struct pf_vcpu *vcpu, struct pf_err *err);
	void (*close)(struct pf_machine *machine);
	void (*prepare_run)(
		struct pf_vcpu *vcpu); /* under the lock, before RUNNING is left to run */
	enum pf_vcpu_state (*run)(struct pf_vcpu *vcpu);
	void (*kick)(struct pf_vcpu *vcpu); /* under the lock: make run() return PARKED soon */
	int (*save)(struct pf_vcpu *vcpu, struct pf_registers *out, struct pf_err *err);
	int (*load)(struct pf_vcpu *vcpu, const struct pf_registers *in, struct pf_err *err);
};

extern const struct pf_backend_ops pf_backend_kvm, pf_backend_threads;

struct pf_machine {
	const struct pf_backend_ops *ops;
	struct pf_guest_memory *memory;
	struct pf_plan plan;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* orders for vCPUs, states for the main thread */
	bool run, end;		/* orders, under the lock */
	atomic_bool finish;	/* what a guest is told when it asks after its heartbeat */
	int event;		/* eventfd, non-blocking */
	uint32_t thread_count;
	struct pf_vcpu vcpu[PF_GUEST_VCPUS_MAX];
	struct pf_device device;
	struct pf_stage2 stage2;
	int kvm, vm;
	size_t kvm_run_size;
};

/* Makes the machine, which a guest_memfd needs to exist. */
PF_MUST_USE int pf_machine_open(struct pf_machine *machine, const struct pf_backend_ops *ops,
				const struct pf_plan *plan, struct pf_err *err);
/* Gives it memory, and vCPUs, which are parked. */
PF_MUST_USE int pf_machine_equip(struct pf_machine *machine, struct pf_guest_memory *memory,
				 struct pf_err *err);
/* Ends the threads; takes whatever the two above left.  A vCPU must not be stuck in a fault. */
void pf_machine_destroy(struct pf_machine *machine);

/* Returns when every vCPU has left PARKED. */
void pf_machine_run(struct pf_machine *machine);
/* Returns when no vCPU is RUNNING; waits for the guest's current instruction (or visit). */
void pf_machine_park(struct pf_machine *machine);
/* Tells every vCPU to stop at its next heartbeat; the eventfd says when they have. */
void pf_machine_finish(struct pf_machine *machine);

/* All FINISHED; or the first vCPU that is WRONG or FAILED; NULL while neither is so. */
bool pf_machine_all_finished(struct pf_machine *machine);
const struct pf_vcpu *pf_machine_casualty(struct pf_machine *machine);
uint64_t pf_machine_visits(struct pf_machine *machine);
/* Every page has come: what is visited from here on says nothing about the migration. */
PF_MUST_USE int pf_machine_complete(struct pf_machine *machine, struct pf_err *err);

/* For the backends, in the vCPU's thread: the guest has reported its visit count. */
void pf_vcpu_heartbeat(struct pf_vcpu *vcpu, uint32_t visits_low);

#endif
