/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/events.h - what the orchestrator is told: numbered, kept, and sent to who listens.
 *
 * The last 1000 events and the number of the newest live in the state directory (file `events`, one
 * JSON object a line) and survive the process.  --events FILE or fd:N gets each event as a line as
 * well; a sink that fails is dropped with a warning on stderr, never retried into the way of the
 * migration.  Main thread only.
 */
#ifndef PF_MIGRATE_EVENTS_H
#define PF_MIGRATE_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "migrate/statedir.h"

#define PF_EVENTS_KEPT 1000u

struct pf_events;
typedef void (*pf_events_listener)(void *opaque, const char *line); /* one event, with its newline */

/* sink: --events, or NULL.  kept_fd: the descriptor that `fd:N` named in another process (borrowed), or -1. */
PF_MUST_USE int pf_events_open_kept(struct pf_statedir *dir, const char *sink, int kept_fd,
				    struct pf_events **out, struct pf_err *err);
PF_MUST_USE int pf_events_open(struct pf_statedir *dir, const char *sink, struct pf_events **out,
			       struct pf_err *err);
void pf_events_close(struct pf_events *events);
/* One listener: the control server, which passes it on to every connection. */
void pf_events_listen(struct pf_events *events, pf_events_listener listener, void *opaque);
/* {"event": name, "seq": N, "timestamp": {...}, "data": data}; takes over data (NULL: {}). */
void pf_events_emit(struct pf_events *events, const char *name, json_t *data);
/*
 * Between the two, events are numbered and kept, and written and told by the latter: what an event tells of
 * is done first, and who waits for that does not wait for files and readers.  A process that dies
 * between has told nobody.  They nest.
 */
void pf_events_hold(struct pf_events *events);
void pf_events_let_go(struct pf_events *events);
/* A new array of the kept events with seq > since. */
json_t *pf_events_since(const struct pf_events *events, uint64_t since);

#endif
