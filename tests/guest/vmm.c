/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/vmm.c - see tests/guest/vmm.h; the calls are those of vmm/pageferry-vmm.h. */
#include "tests/guest/vmm.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/guest/report.h"
#include "tests/guest/verify.h"
#include "vmm/pageferry-vmm.h"

static void leave(struct pf_vmm *vmm, int exit_code)
{
	vmm->leave = true;
	vmm->exit_code = exit_code;
}

/* An answer that the agent did not get. */
static void check_sent(struct pf_vmm *vmm, int result, const char *what)
{
	struct pf_err err;

	if (result == 0)
		return;
	pf_err_set(&err, PF_ERR_UNREACHABLE, "telling the agent `%s`: %s", what,
		   pageferry_vmm_error(vmm->agent));
	pf_report_error(&err);
}

/* There is no word for a pause or a load that fails; a VMM that goes away is one. */
static void refuse(struct pf_vmm *vmm, const struct pf_err *err)
{
	pf_report_error(err);
	vmm->drop_agent = true;
}

static void on_regions_accepted(void *opaque)
{
	(void)opaque;
	pf_report_word("accepted");
}

static void on_pause(void *opaque)
{
	struct pf_vmm *vmm = opaque;
	struct pf_err err;

	vmm->agent_may_go = false;
	if (vmm->finishing) {
		pf_err_set(&err, PF_ERR_STATE, "asked to pause a guest that is being finished");
		refuse(vmm, &err);
		return;
	}
	pf_machine_park(&vmm->machine);
	if (pf_machine_casualty(&vmm->machine))
		return; /* the eventfd is readable: the VMM ends with that verdict, without an
			   answer */
	if (pf_state_save(&vmm->machine, &vmm->state, &err)) {
		refuse(vmm, &err);
		pf_machine_run(&vmm->machine);
		return;
	}
	vmm->running = false;
	check_sent(vmm, pageferry_vmm_paused(vmm->agent, &vmm->state, sizeof(vmm->state)),
		   "paused");
	pf_report_word("paused");
}

static void on_continue_source(void *opaque)
{
	struct pf_vmm *vmm = opaque;

	vmm->agent_may_go = true;
	if (vmm->running)
		return;
	vmm->running = true;
	pf_machine_run(&vmm->machine);
	pf_report_word("continued");
}

static void on_release(void *opaque)
{
	struct pf_vmm *vmm = opaque;

	vmm->agent_may_go = true;
	pf_report_word("released");
}

static void on_load(void *opaque, int state_fd, size_t size)
{
	struct pf_vmm *vmm = opaque;
	pf_auto_fd int fd = state_fd;
	struct pf_err err;

	pf_report_word("loading");
	if (pf_state_read(fd, size, &vmm->state, &err) ||
	    pf_state_load(&vmm->machine, &vmm->state, &err)) {
		pf_err_prefix(&err, "loading the device state");
		refuse(vmm, &err);
		return;
	}
	/* Not the end yet: this state may be overtaken, and the memory that of the next one.
	 * That looks into guest memory in the thread that dispatches, which pageferry-vmm.h forbids: an agent that is
	 * killed meanwhile leaves this VMM waiting for good.  Tests want one that waits here. */
	vmm->unfit = pf_state_compare(&vmm->machine, &vmm->state, &vmm->why_unfit) != 0;
	check_sent(vmm, pageferry_vmm_ready(vmm->agent), "ready");
	pf_report_word("ready");
}

static void on_resume(void *opaque)
{
	struct pf_vmm *vmm = opaque;

	if (vmm->unfit) {
		check_sent(vmm, pageferry_vmm_resume_refused(vmm->agent, vmm->why_unfit.text),
			   "resume refused");
		vmm->agent_may_go = true;
		pf_report_error(&vmm->why_unfit);
		return;
	}
	vmm->running = true;
	pf_machine_run(&vmm->machine);
	check_sent(vmm, pageferry_vmm_resumed(vmm->agent), "resumed");
	pf_report_word("resumed");
}

static void begin_finish(struct pf_vmm *vmm)
{
	vmm->finish_wanted = false;
	vmm->finishing = true;
	pf_machine_finish(&vmm->machine);
}

