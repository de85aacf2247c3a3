/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/needs.h - what the machine must have before the demo starts anything.
 *
 * Both fail with PF_ERR_SYSTEM and a hint.  Any thread; never blocks.
 */
#ifndef PF_MIGRATE_DEMO_NEEDS_H
#define PF_MIGRATE_DEMO_NEEDS_H

#include <stdint.h>

#include "base/err.h"
#include "migrate/demo/backend.h"

/* userfaultfd with the features that guest memory of this kind needs (DESIGN.md section 3.1). */
PF_MUST_USE int pf_needs_kernel(const struct pf_demo_backend *backend, struct pf_err *err);
/* Two guests of `memory` bytes at once, one of them the copy that the verdict compares with. */
PF_MUST_USE int pf_needs_memory(const struct pf_demo_backend *backend, uint64_t memory,
				struct pf_err *err);

#endif
