/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm/faults.c - see vmm/faults.h.
 *
 * Asking blocks in send(2) only while the agent does not read, or at the limit of a control group, where there is
 * no memory for a message, and then there is nothing that the vCPU could do either; dispatching never blocks.
 */
#include "vmm/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/unixsock.h"

#define OPEN UINT64_C(1)
#define PAGE_MASK (~UINT64_C(4095))
#define AGAIN_MS 10 /* somebody raises a limit or frees something meanwhile */

int pf_vmm_faults_open(struct pf_vmm_faults *faults, int *out_agents, struct pf_err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return pf_err_sys(err, "creating the fault socket");
	faults->fd = pair[0];
	*out_agents = pair[1];
	return 0;
}

int pf_vmm_faults_keep_bitmaps(struct pf_vmm_faults *faults, const struct pf_vmm_regions *regions,
			       const int *fds, struct pf_err *err)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct pf_vmm_region *region = &regions->region[i];
		struct pf_vmm_bitmap *bitmap = &faults->bitmap[faults->bitmaps];

		if (!region->machine_checks || region->bitmap_fd == PF_VMM_NO_FD)
			continue;
		bitmap->shape = region->shape;
		bitmap->fd = fcntl(fds[region->bitmap_fd], F_DUPFD_CLOEXEC, 3);
		if (bitmap->fd < 0)
			return pf_err_sys(err, "keeping the userfault bitmap of region %u", region->id);
		faults->bitmaps++;
	}
	return 0;
}

void pf_vmm_faults_close(struct pf_vmm_faults *faults)
{
	while (faults->bitmaps > 0)
		pf_close_fd(&faults->bitmap[--faults->bitmaps].fd);
	pf_close_fd(&faults->fd);
}

/* At the number that it had: who polls it, and the vCPUs, need not be told. */
int pf_vmm_faults_reopen(struct pf_vmm_faults *faults, int *out_agents, struct pf_err *err)
{
	pf_auto_fd int mine = -1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return pf_err_sys(err, "creating the fault socket");
	mine = pair[0];
	*out_agents = pair[1];
	if (dup3(mine, faults->fd, O_CLOEXEC) < 0)
		return pf_err_sys(err, "replacing the fault socket");
	return 0;
}

/* false: there is no room.  An agent that is gone is followed by another one, which is told from the start. */
static bool send_again(struct pf_vmm_faults *faults, uint32_t vcpu)
{
	uint64_t waits = atomic_load(&faults->open[vcpu]);
	const struct pf_vmm_fault fault = {.vcpu = vcpu, .gpa = waits & PAGE_MASK};
	uint8_t bytes[PF_VMM_FAULT_BYTES];

	return !waits ||
	       send(faults->fd, bytes, pf_vmm_fault_pack(PF_VMM_FAULT, &fault, bytes),
		    MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && !pf_unix_no_memory(errno));
}

bool pf_vmm_faults_unsent(const struct pf_vmm_faults *faults)
{
	uint64_t repeat = atomic_load(&faults->repeat);

	return repeat != 0 && (uint32_t)repeat < PF_VMM_VCPUS_MAX;
}

/* By the connection's thread and the one that dispatches faults: what both send is one fault.  One that sent on the
 * socket of the agent before finds the high half changed, and its step is not counted. */
static void go_on_repeating(struct pf_vmm_faults *faults)
{
	while (pf_vmm_faults_unsent(faults)) {
		uint64_t repeat = atomic_load(&faults->repeat);

		if ((uint32_t)repeat >= PF_VMM_VCPUS_MAX)
			continue;
		if (!send_again(faults, (uint32_t)repeat))
			return;
		atomic_compare_exchange_strong(&faults->repeat, &repeat, repeat + 1);
	}
}

/* A vCPU notes its page, then sends: on the old socket, and then it is seen here, or on the new one. */
void pf_vmm_faults_repeat(struct pf_vmm_faults *faults)
{
	atomic_store(&faults->repeat, ((atomic_load(&faults->repeat) >> 32) + 1) << 32);
	go_on_repeating(faults);
}

/* true: it waited for this page until now, and it is the caller's to answer. */
static bool take(struct pf_vmm_faults *faults, uint32_t vcpu, uint64_t gpa)
{
	uint64_t waits = (gpa & PAGE_MASK) | OPEN;

	return atomic_compare_exchange_strong(&faults->open[vcpu], &waits, 0);
}

/* After COMPLETE only: nobody changes a bit any more.  An array of unsigned long, little-endian: bit i is in
 * byte i / 8. */
