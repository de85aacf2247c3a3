/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_again.c - a destination that goes on where a process before it had to stop.
 *
 * Main thread; does not block.  What had been armed is trapped still, as long as somebody has the
 * userfaultfds: the keeper (then the next worker takes them up as it begins), or the VMM (then it hands
 * them over again).  The VMM says itself how far its guest has come, and that is what the state table
 * hears.  Its pages do not wait for that: it may stand in one of them, and cannot answer before that has come.
 */
#include "migrate/destination_engine.h"

#include "base/cleanup.h"
#include "core/fsm.h"
#include "migrate/report.h"
#include "migrate/vmm_saved.h"

void pf_destination_serve_guest(struct destination *destination)
{
	const struct pf_vmm_hello *hello = pf_vmm_hello(destination->agent.vmm);
	struct pf_guest *guest = &destination->guest;

	destination->armed = true;
	destination->filled_then = guest->journal.filled; /* a link may stand, of which nothing has come yet */
	pf_pager_know_vcpus(&destination->pager, hello->vcpu_tid, hello->vcpu_count);
	pf_pager_tell(&destination->pager, PF_MAIL_GUEST, &guest, sizeof(guest));
	/* Who is connected already, and waited for it. */
	pf_resume_urgent(destination);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		if (destination->bulk[i].started)
			pf_resume_bulk(destination, i);
}

/*
 * Nobody compares tables again, which is when the first process made them.  Of the bulk connections
 * those are here that came before the memory; the others get theirs when they start.
 */
static int make_assemblies(struct destination *destination, struct pf_err *err)
{
	const struct pf_region_table *table = &destination->guest.table;

	if (pf_assembly_init(&destination->assembly[0], table, err))
		return -1;
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		if (destination->bulk[i].started &&
		    pf_assembly_init(&destination->assembly[i + 1], table, err))
			return -1;
	return 0;
}

/* Of a guest that was never committed nothing is kept: its source starts again from the beginning. */
static int take_up(struct destination *destination, const struct pf_vmm_regions *regions, int *fds,
		   struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_guest *guest = &destination->guest;

	if (pf_vmm_guest(regions, fds, guest, err) || pf_guest_take_up(guest, agent->dir.fd, err) ||
	    make_assemblies(destination, err)) {
		pf_guest_done(guest);
		return pf_err_prefix(err, "taking its memory up again");
	}
	pf_destination_serve_guest(destination);
	if (agent->record == PF_RECORD_NONE)
		pf_pager_tell(&destination->pager, PF_MAIL_RESET, NULL, 0);
	return 0;
}

typedef int use_fn(struct destination *destination, const struct pf_vmm_regions *regions, int *fds,
		   struct pf_err *err);

/* 1: REGIONS died with who had read them. */
static int use_kept(struct destination *destination, use_fn *use, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct pf_vmm_regions regions;
	int fds[PF_UNIX_FDS_MAX];
	int found = pf_vmm_recall_regions(&agent->dir, agent->kept, &regions, fds, err);

	if (found)
		return found;
	found = use(destination, &regions, fds, err);
	pf_unix_close_fds(fds);
	return found;
}

static int take_up_kept(struct destination *destination, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	bool armed;

	if (pf_vmm_recall_armed(&agent->dir, &armed, err))
		return -1;
	if (!armed || use_kept(destination, take_up, err) >= 0)
		return 0;
	if (agent->state != PF_D_AWAY_DONE)
		return -1;
	/* Every page had been mapped, and its VMM may be gone: nobody needs it any more. */
	pf_report("destination", err);
	return 0;
}

int pf_destination_again(struct destination *destination, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	pf_auto_fd int vmm_fd = pf_kept_take(agent->kept, "vmm");
	int found = pf_statedir_read(&agent->dir, "secret", destination->secret, PF_SECRET_BYTES, err);

	if (found < 0)
		return -1;
	destination->session_known = found == 0;
	if (agent->state == PF_D_LINGERING || agent->state == PF_D_TOMBSTONE)
		return 0;
	if (vmm_fd >= 0 && pf_vmm_adopt(agent->vmm, pf_steal_fd(&vmm_fd), err))
		return -1;
	return take_up_kept(destination, err);
}

