/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/path.h - the way to the peer, watched from the agent's loop, and shown.
 *
 * Main thread; does not block.  A network that cannot be watched is said once on stderr and shown as
 * `unknown`; it is no reason to end, and none to suspect a connection.
 */
#ifndef PF_MIGRATE_PATH_H
#define PF_MIGRATE_PATH_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "net/watch.h"

struct pf_paths;

/* news: bits of enum pf_path_news. */
typedef void (*pf_paths_listener)(void *opaque, unsigned news, const struct pf_path *path);

/* NULL: out of memory. */
struct pf_paths *pf_paths_open(sd_event *loop, pf_paths_listener listener, void *opaque);
void pf_paths_close(struct pf_paths *paths); /* NULL: nothing */

/* A connection stands on this socket: its way is watched, from its own address.  The listener first hears
 * of it from the loop. */
void pf_paths_follow(struct pf_paths *paths, int fd);
/* There is no connection any more: a way to the same peer is watched, from whatever address. */
void pf_paths_part(struct pf_paths *paths);

/* The object `path` of proto/CONTROL.md, also the data of PATH; null while there was no connection. */
/* paths may be NULL. */
json_t *pf_paths_json(const struct pf_paths *paths);

#endif
