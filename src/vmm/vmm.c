/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm/vmm.c - see pageferry-vmm.h; the messages and their order: proto/WIRE.md, "The VMM socket".
 *
 * The caller's thread owns the connection.  Only connecting can block: afterwards the socket is
 * non-blocking, and an agent that does not read is an error, not a wait.  Every descriptor that
 * arrives is either handed to the VMM (LOAD) or closed before dispatch returns.
 */
#include "vmm/pageferry-vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "vmm/faults.h"
#include "wire/vmm_msg.h"

enum stage {
	GREETED,
	DESCRIBED, /* regions() was said */
	PAUSING,   /* source: PAUSE came */
	PAUSED,
	ACCEPTED, /* destination: every range is trapped */
	LOADING,  /* a LOAD has not been answered yet */
	LOADED,
	RESUMING, /* RESUME came */
	RUNNING,
	ENDED,
	STAGES
};

static const char *const stage_name[STAGES] = {
	[GREETED] = "before its regions are described",
	[DESCRIBED] = "after its regions were described",
	[PAUSING] = "while it is asked to pause",
	[PAUSED] = "while it is paused",
	[ACCEPTED] = "while it waits for the device state",
	[LOADING] = "while it loads the device state",
	[LOADED] = "while it is ready to run",
	[RESUMING] = "while it is asked to run",
	[RUNNING] = "while it runs",
	[ENDED] = "after its migration ended",
};

#define ERROR_BYTES (sizeof(((struct pf_err *)0)->text) + sizeof(((struct pf_err *)0)->hint))

struct pageferry_vmm {
	int fd;
	enum pageferry_role role;
	enum stage stage;
	bool broken;	       /* nothing more can come of this connection */
	uint32_t readies_owed; /* LOADs that were not answered yet */
	const struct pageferry_vmm_ops *ops;
	void *opaque;
	struct pf_err err;
	char error[ERROR_BYTES];
	struct pf_vmm_message message;	    /* the one that is being sent */
	uint8_t buffer[PF_VMM_MESSAGE_MAX]; /* either way */
	struct pf_vmm_faults faults;
	char fault_error[ERROR_BYTES];
};

/* What the agent may say to whom and when, and where that leads. */
static const struct step {
	enum pf_vmm_type type;
	enum pageferry_role role;
	enum stage from, to;
} steps[] = {
	{PF_VMM_PAUSE, PAGEFERRY_SOURCE, DESCRIBED, PAUSING},
	{PF_VMM_CONTINUE_SOURCE, PAGEFERRY_SOURCE, PAUSING, DESCRIBED},
	{PF_VMM_CONTINUE_SOURCE, PAGEFERRY_SOURCE, PAUSED, DESCRIBED},
	{PF_VMM_RELEASE, PAGEFERRY_SOURCE, PAUSED, ENDED},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, DESCRIBED, ACCEPTED},
	{PF_VMM_LOAD, PAGEFERRY_DESTINATION, ACCEPTED, LOADING},
	/* The connection to the source was lost, and another switch-over has begun. */
	{PF_VMM_LOAD, PAGEFERRY_DESTINATION, LOADING, LOADING},
	{PF_VMM_LOAD, PAGEFERRY_DESTINATION, LOADED, LOADING},
	{PF_VMM_RESUME, PAGEFERRY_DESTINATION, LOADED, RESUMING},
	{PF_VMM_COMPLETE, PAGEFERRY_DESTINATION, RUNNING, ENDED},
};

static void print_error(const struct pf_err *err, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", err->text, err->hint[0] ? "; " : "", err->hint);
}

/* vmm->err says why; returns -1 for the caller to return. */
static int fail(struct pageferry_vmm *vmm)
{
	print_error(&vmm->err, vmm->error, sizeof(vmm->error));
	return -1;
}

static int fail_for_ever(struct pageferry_vmm *vmm)
{
	vmm->broken = true;
	return fail(vmm);
}

/* ---- sending ---- */