static bool is_lost(const struct pf_vmm_faults *faults, uint64_t gpa)
{
	for (uint32_t i = 0; i < faults->bitmaps; i++) {
		const struct pf_region_shape *shape = &faults->bitmap[i].shape;
		uint64_t page = (gpa - shape->gpa) / shape->page_size;
		uint8_t bits;

		if (gpa >= shape->gpa && gpa - shape->gpa < shape->size)
			return pread(faults->bitmap[i].fd, &bits, 1, (off_t)(page / 8)) == 1 &&
			       (bits >> page % 8 & 1);
	}
	return false;
}

/* -1: errno.  Nobody who would answer may be there: see pf_vmm_faults_ask(). */
static int tell(const struct pf_vmm_faults *faults, const struct pf_vmm_fault *fault)
{
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_FAULT, fault, bytes);

	while (send(faults->fd, bytes, length, MSG_NOSIGNAL) < 0) {
		/* Its last word, which may not have been read yet, can be COMPLETE: that answers this fault too. */
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		if (!pf_unix_no_memory(errno) || poll(NULL, 0, AGAIN_MS) < 0)
			return -1;
		if (atomic_load(&faults->complete)) /* it answers all who wait, this one among them */
			return 0;
	}
	return 0;
}

int pf_vmm_faults_ask(struct pf_vmm_faults *faults, uint32_t vcpu, uint64_t gpa)
{
	const struct pf_vmm_fault fault = {.vcpu = vcpu, .gpa = gpa & PAGE_MASK};
	int sys;

	if (faults->fd < 0 || vcpu >= PF_VMM_VCPUS_MAX) {
		errno = EINVAL;
		return -1;
	}
	/* Noted, then looked; pf_vmm_faults_complete() tells, then looks: one of the two sees the other. */
	atomic_store(&faults->open[vcpu], fault.gpa | OPEN);
	if (atomic_load(&faults->complete))
		return !take(faults, vcpu, gpa) ? 0 : is_lost(faults, fault.gpa) ? 2 : 1;
	if (tell(faults, &fault) == 0)
		return 0;
	sys = errno;
	if (!take(faults, vcpu, gpa)) /* answered meanwhile, by `complete` */
		return 0;
	errno = sys;
	return -1;
}

static void answer(const struct pageferry_vmm_ops *ops, void *opaque, uint32_t vcpu, uint64_t gpa,
		   bool lost)
{
	if (lost && ops->lost)
		ops->lost(opaque, vcpu, gpa & PAGE_MASK);
	else if (ops->resolved)
		ops->resolved(opaque, vcpu, gpa & PAGE_MASK);
}

static void take_answer(struct pf_vmm_faults *faults, const struct pageferry_vmm_ops *ops, void *opaque,
			const struct pf_vmm_fault *fault)
{
	if (take(faults, fault->vcpu, fault->gpa))
		answer(ops, opaque, fault->vcpu, fault->gpa, fault->lost);
}

int pf_vmm_faults_dispatch(struct pf_vmm_faults *faults, const struct pageferry_vmm_ops *ops,
			   void *opaque)
{
	if (faults->fd < 0)
		return pf_err_set(&faults->err, PF_ERR_STATE, "there is no fault socket");
	go_on_repeating(faults);
	for (;;) {
		uint8_t bytes[PF_VMM_FAULT_BYTES];
		struct pf_vmm_fault fault;
		/* MSG_TRUNC: the length that it really has. */
		ssize_t length = recv(faults->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno == EAGAIN)
			return 0;
		if (length < 0 && errno != ECONNRESET)
			return pf_err_sys(&faults->err, "reading the fault socket");
		if (length <= 0)
			return pf_err_set(&faults->err, PF_ERR_UNREACHABLE,
					  "the agent closed the fault socket");
		if (pf_vmm_fault_unpack(bytes, (size_t)length, PF_VMM_RESOLVED, &fault,
					&faults->err))
			return pf_err_prefix(&faults->err, "from the agent");
		take_answer(faults, ops, opaque, &fault);
	}
}

/*
 * RESOLVED on the other socket may not have been read yet, here or by another thread: the bit says the same as it,
 * and of a lost page it stays set.
 */
void pf_vmm_faults_complete(struct pf_vmm_faults *faults, const struct pageferry_vmm_ops *ops,
			    void *opaque)
{
	atomic_store(&faults->complete, true);
	for (uint32_t vcpu = 0; vcpu < PF_VMM_VCPUS_MAX; vcpu++) {
		uint64_t waits = atomic_exchange(&faults->open[vcpu], 0);

		if (waits)
			answer(ops, opaque, vcpu, waits, is_lost(faults, waits & PAGE_MASK));
	}
}
