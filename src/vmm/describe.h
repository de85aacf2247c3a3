/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm/describe.h - from a VMM's regions to the message that describes them, and its descriptors.
 *
 * No I/O; the caller's thread.  What was described is said again to every agent that takes the guest up.
 */
#ifndef PF_VMM_DESCRIBE_H
#define PF_VMM_DESCRIBE_H

#include "base/unixsock.h"
#include "vmm/pageferry-vmm.h"
#include "wire/vmm_msg.h"

struct pf_vmm_description {
	struct pf_vmm_message message; /* REGIONS */
	size_t fds;
	int fd[PF_UNIX_FDS_MAX]; /* the VMM's, which keeps them open; regions often share one */
};

/* agents_end: of the fault socket, which goes along where a region has exits.  PF_ERR_USAGE. */
PF_MUST_USE int pf_vmm_describe(enum pageferry_role role, const struct pageferry_region *regions,
				size_t count, int agents_end, struct pf_vmm_description *out,
				struct pf_err *err);

#endif