static int send_message(struct pageferry_vmm *vmm, const int *fds, size_t fd_count)
{
	size_t length = pf_vmm_msg_pack(&vmm->message, vmm->buffer);

	if (pf_unix_send(vmm->fd, vmm->buffer, length, fds, fd_count, &vmm->err) == 0)
		return 0;
	if (vmm->err.sys == EAGAIN)
		pf_err_hint(&vmm->err, "the agent does not read; call again later");
	return pf_err_prefix(&vmm->err, "telling the agent %s",
			     pf_vmm_type_name(vmm->message.type));
}

/* The VMM's own turn: allowed in one stage only. */
static int check_turn(struct pageferry_vmm *vmm, const char *call, enum pageferry_role role,
		      enum stage stage)
{
	if (vmm->broken)
		return pf_err_set(&vmm->err, PF_ERR_STATE,
				  "%s: the connection to the agent has failed before", call);
	if (vmm->role != role)
		return pf_err_set(&vmm->err, PF_ERR_STATE, "%s: this VMM is the %s", call,
				  vmm->role == PAGEFERRY_SOURCE ? "source" : "destination");
	if (vmm->stage != stage)
		return pf_err_set(&vmm->err, PF_ERR_STATE, "%s: not possible %s", call,
				  stage_name[vmm->stage]);
	return 0;
}

static int say(struct pageferry_vmm *vmm, const char *call, enum pageferry_role role,
	       enum stage from, enum stage to)
{
	if (check_turn(vmm, call, role, from) || send_message(vmm, NULL, 0))
		return fail(vmm);
	vmm->stage = to;
	return 0;
}

static int say_hello(struct pageferry_vmm *vmm, const uint32_t *vcpu_tids, size_t vcpu_count)
{
	struct pf_vmm_hello *hello = &vmm->message.hello;

	if (vcpu_count > PF_VMM_VCPUS_MAX)
		return pf_err_set(&vmm->err, PF_ERR_USAGE, "%zu vCPUs; %u are allowed", vcpu_count,
				  PF_VMM_VCPUS_MAX);
	vmm->message.type = PF_VMM_HELLO;
	hello->version = PF_VMM_VERSION;
	hello->destination = vmm->role == PAGEFERRY_DESTINATION;
	hello->vcpu_count = (uint32_t)vcpu_count;
	for (size_t i = 0; i < vcpu_count; i++)
		hello->vcpu_tid[i] = vcpu_tids[i];
	return send_message(vmm, NULL, 0);
}

static int start(struct pageferry_vmm *vmm, const char *path, const uint32_t *vcpu_tids,
		 size_t vcpu_count)
{
	vmm->fd = pf_unix_connect(path, SOCK_SEQPACKET, &vmm->err);
	if (vmm->fd < 0) {
		if (vmm->err.class == PF_ERR_UNREACHABLE)
			pf_err_hint(&vmm->err, "is the agent running with --vmm-socket %s?", path);
		return -1;
	}
	if (fcntl(vmm->fd, F_SETFL, O_RDWR | O_NONBLOCK) != 0)
		return pf_err_sys(&vmm->err, "making the socket non-blocking");
	return say_hello(vmm, vcpu_tids, vcpu_count);
}

struct pageferry_vmm *pageferry_vmm_connect(const char *path, enum pageferry_role role,
					    const uint32_t *vcpu_tids, size_t vcpu_count,
					    const struct pageferry_vmm_ops *ops, void *opaque,
					    char *reason, size_t reason_size)
{
	struct pageferry_vmm *vmm = calloc(1, sizeof(*vmm));

	if (!vmm) {
		if (reason)
			snprintf(reason, reason_size, "out of memory");
		return NULL;
	}
	vmm->role = role;
	vmm->ops = ops;
	vmm->opaque = opaque;
	vmm->faults.fd = -1;
	if (start(vmm, path, vcpu_tids, vcpu_count) == 0)
		return vmm;
	if (reason)
		print_error(&vmm->err, reason, reason_size);
	pageferry_vmm_close(vmm);
	return NULL;
}

