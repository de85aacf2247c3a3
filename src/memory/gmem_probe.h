/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/gmem_probe.h - what this kernel can do with guest_memfd, found out by doing it.
 *
 * A machine of one page is made and thrown away: its page is written, trapped, mapped and run into.
 * Version and configuration say nothing: three of the four are in patched kernels only.  Any
 * thread; takes some milliseconds, and cannot fail: what does not work has its reason.
 */
#ifndef PF_MEMORY_GMEM_PROBE_H
#define PF_MEMORY_GMEM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum pf_gmem_feature {
	PF_GMEM_FILE,  /* guest_memfd that can be mapped; the others need it */
	PF_GMEM_WRITE, /* write(2) fills its pages */
	PF_GMEM_UFFD,  /* userfaultfd traps accesses to a mapping, UFFDIO_CONTINUE resolves them */
	PF_GMEM_USERFAULT, /* KVM leaves the vCPU when it touches a page whose bit is set */
	PF_GMEM_FEATURES
};

struct pf_gmem_probe {
	uint64_t flags; /* of guest_memfd, as KVM says which it has */
	uint64_t modes; /* UFFDIO_REGISTER modes that it takes together, or MISSING, or 0 */
	struct {
		bool works;
		struct pf_err why; /* where it does not */
	} feature[PF_GMEM_FEATURES];
};

void pf_gmem_probe(struct pf_gmem_probe *out);
/* "write(2) on guest_memfd", as in every message. */
const char *pf_gmem_feature_name(enum pf_gmem_feature feature);

#endif