static void on_resolved(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	struct pf_vmm *vmm = opaque;

	pf_stage2_resolved(&vmm->machine.stage2, vcpu, gpa);
}

static void on_lost(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	struct pf_vmm *vmm = opaque;

	pf_stage2_lost(&vmm->machine.stage2, vcpu, gpa);
	pf_report_lost(vcpu, gpa);
}

static void on_complete(void *opaque)
{
	struct pf_vmm *vmm = opaque;
	struct pf_err err;

	vmm->complete = true;
	vmm->agent_may_go = true;
	if (pageferry_vmm_error(vmm->agent)[0]) {
		pf_err_set(&err, PF_ERR_SYSTEM, "%s", pageferry_vmm_error(vmm->agent));
		pf_report_error(&err);
	}
	pf_stage2_complete(&vmm->machine.stage2);
	pf_memory_close_uffds(&vmm->memory);
	if (pf_machine_complete(&vmm->machine, &err)) {
		pf_report_error(&err);
		leave(vmm, pf_err_exit_code(&err));
		return;
	}
	pf_report_word("complete");
	if (vmm->finish_wanted)
		begin_finish(vmm);
}

static void on_error(void *opaque, const char *reason)
{
	struct pf_vmm *vmm = opaque;
	struct pf_err err;

	vmm->agent_may_go = true;
	pf_err_set(&err, PF_ERR_STATE, "%s", reason);
	pf_report_error(&err);
}

static const struct pageferry_vmm_ops agent_ops = {
	.regions_accepted = on_regions_accepted,
	.pause = on_pause,
	.continue_source = on_continue_source,
	.release = on_release,
	.load = on_load,
	.resume = on_resume,
	.complete = on_complete,
	.error = on_error,
	.resolved = on_resolved,
	.lost = on_lost,
};

static int connect_agent(struct pf_vmm *vmm, struct pf_err *err)
{
	bool source = vmm->options.role == PF_GUEST_SOURCE;
	uint32_t tids[PF_GUEST_VCPUS_MAX];
	char reason[256];

	for (uint32_t i = 0; i < vmm->options.plan.vcpus; i++)
		tids[i] = vmm->machine.vcpu[i].tid;
	vmm->agent = pageferry_vmm_connect(
		vmm->options.vmm_socket, source ? PAGEFERRY_SOURCE : PAGEFERRY_DESTINATION, tids,
		vmm->options.plan.vcpus, &agent_ops, vmm, reason, sizeof(reason));
	if (!vmm->agent)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "%s", reason);
	return 0;
}

static void describe_region(const struct pf_vmm *vmm, uint32_t i, struct pageferry_region *out,
			    struct pageferry_mapping *mirror)
{
	const struct pf_guest_memory *memory = &vmm->memory;
	enum pf_backing backing = memory->plan.region[i];
	static const enum pageferry_memory kinds[PF_BACKING_COUNT_] = {
		[PF_BACKING_MEMFD] = PAGEFERRY_MEMFD,
		[PF_BACKING_TMPFS] = PAGEFERRY_MEMFD,
		[PF_BACKING_PRIVATE] = PAGEFERRY_PRIVATE,
		[PF_BACKING_HUGETLB] = PAGEFERRY_HUGETLBFS,
		[PF_BACKING_GMEM] = PAGEFERRY_GUEST_MEMFD,
		[PF_BACKING_GMEM_UNWRITABLE] = PAGEFERRY_GUEST_MEMFD,
	};
	bool private = backing == PF_BACKING_PRIVATE;
	bool source = vmm->options.role == PF_GUEST_SOURCE;
	uint64_t start = memory->region_start[i];
	static const struct pageferry_range prepared = {.count = PF_PREPARED_PAGES};
	int uffd = memory->uffd[backing];