void pageferry_vmm_close(struct pageferry_vmm *vmm)
{
	if (!vmm)
		return;
	pf_close_fd(&vmm->fd);
	pf_vmm_faults_close(&vmm->faults);
	free(vmm);
}

int pageferry_vmm_fd(const struct pageferry_vmm *vmm)
{
	return vmm->fd;
}

const char *pageferry_vmm_error(const struct pageferry_vmm *vmm)
{
	return vmm->error;
}

/* The descriptors of one message; regions often share one. */
struct fd_list {
	size_t count;
	int fd[PF_UNIX_FDS_MAX];
};

/* One that finds no room is counted only: put_regions() refuses the list. */
static uint32_t fd_index(struct fd_list *list, int fd)
{
	size_t i;

	for (i = 0; i < list->count && i < PF_UNIX_FDS_MAX; i++)
		if (list->fd[i] == fd)
			return (uint32_t)i;
	if (i < PF_UNIX_FDS_MAX)
		list->fd[i] = fd;
	list->count++;
	return (uint32_t)i;
}

static int put_mappings(const struct pageferry_region *from, struct fd_list *list,
			struct pf_vmm_region *to, struct pf_err *err)
{
	if (from->more_count >= PF_VMM_MAPPINGS_MAX)
		return pf_err_set(err, PF_ERR_USAGE,
				  "region with id %" PRIu32 ": %zu mappings; 1 to %u are allowed",
				  from->id, from->more_count + 1, PF_VMM_MAPPINGS_MAX);
	to->mapping_count = 1 + (uint32_t)from->more_count;
	to->mapping[0].uffd = fd_index(list, from->uffd);
	to->mapping[0].base = from->base;
	for (size_t i = 0; i < from->more_count; i++) {
		to->mapping[i + 1].uffd = fd_index(list, from->more[i].uffd);
		to->mapping[i + 1].base = from->more[i].base;
	}
	return 0;
}

static int put_ranges(const struct pageferry_region *from, struct pf_vmm_regions *out,
		      struct pf_vmm_region *to, struct pf_err *err)
{
	if (from->range_count > PF_VMM_RANGES_MAX - out->range_count)
		return pf_err_set(err, PF_ERR_USAGE,
				  "region with id %" PRIu32
				  ": %zu populated ranges; %u are allowed in all regions together",
				  from->id, from->range_count, PF_VMM_RANGES_MAX);
	to->populated = (enum pf_populated)((int)from->populated + PF_POPULATED_NONE);
	to->populated_first = out->range_count;
	to->populated_count = (uint32_t)from->range_count;
	for (size_t i = 0; i < from->range_count; i++) {
		if (from->ranges[i].count > UINT32_MAX)
			return pf_err_set(err, PF_ERR_USAGE,
					  "region with id %" PRIu32 ": a populated range of %" PRIu64
					  " pages", from->id, from->ranges[i].count);
		out->range[out->range_count++] =
			(struct pf_run){.first = from->ranges[i].first,
					.count = (uint32_t)from->ranges[i].count};
	}
	return 0;
}

/* Its vCPUs' accesses leave KVM_RUN, and somebody has to hear of that. */
static bool has_exits(const struct pageferry_vmm *vmm, const struct pageferry_region *region)
{
	return vmm->role == PAGEFERRY_DESTINATION && region->kind == PAGEFERRY_GUEST_MEMFD;
}

