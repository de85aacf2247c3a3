/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/state.h - device state: what travels beside memory, and how it is judged on arrival.
 *
 * One flat struct, same machine type on both sides, with magic, version, size and checksum.  Main
 * thread, vCPUs parked.  Nothing in it is used before all of it has been checked.
 */
#ifndef PF_GUEST_STATE_H
#define PF_GUEST_STATE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/layout.h"
#include "tests/guest/walk.h"

struct pf_machine;

enum pf_backend { PF_BACKEND_KVM = 1, PF_BACKEND_THREADS = 2 };

/* All zeros with the threads backend, whose vCPUs stop at visit boundaries and have none. */
struct pf_registers {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
};

/* What the vCPU has sent to the echo and not taken back. */
struct pf_echo {
	uint32_t count;
	uint32_t word[PF_GUEST_ECHO_WORDS];
};

struct pf_vcpu_record {
	uint64_t visits;       /* as of the last heartbeat */
	uint64_t last_beat_ns; /* CLOCK_MONOTONIC: both VMMs are on one host */
	struct pf_walk walk;   /* the generator, as it is in guest memory too */
	struct pf_registers registers;
	struct pf_echo echo;
	uint32_t zero;
};

struct pf_device_state {
	char magic[8];
	uint32_t version;
	uint32_t backend; /* enum pf_backend */
	uint64_t size;	  /* of this struct */
	uint64_t checksum;
	uint64_t memory; /* bytes */
	uint32_t vcpus;
	uint32_t seed;
	struct pf_vcpu_record vcpu[PF_GUEST_VCPUS_MAX];
};

/* Source: takes the state of a parked machine. */
PF_MUST_USE int pf_state_save(struct pf_machine *machine, struct pf_device_state *out,
			      struct pf_err *err);
/* Reads device state from a file; refuses anything that is not whole and ours. */
PF_MUST_USE int pf_state_read(int fd, size_t size, struct pf_device_state *out, struct pf_err *err);
/* Destination: gives the machine the state, if it is this machine's, in place of any before. */
PF_MUST_USE int pf_state_load(struct pf_machine *machine, const struct pf_device_state *state,
			      struct pf_err *err);
/*
 * Destination: compares the generators with guest memory: that access waits until the agent has
 * brought the page.
 */
PF_MUST_USE int pf_state_compare(const struct pf_machine *machine,
				 const struct pf_device_state *state, struct pf_err *err);

#endif
