/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/signals.h - which signals an agent hears, and which do not end it: keeper and worker alike.
 *
 * A guest that has moved needs its agents, so no signal whose default is to end a process may be left at that:
 * a terminal that goes (SIGHUP) is what a network does to whoever started an agent over it.  Main thread,
 * before any other; does not block, and cannot fail.
 */
#ifndef PF_MIGRATE_SIGNALS_H
#define PF_MIGRATE_SIGNALS_H

#include <signal.h>

/* Those that ask an agent to end, as SIGTERM does: SIGINT, SIGHUP and SIGQUIT too, each unless it was ignored when
 * this program began, as nohup(1) and a shell's `&` have it. */
void pf_signals_heard(sigset_t *out);
/* Ignored from here on, in what is executed too: those that nobody sends to an agent but by mistake. */
void pf_signals_ignore_strays(void);

#endif
