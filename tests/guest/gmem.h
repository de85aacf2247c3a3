/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/gmem.h - a guest_memfd of a KVM machine, and the userfault bitmap of a region.
 *
 * Main thread.  See base/kvm_abi.h for whose interface this is.
 */
#ifndef PF_GUEST_GMEM_H
#define PF_GUEST_GMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A guest_memfd that can be mapped, full of holes; writable: write(2) fills them, too.  -1, or it. */
PF_MUST_USE int pf_gmem_create(int vm, uint64_t bytes, bool writable, struct pf_err *err);

struct pf_gmem_bitmap {
	int fd; /* -1: none */
	void *bits;
	uint64_t bytes;
};

/* Of so many pages, each of them trapped; a memfd that cannot shrink. */
PF_MUST_USE int pf_gmem_bitmap_create(struct pf_gmem_bitmap *bitmap, uint64_t pages,
				      struct pf_err *err);
/* A vCPU that touches this page leaves the guest. */
bool pf_gmem_traps(const struct pf_gmem_bitmap *bitmap, uint64_t page);
/* One that touches any page would. */
bool pf_gmem_traps_any(const struct pf_gmem_bitmap *bitmap);
void pf_gmem_bitmap_destroy(struct pf_gmem_bitmap *bitmap);

#endif
