/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/backend.h - what the demo's guest can have its memory on: --backend.
 *
 * A constant table; any thread.
 */
#ifndef PF_MIGRATE_DEMO_BACKEND_H
#define PF_MIGRATE_DEMO_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_demo_backend {
	const char *name; /* of --backend, and of pageferry-guest's --kinds */
	uint32_t page_bytes;
	uint64_t features;  /* that userfaultfd must offer for it */
	const char *offers; /* the same in words */
	bool guest_memfd;   /* all of pf_gmem_probe() must work */
};

extern const struct pf_demo_backend pf_demo_memfd;
/* NULL: there is no such. */
const struct pf_demo_backend *pf_demo_backend_find(const char *name);

#endif
