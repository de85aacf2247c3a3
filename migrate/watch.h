/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/watch.h - `pageferry watch`: events as lines, and progress on a terminal. */
#ifndef PF_MIGRATE_WATCH_H
#define PF_MIGRATE_WATCH_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Events go to stdout, the progress line to stderr if that is a terminal, and once what it waits for.
 * A worker that dies costs no event and none is shown twice.  0: the agent has said its last word, or
 * nobody reads stdout any more; -1: PF_ERR_UNREACHABLE if nobody listens there (for seconds, once
 * somebody did), or it speaks nonsense.  Blocks.
 */
PF_MUST_USE int pf_watch(const char *path, bool json, struct pf_err *err);

#endif
