/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/area.h - one page of each kind of memory, as a VMM would map it.
 *
 * It is made for one trial and thrown away; files have no name from the start.  One thread.
 */
#ifndef PF_MIGRATE_PROBE_AREA_H
#define PF_MIGRATE_PROBE_AREA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pf_area {
	const struct pf_area_kind *kind;
	int fd;		 /* -1: private memory has none */
	uint8_t *at;	 /* what the VMM and its vCPUs use */
	uint8_t *second; /* the same page once more, for whoever fills it; NULL: private memory */
};

struct pf_area_kind {
	const char *name;
	size_t page_bytes;
	/* As pf_attempt (migrate/probe/check.h): 0, -1 or 1. */
	int (*open)(struct pf_area *area, struct pf_err *err);
	/* The page's bytes get there as pageferry would put them there; NULL: by one ioctl only. */
	int (*populate)(const struct pf_area *area, const uint8_t *page, struct pf_err *err);
	const char *hint;	   /* what kernel or memory traps it */
	const char *without_minor; /* what MISSING alone is good for; NULL: nothing */
};

extern const struct pf_area_kind pf_area_memfd, pf_area_tmpfs, pf_area_hugetlbfs, pf_area_private,
	pf_area_guest_memfd;

int pf_area_open(const struct pf_area_kind *kind, struct pf_area *out, struct pf_err *err);
void pf_area_close(struct pf_area *area);

#endif
