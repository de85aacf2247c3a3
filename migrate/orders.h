/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/orders.h - what `pause` and `recover` have ordered, over the death of who heard it.
 *
 * In file `orders` of the state directory.  New addresses stand for those of the command line that was given with
 * them: a process that is started with others goes by those.  Main thread; file system I/O.
 */
#ifndef PF_MIGRATE_ORDERS_H
#define PF_MIGRATE_ORDERS_H

#include "migrate/agent.h"

/* connect: the new addresses; NULL: those from before.  A failure costs the next process the order. */
PF_MUST_USE int pf_orders_keep(struct pf_agent *agent, bool held, const json_t *connect,
			       struct pf_err *err);
/* Before the start action, which connects.  A damaged file is reported, and no order. */
void pf_orders_restore(struct pf_agent *agent);

#endif
