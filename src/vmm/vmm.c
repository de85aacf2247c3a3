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
#include "vmm/bar.h"
#include "vmm/describe.h"
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

#define PATH_BYTES 108u /* unix(7) */
#define ERROR_BYTES (sizeof(((struct pf_err *)0)->text) + sizeof(((struct pf_err *)0)->hint))

struct pageferry_vmm {
	int fd;
	char path[PATH_BYTES]; /* of the agent's socket */
	enum pageferry_role role;
	enum stage stage;
	bool broken;	       /* nothing more can come of this connection */
	bool left;	       /* because the agent has gone: another one may be there */
	bool again;	       /* it serves this VMM as another process did before */
	bool refused;	       /* RESUME_REFUSED is what ended it */
	uint32_t readies_owed; /* LOADs that were not answered yet */
	const struct pageferry_vmm_ops *ops;
	void *opaque;
	struct pf_err err;
	char error[ERROR_BYTES];
	struct pf_vmm_message message;	    /* the one that is being sent */
	struct pf_vmm_message hello;	    /* said to every agent, with the stage of then */
	struct pf_vmm_description described; /* by regions() */
	struct pf_vmm_bitmaps bitmaps;	    /* some of its descriptors */
	uint8_t buffer[PF_VMM_MESSAGE_MAX]; /* either way */
	struct pf_vmm_faults faults;
	char fault_error[ERROR_BYTES];
};

/*
 * What the agent may say to whom and when, and where that leads.  One that leads back to where it was said is
 * a repeat, which only an agent may say that has been started again: it cannot know what was heard.
 */
static const struct step {
	enum pf_vmm_type type;
	enum pageferry_role role;
	enum stage from, to;
} steps[] = {
	{PF_VMM_CONTINUE_SOURCE, PAGEFERRY_SOURCE, DESCRIBED, DESCRIBED},
	{PF_VMM_RELEASE, PAGEFERRY_SOURCE, ENDED, ENDED},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, ACCEPTED, ACCEPTED},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, LOADING, LOADING},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, LOADED, LOADED},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, RESUMING, RESUMING},
	{PF_VMM_REGIONS_ACCEPTED, PAGEFERRY_DESTINATION, RUNNING, RUNNING},
	{PF_VMM_RESUME, PAGEFERRY_DESTINATION, RESUMING, RESUMING},
	{PF_VMM_RESUME, PAGEFERRY_DESTINATION, RUNNING, RUNNING},
	{PF_VMM_COMPLETE, PAGEFERRY_DESTINATION, ENDED, ENDED},
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

static int send_message(struct pageferry_vmm *vmm, const struct pf_vmm_message *message,
			const int *fds, size_t fd_count)
{
	size_t length = pf_vmm_msg_pack(message, vmm->buffer);

	if (pf_unix_send(vmm->fd, vmm->buffer, length, fds, fd_count, &vmm->err) == 0)
		return 0;
	if (vmm->err.sys == EAGAIN)
		pf_err_hint(&vmm->err, "the agent does not read; call again later");
	return pf_err_prefix(&vmm->err, "telling the agent %s", pf_vmm_type_name(message->type));
}

/* The VMM's own turn: allowed in one stage only. */
static int check_turn(struct pageferry_vmm *vmm, const char *call, enum pageferry_role role,
		      enum stage stage)
{
	if (vmm->broken && !vmm->left)
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

/*
 * An agent that goes just before it is told is no other than one that went before it read: the VMM has done
 * what it says, once, and the next agent hears of it by HELLO.  Unsaid, nobody would ever say it: RESUME
 * comes again, and is a repeat.
 */
static bool is_said(const struct pageferry_vmm *vmm, int failed)
{
	return !failed || vmm->err.class == PF_ERR_UNREACHABLE;
}

static int say(struct pageferry_vmm *vmm, const char *call, enum pageferry_role role,
	       enum stage from, enum stage to)
{
	if (check_turn(vmm, call, role, from))
		return fail(vmm);
	if (!vmm->left && !is_said(vmm, send_message(vmm, &vmm->message, NULL, 0)))
		return fail(vmm);
	vmm->stage = to;
	return 0;
}

/* What an agent must know that has not seen how this VMM came to be as it is. */
static enum pf_vmm_stage told_stage(const struct pageferry_vmm *vmm)
{
	static const enum pf_vmm_stage told[STAGES] = {
		[GREETED] = PF_VMM_FRESH,   [DESCRIBED] = PF_VMM_FRESH, [PAUSING] = PF_VMM_FRESH,
		[PAUSED] = PF_VMM_STANDS,   [ACCEPTED] = PF_VMM_ACCEPTED,
		[LOADING] = PF_VMM_ACCEPTED, [LOADED] = PF_VMM_LOADED,
		[RESUMING] = PF_VMM_RESUMING, [RUNNING] = PF_VMM_RUNS,
	};

