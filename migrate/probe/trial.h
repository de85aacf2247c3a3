/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/trial.h - one subject tried in a process of its own, with a deadline.
 *
 * What hangs, or is killed by what it tries, is an answer like any other: the process is killed,
 * and with it go its threads that wait in a trap, its memory, its virtual machine and its network
 * namespace.  It is killed by the kernel when this one dies.  One thread; waits until the deadline.
 */
#ifndef PF_MIGRATE_PROBE_TRIAL_H
#define PF_MIGRATE_PROBE_TRIAL_H

#include "migrate/probe/check.h"

/* found: one for each row, in shared memory, all zero.  Afterwards none is PENDING or BEGUN. */
void pf_trial_run(const struct pf_subject *subject, const struct pf_probe_options *options,
		  uint64_t deadline_ns, struct pf_found *found);

#endif
