/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_vmm.c - what the destination VMM says.
 *
 * Main thread, called by the dialect (migrate/vmm.h).  -1: the VMM has broken the rules, and is hung up on.
 */
#include "migrate/destination_engine.h"

#include "base/fault.h"
#include "migrate/room.h"
#include "migrate/vmm_saved.h"

int pf_destination_arm(struct destination *destination, const struct pf_vmm_regions *regions,
		       int *fds, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_guest *guest = &destination->guest;

	/* Whoever is blocked since a process that is gone traps again. */
	if (pf_vmm_guest(regions, fds, guest, err) || pf_guest_arm(guest, agent->dir.fd, err) ||
	    pf_guest_wake_all(guest, err)) {
		pf_guest_done(guest);
		return pf_err_prefix(err, "its memory");
	}
	if (pf_vmm_save_armed(&agent->dir, true, err))
		return -1;
	pf_room_check(agent, guest);
	pf_destination_serve_guest(destination);
	pf_fault(PF_FAULT_ARMED);
	return 0;
}

/* Before it is armed, for which the next process may be needed; what is armed is dup(2)ed or moved out of fds. */
static int save(struct pf_agent *agent, const struct pf_vmm_regions *regions, const int *fds,
		struct pf_err *err)
{
	if (pf_vmm_save_armed(&agent->dir, false, err) ||
	    pf_vmm_keep_regions(agent->kept, regions, fds, err) ||
	    pf_vmm_save_regions(&agent->dir, regions, fds, err))
		return -1;
	pf_fault(PF_FAULT_DESCRIBED);
	return 0;
}

int pf_destination_describe(struct destination *destination, const struct pf_vmm_regions *regions,
			    int *fds, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;

	/* Before its memory is judged: that it came unused is known, also if the memory will not do. */
	pf_agent_note(agent, PF_DE_VMM_REGIONS);
	if (agent->ending)
		return 0;
	if (save(agent, regions, fds, err) || pf_destination_arm(destination, regions, fds, err))
		return -1;
	pf_vmm_say(agent->vmm, PF_VMM_REGIONS_ACCEPTED);
	pf_agent_note(agent, PF_DE_VMM_REGIONS);
	return 0;
}

static int vmm_regions(void *engine, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_agent *agent = &destination->agent;

	/* It came again, and its REGIONS were not read before another worker took up what was kept. */
	if (destination->armed && pf_vmm_is_asked(agent->vmm))
		return 0;
	if (destination->armed)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said REGIONS twice");
	/* With RUN also of one that says that it is new: if its memory is another's, so is it. */
	if (pf_vmm_hello(agent->vmm)->stage != PF_VMM_FRESH || agent->record == PF_RECORD_RUN)
		return pf_destination_regions_again(destination, regions, fds, err);
	return pf_destination_describe(destination, regions, fds, err);
}

/* Every LOAD has one READY; that of a load which was dropped must not pass for the next one's. */
static int vmm_ready(void *engine, struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_err failed = {0};

	if (destination->readies == destination->loads)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said READY without LOAD");
	destination->readies++;
	if (destination->readies != destination->loads)
		return 0;
	pf_fault(PF_FAULT_LOADED);
	if (pf_agent_raise_in_turn(&destination->agent, PF_DE_VMM_READY, &failed) &&
	    failed.class != PF_ERR_STATE)
		pf_agent_fail(&destination->agent, PF_DE_FAILED, &failed);
	return 0;
}

static void vmm_resumed(void *engine)
{
	pf_agent_note(&((struct destination *)engine)->agent, PF_DE_VMM_RESUMED);
}

void pf_destination_vmm_refused(void *engine, const char *reason)
{
	struct destination *destination = engine;
	struct pf_err err;

	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination VMM refused to resume: %s", reason);
	pf_agent_fail(&destination->agent, PF_DE_VMM_REFUSED, &err);
}

/* Whoever greets as new and goes again, or describes other memory, is not the VMM that has the guest: it may come yet.
 * Nor has that died where this process cannot judge who has come. */
static bool is_another(const struct destination *destination, const struct pf_err *why)
{
	const struct pf_agent *agent = &destination->agent;

	return agent->record == PF_RECORD_RUN && !destination->armed &&
	       (pf_vmm_is_new(agent->vmm) || why->class != PF_ERR_UNREACHABLE);
}

void pf_destination_vmm_lost(void *engine, const struct pf_err *why)
{
	struct destination *destination = engine;
	struct pf_agent *agent = &destination->agent;

	if (is_another(destination, why)) {
		if (why->class != PF_ERR_UNREACHABLE)
			pf_agent_vmm_refused(agent, why);
		return;
	}
	pf_agent_vmm_lost(agent, PF_DE_VMM_LOST, why);
}

const struct pf_vmm_callbacks pf_destination_vmm = {
	.regions = vmm_regions,
	.ready = vmm_ready,
	.resumed = vmm_resumed,
	.refused = pf_destination_vmm_refused,
	.lost = pf_destination_vmm_lost,
	.back = pf_destination_vmm_attached,
};