	*mirror = (struct pageferry_mapping){memory->mirror_uffd, (uintptr_t)memory->mirror + start};
	*out = (struct pageferry_region){
		.id = i,
		.gpa = start,
		.size = memory->region_start[i + 1] - start,
		.page_size = pf_backing_page_size(backing),
		.kind = kinds[backing],
		.fd = memory->fd[backing],
		.offset = private ? 0 : start,
		.uffd = uffd,
		.base = uffd >= 0 ? (uintptr_t)memory->base + start : 0,
		.more = mirror,
		.more_count = memory->mirror_uffd >= 0 && !private,
		.bitmap_fd = memory->bitmap[i].fd,
		.fill_atomic = vmm->options.fill_atomic && pf_backing_is_gmem(backing),
		.machine_checks = vmm->options.machine_checks && pf_backing_is_gmem(backing),
		/* It has arrived before: what is left of its userfault bitmap are its lost pages. */
		.lost_bitmap = source && memory->bitmap[i].fd >= 0,
	};
	if (source || private || memory->plan.prepared == PF_PREPARED_NOT)
		return;
	if (memory->plan.prepared == PF_PREPARED_ALLOCATED) {
		out->populated = PAGEFERRY_PREALLOCATED;
		return;
	}
	out->populated = PAGEFERRY_POPULATED_LIST;
	out->ranges = &prepared;
	out->range_count = 1;
}

static int send_regions(struct pf_vmm *vmm, struct pf_err *err)
{
	struct pageferry_region regions[PF_MEMORY_REGIONS_MAX] = {0};
	struct pageferry_mapping mirrors[PF_MEMORY_REGIONS_MAX];
	uint32_t count = vmm->memory.plan.region_count;

	for (uint32_t i = 0; i < count; i++)
		describe_region(vmm, i, &regions[i], &mirrors[i]);
	if (pageferry_vmm_regions(vmm->agent, regions, count) != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "describing the memory to the agent: %s",
				  pageferry_vmm_error(vmm->agent));
	pf_stage2_connect(&vmm->machine.stage2, vmm->agent);
	return 0;
}

int pf_vmm_create(struct pf_vmm *vmm, const struct pf_guest_options *options, struct pf_err *err)
{
	memset(vmm, 0, sizeof(*vmm));
	vmm->options = *options;
	vmm->options.memory.size = options->plan.memory;
	if (pf_machine_open(&vmm->machine, options->backend, &options->plan, err) ||
	    pf_memory_create(&vmm->memory, &vmm->options.memory, vmm->machine.vm, err))
		return -1;
	if (options->role == PF_GUEST_DESTINATION &&
	    (pf_memory_prepare(&vmm->memory, err) || pf_memory_make_traps(&vmm->memory, err)))
		return -1;
	return pf_machine_equip(&vmm->machine, &vmm->memory, err);
}

int pf_vmm_begin(struct pf_vmm *vmm, struct pf_err *err)
{
	bool solo = vmm->options.role == PF_GUEST_SOLO;

	if (!solo && connect_agent(vmm, err))
		return -1;
	if (vmm->options.role == PF_GUEST_DESTINATION)
		return send_regions(vmm, err);
	pf_memory_fill(&vmm->memory, &vmm->options.plan);
	vmm->running = true;
	pf_machine_run(&vmm->machine);
	if (!solo && send_regions(vmm, err))
		return -1;
	pf_report_word("running");
	return 0;
}

/* Takes a VMM that has no agent. */
static void hang_up(struct pf_vmm *vmm)
{
	if (vmm->agent)
		pf_stage2_connect(&vmm->machine.stage2, NULL);
	pageferry_vmm_close(vmm->agent);
	vmm->agent = NULL;
}

static int begin_leaving(struct pf_vmm *vmm, const char *path, struct pf_err *err)
{
	if (vmm->options.role != PF_GUEST_DESTINATION || !vmm->complete || vmm->finishing)
		return pf_err_set(err, PF_ERR_STATE, "source: the guest has not arrived here");
	if (strlen(path) >= sizeof(vmm->leaves_by))
		return pf_err_set(err, PF_ERR_USAGE, "source: %s: too long for a socket", path);
	hang_up(vmm);
	memcpy(vmm->leaves_by, path, strlen(path) + 1);
	vmm->options.role = PF_GUEST_SOURCE;
	vmm->options.vmm_socket = vmm->leaves_by;
	return connect_agent(vmm, err) || send_regions(vmm, err) ? -1 : 0;
}

void pf_vmm_leave_by(struct pf_vmm *vmm, const char *path)
{
	struct pf_err err;

	if (begin_leaving(vmm, path, &err))
		pf_report_error(&err);
	else
		pf_report_word("running");
}

