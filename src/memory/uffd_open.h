/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/uffd_open.h - a userfaultfd of this process's own memory.
 *
 * An agent is handed those of its VMM and never opens one; the demo, `pageferry probe` and what
 * tries guest_memfd do.  Any thread; does not block.
 */
#ifndef PF_MEMORY_UFFD_OPEN_H
#define PF_MEMORY_UFFD_OPEN_H

#include "base/err.h"

enum pf_uffd_way {
	PF_UFFD_CALL = 1 << 0,	 /* userfaultfd(2) */
	PF_UFFD_DEVICE = 1 << 1, /* USERFAULTFD_IOC_NEW of /dev/userfaultfd */
	PF_UFFD_USER_ONLY =
		1 << 2, /* userfaultfd(2), blind to accesses by the kernel, as KVM's are */
};
#define PF_UFFD_FULL (PF_UFFD_CALL | PF_UFFD_DEVICE)

/*
 * By the first of these ways that works, in the order above: the descriptor, non-blocking, or -1
 * with the reason of the first one that was tried, and what to do about it.  UFFDIO_API is the
 * caller's.
 */
PF_MUST_USE int pf_uffd_open(unsigned ways, struct pf_err *err);

#endif
