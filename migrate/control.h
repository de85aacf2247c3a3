/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/control.h - the control socket's server: proto/CONTROL.md.
 *
 * AF_UNIX stream, 0600, newline-delimited JSON.  Runs on the main thread's event loop and never
 * blocks: a client that does not read loses its connection when 1 MiB waits for it, a line longer
 * than 64 KiB ends its connection, at most 16 clients at once.
 */
#ifndef PF_MIGRATE_CONTROL_H
#define PF_MIGRATE_CONTROL_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/side.h"
#include "migrate/events.h"

/*
 * Runs in the main thread.  args is an object (empty if none was given), borrowed.  0: *out_return
 * is a new reference or NULL for {}.  -1: the error's class becomes "InvalidArgument"
 * (PF_ERR_USAGE), "WrongState" (PF_ERR_STATE) or "GenericError", its text and hint become "desc".
 */
typedef int (*pf_command_run)(void *agent, const json_t *args, json_t **out_return,
			      struct pf_err *err);

struct pf_command {
	const char *name;
	unsigned sides; /* bit 1 << PF_SOURCE, 1 << PF_DESTINATION */
	pf_command_run run;
	const char *arguments; /* allowed argument names, space separated, or NULL; others refused */
};

struct pf_control;

/* fd: listens on path already, taken over; -1: it is made.  table ends with a NULL name; table, events
 * and agent are borrowed and must outlive it. */
PF_MUST_USE int pf_control_open(sd_event *loop, int fd, const char *path, enum pf_side side,
				const char *id, const struct pf_command *table, void *agent,
				struct pf_events *events, struct pf_control **out,
				struct pf_err *err);
/* Sends what waits as far as it goes without blocking for more than 200 ms, and closes; leave: the socket's
 * path stays, for a process that is to follow. */
void pf_control_close(struct pf_control *control, bool leave);

#endif
