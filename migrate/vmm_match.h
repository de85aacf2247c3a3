/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm_match.h - whether REGIONS that a VMM says again are the memory that it had said before.
 *
 * By what they mean: a region is known by its GPA and a mapping by its base, whatever their order and the numbers
 * of their descriptors (proto/WIRE.md, section 8.5); and a descriptor by its file, since another one of the same
 * size would be filled, and the guest see zeros.  Any thread; statx(2), dup(2), and neither waits for anybody.
 */
#ifndef PF_MIGRATE_VMM_MATCH_H
#define PF_MIGRATE_VMM_MATCH_H

#include <stdint.h>

#include "base/err.h"
#include "base/unixsock.h"
#include "wire/vmm_msg.h"

struct pf_file_id {
	uint64_t dev, ino;
};

PF_MUST_USE int pf_file_identify(int fd, struct pf_file_id *out, struct pf_err *err);
/* ids: of the descriptors of `then`; but the fault socket's, which is a new one each time, does not count.
 * out_fds: PF_UNIX_FDS_MAX places, as `then` numbers them: duplicates of fds, the caller's; -1: none.  On -1 all
 * are.  PF_ERR_PROTOCOL: it is other memory. */
PF_MUST_USE int pf_vmm_match(const struct pf_vmm_regions *then, const struct pf_file_id *ids,
			     const struct pf_vmm_regions *now, const int *fds, int *out_fds,
			     struct pf_err *err);

#endif
