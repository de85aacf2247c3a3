/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/faults.h - base/fault.h for the program: the verb that lists them, PAGEFERRY_FAULT.
 *
 * Main thread, before any other is started; reports its own errors.
 */
#ifndef PF_MIGRATE_FAULTS_H
#define PF_MIGRATE_FAULTS_H

/* Arms what PAGEFERRY_FAULT says for this process, which is all before the first ';'; an exit code. */
int pf_faults_arm(void);
/* What is started from here on gets what stands behind that, or nothing. */
void pf_faults_next(void);
/* The verb fault-points; an exit code. */
int pf_faults_main(int argc, char **argv);
/* For --version: what is unusual about this build, or "". */
const char *pf_faults_built(void);

#endif
