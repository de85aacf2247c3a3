/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/backlog.h - what has been heard, and waits behind a record that could not be written.
 *
 * What a peer or a VMM says has an order: COMPLETE means something behind RUN alone, and a VMM that
 * refuses and then goes has refused.  So an event whose record cannot be written holds back all that
 * is heard after it.  An event waits once, however often it is said: the table would ignore it the
 * second time, and the backlog never outgrows the list of events.  Pure; cannot fail.
 */
#ifndef PF_CORE_BACKLOG_H
#define PF_CORE_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/fsm.h"

#define PF_BACKLOG_MAX 32u
_Static_assert((unsigned)PF_SE_EVENTS_ <= PF_BACKLOG_MAX, "each of the source's events has room");
_Static_assert((unsigned)PF_DE_EVENTS_ <= PF_BACKLOG_MAX, "each of the destination's events has room");

struct pf_backlog {
	unsigned count;
	struct pf_late {
		uint8_t event;
		bool failed; /* why says what failed */
		struct pf_err why;
	} late[PF_BACKLOG_MAX]; /* the oldest first */
};

/* why: NULL if the event is no failure. */
void pf_backlog_add(struct pf_backlog *backlog, uint8_t event, const struct pf_err *why);
/* The oldest, or NULL; it stays the first one, whatever is added, until it is dropped. */
const struct pf_late *pf_backlog_first(const struct pf_backlog *backlog);
void pf_backlog_drop_first(struct pf_backlog *backlog);

#endif