static int put_region(const struct pageferry_vmm *vmm, const struct pageferry_region *from,
		      struct fd_list *list, struct pf_vmm_region *to, struct pf_err *err)
{
	*to = (struct pf_vmm_region){
		.id = from->id,
		.shape = {from->gpa, from->size, from->page_size},
		.kind = (enum pf_memory_kind)from->kind,
		.fd = from->fd >= 0 ? fd_index(list, from->fd) : PF_VMM_NO_FD,
		.offset = from->offset,
		.bitmap_fd = PF_VMM_NO_FD,
		.discards = from->discards,
	};
	if ((from->uffd >= 0) != (vmm->role == PAGEFERRY_DESTINATION))
		return pf_err_set(err, PF_ERR_USAGE, "region with id %" PRIu32 ": the %s", from->id,
				  from->uffd >= 0 ? "source has no userfaultfd"
						  : "destination needs a userfaultfd");
	if (has_exits(vmm, from)) {
		to->fill_atomic = from->fill_atomic;
		if (from->bitmap_fd >= 0)
			to->bitmap_fd = fd_index(list, from->bitmap_fd);
	}
	return from->uffd < 0 ? 0 : put_mappings(from, list, to, err);
}

static int put_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
		       size_t count, int agents_end, struct fd_list *list)
{
	struct pf_vmm_regions *out = &vmm->message.regions;

	if (count == 0 || count > PF_REGIONS_MAX)
		return pf_err_set(&vmm->err, PF_ERR_USAGE, "%zu regions; 1 to %d are allowed",
				  count, PF_REGIONS_MAX);
	memset(&vmm->message, 0, sizeof(vmm->message));
	vmm->message.type = PF_VMM_REGIONS;
	out->no_other_mappings = true; /* the header makes the VMM promise it */
	out->count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		if (put_region(vmm, &regions[i], list, &out->region[i], &vmm->err) ||
		    put_ranges(&regions[i], out, &out->region[i], &vmm->err))
			return -1;
		out->has_fault_socket = out->has_fault_socket || has_exits(vmm, &regions[i]);
	}
	if (out->has_fault_socket)
		out->fault_socket = fd_index(list, agents_end);
	if (list->count > PF_UNIX_FDS_MAX)
		return pf_err_set(&vmm->err, PF_ERR_USAGE, "%zu descriptors; %d fit in one message",
				  list->count, PF_UNIX_FDS_MAX);
	return 0;
}

/* By the agent's own rules, so that a mistake is reported by the call that made it. */
static int check_regions(struct pageferry_vmm *vmm, size_t fd_count)
{
	struct pf_vmm_message checked;
	size_t length = pf_vmm_msg_pack(&vmm->message, vmm->buffer);

	return pf_vmm_msg_unpack(vmm->buffer, length, false, fd_count, &checked, &vmm->err);
}

static int send_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
			size_t count)
{
	struct fd_list list = {0};
	pf_auto_fd int agents_end = -1;
	int failed;

	if (pf_vmm_faults_open(&vmm->faults, &agents_end, &vmm->err))
		return -1;
	failed = put_regions(vmm, regions, count, agents_end, &list) ||
		 check_regions(vmm, list.count) || send_message(vmm, list.fd, list.count);
	if (failed || !vmm->message.regions.has_fault_socket)
		pf_vmm_faults_close(&vmm->faults);
	return failed ? -1 : 0;
}

int pageferry_vmm_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
			  size_t count)
{
	if (check_turn(vmm, "pageferry_vmm_regions", vmm->role, GREETED) ||
	    send_regions(vmm, regions, count))
		return fail(vmm);
	vmm->stage = DESCRIBED;
	return 0;
}

static int write_all(int fd, const uint8_t *bytes, size_t size, struct pf_err *err)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pwrite(fd, bytes + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pf_err_sys(err, "copying %zu bytes of device state", size);
		done += (size_t)n;
	}
	return 0;
}

/* Sealed, so that the agent can map it without fear: it neither shrinks nor changes
 * (memfd_create(2), F_ADD_SEALS in fcntl(2)). */
