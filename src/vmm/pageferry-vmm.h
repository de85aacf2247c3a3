/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pageferry-vmm.h - what a VMM needs to have its guest moved by pageferry.
 *
 * A VMM connects to its agent's --vmm-socket, describes its guest memory, and then answers calls.
 * There is one connection object, it belongs to one thread at a time, and nothing here starts
 * threads or blocks except pageferry_vmm_connect(): put pageferry_vmm_fd() into your own poll loop
 * and call pageferry_vmm_dispatch() when it is readable.  What concerns faults of vCPUs, and only
 * that, has threads of its own; see below.
 *
 * Source:                                     Destination:
 *   connect(SOURCE)                             connect(DESTINATION)
 *   regions(...)      (no uffd)                 create memory, userfaultfd(2) + UFFDIO_API
 *   keep running                                regions(..., uffd, base)   do not touch the memory
 *   <- pause:    stop vCPUs, drain device I/O   <- regions_accepted: every access is trapped now
 *   paused(device state)                        <- load: load device state (this may fault pages)
 *   <- continue_source: run again               ready()
 *   <- release:  the copy here may go           <- resume: start the vCPUs
 *                                               resumed() or resume_refused(why)
 *                                               <- complete: all pages are here; close the uffd
 *
 * What the VMM promises: between regions() and regions_accepted it does not touch the memory; the
 * memory has no other mapping (vhost-user, DMA) than those it lists; it keeps its own copy of every
 * descriptor, and what is mapped at each `base`, until `complete` or `release`; "paused" means vCPUs
 * stopped *and* device I/O drained.  A source that has said paused() runs again only on continue_source,
 * whatever becomes of the agent: its guest may be running at the destination.
 *
 * `load` can be called again until `resume` is: the connection to the source was lost, and another
 * switch-over has begun.  Drop what was loaded before, load this state, and say ready() once for each
 * `load`, also for one that was overtaken before it was done; vCPUs stay stopped until `resume`,
 * which comes after the last ready().  While an older state is still being loaded, the memory under
 * it may already be the newer one's: if the two do not fit each other, say ready() all the same, and
 * answer `resume`, if it comes, with resume_refused().
 *
 * The thread that dispatches, and that would reattach, never touches guest memory between regions() and
 * `complete`: neither in `load` nor in `resume`, nor in anything else that it does.  Absent pages make it wait,
 * and if the agent is killed meanwhile, nobody brings them: the next agent has no userfaultfd before this VMM
 * reattaches, and that thread, which would, cannot see that the agent has gone.  So `load` hands the state to another
 * thread; when that has loaded it, it says so to the first one (an eventfd in its poll loop), which calls
 * ready(): the connection belongs to one thread.
 *
 * guest_memfd at the destination.  An access of a vCPU does not go through this process's mapping, so
 * userfaultfd does not see it: KVM looks into the slot's userfault bitmap instead, and leaves KVM_RUN.
 * An access of KVM itself (string I/O, page tables) does go through the mapping.  So a guest_memfd has
 * both, a userfaultfd and a bitmap, and there is a second descriptor to poll:
 *
 *   a slot with KVM_MEM_GUEST_MEMFD | KVM_MEM_USERFAULT and a bitmap in a memfd, every bit 1
 *   regions(..., uffd, base, bitmap_fd)
 *   KVM_RUN: EFAULT, KVM_EXIT_MEMORY_FAULT, flag USERFAULT
 *     fault(vcpu, gpa)                          in the vCPU's thread; it does not enter again before
 *     <- resolved(vcpu, gpa)                    from dispatch_faults(), in any one thread
 *   <- complete: take KVM_MEM_USERFAULT off the slots
 *
 * A vCPU can have left KVM_RUN for a page just before its bit was cleared, and its thread may come to say
 * so only after `complete`, when the connection has been closed already: it enters again at once.  A VMM
 * that has it wait for an agent there has lost that vCPU.
 *
 * A page that the source cannot read is lost.  Nothing in KVM tells a vCPU so; a VMM can, by a machine check
 * say, if it declares `machine_checks` for the region:
 *
 *     <- lost(vcpu, gpa)                        instead of resolved(); as often as a vCPU comes for that page
 *   <- complete: a bit that is still 1 is that of a lost page.  Leave KVM_MEM_USERFAULT on for such a slot:
 *      without it vCPUs would read zeros there.  From then on an exit for a page whose bit is 1 is for a
 *      lost one: do not ask.  Look whether `complete` was called, and then at the bit: one that was read
 *      before may have been cleared since, and its page would be taken for lost
 *
 * A guest that has lost pages and leaves again: hand the bitmap over at the source too, see `lost_bitmap`.
 *
 * Without that declaration a vCPU that needs such a page waits, and `complete` does not come.  Whoever touches
 * it through the mapping gets SIGBUS.
 *
 * Lost pages of PAGEFERRY_MEMFD.  The agent poisons them: whoever touches one gets SIGBUS with BUS_MCEERR_AR
 * and the page's address.  For a vCPU its thread does, which must not block that signal, and KVM_RUN fails
 * with EINTR: what a VMM does about memory that fails, a machine check for its guest, is right here too.
 * But when the kernel makes huge pages of such a file (tmpfs with huge=, shmem_enabled, MADV_COLLAPSE by
 * anybody) the poison goes, and behind the traps they would read zeros.  So just before `complete` this
 * library maps a memfd of 0 bytes over them, in every mapping that was described: from then on whoever
 * touches one gets SIGBUS with BUS_ADRERR, and KVM_RUN of a vCPU fails with EFAULT, without a signal or an
 * address: whether it was at such a page its registers and `lost_bitmap` say.  Which they are the agent says
 * there, or in a bitmap that the library makes where a region comes without; but for those for which no
 * descriptor finds room in a message, 128 in all.  Each run of lost pages is a mapping more: where one cannot
 * be made, `complete` finds the reason in pageferry_vmm_error() (else ""), dispatch() fails, and the library keeps
 * that region's userfaultfds open for the rest of the process, so that who touches such a page waits, or
 * gets SIGBUS, and never reads zeros.  What the library notes for itself is not handed on: a guest that is
 * to leave again needs `lost_bitmap`.
 *
 * KVM's own accesses are the kernel's: the userfaultfd must not be opened with UFFD_USER_MODE_ONLY, or
 * they fail instead of waiting, and nobody can see that.
 *
 * An agent whose worker dies starts another, which goes on; nothing of that is seen here.  When the agent itself
 * is gone, dispatch() fails; somebody may start another one for the same migration: see
 * pageferry_vmm_reattach().  paused(), ready(), resumed() and resume_refused() are said once, also if nobody is there
 * to hear it: the next agent is told.
 *
 * Functions return 0, or -1 with the reason in pageferry_vmm_error().
 */
