/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/oom.h - the limit of a control group, at which the kernel kills somebody: whom, and was it that?
 *
 * A worker that is killed is a hiccup; its keeper holds the guest's memory, and the VMM, which may be in the
 * same group, is the guest.  So the worker is to go first.  Any thread; reads and writes files of the
 * kernel's; what cannot be had is left as it is.  cgroups(7), proc_pid_oom_score_adj(5).
 */
#ifndef PF_MIGRATE_OOM_H
#define PF_MIGRATE_OOM_H

#include <stdbool.h>
#include <stdint.h>

/* This process, the worker, is what the kernel kills before any other. */
void pf_oom_go_first(void);
/* This process, the keeper, is never killed for memory, where it may ask for that (CAP_SYS_RESOURCE). */
void pf_oom_stay(void);
/* How many processes of this one's control group have been killed for memory; 0: none, or not known. */
uint64_t pf_oom_kills(void);
/* Whether a worker can be started in it: at its limit fork(2) alone would have the kernel kill. */
bool pf_oom_room(void);

#endif
