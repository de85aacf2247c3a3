/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/commands.h - the control socket's commands (proto/CONTROL.md) as a table; main thread. */
#ifndef PF_MIGRATE_COMMANDS_H
#define PF_MIGRATE_COMMANDS_H

#include "migrate/agent.h"

/* Ends with a NULL name; the `agent` of every command is a struct pf_agent. */
extern const struct pf_command pf_commands[];

/* The parameters that a process before this one was told to set. */
void pf_commands_restore(struct pf_agent *agent);
/* `cancel`, and what SIGTERM does. */
PF_MUST_USE int pf_command_cancel(struct pf_agent *agent, bool lose_guest, struct pf_err *err);

#endif
