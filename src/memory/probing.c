/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/probing.c - see memory/probing.h. */
#include "memory/probing.h"

#include <sys/mman.h>

#include "memory/statefile.h"

#define PROBING_NAME "probing"

int pf_probing_open(struct pf_probing *probing, int dirfd, struct pf_err *err)
{
	probing->note = pf_statefile_map(dirfd, PROBING_NAME, PF_STATEFILE_EITHER,
					 sizeof(*probing->note), err);
	if (!probing->note)
		return -1;
	if (atomic_load(&probing->note->stage) <= PF_PROBING_THERE)
		return 0;
	pf_probing_close(probing);
	return pf_err_set(err, PF_ERR_CONFIG, PROBING_NAME " in the state directory is damaged");
}

void pf_probing_close(struct pf_probing *probing)
{
	if (probing->note)
		munmap((void *)probing->note, sizeof(*probing->note));
	probing->note = NULL;
}