static int sealed_copy(const void *bytes, size_t size, struct pf_err *err)
{
	pf_auto_fd int fd = memfd_create("pageferry-device-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return pf_err_sys(err, "creating a memfd for the device state");
	if (write_all(fd, bytes, size, err))
		return -1;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return pf_err_sys(err, "sealing the device state");
	return pf_steal_fd(&fd);
}

static int send_paused(struct pageferry_vmm *vmm, const void *device_state, size_t size)
{
	pf_auto_fd int fd = sealed_copy(device_state, size, &vmm->err);

	if (fd < 0)
		return -1;
	vmm->message.type = PF_VMM_PAUSED;
	vmm->message.state.fd = 0;
	vmm->message.state.size = size;
	return send_message(vmm, &fd, 1);
}

int pageferry_vmm_paused(struct pageferry_vmm *vmm, const void *device_state, size_t size)
{
	if (check_turn(vmm, "pageferry_vmm_paused", PAGEFERRY_SOURCE, PAUSING) ||
	    send_paused(vmm, device_state, size))
		return fail(vmm);
	vmm->stage = PAUSED;
	return 0;
}

/* One for each LOAD: the agent counts them, or the one to a state that was overtaken could pass for
 * the one to the newest. */
int pageferry_vmm_ready(struct pageferry_vmm *vmm)
{
	vmm->message.type = PF_VMM_READY;
	if (say(vmm, "pageferry_vmm_ready", PAGEFERRY_DESTINATION, LOADING, LOADING))
		return -1;
	if (--vmm->readies_owed == 0)
		vmm->stage = LOADED;
	return 0;
}

int pageferry_vmm_resumed(struct pageferry_vmm *vmm)
{
	vmm->message.type = PF_VMM_RESUMED;
	return say(vmm, "pageferry_vmm_resumed", PAGEFERRY_DESTINATION, RESUMING, RUNNING);
}

int pageferry_vmm_resume_refused(struct pageferry_vmm *vmm, const char *reason)
{
	vmm->message.type = PF_VMM_RESUME_REFUSED;
	snprintf(vmm->message.reason, sizeof(vmm->message.reason), "%s", reason);
	return say(vmm, "pageferry_vmm_resume_refused", PAGEFERRY_DESTINATION, RESUMING, ENDED);
}

/* ---- receiving ---- */

static int take_step(struct pageferry_vmm *vmm, enum pf_vmm_type type)
{
	bool mine = false;

	if (type == PF_VMM_ERROR) { /* at any time */
		vmm->stage = ENDED;
		return 0;
	}
	for (size_t i = 0; i < PF_ARRAY_LEN(steps); i++) {
		if (steps[i].type != type || steps[i].role != vmm->role)
			continue;
		mine = true;
		if (steps[i].from != vmm->stage)
			continue;
		vmm->stage = steps[i].to;
		return 0;
	}
	if (!mine)
		return pf_err_set(&vmm->err, PF_ERR_PROTOCOL,
				  "the agent told a VMM that is the %s: %s",
				  vmm->role == PAGEFERRY_SOURCE ? "source" : "destination",
				  pf_vmm_type_name(type));
	return pf_err_set(&vmm->err, PF_ERR_PROTOCOL, "the agent told the VMM %s %s",
			  pf_vmm_type_name(type), stage_name[vmm->stage]);
}

/* The VMM will map or read it by this size. */
static int check_state(int fd, uint64_t size, struct pf_err *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return pf_err_sys(err, "looking at the device state");
	if (st.st_size < 0 || (uint64_t)st.st_size < size)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the agent announced %" PRIu64
				  " bytes of device state, the file has %jd",
				  size, (intmax_t)st.st_size);
	return 0;
}

static void call(void (*op)(void *opaque), void *opaque)
{
	if (op)
		op(opaque);
}