#ifndef PAGEFERRY_VMM_H
#define PAGEFERRY_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pageferry_vmm; /* one connection */

enum pageferry_role { PAGEFERRY_SOURCE = 1, PAGEFERRY_DESTINATION = 2 };

enum pageferry_memory {
	PAGEFERRY_MEMFD = 1, /* memfd or tmpfs, mapped shared */
	PAGEFERRY_GUEST_MEMFD = 2, /* made with GUEST_MEMFD_FLAG_MMAP and INIT_SHARED */
	PAGEFERRY_HUGETLBFS = 3,
	PAGEFERRY_PRIVATE = 4, /* private anonymous: no fd, one mapping; destination only */
};

/*
 * What is in the memory already when it is handed over; nothing of it is kept.  These numbers are the library's: in
 * proto/vmm.proto 0 is "not said", so the same names have other ones there.
 */
enum pageferry_populated {
	PAGEFERRY_POPULATED_NONE = 0, /* nothing is: a page that is there ends the migration */
	/*
	 * Any page may have been allocated, and none is mapped: by fallocate(2), or touched and then
	 * given back by madvise(MADV_DONTNEED) in every mapping.  Not for private memory.
	 */
	PAGEFERRY_PREALLOCATED = 1,
	/*
	 * The pages in `ranges` may hold something (firmware, a clock's page) and may be mapped: the
	 * agent punches them out of the file.  Not for private memory: MADV_DONTNEED them yourself.
	 */
	PAGEFERRY_POPULATED_LIST = 2,
};

struct pageferry_range {
	uint64_t first; /* page index within the region */
	uint64_t count; /* pages */
};

struct pageferry_mapping {
	int uffd;      /* after UFFDIO_API, O_NONBLOCK */
	uint64_t base; /* address of the region in this process */
};

