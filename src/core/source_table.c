/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/source_table.c - the source's state machine, whole.
 *
 * Read it with DESIGN.md sections 4 and 4.1: the record is NONE up to SENDING, OFFERED in OFFERED,
 * ABORTING and IN_DOUBT, GONE in SERVING and OUTAGE.
 */
#include "core/fsm.h"

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))
#define IN(state) (UINT32_C(1) << PF_S_##state)
#define FINAL (IN(COMPLETED) | IN(FAILED) | IN(CANCELLED))
#define EVERY ((UINT32_C(1) << PF_S_STATES_) - 1)
#define BEFORE_OFFER (IN(SETUP) | IN(ACTIVE) | IN(PAUSING) | IN(SENDING))
#define CUT (IN(IN_DOUBT) | IN(OUTAGE))
#define OFFER (IN(OFFERED) | IN(ABORTING))
#define ON(from, event, to, action, why)                                                           \
	{                                                                                          \
		PF_S_##from, PF_SE_##event, PF_S_##to, PF_SA_##action, why                         \
	}
#define IGNORE(event, states, why)                                                                 \
	{                                                                                          \
		PF_SE_##event, states, why                                                         \
	}

/* clang-format off */
static const struct pf_transition rows[] = {
	ON(SETUP,    LINK_UP,     SETUP,     PROPOSE,   "the table goes out when the VMM has come too"),
	ON(SETUP,    VMM_REGIONS, SETUP,     PROPOSE,   "the table goes out when the link stands too"),
	ON(SETUP,    REGIONS_OK,  ACTIVE,    AGREE,     "both sides know the same regions"),
	ON(SETUP,    LINK_DOWN,   SETUP,     RECONNECT, "nothing was offered: set-up starts again"),
	ON(ACTIVE,   LINK_DOWN,   SETUP,     RECONNECT, "nothing was offered: set-up starts again"),
	ON(PAUSING,  LINK_DOWN,   SETUP,     TAKE_BACK, "nothing was offered: the guest runs on here"),
	ON(SENDING,  LINK_DOWN,   SETUP,     TAKE_BACK, "nothing was offered: the guest runs on here"),

	ON(ACTIVE,   SWITCHOVER,  PAUSING,   PAUSE,     "the orchestrator wants the guest moved now"),
	ON(PAUSING,  SWITCHOVER,  PAUSING,   NONE,      "done already"),
	ON(SENDING,  SWITCHOVER,  SENDING,   NONE,      "done already"),
	ON(OFFERED,  SWITCHOVER,  OFFERED,   NONE,      "done already"),
	ON(SERVING,  SWITCHOVER,  SERVING,   NONE,      "done already"),
	ON(PAUSING,  VMM_PAUSED,  SENDING,   SEND_STATE, "the guest stands; its state travels"),
	ON(SENDING,  READY,       OFFERED,   COMMIT,    "OFFERED is on record before COMMIT is sent"),
	ON(OFFERED,  RUN,         SERVING,   GONE,      "the destination has committed"),
	ON(ABORTING, RUN,         SERVING,   GONE,      "it had committed before it heard of the abort"),
	ON(SERVING,  RESUMED,     SERVING,   DOWNTIME,  "the guest runs there"),
	ON(SERVING,  COMPLETE,    COMPLETED, COMPLETE,  "every page is there"),

	ON(OFFERED,  REFUSED,     CANCELLED, KEEP,      "the destination's VMM never ran it"),
	ON(ABORTING, REFUSED,     CANCELLED, KEEP,      "the destination's VMM never ran it"),
	ON(SERVING,  REFUSED,     CANCELLED, KEEP,      "RUN was written, but no vCPU entered there"),
	ON(OFFERED,  ABORTED,     CANCELLED, KEEP,      "the destination will refuse COMMIT for ever"),
	ON(ABORTING, ABORTED,     CANCELLED, KEEP,      "the destination will refuse COMMIT for ever"),
	ON(SETUP,    ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(ACTIVE,   ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(PAUSING,  ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(SENDING,  ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),

	ON(IN_DOUBT, RUN,         OUTAGE,    GONE_CUT,  "heard before the cut, written after it"),
	ON(IN_DOUBT, REFUSED,     CANCELLED, KEEP,      "heard before the cut, written after it"),
	ON(IN_DOUBT, ABORTED,     CANCELLED, KEEP,      "heard before the cut, written after it"),
	ON(OUTAGE,   REFUSED,     CANCELLED, KEEP,      "heard before the cut, written after it"),

	ON(OFFERED,  LINK_DOWN,   IN_DOUBT,  DOUBT,     "COMMIT may or may not have arrived"),
	ON(ABORTING, LINK_DOWN,   IN_DOUBT,  DOUBT,     "COMMIT or ABORT may or may not have arrived"),
	ON(SERVING,  LINK_DOWN,   OUTAGE,    OUTAGE,    "the guest runs there and needs our pages"),

	ON(SETUP,    CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(ACTIVE,   CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(PAUSING,  CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(SENDING,  CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(OFFERED,  CANCEL,      ABORTING,  ASK_ABORT, "only the destination's ABORTED gives it back"),
	ON(ABORTING, CANCEL,      ABORTING,  NONE,      "asked already"),
	ON(CANCELLED, CANCEL,     CANCELLED, NONE,      "done already"),

	ON(SETUP,    GIVE_UP,     FAILED,    FAIL,      "the peer cannot be reached, or was refused"),
	ON(SETUP,    FAILURE,     FAILED,    FAIL,      "the destination gave up"),
	ON(ACTIVE,   FAILURE,     FAILED,    FAIL,      "the destination gave up"),
	ON(PAUSING,  FAILURE,     FAILED,    FAIL,      "the destination gave up"),
	ON(SENDING,  FAILURE,     FAILED,    FAIL,      "the destination gave up"),
	ON(SETUP,    VMM_LOST,    FAILED,    FAIL,      "there is nothing left to move"),
	ON(ACTIVE,   VMM_LOST,    FAILED,    FAIL,      "there is nothing left to move"),
	ON(PAUSING,  VMM_LOST,    FAILED,    FAIL,      "there is nothing left to move"),
	ON(SENDING,  VMM_LOST,    FAILED,    FAIL,      "not offered yet, so it must not run there"),
	ON(OFFERED,  VMM_LOST,    OFFERED,   NONE,      "its memory files are ours to read on"),
	ON(ABORTING, VMM_LOST,    ABORTING,  NONE,      "its memory files are ours to read on"),
	ON(IN_DOUBT, VMM_LOST,    IN_DOUBT,  NONE,      "its memory files are ours to read on"),
	ON(SERVING,  VMM_LOST,    SERVING,   NONE,      "its memory files are ours to read on"),
	ON(OUTAGE,   VMM_LOST,    OUTAGE,    NONE,      "its memory files are ours to read on"),

	ON(IN_DOUBT, FENCED,      CANCELLED, KEEP,      "somebody made sure that it cannot run there"),
	ON(OUTAGE,   FENCED,      CANCELLED, KEEP,      "somebody made sure that it does not run there"),
	ON(CANCELLED, FENCED,     CANCELLED, NONE,      "done already"),
	ON(IN_DOUBT, DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(OUTAGE,   DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(COMPLETED, DEST_COMPLETED, COMPLETED, NONE,  "done already"),

	ON(OFFERED,  LOSE,        ABORTING,  ASK_ABORT, "it may still be given back; asked again, it is lost"),
	ON(ABORTING, LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(IN_DOUBT, LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(SERVING,  LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(OUTAGE,   LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(SETUP,    LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(ACTIVE,   LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(PAUSING,  LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(SENDING,  LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),

	ON(IN_DOUBT, QUIT,        IN_DOUBT,  LEAVE_DOUBT,  "the question stays open in the state dir"),
	ON(OUTAGE,   QUIT,        OUTAGE,    LEAVE_PAUSED, "the state dir holds what is needed"),
	ON(COMPLETED, QUIT,       COMPLETED, NONE,      "done already"),
};

static const struct pf_ignored ignored[] = {
	IGNORE(LINK_UP, EVERY & ~IN(SETUP), "the source connects in set-up only"),
	IGNORE(LINK_DOWN, FINAL | CUT, "there is no connection to lose any more"),
	IGNORE(GIVE_UP, EVERY & ~IN(SETUP), "the connecting thread runs in set-up only"),
	IGNORE(VMM_REGIONS, EVERY & ~IN(SETUP), "a VMM describes its memory once"),
	IGNORE(VMM_PAUSED, EVERY & ~IN(PAUSING), "the answer to a pause that was taken back"),
	IGNORE(VMM_LOST, FINAL, "the migration is over for this side"),
	IGNORE(REGIONS_OK, EVERY & ~IN(SETUP), "agreed already, or from a connection that is gone"),
	IGNORE(READY, EVERY & ~IN(SENDING), "READY without device state on the way"),
	IGNORE(RUN, EVERY & ~(OFFER | IN(IN_DOUBT)), "RUN without COMMIT, or a repeated one"),
	IGNORE(RESUMED, EVERY & ~IN(SERVING), "RESUMED without RUN"),
	IGNORE(REFUSED, BEFORE_OFFER | FINAL, "REFUSED without COMMIT"),
	IGNORE(ABORTED, IN(SERVING) | IN(OUTAGE) | FINAL, "ABORTED after RUN"),
	IGNORE(COMPLETE, EVERY & ~IN(SERVING), "COMPLETE without RUN"),
	IGNORE(FAILURE, OFFER | IN(SERVING) | CUT | FINAL,
	       "after OFFERED only records count; the connection ends behind it"),
	IGNORE(SWITCHOVER, IN(SETUP), "the two sides have not agreed on the regions yet"),
	IGNORE(SWITCHOVER, IN(ABORTING), "the migration is being cancelled"),
	IGNORE(SWITCHOVER, CUT, "the switch-over has begun, and the connection is lost"),
	IGNORE(SWITCHOVER, FINAL, "the migration is over"),
	IGNORE(CANCEL, IN(IN_DOUBT), "only the destination knows whether the guest runs there; "
	       "find out, then use resolve"),
	IGNORE(CANCEL, IN(SERVING) | IN(OUTAGE), "the guest runs at the destination; only "
	       "cancel --lose-guest gives it up"),
	IGNORE(CANCEL, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(LOSE, FINAL, "the migration is over"),
	IGNORE(FENCED, BEFORE_OFFER, "nothing is in doubt: the guest is here; use cancel"),
	IGNORE(FENCED, OFFER | IN(SERVING), "the destination is connected; ask it"),
	IGNORE(FENCED, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(DEST_COMPLETED, BEFORE_OFFER, "nothing was offered: the destination has no guest"),
	IGNORE(DEST_COMPLETED, OFFER | IN(SERVING), "the destination is connected and says so itself"),
	IGNORE(DEST_COMPLETED, IN(FAILED) | IN(CANCELLED), "the migration is over"),
	IGNORE(QUIT, BEFORE_OFFER, "a migration is under way; use cancel"),
	IGNORE(QUIT, OFFER | IN(SERVING), "the destination needs this agent"),
	IGNORE(QUIT, IN(FAILED) | IN(CANCELLED), "ending already"),
};
/* clang-format on */

static const char *const states[] = {
	"SETUP",    "ACTIVE",  "PAUSING", "SENDING",   "OFFERED", "ABORTING",
	"IN_DOUBT", "SERVING", "OUTAGE",  "COMPLETED", "FAILED",  "CANCELLED",
};
static const char *const events[] = {
	"LINK_UP",  "LINK_DOWN",  "GIVE_UP", "VMM_REGIONS", "VMM_PAUSED",     "VMM_LOST", "REGIONS_OK",
	"READY",    "RUN",	  "RESUMED", "REFUSED",	    "ABORTED",	      "COMPLETE", "FAILURE",
	"SWITCHOVER", "CANCEL",	  "LOSE",    "FENCED",	    "DEST_COMPLETED", "QUIT",
};
static const char *const actions[] = {
	"-",	    "PROPOSE",	"AGREE",  "RECONNECT", "TAKE_BACK",   "PAUSE",
	"SEND_STATE", "COMMIT", "ASK_ABORT", "GONE", "GONE_CUT", "DOWNTIME", "KEEP",
	"OUTAGE",   "DOUBT",	"COMPLETE", "RELEASE", "CANCEL",      "FAIL",
	"LOSE",	    "LEAVE_DOUBT", "LEAVE_PAUSED",
};
_Static_assert(ROWS(states) == PF_S_STATES_, "a name for every state");
_Static_assert(ROWS(events) == PF_SE_EVENTS_, "a name for every event");
_Static_assert(ROWS(actions) == PF_SA_ACTIONS_, "a name for every action");

static const enum pf_phase phases[PF_S_STATES_] = {
	[PF_S_SETUP] = PF_PHASE_SETUP,	       [PF_S_ACTIVE] = PF_PHASE_ACTIVE,
	[PF_S_PAUSING] = PF_PHASE_DEVICE,      [PF_S_SENDING] = PF_PHASE_DEVICE,
	[PF_S_OFFERED] = PF_PHASE_DEVICE,      [PF_S_ABORTING] = PF_PHASE_DEVICE,
	[PF_S_IN_DOUBT] = PF_PHASE_DEVICE,     [PF_S_SERVING] = PF_PHASE_POSTCOPY,
	[PF_S_OUTAGE] = PF_PHASE_PAUSED,       [PF_S_COMPLETED] = PF_PHASE_COMPLETED,
	[PF_S_FAILED] = PF_PHASE_FAILED,       [PF_S_CANCELLED] = PF_PHASE_CANCELLED,
};

static const enum pf_record records[PF_SA_ACTIONS_] = {
	[PF_SA_COMMIT] = PF_RECORD_OFFERED,
	[PF_SA_GONE] = PF_RECORD_GONE,
	[PF_SA_GONE_CUT] = PF_RECORD_GONE,
	[PF_SA_KEEP] = PF_RECORD_KEPT,
};

const struct pf_machine pf_source_machine = {
	.name = "source",
	.states = PF_S_STATES_,
	.events = PF_SE_EVENTS_,
	.actions = PF_SA_ACTIONS_,
	.state_name = states,
	.event_name = events,
	.action_name = actions,
	.action_record = records,
	.phase = phases,
	.row = rows,
	.rows = ROWS(rows),
	.ignored = ignored,
	.ignoreds = ROWS(ignored),
};