/* What the VMM says may be what this process cannot go on with: then it is why it ends, and the table says it. */
static void hear(struct destination *destination, uint8_t event)
{
	struct pf_agent *agent = &destination->agent;
	const char *ignored;
	const struct pf_transition *row =
		pf_machine_look(agent->machine, agent->state, event, &ignored);
	struct pf_err err;

	if (!row || row->to != PF_D_FAILED) {
		pf_agent_note(agent, event);
		return;
	}
	pf_err_set(&err, PF_ERR_PROTOCOL, "the destination VMM came to an agent whose record is %s: %s",
		   pf_record_name(agent->record), row->why);
	if (agent->record == PF_RECORD_NONE)
		pf_err_hint(&err, "start the agent with the state directory that the VMM's agent had");
	pf_agent_fail(agent, event, &err);
}

static void vmm_back(struct destination *destination, const struct pf_vmm_hello *hello)
{
	struct pf_agent *agent = &destination->agent;

	/* Since ATTACH it may have been sent another LOAD, which it had not read when it said this. */
	destination->loads += hello->owed;
	switch (hello->stage) {
	case PF_VMM_LOADED:
	case PF_VMM_RESUMING:
		hear(destination, PF_DE_VMM_LOADED);
		break;
	case PF_VMM_RUNS:
		hear(destination, PF_DE_VMM_RUNS);
		break;
	case PF_VMM_REFUSED:
		pf_destination_vmm_refused(destination, "so it had said before");
		break;
	default:
		pf_vmm_say(agent->vmm, PF_VMM_REGIONS_ACCEPTED);
		hear(destination, PF_DE_VMM_REGIONS);
	}
}

int pf_destination_vmm_attached(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err)
{
	struct destination *destination = engine;
	struct pf_agent *agent = &destination->agent;
	bool unarmed = agent->record == PF_RECORD_NONE && hello->stage == PF_VMM_FRESH;
	int found = 0;

	if (!destination->armed)
		found = unarmed ? use_kept(destination, pf_destination_arm, err) : 1;
	if (found < 0)
		return -1;
	/* It has to come again, and say them again. */
	if (found == 1)
		pf_vmm_drop(agent->vmm);
	else
		vmm_back(destination, hello);
	return 0;
}

/* fds: closed here. */
static int hold(struct destination *destination, const struct pf_vmm_regions *saved, int *fds,
		struct pf_err *err)
{
	int failed = pf_vmm_keep_regions(destination->agent.kept, saved, fds, err) ||
		     take_up(destination, saved, fds, err);

	pf_unix_close_fds(fds);
	return failed ? -1 : 0;
}

int pf_destination_regions_again(struct destination *destination,
				 const struct pf_vmm_regions *regions, int *fds, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	const struct pf_vmm_hello *hello = pf_vmm_hello(agent->vmm);
	struct pf_vmm_regions saved;
	int saved_fds[PF_UNIX_FDS_MAX];
	int found = pf_vmm_match_saved(&agent->dir, regions, fds, &saved, saved_fds, err);

	if (found < 0)
		return -1;
	/* What another directory knew is lost, and with it the pages that have come: none may have. */
	if (found == 1 && hello->stage == PF_VMM_ACCEPTED) {
		destination->loads += hello->owed;
		return pf_destination_describe(destination, regions, fds, err);
	}
	/* If this directory knows nothing of it, the state table knows what that means. */
	if (found == 0 && hold(destination, &saved, saved_fds, err))
		return -1;
	/* Else its HELLO says how it is. */
	if (pf_vmm_is_asked(agent->vmm))
		return 0;
	if (found == 0)
		pf_vmm_say(agent->vmm, PF_VMM_REGIONS_ACCEPTED);
	vmm_back(destination, hello);
	return 0;
}