void pf_vmm_destroy(struct pf_vmm *vmm)
{
	/*
	 * A vCPU in a fault that userfaultfd has trapped comes back when the agent resolves it,
	 * which may be never; only the end of the process frees such a thread.
	 */
	if (vmm->options.role == PF_GUEST_DESTINATION && vmm->running && !vmm->complete) {
		fflush(stdout);
		_exit(vmm->exit_code);
	}
	hang_up(vmm);
	pf_machine_destroy(&vmm->machine);
	pf_memory_destroy(&vmm->memory);
}

void pf_vmm_on_agent(struct pf_vmm *vmm)
{
	struct pf_err err;
	int result = pageferry_vmm_dispatch(vmm->agent);

	if (result != 0 && !vmm->agent_may_go && vmm->options.reattach) {
		pf_report_word("agent gone");
		vmm->away = true;
		return;
	}
	if (result != 0 && !vmm->agent_may_go) {
		pf_err_set(&err, PF_ERR_UNREACHABLE, "the agent: %s",
			   pageferry_vmm_error(vmm->agent));
		pf_report_error(&err);
	}
	if (result != 0 || vmm->drop_agent)
		hang_up(vmm);
}

void pf_vmm_look_for_agent(struct pf_vmm *vmm)
{
	int result = pageferry_vmm_reattach(vmm->agent);
	struct pf_err err;

	if (result > 0)
		return;
	vmm->away = vmm->faults_over = false;
	if (result == 0) {
		pf_report_word("reattached");
		return;
	}
	pf_err_set(&err, PF_ERR_UNREACHABLE, "the agent: %s", pageferry_vmm_error(vmm->agent));
	pf_report_error(&err);
	hang_up(vmm);
}

int pf_vmm_fault_fd(const struct pf_vmm *vmm)
{
	/* At its end it is readable for ever; that is the end of the agent, which the other one tells. */
	if (!vmm->agent || vmm->away || vmm->complete || vmm->faults_over)
		return -1;
	return pageferry_vmm_fault_fd(vmm->agent);
}

void pf_vmm_on_faults(struct pf_vmm *vmm)
{
	vmm->faults_over = pageferry_vmm_dispatch_faults(vmm->agent) != 0;
}

static void verify_and_report(struct pf_vmm *vmm)
{
	uint64_t visits[PF_GUEST_VCPUS_MAX] = {0};
	struct pf_replay replay;
	struct pf_difference difference;
	struct pf_err err;

	for (uint32_t i = 0; i < vmm->machine.plan.vcpus; i++)
		visits[i] = atomic_load(&vmm->machine.vcpu[i].visits);
	pf_replay_init(&replay, &vmm->machine.plan, visits);
	if (pf_verify_memory(&vmm->memory, &replay, &difference, &err)) {
		pf_report_error(&err);
		leave(vmm, pf_err_exit_code(&err));
		return;
	}
	pf_report_machine(&vmm->machine);
	pf_report_verdict(&vmm->machine, &difference);
	leave(vmm, difference.found_one ? 1 : 0);
}

void pf_vmm_on_event(struct pf_vmm *vmm)
{
	const struct pf_vcpu *casualty;
	uint64_t count;

	if (read(vmm->machine.event, &count, sizeof(count)) < 0)
		return; /* EAGAIN, EINTR: poll() tells again if there is something */
	casualty = pf_machine_casualty(&vmm->machine);
	if (!casualty && pf_machine_all_finished(&vmm->machine)) {
		verify_and_report(vmm);
	} else if (casualty && casualty->state == PF_VCPU_WRONG) {
		pf_report_wrong_word(&vmm->machine, &casualty->wrong);
		leave(vmm, 1);
	} else if (casualty) {
		pf_report_error(&casualty->err);
		leave(vmm, 1);
	}
}

void pf_vmm_finish(struct pf_vmm *vmm)
{
	struct pf_err err;

	if (vmm->finishing)
		return;
	if (vmm->options.role == PF_GUEST_DESTINATION && !vmm->complete) {
		vmm->finish_wanted = true;
	} else if (!vmm->running) {
		pf_err_set(&err, PF_ERR_STATE, "finish: the guest does not run here");
		pf_report_error(&err);
	} else {
		begin_finish(vmm);
	}
}
