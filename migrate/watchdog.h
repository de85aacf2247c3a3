/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/watchdog.h - says to the keeper that the worker is alive, as long as each of its threads is.
 *
 * Main thread.  A thread lives that takes its mail; main itself lives if this runs.  Threads that accept, connect or
 * shake hands have no box: each says by when it will be back (base/term.h).
 */
#ifndef PF_MIGRATE_WATCHDOG_H
#define PF_MIGRATE_WATCHDOG_H

#include <systemd/sd-event.h>

#include "base/mailbox.h"
#include "migrate/kept.h"

#define PF_WATCHED_MAX 10u

struct pf_watchdog;

/* The boxes of the threads that run just now, at most PF_WATCHED_MAX; how many. */
typedef size_t (*pf_watchdog_boxes)(void *engine, struct pf_mailbox **out);

/* Whether a thread of the others is later than it said. */
typedef bool (*pf_watchdog_late)(void *engine, uint64_t now_ns);
#define PF_TERM_GRACE_NS UINT64_C(1000000000) /* behind a thread's deadline: it has to run, too */

/* *out is NULL where nobody wants to know. */
PF_MUST_USE int pf_watchdog_open(sd_event *loop, struct pf_kept *kept, pf_watchdog_boxes boxes,
				 pf_watchdog_late late, void *engine, struct pf_watchdog **out, struct pf_err *err);
void pf_watchdog_close(struct pf_watchdog *watchdog);

#endif
