/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/oom.h - the limit of a control group, at which the kernel kills somebody: whom, and was it that?
 *
 * A worker that is killed is a hiccup; its keeper holds the guest's memory, and the VMM, which may be in the
 * same group, is the guest.  So the worker is to go first.  While there is one it is taken whoever needs memory;
 * a keeper alone in a full group must need none itself, which is why it opens its group's files while there is
 * a worker, and afterwards only reads them again.  One thread; what cannot be had is left as it is.  cgroups(7),
 * proc_pid_oom_score_adj(5).
 */
#ifndef PF_MIGRATE_OOM_H
#define PF_MIGRATE_OOM_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/probe/cgroup.h"

#define PF_OOM_GROUPS_MAX 2048u

/* The group that this process is in, with its files open. */
struct pf_oom {
	struct pf_cgroup_files files;
	int kills;  /* the file that counts them; -1 */
	int groups; /* /proc/self/cgroup */
	char is_in[PF_OOM_GROUPS_MAX]; /* what that said when the others were opened: it may be moved */
};

/* This process, the worker, is what the kernel kills before any other. */
void pf_oom_go_first(void);
/* This process, the keeper, is never killed for memory, where it may ask for that (CAP_SYS_RESOURCE); what it
 * has in memory stays there. */
void pf_oom_stay(void);

/* Needs memory; so do the others, if this process has been moved to another group since. */
void pf_oom_open(struct pf_oom *oom);
void pf_oom_close(struct pf_oom *oom);
/* How many processes of its group have been killed for memory; 0: none, or not known. */
uint64_t pf_oom_kills(struct pf_oom *oom);
/* Whether a worker can be started in it: at its limit fork(2) alone would have the kernel kill. */
bool pf_oom_room(struct pf_oom *oom);
/* Whether something can be said: a line on stderr, a message to the manager take memory too. */
bool pf_oom_may_speak(struct pf_oom *oom);

#endif
