/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/statefile.h - a file of the state directory as shared memory that outlives its process.
 *
 * Allocated up front: a page that tmpfs cannot provide later would be a SIGBUS in the middle of a
 * fault.  Any thread; does file I/O and can block in it, so only in set-up.
 */
#ifndef PF_MEMORY_STATEFILE_H
#define PF_MEMORY_STATEFILE_H

#include <stddef.h>

#include "base/err.h"

enum pf_statefile_mode {
	PF_STATEFILE_NEW,    /* replaces what is there; all zeros */
	PF_STATEFILE_OPEN,   /* must be there, with this length */
	PF_STATEFILE_EITHER, /* as it is there, else new */
};

/*
 * Maps dirfd/name, length bytes, for munmap(2) by the caller.  NULL: PF_ERR_CONFIG if there is no
 * room (with the bytes needed), no such file, or one of another length; else PF_ERR_SYSTEM.
 */
PF_MUST_USE void *pf_statefile_map(int dirfd, const char *name, enum pf_statefile_mode mode,
				   size_t length, struct pf_err *err);

#endif
