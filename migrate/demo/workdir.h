/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/workdir.h - the demo's temporary directories, made and removed.
 *
 * One under $TMPDIR or /tmp for sockets, certificates and logs; one on /dev/shm for the state
 * directories, which want a tmpfs, or within the first where there is no /dev/shm.  One thread;
 * file system I/O.
 */
#ifndef PF_MIGRATE_DEMO_WORKDIR_H
#define PF_MIGRATE_DEMO_WORKDIR_H

#include "base/err.h"

struct pf_workdir {
	char path[80]; /* "" while there is none; short, for socket paths below it */
	char state[80];
	bool state_inside; /* state lies in path */
};

PF_MUST_USE int pf_workdir_make(struct pf_workdir *dir, struct pf_err *err);
/* Removes both with all that is in them; takes a zeroed struct. */
void pf_workdir_remove(struct pf_workdir *dir);

#endif
