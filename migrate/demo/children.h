/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/children.h - the demo's processes: started, watched, and never left behind.
 *
 * Every wait of the demo goes through pf_children_wait(), which also sees a child that ends when
 * it should not and the signals that end the demo.  Children have a process group of their own (a
 * terminal's Ctrl-C reaches the demo alone, which then ends them in order) and are killed by the
 * kernel when the demo dies without a chance to do so.  One thread: PR_SET_PDEATHSIG means the
 * thread that forked.
 */
#ifndef PF_MIGRATE_DEMO_CHILDREN_H
#define PF_MIGRATE_DEMO_CHILDREN_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"

#define PF_CHILDREN_MAX 4u
#define PF_CHILD_PATH_MAX 256u

/* What the end of a child means. */
enum pf_child_end {
	PF_END_WRONG,	/* it must go on */
	PF_END_SUCCESS, /* it may end, with status 0 */
	PF_END_ANY,	/* it may end; the caller looks at the status */
};

struct pf_child {
	const char *name; /* for people: "source agent" */
	pid_t pid;
	int pidfd;
	int to, from;		     /* its stdin and stdout, non-blocking; -1 if it has none */
	char log[PF_CHILD_PATH_MAX]; /* its stderr; without pipes its stdout too */
	enum pf_child_end end;	     /* set by whoever expects it */
	bool ended;
	siginfo_t how; /* once it has ended: waitid(2) */
};

struct pf_children {
	const char *dir; /* where the logs are */
	int signals;	 /* signalfd: SIGINT, SIGTERM, SIGHUP */
	int caught;	 /* the signal that ended the demo, or 0 */
	sigset_t before; /* the caller's signal mask */
	uint32_t count;
	struct pf_child child[PF_CHILDREN_MAX];
};

struct pf_spawn {
	const char *name;	 /* "source agent"; static */
	const char *log;	 /* file name of its stderr */
	const char *const *argv; /* argv[0] is the program's path */
	int netns;		 /* network namespace to run in; -1: ours */
	bool pipes;		 /* stdin and stdout are ours; else /dev/null and the log */
};

/* Blocks the signals; dir is borrowed.  The program ignores SIGPIPE, its children do not. */
PF_MUST_USE int pf_children_open(struct pf_children *children, const char *dir, struct pf_err *err);
/* -1 names the step that failed in the child before its program ran. */
PF_MUST_USE int pf_children_start(struct pf_children *children, const struct pf_spawn *spawn,
				  struct pf_child **out, struct pf_err *err);
/*
 * Waits until one of fds (entries of -1 are skipped) is readable or a child ended as it may: 0.
 * 1: the deadline passed.  -1: a signal came (children->caught), or a child ended as it should not.
 */
PF_MUST_USE int pf_children_wait(struct pf_children *children, const int *fds, size_t fd_count,
				 uint64_t deadline_ns, struct pf_err *err);
/* SIGKILL for a process that this child has started itself; PF_ERR_PROTOCOL: pid is none of those. */
PF_MUST_USE int pf_child_kill_grandchild(const struct pf_child *child, int64_t pid,
					 struct pf_err *err);
/* "exit 76", "signal 9 (Killed)", "running". */
void pf_child_state(const struct pf_child *child, char *out, size_t size);
/* Each child's state, what it said that nobody has read, and the last lines of its log. */
void pf_children_tell(const struct pf_children *children, FILE *out);
/* SIGTERM, and SIGKILL for who is still there after two seconds; reaps all of them. */
void pf_children_close(struct pf_children *children);

#endif
