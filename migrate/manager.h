/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/manager.h - the keeper to the service manager that started it, if one did: sd_notify(3).
 *
 * What the worker gives the keeper to keep, the manager gets too, under the same names; it hands all of it to
 * the keeper that it starts next.  Without NOTIFY_SOCKET nothing happens.  A manager
 * that does not read is waited for for 0.2 s each time.
 */
#ifndef PF_MIGRATE_MANAGER_H
#define PF_MIGRATE_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Before the environment is handed on; *out_watchdog_ns: how long the keeper may be silent, 0: for ever. */
PF_MUST_USE int pf_manager_begin(uint64_t *out_watchdog_ns, struct pf_err *err);
/* It has said how many descriptors it keeps ($FDSTORE), that is enough for all, and it has taken each so far. */
bool pf_manager_keeps(void);
/* In the child: the manager is the keeper's to talk to. */
void pf_manager_forget(void);
void pf_manager_ready(void);
void pf_manager_stopping(void);
void pf_manager_alive(void);
/* Borrowed; in the place of what had the name before. */
void pf_manager_store(const char *name, int fd);
void pf_manager_remove(const char *name);

#endif