	if (vmm->stage != ENDED)
		return told[vmm->stage];
	if (vmm->role == PAGEFERRY_SOURCE)
		return PF_VMM_STANDS;
	return vmm->refused ? PF_VMM_REFUSED : PF_VMM_RUNS;
}

static int say_hello(struct pageferry_vmm *vmm)
{
	struct pf_vmm_hello *hello = &vmm->hello.hello;

	hello->stage = told_stage(vmm);
	hello->owed = vmm->stage == PAUSING ? 1 : vmm->stage == LOADING ? vmm->readies_owed : 0;
	return send_message(vmm, &vmm->hello, NULL, 0);
}

static int prepare_hello(struct pageferry_vmm *vmm, const uint32_t *vcpu_tids, size_t vcpu_count)
{
	struct pf_vmm_hello *hello = &vmm->hello.hello;

	if (vcpu_count > PF_VMM_VCPUS_MAX)
		return pf_err_set(&vmm->err, PF_ERR_USAGE, "%zu vCPUs; %u are allowed", vcpu_count,
				  PF_VMM_VCPUS_MAX);
	vmm->hello.type = PF_VMM_HELLO;
	hello->version = PF_VMM_VERSION;
	hello->destination = vmm->role == PAGEFERRY_DESTINATION;
	hello->vcpu_count = (uint32_t)vcpu_count;
	for (size_t i = 0; i < vcpu_count; i++)
		hello->vcpu_tid[i] = vcpu_tids[i];
	return 0;
}

static int set_nonblocking(int fd, struct pf_err *err)
{
	return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0
		       ? 0
		       : pf_err_sys(err, "making the socket non-blocking");
}

static int start(struct pageferry_vmm *vmm, const char *path, const uint32_t *vcpu_tids,
		 size_t vcpu_count)
{
	if (prepare_hello(vmm, vcpu_tids, vcpu_count))
		return -1;
	snprintf(vmm->path, sizeof(vmm->path), "%s", path);
	vmm->fd = pf_unix_connect(path, SOCK_SEQPACKET, &vmm->err);
	if (vmm->fd < 0) {
		if (vmm->err.class == PF_ERR_UNREACHABLE)
			pf_err_hint(&vmm->err, "is the agent running with --vmm-socket %s?", path);
		return -1;
	}
	if (set_nonblocking(vmm->fd, &vmm->err))
		return -1;
	return say_hello(vmm);
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
	vmm->fd = vmm->faults.fd = -1;
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
	pf_bar_done(&vmm->bitmaps);
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

/* By the agent's own rules, so that a mistake is reported by the call that made it. */
static int check_regions(struct pageferry_vmm *vmm)
{
	struct pf_vmm_message checked;
	size_t length = pf_vmm_msg_pack(&vmm->described.message, vmm->buffer);

	return pf_vmm_msg_unpack(vmm->buffer, length, false, vmm->described.fds, &checked,
				 &vmm->err);
}

static int send_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
			size_t count)
{
	struct pf_vmm_description *described = &vmm->described;
	pf_auto_fd int agents_end = -1;
	int failed;

	if (pf_vmm_faults_open(&vmm->faults, &agents_end, &vmm->err))
		return -1;
	failed = pf_vmm_describe(vmm->role, regions, count, agents_end, described, &vmm->err) ||
		 check_regions(vmm) || pf_bar_prepare(&vmm->bitmaps, described, &vmm->err) ||
		 pf_vmm_faults_keep_bitmaps(&vmm->faults, &described->message.regions,
					    described->fd, &vmm->err) ||
		 send_message(vmm, &described->message, described->fd, described->fds);
	if (failed || !described->message.regions.has_fault_socket)
		pf_vmm_faults_close(&vmm->faults);
	if (failed)
		pf_bar_done(&vmm->bitmaps);
	return failed ? -1 : 0;
}

static int check_losses(struct pageferry_vmm *vmm, const struct pageferry_region *regions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (regions[i].machine_checks && !vmm->ops->lost)
			return pf_err_set(&vmm->err, PF_ERR_USAGE,
					  "region with id %" PRIu32
					  ": machine_checks, and there is no `lost` to call",
					  regions[i].id);
	return 0;
}

int pageferry_vmm_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
			  size_t count)
{
	if (check_turn(vmm, "pageferry_vmm_regions", vmm->role, GREETED) ||
	    check_losses(vmm, regions, count) || send_regions(vmm, regions, count))
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
	return send_message(vmm, &vmm->message, &fd, 1);
}

int pageferry_vmm_paused(struct pageferry_vmm *vmm, const void *device_state, size_t size)
{
	if (check_turn(vmm, "pageferry_vmm_paused", PAGEFERRY_SOURCE, PAUSING))
		return fail(vmm);
	if (!vmm->left && !is_said(vmm, send_paused(vmm, device_state, size)))
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
	if (say(vmm, "pageferry_vmm_resume_refused", PAGEFERRY_DESTINATION, RESUMING, ENDED))
		return -1;
	vmm->refused = true;
	return 0;
}

/* ---- receiving ---- */

static bool is_repeat(const struct step *step)
{
	return step->from == step->to && step->type != PF_VMM_LOAD;
}