struct pageferry_region {
	uint32_t id;	    /* your own name for it, for messages */
	uint64_t gpa;	    /* bytes */
	uint64_t size;	    /* bytes */
	uint32_t page_size; /* bytes: 4096 or 2097152 */
	enum pageferry_memory kind;
	/*
	 * Memory file; -1 for PAGEFERRY_PRIVATE.  The guest's memory is it mapped MAP_SHARED: what is
	 * written to a private mapping does not reach it, which the source's agent cannot see.
	 */
	int fd;
	uint64_t offset; /* of the region within fd, bytes */
	int uffd;	 /* destination: after UFFDIO_API, O_NONBLOCK; else -1 */
	uint64_t base;	 /* destination: address of the region in this process */
	/*
	 * You may MADV_DONTNEED or punch holes (balloon, free-page reporting).  With private memory
	 * the userfaultfd then needs UFFD_FEATURE_EVENT_REMOVE.
	 */
	bool discards;
	/* Destination: further mappings of the same memory file, 3 at most; all are trapped. */
	const struct pageferry_mapping *more;
	size_t more_count;
	enum pageferry_populated populated; /* destination */
	const struct pageferry_range *ranges; /* PAGEFERRY_POPULATED_LIST; 256 in all regions */
	size_t range_count;
	/*
	 * Destination, PAGEFERRY_GUEST_MEMFD; elsewhere nobody looks at them, but for `lost_bitmap` below.
	 * bitmap_fd: a memfd with the region's userfault bitmap: page i is bit i of an array of unsigned
	 * long, as KVM reads it.  Every bit is 1 when it is handed over, but those of pages in `ranges`.  Each region has
	 * its own.
	 * fill_atomic: on a kernel whose userfaultfd traps MISSING only on guest_memfd, a page becomes
	 * visible whole (under the folio lock) and nothing of the file is fallocated.  Without it such
	 * a kernel is refused.
	 */
	int bitmap_fd;
	bool fill_atomic;
	/* Destination, PAGEFERRY_GUEST_MEMFD: the VMM has `lost`, and heeds what is said above. */
	bool machine_checks;
	/*
	 * bitmap_fd is a memfd for the pages that are lost, page i in bit i as in a userfault bitmap; of any kind of
	 * memory.  Destination: every bit is 0 (PAGEFERRY_MEMFD: what is 1 is taken for lost), and from
	 * `complete` on those of lost pages are 1 (guest_memfd's userfault bitmap says the same by itself: this
	 * changes nothing there).  Source: pages whose bit is 1 were lost on the way here.  They are lost to the
	 * next host too; without it they would be sent as zeros.
	 */
	bool lost_bitmap;
};

/*
 * The agent's calls.  All run inside pageferry_vmm_dispatch(), in its caller's thread.  A NULL
 * member means that the call is ignored, which is only right for the other role's.
 */
struct pageferry_vmm_ops {
	void (*regions_accepted)(void *opaque);		     /* destination */
	void (*pause)(void *opaque);			     /* source: answer with paused() */
	void (*continue_source)(void *opaque); /* source: run again; a pause that was not
						  answered yet needs no answer any more */
	void (*release)(void *opaque);			     /* source */
	void (*load)(void *opaque, int state_fd, size_t size); /* destination: state_fd is yours;
								  loaded by another thread,
								  see above; then answer with
								  ready(); may be called again */
	void (*resume)(void *opaque);  /* destination: answer resumed() or resume_refused() */
	void (*complete)(void *opaque); /* destination */
	/*
	 * The migration ends for this VMM; the text says who owns the guest now.  Source: comes in every end without
	 * `release`, behind `continue_source` if the guest stood.  There is nothing to reattach to then.
	 */
	void (*error)(void *opaque, const char *reason);
	/*
	 * Destination: the page of a fault() is there, the vCPU may enter again.  Runs inside
	 * pageferry_vmm_dispatch_faults(), or, for all that are still open when every page is there,
	 * inside pageferry_vmm_dispatch() just before `complete` (`lost` then, where the page's bit is still
	 * set and the region has `machine_checks`: the two sockets have no order).  May come before fault() has returned.
	 */
	void (*resolved)(void *opaque, uint32_t vcpu, uint64_t gpa);
	/* Destination, with `machine_checks`: that page will never come.  As resolved() otherwise. */
	void (*lost)(void *opaque, uint32_t vcpu, uint64_t gpa);
};

