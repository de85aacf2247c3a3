/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/switchover.h - who may run the guest: the rules of the two records (DESIGN.md section 4.1).
 *
 * The source's record goes NONE -> OFFERED -> GONE | KEPT (and GONE -> KEPT on evidence); the
 * destination's NONE -> READY -> RUN -> REFUSED, or ABORTED from NONE or READY.  Pure.
 */
#ifndef PF_CORE_SWITCHOVER_H
#define PF_CORE_SWITCHOVER_H

#include <stdbool.h>

#include "base/record.h"
#include "base/side.h"

/* May this side's record change so? */
bool pf_record_may_follow(enum pf_side side, enum pf_record from, enum pf_record to);
/* May the VMM on this side run the guest?  `given_up`: the source cancelled or started over, so
 * that COMMIT will not be sent for this attempt. */
bool pf_source_may_run(enum pf_record record, bool given_up);
bool pf_destination_may_run(enum pf_record record);

/* What follows when a source and a destination meet in a hello. */
enum pf_meeting {
	PF_MEET_FRESH,	      /* set-up from the start */
	PF_MEET_CANCELLED,    /* the destination is ABORTED: cancelled */
	PF_MEET_REFUSE,	      /* cannot be the same migration: both refuse, records unchanged */
	PF_MEET_COMMIT_AGAIN, /* or ABORT, if a cancel was asked */
	PF_MEET_GONE,	      /* the source writes GONE */
	PF_MEET_KEPT,	      /* the source writes KEPT */
	PF_MEET_IN_DOUBT,     /* the destination's state was lost */
	PF_MEET_GO_ON,	      /* serve */
	PF_MEET_CONFLICT,     /* stay postcopy-paused, tell RECORD_CONFLICT */
	PF_MEET_ABORT_THERE,  /* the destination writes ABORTED */
	PF_MEET_SETTLED,      /* nothing to do */
	PF_MEET_REFUSE_CONFLICT, /* refuse, tell RECORD_CONFLICT, no state changes */
	PF_MEETINGS_
};

/* Does a connection stand after it?  If not, HELLO and WELCOME have said all that there is. */
bool pf_meeting_links(enum pf_meeting meeting);
enum pf_meeting pf_record_meet(enum pf_record source, enum pf_record destination);
/*
 * The same when the destination cannot prove the session that the source's record is of: its state
 * directory is not the one that heard COMMIT.  What it says counts for nothing then, its ABORTED
 * least of all: a former process there may have written RUN.
 */
enum pf_meeting pf_record_meet_stranger(enum pf_record source);

#endif