static int take_step(struct pageferry_vmm *vmm, enum pf_vmm_type type)
{
	bool mine = false;

	if (type == PF_VMM_ATTACH) /* at any time, and changes nothing */
		return 0;
	if (type == PF_VMM_ERROR) { /* at any time */
		vmm->stage = ENDED;
		return 0;
	}
	for (size_t i = 0; i < PF_ARRAY_LEN(steps); i++) {
		if (steps[i].type != type || steps[i].role != vmm->role)
			continue;
		mine = true;
		if (steps[i].from != vmm->stage || (is_repeat(&steps[i]) && !vmm->again))
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

/* Before the VMM closes its userfaultfds: they are what holds a lost page until it is barred. */
static int bar_lost(struct pageferry_vmm *vmm)
{
	vmm->error[0] = '\0';
	return pf_bar_lost(&vmm->described, &vmm->err) ? fail(vmm) : 0;
}

static int handle(struct pageferry_vmm *vmm, size_t length, size_t fd_count, int *fds)
{
	struct pf_vmm_message message; /* not the buffer: the VMM may send from within its op */
	enum stage before = vmm->stage;
	int none = -1, failed = 0;

	if (pf_vmm_msg_unpack(vmm->buffer, length, true, fd_count, &message, &vmm->err))
		return pf_err_prefix(&vmm->err, "from the agent");
	if (take_step(vmm, message.type))
		return -1;
	if (message.type == PF_VMM_ATTACH) {
		vmm->again = true;
		vmm->hello.hello.attach = message.attach;
		return say_hello(vmm);
	}
	if (vmm->stage == before && message.type != PF_VMM_LOAD && message.type != PF_VMM_ERROR)
		return 0; /* a repeat: see steps[] */
	if (message.type == PF_VMM_LOAD && check_state(fds[0], message.state.size, &vmm->err))
		return -1;
	if (message.type == PF_VMM_LOAD)
		vmm->readies_owed++;
	/* Taken back before it was answered.  Answers are counted by the agent, or the one to this
	 * pause, late, could be taken for the answer to the next one, and its state be stale. */
	if (message.type == PF_VMM_CONTINUE_SOURCE && before == PAUSING)
		failed = send_paused(vmm, "", 0);
	if (message.type == PF_VMM_COMPLETE)
		failed = bar_lost(vmm);
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
		if (length == 0) {
			vmm->left = true;
			pf_err_set(&vmm->err, PF_ERR_UNREACHABLE,
				   "the agent closed the connection %s", stage_name[vmm->stage]);
		}
		if (length <= 0)
			return fail_for_ever(vmm);
		result = handle(vmm, (size_t)length, fd_count, fds);
		for (size_t i = 0; i < fd_count; i++)
			pf_close_fd(&fds[i]);
		/* An answer found nobody: what the agent had said before it went is read to its end first. */
		if (result && vmm->err.class != PF_ERR_UNREACHABLE)
			return fail_for_ever(vmm);
	}
}

/* ---- another agent ---- */

static int describe_again(struct pageferry_vmm *vmm)
{
	struct pf_vmm_description *described = &vmm->described;
	bool has_faults = described->message.regions.has_fault_socket;
	pf_auto_fd int agents_end = -1;

	if (vmm->stage == GREETED)
		return 0;
	if (has_faults && pf_vmm_faults_reopen(&vmm->faults, &agents_end, &vmm->err))
		return -1;
	if (has_faults)
		described->fd[described->message.regions.fault_socket] = agents_end;
	if (send_message(vmm, &described->message, described->fd, described->fds))
		return -1;
	if (has_faults)
		pf_vmm_faults_repeat(&vmm->faults);
	return 0;
}

/* At the number that it had: who polls it need not be told. */
static int connect_again(struct pageferry_vmm *vmm)
{
	pf_auto_fd int fd = pf_unix_connect(vmm->path, SOCK_SEQPACKET, &vmm->err);

	if (fd < 0 || set_nonblocking(fd, &vmm->err))
		return -1;
	if (dup3(fd, vmm->fd, O_CLOEXEC) < 0)
		return pf_err_sys(&vmm->err, "replacing the socket");
	vmm->again = true;
	vmm->hello.hello.attach = 0;
	return say_hello(vmm);
}

int pageferry_vmm_reattach(struct pageferry_vmm *vmm)
{
	if (!vmm->left || vmm->stage == ENDED) {
		pf_err_set(&vmm->err, PF_ERR_STATE, "pageferry_vmm_reattach: not possible %s",
			   vmm->stage == ENDED ? stage_name[ENDED]
					       : "while the agent has not gone");
		return fail(vmm);
	}
	if (connect_again(vmm) == 0 && describe_again(vmm) == 0) {
		vmm->broken = vmm->left = false;
		return 0;
	}
	fail(vmm);
	return vmm->err.class == PF_ERR_UNREACHABLE ? 1 : -1;
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

bool pageferry_vmm_faults_unsent(const struct pageferry_vmm *vmm)
{
	return pf_vmm_faults_unsent(&vmm->faults);
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
