/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/programs.h - programs run inside namespaces, and ended with this one.
 *
 * Each has a process group of its own and is killed by the kernel when this process dies without a
 * chance to do so.  (What such a program has started itself dies with its group when this process
 * ends in order.)  One thread; starting blocks until the program runs or cannot.
 */
#ifndef PF_TESTS_NETFAULT_PROGRAMS_H
#define PF_TESTS_NETFAULT_PROGRAMS_H

#include <sys/types.h>

#include "net/room.h"
#include "tests/netfault/scenario.h"

#define NF_PROGRAMS_MAX 32u

struct nf_programs {
	unsigned count;
	pid_t pid[NF_PROGRAMS_MAX];
};

/* The words of a start or exec.  Its stdin is /dev/null, its output goes where this one's stderr
 * does. */
PF_MUST_USE int nf_programs_start(struct nf_programs *programs, const struct pf_room *room,
				  const struct nf_statement *statement, pid_t *out_pid,
				  struct pf_err *err);
/* One that has ended: its pid and status; 0: none has. */
pid_t nf_programs_reap(struct nf_programs *programs, int *out_status);
/* Kills and reaps them all. */
void nf_programs_end(struct nf_programs *programs);
/* Becomes argv in the namespace that path (/proc/PID/fd/N) names; returns only on failure. */
int nf_programs_become(const char *path, char *const argv[], struct pf_err *err);

#endif
