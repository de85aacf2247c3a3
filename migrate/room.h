/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/room.h - does a guest fit into what the control groups let this agent have?
 *
 * Main thread; reads a few files of the kernel's.  It is told and no more: a limit can be raised at any time,
 * and what happens at it is an event of its own.
 */
#ifndef PF_MIGRATE_ROOM_H
#define PF_MIGRATE_ROOM_H

#include "migrate/agent.h"

/* MEMORY_LIMIT, for each limit that is too low for the pages which the agent will write. */
void pf_room_check(struct pf_agent *agent, const struct pf_guest *guest);

#endif