/*
 * Connects to the agent and says hello.  vcpu_tids: thread ids of the vCPUs, so that an outage can
 * name them (may be NULL with count 0).  ops and opaque must outlive the connection.  Returns NULL
 * and fills reason (if not NULL) when nobody answers there.
 */
struct pageferry_vmm *pageferry_vmm_connect(const char *path, enum pageferry_role role,
					    const uint32_t *vcpu_tids, size_t vcpu_count,
					    const struct pageferry_vmm_ops *ops, void *opaque,
					    char *reason, size_t reason_size);
/* Closes the connection; takes NULL.  Not from within one of the agent's calls. */
void pageferry_vmm_close(struct pageferry_vmm *vmm);

/* The descriptor to poll for POLLIN; owned by the connection. */
int pageferry_vmm_fd(const struct pageferry_vmm *vmm);
/* Handles every message that is waiting.  -1: the agent is gone or broke the protocol; or `complete` was called, and
 * not all lost pages could be barred, see above.  Its thread must not be one that can wait for a page. */
int pageferry_vmm_dispatch(struct pageferry_vmm *vmm);
/*
 * The agent has gone (dispatch() failed), and the migration has not ended: is another one there to go on?  Says
 * to it how this VMM is, and describes its memory again: so the descriptors of regions() must be open still.  0:
 * it is, and serves this VMM.  1: there is none yet; call again a moment later.  -1: it will not be.  The
 * descriptors to poll keep their numbers.  Until then vCPUs that need a page wait, and whoever else touches one:
 * never the thread that is to call this.
 */
int pageferry_vmm_reattach(struct pageferry_vmm *vmm);
/* Why the last call failed; "" if none did. */
const char *pageferry_vmm_error(const struct pageferry_vmm *vmm);

int pageferry_vmm_regions(struct pageferry_vmm *vmm, const struct pageferry_region *regions,
			  size_t count);
/* Source: the guest is quiescent; device state (size bytes) is copied into a sealed memfd. */
int pageferry_vmm_paused(struct pageferry_vmm *vmm, const void *device_state, size_t size);
/* Destination: once for each load. */
int pageferry_vmm_ready(struct pageferry_vmm *vmm);
int pageferry_vmm_resumed(struct pageferry_vmm *vmm);
/* Only if no vCPU has entered the guest and none ever will here. */
int pageferry_vmm_resume_refused(struct pageferry_vmm *vmm, const char *reason);

/*
 * Destination: a vCPU left KVM_RUN with a userfault at gpa.  Any thread, any number at once; vcpu: a
 * number of yours below 1024, and one fault of each at a time (asked again for the same page, it is
 * one fault).  0: `resolved` (or `lost`) is called for it, just once; also if the agent is gone, since it may have said
 * COMPLETE before (if not, dispatch() fails, and the next connection is to be asked).  After `complete`
 * nothing is called, and the result is the answer, as the page's bit says.  1: the page is there, enter
 * again.  2: it is lost, as if `lost` were called (with `machine_checks` only).  -1: errno; EINTR: a signal came while the
 * agent did not read, or while there was no memory for the message at the limit of a control group, which is waited for:
 * call again; EINVAL: no guest_memfd was described, or such a number cannot be.  Touches no other part of the
 * connection, but that must not be closed meanwhile: after `complete` there is nothing to ask.
 */
int pageferry_vmm_fault(struct pageferry_vmm *vmm, uint32_t vcpu, uint64_t gpa);
/* The descriptor to poll for POLLIN from regions() on; -1: no guest_memfd was described.  Owned by the
 * connection. */
int pageferry_vmm_fault_fd(const struct pageferry_vmm *vmm);
/* After pageferry_vmm_reattach(): more vCPUs wait than the socket has room for.  Poll the descriptor for POLLOUT
 * too, while this is so, and dispatch: that tells the new agent of them. */
bool pageferry_vmm_faults_unsent(const struct pageferry_vmm *vmm);
/* Calls `resolved` for all that is waiting; one thread at a time, which need not be the connection's.
 * -1: the agent is gone, as it is some time after `complete`, or broke the protocol. */
int pageferry_vmm_dispatch_faults(struct pageferry_vmm *vmm);
/* Why pageferry_vmm_dispatch_faults() failed; its thread's. */
const char *pageferry_vmm_fault_error(const struct pageferry_vmm *vmm);

#ifdef __cplusplus
}
#endif

#endif
