/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/uffd_abi.h - userfaultfd's interface since Linux 6.1.
 *
 * Under names of our own, since Debian 12's <linux/userfaultfd.h> lacks all of it and a newer one
 * has some.  UFFDIO_POISON: Linux 6.6, include/uapi/linux/userfaultfd.h.
 */
#ifndef PF_BASE_UFFD_ABI_H
#define PF_BASE_UFFD_ABI_H

#include <linux/userfaultfd.h>
#include <stdint.h>

#define PF_UFFD_FEATURE_POISON (UINT64_C(1) << 14)

struct pf_uffdio_poison {
	struct uffdio_range range;
	uint64_t mode; /* UFFDIO_COPY's DONTWAKE is bit 0 here too */
	int64_t updated;
};
#define PF_UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct pf_uffdio_poison)

_Static_assert(sizeof(struct pf_uffdio_poison) == 32, "struct uffdio_poison");

#endif
