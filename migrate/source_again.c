/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_again.c - a source that goes on where a process before it had to stop.
 *
 * Main thread; does not block.  What it needs is the guest's memory, from the keeper or handed over again by
 * the VMM, and the VMM's word on whether its guest stands.
 */
#include "migrate/source_engine.h"

#include "base/cleanup.h"
#include "migrate/vmm_saved.h"

int pf_source_describe(struct source *source, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err)
{
	struct pf_service *service = &source->service;

	if (pf_vmm_reader(regions, fds, &service->reader, err) ||
	    pf_reader_check(&service->reader, err) ||
	    pf_push_init(&service->push, &service->reader.table, err)) {
		pf_reader_done(&service->reader);
		return pf_err_prefix(err, "its memory");
	}
	pf_reader_seek_holes(&service->reader);
	source->vmm_described = true;
	return 0;
}

static int describe_kept(struct source *source, struct pf_err *err)
{
	struct pf_agent *agent = &source->agent;
	struct pf_vmm_regions regions;
	int fds[PF_UNIX_FDS_MAX];
	int found = pf_vmm_recall_regions(&agent->dir, agent->kept, &regions, fds, err);

	if (found)
		return found < 0 ? -1 : 0;
	found = pf_source_describe(source, &regions, fds, err);
	pf_unix_close_fds(fds);
	return found;
}

/*
 * Whether its guest stands is not known before it says so, and is taken for granted until then.  With the
 * record NONE it goes on at once: it passes that over if it runs.
 */
static int adopt_vmm(struct source *source, int fd, struct pf_err *err)
{
	if (pf_vmm_adopt(source->agent.vmm, fd, err))
		return -1;
	source->vmm_here = true;
	if (source->agent.record == PF_RECORD_NONE && source->vmm_described)
		(void)pf_source_continue_guest(source);
	return 0;
}

int pf_source_again(struct source *source, struct pf_err *err)
{
	struct pf_agent *agent = &source->agent;
	pf_auto_fd int vmm_fd = pf_kept_take(agent->kept, "vmm");

	if (pf_statedir_read(&agent->dir, "secret", source->secret, PF_SECRET_BYTES, err) < 0)
		return -1;
	source->guest_paused = agent->record != PF_RECORD_NONE || vmm_fd >= 0;
	if (describe_kept(source, err))
		return -1;
	return vmm_fd < 0 ? 0 : adopt_vmm(source, pf_steal_fd(&vmm_fd), err);
}

/* Once it was offered the guest may run there, so one that runs here is another's, or a second one. */
int pf_source_check_stage(const struct source *source, const struct pf_vmm_hello *hello, struct pf_err *err)
{
	enum pf_record record = source->agent.record;

	if (hello->stage != PF_VMM_FRESH || hello->owed > 0 ||
	    (record != PF_RECORD_OFFERED && record != PF_RECORD_GONE))
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL, "the VMM says that its guest runs, and the record is %s: it was given away",
		   pf_record_name(record));
	return pf_err_hint(err, "a VMM that comes back says stage STANDS; if that guest really runs, end it, since it "
				"may run at the destination");
}

/* The answers that it owes are those to a process that is gone. */
static void vmm_back(struct source *source, const struct pf_vmm_hello *hello)
{
	bool stands = hello->stage == PF_VMM_STANDS || hello->owed > 0;

	source->vmm_here = source->vmm_known = true;
	source->pauses_asked = hello->owed;
	source->pauses_answered = 0;
	source->guest_paused = stands;
	source->stood_vmm_gone = false; /* whatever went: this one has the guest's memory */
	pf_agent_note(&source->agent, stands ? PF_SE_VMM_STANDS : PF_SE_VMM_REGIONS);
}

int pf_source_vmm_attached(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err)
{
	struct source *source = engine;

	if (pf_source_check_stage(source, hello, err))
		return -1;
	/* Its REGIONS died with who had read them: it has to come again, and say them again. */
	if (source->vmm_described)
		vmm_back(source, hello);
	else
		pf_vmm_drop(source->agent.vmm);
	return 0;
}

static int describe_again(struct source *source, const struct pf_vmm_regions *regions, int *fds,
			  struct pf_err *err)
{
	return pf_vmm_keep_regions(source->agent.kept, regions, fds, err) ||
	       pf_source_describe(source, regions, fds, err);
}

/* What a worker has described it goes on reading: it is the same. */
static int describe_same(struct source *source, const struct pf_vmm_regions *regions,
			 const int *fds, struct pf_err *err)
{
	struct pf_vmm_regions saved;
	int saved_fds[PF_UNIX_FDS_MAX], failed = 0;
	int found = pf_vmm_match_saved(&source->agent.dir, regions, fds, &saved, saved_fds, err);

	if (found)
		return found;
	if (!source->vmm_described)
		failed = describe_again(source, &saved, saved_fds, err);
	pf_unix_close_fds(saved_fds);
	return failed ? -1 : 0;
}

int pf_source_regions_again(struct source *source, const struct pf_vmm_regions *regions, int *fds,
			    struct pf_err *err)
{
	struct pf_agent *agent = &source->agent;
	const struct pf_vmm_hello *hello = pf_vmm_hello(agent->vmm);
	int found = describe_same(source, regions, fds, err);

	if (found < 0)
		return -1;
	if (found == 1 && source->vmm_described)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said REGIONS twice");
	if (found == 1 && (describe_again(source, regions, fds, err) ||
			   pf_vmm_save_regions(&agent->dir, regions, fds, err)))
		return -1;
	/* Else its HELLO says how it is. */
	if (!pf_vmm_is_asked(agent->vmm))
		vmm_back(source, hello);
	return 0;
}