/* fd is that of LOAD, else -1; it stays here unless the VMM takes it. */
static void call_vmm(struct pageferry_vmm *vmm, const struct pf_vmm_message *message, int *fd)
{
	const struct pageferry_vmm_ops *ops = vmm->ops;

	switch (message->type) {
	case PF_VMM_PAUSE:
		call(ops->pause, vmm->opaque);
		break;
	case PF_VMM_CONTINUE_SOURCE:
		call(ops->continue_source, vmm->opaque);
		break;
	case PF_VMM_RELEASE:
		call(ops->release, vmm->opaque);
		break;
	case PF_VMM_REGIONS_ACCEPTED:
		call(ops->regions_accepted, vmm->opaque);
		break;
	case PF_VMM_RESUME:
		call(ops->resume, vmm->opaque);
		break;
	case PF_VMM_COMPLETE:
		/* What the agent resolved on the other socket may not have been read yet. */
		pf_vmm_faults_complete(&vmm->faults, ops, vmm->opaque);
		call(ops->complete, vmm->opaque);
		break;
	case PF_VMM_LOAD:
		if (ops->load)
			ops->load(vmm->opaque, pf_steal_fd(fd), (size_t)message->state.size);
		break;
	case PF_VMM_ERROR:
		if (ops->error)
			ops->error(vmm->opaque, message->reason);
		break;
	default: /* take_step() let nothing else through */
		break;
	}
}

static int handle(struct pageferry_vmm *vmm, size_t length, size_t fd_count, int *fds)
{
	struct pf_vmm_message message; /* not the buffer: the VMM may send from within its op */
	bool unanswered = vmm->stage == PAUSING;
	int none = -1, failed = 0;

	if (pf_vmm_msg_unpack(vmm->buffer, length, true, fd_count, &message, &vmm->err))
		return pf_err_prefix(&vmm->err, "from the agent");
	if (take_step(vmm, message.type))
		return -1;
	if (message.type == PF_VMM_LOAD && check_state(fds[0], message.state.size, &vmm->err))
		return -1;
	if (message.type == PF_VMM_LOAD)
		vmm->readies_owed++;
	/* Taken back before it was answered.  Answers are counted by the agent, or the one to this
	 * pause, late, could be taken for the answer to the next one, and its state be stale. */
	if (message.type == PF_VMM_CONTINUE_SOURCE && unanswered)
		failed = send_paused(vmm, "", 0);
	/* Also if the agent is gone and does not hear the answer: what it had said is its last word, and
	 * without it the guest would stand for ever. */
	call_vmm(vmm, &message, message.type == PF_VMM_LOAD ? &fds[0] : &none);
	return failed;
}

int pageferry_vmm_dispatch(struct pageferry_vmm *vmm)
{
	if (vmm->broken)
		return -1;
	for (;;) {
		int fds[PF_UNIX_FDS_MAX], result;
		size_t fd_count = 0;
		ssize_t length = pf_unix_recv(vmm->fd, vmm->buffer, sizeof(vmm->buffer),
					      MSG_DONTWAIT, fds, &fd_count, &vmm->err);

		if (length < 0 && errno == EAGAIN)
			return 0;
		if (length == 0)
			pf_err_set(&vmm->err, PF_ERR_UNREACHABLE,
				   "the agent closed the connection %s", stage_name[vmm->stage]);
		if (length <= 0)
			return fail_for_ever(vmm);
		result = handle(vmm, (size_t)length, fd_count, fds);
		for (size_t i = 0; i < fd_count; i++)
			pf_close_fd(&fds[i]);
		if (result)
			return fail_for_ever(vmm);
	}
}

/* ---- faults of vCPUs ---- */

int pageferry_vmm_fault(struct pageferry_vmm *vmm, uint32_t vcpu, uint64_t gpa)
{
	return pf_vmm_faults_ask(&vmm->faults, vcpu, gpa);
}

int pageferry_vmm_fault_fd(const struct pageferry_vmm *vmm)
{
	return vmm->faults.fd;
}

int pageferry_vmm_dispatch_faults(struct pageferry_vmm *vmm)
{
	if (pf_vmm_faults_dispatch(&vmm->faults, vmm->ops, vmm->opaque) == 0)
		return 0;
	print_error(&vmm->faults.err, vmm->fault_error, sizeof(vmm->fault_error));
	return -1;
}

const char *pageferry_vmm_fault_error(const struct pageferry_vmm *vmm)
{
	return vmm->fault_error;
}
