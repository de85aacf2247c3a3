/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/keeper.h - the process that is started: it keeps what a worker must not take with it.
 *
 * Single-threaded.  It starts the worker (this program again, with the same command line), keeps
 * descriptors for it (migrate/fdstore.h), passes signals on (migrate/signals.h), and ends as the worker ended.
 * It reads nothing but its worker's messages.
 */
#ifndef PF_MIGRATE_KEEPER_H
#define PF_MIGRATE_KEEPER_H

#include "migrate/kept.h"
#include "migrate/options.h"

/* argv: of the whole program.  kept: what this process was started with; taken over.  The exit code. */
int pf_keeper_main(char **argv, const struct pf_options *options, struct pf_kept *kept);

#endif
