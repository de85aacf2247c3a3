/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/probe.h - `pageferry probe`: what this host can do; returns the exit code. */
#ifndef PF_MIGRATE_PROBE_PROBE_H
#define PF_MIGRATE_PROBE_PROBE_H

/* argv[0] is "probe". */
int pf_probe_main(int argc, char **argv);

#endif
