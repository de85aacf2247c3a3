/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/uffd.h - userfaultfd(2) and ioctl_userfaultfd(2), thinly: each ioctl's errno as an enum.
 *
 * The descriptor was made by the VMM and belongs to its address space.  Any thread; the ioctls do
 * not wait for anybody else's page.
 */
#ifndef PF_MEMORY_UFFD_H
#define PF_MEMORY_UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>

#include "base/err.h"

enum pf_map_result {
	PF_MAP_DONE,	/* all of it */
	PF_MAP_EXISTS,	/* stopped at a page that is mapped already (EEXIST) */
	PF_MAP_ABSENT,	/* stopped at a page that the file does not have (EFAULT) */
	PF_MAP_AGAIN,	/* the mm is changing: read the pending events, then go on (EAGAIN) */
	/*
	 * Stopped, and the rest is not all in one VMA that traps (ENOENT): it crosses the border
	 * that the VMM's own madvise(2), mprotect(2) or mbind(2) has made, or a page of it is not
	 * mapped, or not registered, any more.  One page, asked for alone, is the latter.
	 */
	PF_MAP_UNMAPPED,
	PF_MAP_GONE,   /* the process has exited (ESRCH) */
	PF_MAP_FAILED, /* anything else: errno is set */
};

/*
 * Makes fd ours to serve: sets O_NONBLOCK (without it poll(2) reports POLLERR), and refuses
 * (PF_ERR_PROTOCOL) a descriptor that is not a userfaultfd, one whose UFFDIO_API was not called,
 * and one with EVENT_FORK, EVENT_REMAP or EVENT_UNMAP; features as /proc/self/fdinfo shows them.
 */
PF_MUST_USE int pf_uffd_adopt(int fd, uint64_t *out_features, struct pf_err *err);
/* O_NONBLOCK again, when poll(2) has said POLLERR: the VMM, whose open file it is too, took it away.  0,
 * or -1 with errno. */
int pf_uffd_unblock(int fd);
/* Are these two descriptors one userfaultfd?  Also where kcmp(2) is refused: its O_APPEND is changed and put
 * back then. */
bool pf_uffd_same(int fd, int other);
/*
 * Registers [start, start + length) with modes; PF_ERR_PROTOCOL with what the kernel said if it
 * refuses.  Checks that what places a page is offered: UFFDIO_CONTINUE when MINOR is in modes, else
 * UFFDIO_COPY and UFFDIO_ZEROPAGE; UFFDIO_WAKE always.
 */
PF_MUST_USE int pf_uffd_register(int fd, uint64_t start, uint64_t length, uint64_t modes,
				 struct pf_err *err);
/* The same with other ioctls than these to be offered: a bit for each, beside UFFDIO_WAKE. */
PF_MUST_USE int pf_uffd_register_for(int fd, uint64_t start, uint64_t length, uint64_t modes,
				     uint64_t ioctls, struct pf_err *err);
/*
 * A userfaultfd of this process's own, for mappings of its own: what the kernel can do with a kind of
 * memory is found out there, and nobody's traps are touched.
 */
PF_MUST_USE int pf_uffd_open_own(struct pf_err *err);
PF_MUST_USE int pf_uffd_unregister(int fd, uint64_t start, uint64_t length, struct pf_err *err);
/* UFFDIO_CONTINUE; *out_mapped is the number of bytes mapped before it stopped. */
enum pf_map_result pf_uffd_continue(int fd, uint64_t start, uint64_t length,
				    uint64_t *out_mapped);
/* The same for one page, only to see whether it is shown there: nobody who waits is woken. */
enum pf_map_result pf_uffd_try_continue(int fd, uint64_t start, uint64_t length);
/* UFFDIO_ZEROPAGE of one page, only to see where it goes: nobody who waits is woken. */
enum pf_map_result pf_uffd_try_zeropage(int fd, uint64_t start, uint64_t length);
/* The same by UFFDIO_COPY, for pages of which there is no page of zeros. */
enum pf_map_result pf_uffd_try_zeros(int fd, uint64_t start, uint64_t length);
/*
 * UFFDIO_COPY from bytes, or UFFDIO_ZEROPAGE where they are NULL: populates private memory and maps it
 * in one step, and wakes who waits.  *out_placed: bytes before it stopped.  Never PF_MAP_ABSENT.
 */
enum pf_map_result pf_uffd_place(int fd, uint64_t start, uint64_t length, const uint8_t *bytes,
				 uint64_t *out_placed);
/* UFFDIO_POISON (Linux 6.6): an access gets SIGBUS from then on, whoever waits wakes up to it.  What is
 * there, poison too, is never overwritten: PF_MAP_EXISTS. */
enum pf_map_result pf_uffd_poison(int fd, uint64_t start, uint64_t length);
/* Has the kernel UFFDIO_POISON?  It is no matter of the features that UFFDIO_API was asked for. */
bool pf_uffd_can_poison(int fd);
/*
 * UFFDIO_WAKE; every thread blocked in the range faults again.  PF_MAP_DONE or FAILED: the kernel
 * looks at who waits and not at what is mapped (fs/userfaultfd.c), nor whether the process lives.
 */
enum pf_map_result pf_uffd_wake(int fd, uint64_t start, uint64_t length);

#endif
