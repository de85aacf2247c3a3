/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/watch.h - `pageferry watch`: events as lines, and progress on a terminal. */
#ifndef PF_MIGRATE_WATCH_H
#define PF_MIGRATE_WATCH_H

#include "migrate/client.h"

/*
 * Events go to stdout, the progress line to stderr if that is a terminal.  0: the agent
 * ended, or nobody reads stdout any more; -1: it does not answer, or speaks nonsense.  Blocks.
 */
PF_MUST_USE int pf_watch(struct pf_client *client, bool json, struct pf_err *err);

#endif
