/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/state.c - see tests/guest/state.h. */
#include "tests/guest/state.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/guest/machine.h"

#define STATE_VERSION 2u

static const char state_magic[8] = "PFGUEST";

/* FNV-1a over the whole struct with the checksum as 0: against accidents, not against forgers. */
static uint64_t checksum_of(const struct pf_device_state *state)
{
	static const uint64_t zero;
	const unsigned char *bytes = (const unsigned char *)state;
	size_t at = offsetof(struct pf_device_state, checksum);
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < sizeof(*state); i++) {
		bool own = i >= at && i < at + sizeof(zero);

		hash = (hash ^ (own ? 0 : bytes[i])) * UINT64_C(0x100000001b3);
	}
	return hash;
}

int pf_state_save(struct pf_machine *machine, struct pf_device_state *out, struct pf_err *err)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->magic, state_magic, sizeof(out->magic));
	out->version = STATE_VERSION;
	out->backend = machine->ops->backend;
	out->size = sizeof(*out);
	out->memory = machine->plan.memory;
	out->vcpus = machine->plan.vcpus;
	out->seed = machine->plan.seed;
	for (uint32_t i = 0; i < out->vcpus; i++) {
		struct pf_vcpu *vcpu = &machine->vcpu[i];
		struct pf_vcpu_record *record = &out->vcpu[i];

		record->visits = atomic_load(&vcpu->visits);
		record->last_beat_ns = vcpu->last_beat_ns;
		record->walk = *pf_memory_walk(machine->memory, i);
		record->echo = vcpu->echo;
		if (machine->ops->save(vcpu, &record->registers, err))
			return pf_err_prefix(err, "saving vCPU %u", i);
	}
	out->checksum = checksum_of(out);
	return 0;
}

int pf_state_read(int fd, size_t size, struct pf_device_state *out, struct pf_err *err)
{
	size_t done = 0;

	if (size != sizeof(*out))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "device state of %zu bytes; this VMM's has %zu", size,
				  sizeof(*out));
	while (done < size) {
		ssize_t got = pread(fd, (char *)out + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return pf_err_sys(err, "reading the device state");
		if (got == 0)
			return pf_err_set(err, PF_ERR_PROTOCOL, "device state ends after %zu bytes",
					  done);
		done += (size_t)got;
	}
	if (memcmp(out->magic, state_magic, sizeof(out->magic)) != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "device state is not of this kind of VMM");
	if (out->version != STATE_VERSION || out->size != sizeof(*out))
		return pf_err_set(err, PF_ERR_PROTOCOL, "device state of version %u; known is %u",
				  out->version, STATE_VERSION);
	if (out->checksum != checksum_of(out))
		return pf_err_set(err, PF_ERR_PROTOCOL, "the device state's checksum is wrong");
	return 0;
}

static int check_machine(const struct pf_machine *machine, const struct pf_device_state *state,
			 struct pf_err *err)
{
	if (state->backend != machine->ops->backend)
		return pf_err_set(err, PF_ERR_STATE, "the guest ran on another backend than %s",
				  machine->ops->name);
	if (state->vcpus != machine->plan.vcpus || state->memory != machine->plan.memory)
		return pf_err_set(err, PF_ERR_STATE,
				  "the guest has %u vCPUs and %" PRIu64
				  " bytes of memory, this VMM %u and %" PRIu64,
				  state->vcpus, state->memory, machine->plan.vcpus,
				  machine->plan.memory);
	return 0;
}

/* A vCPU stops anywhere in a visit: its last heartbeat is at most one beat older than its walk. */
static int check_record(const struct pf_device_state *state, uint32_t index, struct pf_err *err)
{
	const struct pf_vcpu_record *record = &state->vcpu[index];
	struct pf_plan plan = {state->memory, state->vcpus, state->seed};
	struct pf_walk first = pf_replay_walk(&plan, index, 0);

	if (record->walk.first != first.first || record->walk.count != first.count ||
	    record->walk.stride != first.stride || record->walk.slot >= first.count)
		return pf_err_set(err, PF_ERR_STATE, "the generator of vCPU %u is not this guest's",
				  index);
	if (record->echo.count > PF_GUEST_ECHO_WORDS)
		return pf_err_set(err, PF_ERR_STATE, "the echo of vCPU %u holds %u words", index,
				  record->echo.count);
	if (record->walk.visits - record->visits > PF_GUEST_VISITS_PER_BEAT)
		return pf_err_set(err, PF_ERR_STATE,
				  "vCPU %u said %" PRIu64 " visits, its generator says %" PRIu64,
				  index, record->visits, record->walk.visits);
	return 0;
}

int pf_state_load(struct pf_machine *machine, const struct pf_device_state *state,
		  struct pf_err *err)
{
	if (check_machine(machine, state, err))
		return -1;
	for (uint32_t i = 0; i < state->vcpus; i++) {
		if (check_record(state, i, err))
			return -1;
	}
	machine->plan.seed = state->seed;
	for (uint32_t i = 0; i < state->vcpus; i++) {
		struct pf_vcpu *vcpu = &machine->vcpu[i];

		atomic_store(&vcpu->visits, state->vcpu[i].visits);
		vcpu->visits_before = state->vcpu[i].walk.visits;
		vcpu->last_beat_ns = state->vcpu[i].last_beat_ns;
		vcpu->echo = state->vcpu[i].echo;
		if (machine->ops->load(vcpu, &state->vcpu[i].registers, err))
			return pf_err_prefix(err, "loading vCPU %u", i);
	}
	return 0;
}

int pf_state_compare(const struct pf_machine *machine, const struct pf_device_state *state,
		     struct pf_err *err)
{
	for (uint32_t i = 0; i < state->vcpus; i++) {
		const struct pf_walk *walk = pf_memory_walk(machine->memory, i);

		if (memcmp(walk, &state->vcpu[i].walk, sizeof(*walk)) != 0)
			return pf_err_set(err, PF_ERR_STATE,
					  "vCPU %u: device state says %" PRIu64
					  " visits, guest memory says %" PRIu64,
					  i, state->vcpu[i].walk.visits, walk->visits);
	}
	return 0;
}
