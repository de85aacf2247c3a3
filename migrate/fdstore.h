/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/fdstore.h - descriptors by name, and the messages that put them there.
 *
 * The names and the messages are systemd's (sd_notify(3) FDSTORE, sd_listen_fds_with_names(3)): the
 * keeper is such a store for its worker, and can itself be started by one.  One thread; never blocks.
 */
#ifndef PF_MIGRATE_FDSTORE_H
#define PF_MIGRATE_FDSTORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PF_FDSTORE_MAX 160u /* what a VMM's REGIONS can carry, and a few sockets */
#define PF_FDSTORE_NAME_MAX 31u
#define PF_NOTICE_MAX 512u /* bytes of a message */

struct pf_fdstore {
	size_t count;
	struct {
		int fd; /* owned, close-on-exec */
		char name[PF_FDSTORE_NAME_MAX + 1];
	} entry[PF_FDSTORE_MAX];
};

/* Takes the descriptor over, also on -1; one that has the name already is closed.  PF_ERR_PROTOCOL: not
 * a name (letters, digits and '-'), or no room. */
PF_MUST_USE int pf_fdstore_put(struct pf_fdstore *store, const char *name, int fd,
			       struct pf_err *err);
/* Borrowed; -1: there is none of that name. */
int pf_fdstore_look(const struct pf_fdstore *store, const char *name);
/* The caller's from here on; -1 likewise. */
int pf_fdstore_take(struct pf_fdstore *store, const char *name);
void pf_fdstore_remove(struct pf_fdstore *store, const char *name);
void pf_fdstore_close(struct pf_fdstore *store);

/* What this process was started with (LISTEN_FDS); what has a name that is none is closed. */
PF_MUST_USE int pf_fdstore_inherit(struct pf_fdstore *store, struct pf_err *err);
/*
 * In a child that is about to run a program: every descriptor, without close-on-exec, from 3 on, and the
 * environment that says so.  What was inherited at these numbers is gone.
 */
PF_MUST_USE int pf_fdstore_hand_on(const struct pf_fdstore *store, struct pf_err *err);

/* A message: lines of KEY=VALUE; keys that are not here are passed over. */
struct pf_notice {
	bool store, remove; /* FDSTORE=1, FDSTOREREMOVE=1: of `name` */
	bool ready, stopping, watchdog;
	bool has_status;
	int status; /* EXIT_STATUS, which belongs to STOPPING=1 */
	char name[PF_FDSTORE_NAME_MAX + 1]; /* FDNAME; "": none was given */
};
PF_MUST_USE int pf_notice_parse(const char *text, size_t length, struct pf_notice *out,
				struct pf_err *err);

#endif
