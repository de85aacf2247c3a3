/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/kept.h - what is kept for a worker by the keeper that started it, and how it says so.
 *
 * Main thread; never blocks.  A descriptor is kept from the return of pf_kept_store() on, whatever
 * becomes of this process: it is in the keeper's socket then, or in its store.
 */
#ifndef PF_MIGRATE_KEPT_H
#define PF_MIGRATE_KEPT_H

#include <stdint.h>
#include <sys/types.h>

#include "migrate/fdstore.h"

#define PF_KEPT_KEEPER "keeper"		     /* the socket to the keeper */
#define PF_KEPT_NO_MEMORY "it was killed for want of memory, at the limit of its control group"
#define PF_KEPT_RESTARTED "PAGEFERRY_RESTARTED" /* environment: why there was need of this worker */
#define PF_KEPT_SILENCE "PAGEFERRY_SILENCE_NS" /* environment: for how long it may not be alive */

#define PF_KEPT_STORED "PAGEFERRY_STORED" /* environment: a service manager keeps all of it too */

struct pf_kept {
	struct pf_fdstore store; /* what was kept, as far as nobody has taken it */
	int keeper_fd;
	pid_t keeper;
	uint64_t silence_ns;   /* pf_kept_alive() is to be said sooner; 0: need not be */
	bool stored; /* what the keeper keeps, a service manager does, and hands it to the next keeper */
	const char *restarted; /* why the worker before has ended; NULL: there was none */
};

/* From what this process was started with; its keeper_fd is -1 in the keeper itself. */
PF_MUST_USE int pf_kept_open(struct pf_kept *kept, struct pf_err *err);
void pf_kept_close(struct pf_kept *kept);
/* The caller's from here on, and still in the store; -1: there is none. */
int pf_kept_take(struct pf_kept *kept, const char *name);
/* Borrowed: the keeper gets a duplicate, in the place of what had the name before. */
PF_MUST_USE int pf_kept_store(struct pf_kept *kept, const char *name, int fd, struct pf_err *err);
void pf_kept_forget(struct pf_kept *kept, const char *name);
/* A socket that listens on the path, from the store or made and stored; -1. */
PF_MUST_USE int pf_kept_listen(struct pf_kept *kept, const char *name, const char *path, int type,
			       struct pf_err *err);
/* From here on the agent's end is said by pf_kept_stopping(), and any other is an accident. */
void pf_kept_ready(struct pf_kept *kept);
void pf_kept_alive(struct pf_kept *kept);
void pf_kept_stopping(struct pf_kept *kept, int exit_code);

#endif
