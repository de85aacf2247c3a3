/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_vmm.c - what the source VMM says.
 *
 * Main thread, called by the dialect (migrate/vmm.h).  -1: the VMM has broken the rules, and is hung up on.
 */
#include "migrate/source_engine.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/vmm_saved.h"

static int vmm_regions(void *engine, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err)
{
	struct source *source = engine;
	struct pf_agent *agent = &source->agent;
	const struct pf_vmm_hello *hello = pf_vmm_hello(agent->vmm);

	/* It came again, and its REGIONS were not read before another worker described what was kept. */
	if (source->vmm_described && pf_vmm_is_asked(agent->vmm))
		return 0;
	if (pf_source_check_stage(source, hello, err))
		return -1;
	if (source->vmm_described || hello->stage != PF_VMM_FRESH || hello->owed > 0)
		return pf_source_regions_again(source, regions, fds, err);
	/* Before its memory is judged: that its guest runs here is known, also if the memory will not do. */
	pf_agent_note(agent, PF_SE_VMM_REGIONS);
	if (agent->ending)
		return 0;
	if (pf_vmm_keep_regions(agent->kept, regions, fds, err) ||
	    pf_source_describe(source, regions, fds, err) ||
	    pf_vmm_save_regions(&agent->dir, regions, fds, err))
		return -1;
	/* Its HELLO is yet to come, and says how it is. */
	if (pf_vmm_is_asked(agent->vmm))
		return 0;
	source->vmm_here = source->vmm_known = true;
	source->guest_paused = false;
	pf_agent_note(agent, PF_SE_VMM_REGIONS);
	return 0;
}

static int check_state_size(const struct source *source, uint64_t size, struct pf_err *err)
{
	uint64_t most = source->agent.options->max_device_state;

	if (size <= most)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "a device state of %llu bytes; --max-device-state allows %llu",
		   (unsigned long long)size, (unsigned long long)most);
	return pf_err_hint(err, "give both sides a larger --max-device-state");
}

/* Every PAUSE has one PAUSED; the answer to one that was taken back must not pass for a later one's. */
static int vmm_paused(void *engine, int state_fd, uint64_t size, struct pf_err *err)
{
	struct source *source = engine;
	pf_auto_fd int fd = state_fd;
	struct pf_err failed;

	if (source->pauses_answered == source->pauses_asked)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said PAUSED without PAUSE");
	if (pf_vmm_check_state(fd, size, err))
		return -1;
	source->pauses_answered++;
	if (source->pauses_answered != source->pauses_asked || !source->guest_paused)
		return 0;
	if (check_state_size(source, size, &failed)) {
		pf_agent_fail(&source->agent, PF_SE_FAILURE, &failed);
		return 0;
	}
	source->paused_ns = pf_now_ns();
	/* The last one's: the bulk thread that read it ended with its connection. */
	pf_close_fd(&source->state.fd);
	source->state = (struct pf_mail_state){.fd = pf_steal_fd(&fd), .size = size};
	pf_agent_note(&source->agent, PF_SE_VMM_PAUSED);
	return 0;
}

static void vmm_lost(void *engine, const struct pf_err *why)
{
	struct source *source = engine;

	/* The VMM whose guest stands is not here, and may come yet: whoever goes now was another. */
	if ((!source->vmm_here || source->stood_vmm_gone) && source->agent.record != PF_RECORD_NONE) {
		if (why->class != PF_ERR_UNREACHABLE)
			pf_agent_vmm_refused(&source->agent, why);
		return;
	}
	pf_agent_vmm_lost(&source->agent, PF_SE_VMM_LOST, why);
	/* Whoever comes to the socket now is not the VMM whose guest stands. */
	source->stood_vmm_gone = source->guest_paused;
}

const struct pf_vmm_callbacks pf_source_vmm = {
	.regions = vmm_regions,
	.paused = vmm_paused,
	.lost = vmm_lost,
	.back = pf_source_vmm_attached,
};
