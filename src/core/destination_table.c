/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/destination_table.c - the destination's state machine, whole.
 *
 * Read it with DESIGN.md sections 4 and 4.1: the record is NONE up to LOADING, READY in READY and
 * WAITING, RUN from GRANTED on.  The one write that commits a migration is the action RUN.
 */
#include "core/fsm.h"

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))
#define IN(state) (UINT32_C(1) << PF_D_##state)
#define FINAL (IN(COMPLETED) | IN(FAILED) | IN(CANCELLED))
#define EVERY ((UINT32_C(1) << PF_D_STATES_) - 1)
#define BEFORE_RUN (IN(SETUP) | IN(ACTIVE) | IN(DEVICE) | IN(LOADING) | IN(READY) | IN(WAITING))
#define NEEDED (IN(GRANTED) | IN(CUT) | IN(SERVING) | IN(OUTAGE))
#define RUNNING (NEEDED | IN(LINGERING))
#define ON(from, event, to, action, why)                                                           \
	{                                                                                          \
		PF_D_##from, PF_DE_##event, PF_D_##to, PF_DA_##action, why                         \
	}
#define IGNORE(event, states, why)                                                                 \
	{                                                                                          \
		PF_DE_##event, states, why                                                         \
	}

/* clang-format off */
static const struct pf_transition rows[] = {
	ON(SETUP,    VMM_REGIONS, SETUP,     COMPARE,  "both tables are needed"),
	ON(SETUP,    REGIONS,     SETUP,     COMPARE,  "both tables are needed"),
	ON(SETUP,    LINK_UP,     SETUP,     NONE,     "the source's table comes next"),
	ON(SETUP,    AGREED,      ACTIVE,    ACCEPT,   "both sides know the same regions"),
	ON(SETUP,    LINK_DOWN,   SETUP,     RESTART,  "the source starts again with a first hello"),
	ON(ACTIVE,   LINK_DOWN,   SETUP,     RESTART,  "the source starts again with a first hello"),
	ON(DEVICE,   LINK_DOWN,   SETUP,     RESTART,  "not READY: the source takes its guest back"),
	ON(LOADING,  LINK_DOWN,   SETUP,     RESTART,  "not READY: the source takes its guest back"),

	ON(ACTIVE,   PAUSED,      DEVICE,    RECEIVE,  "the guest stands; its state travels"),
	ON(DEVICE,   STATE,       LOADING,   LOAD,     "the device state is complete"),
	ON(LOADING,  VMM_READY,   READY,     READY,    "READY is on record before it is said"),
	ON(READY,    COMMIT,      GRANTED,   RUN,      "the commit point: one write, here"),
	ON(GRANTED,  VMM_RESUMED, SERVING,   RESUMED,  "the guest runs here"),
	ON(CUT,      VMM_RESUMED, OUTAGE,    RESUMED,  "the guest runs here"),
	ON(SERVING,  FILLED,      LINGERING, COMPLETE, "every page is here"),
	ON(OUTAGE,   FILLED,      LINGERING, COMPLETE, "the last pages had arrived before the cut"),
	ON(LINGERING, ACK,        COMPLETED, FINISH,   "the source knows"),
	ON(LINGERING, QUIT,       COMPLETED, FINISH,   "the orchestrator tells the source"),
	ON(COMPLETED, QUIT,       COMPLETED, NONE,     "done already"),

	ON(READY,    LINK_DOWN,   WAITING,   NONE,     "COMMIT may be on its way; a local cancel aborts"),
	ON(WAITING,  LINK_UP,     SETUP,     RESTART,  "a source whose record is NONE starts again"),
	ON(GRANTED,  LINK_DOWN,   CUT,       OUTAGE,   "the guest is here and needs pages"),
	ON(SERVING,  LINK_DOWN,   OUTAGE,    OUTAGE,   "the guest runs here and needs pages"),

	ON(SETUP,    CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(ACTIVE,   CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(DEVICE,   CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(LOADING,  CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(READY,    CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(WAITING,  CANCEL,      CANCELLED, ABORT,    "the tombstone is written first"),
	ON(CANCELLED, CANCEL,     CANCELLED, NONE,     "done already"),
	ON(SETUP,    ABORT,       CANCELLED, ABORT,    "the source wants its guest back"),
	ON(ACTIVE,   ABORT,       CANCELLED, ABORT,    "the source wants its guest back"),
	ON(DEVICE,   ABORT,       CANCELLED, ABORT,    "the source wants its guest back"),
	ON(LOADING,  ABORT,       CANCELLED, ABORT,    "the source wants its guest back"),
	ON(READY,    ABORT,       CANCELLED, ABORT,    "the source wants its guest back"),
	ON(SETUP,    FAILED,      FAILED,    FAIL,     "it cannot work; the guest stays at the source"),
	ON(ACTIVE,   FAILED,      FAILED,    FAIL,     "it cannot work; the guest stays at the source"),
	ON(DEVICE,   FAILED,      FAILED,    FAIL,     "it cannot work; the guest stays at the source"),
	ON(LOADING,  FAILED,      FAILED,    FAIL,     "it cannot work; the guest stays at the source"),
	ON(READY,    FAILED,      FAILED,    FAIL_READY,  "it cannot work; the guest stays at the source"),
	ON(SETUP,    VMM_LOST,    FAILED,    FAIL,     "nobody could run the guest here"),
	ON(ACTIVE,   VMM_LOST,    FAILED,    FAIL,     "nobody could run the guest here"),
	ON(DEVICE,   VMM_LOST,    FAILED,    FAIL,     "nobody could run the guest here"),
	ON(LOADING,  VMM_LOST,    FAILED,    FAIL,     "nobody could run the guest here"),
	ON(READY,    VMM_LOST,    FAILED,    FAIL_READY,  "nobody could run the guest here"),
	ON(WAITING,  VMM_LOST,    FAILED,    FAIL_READY,  "nobody could run the guest here"),

	ON(GRANTED,  VMM_REFUSED, FAILED,    REFUSED,  "no vCPU entered: the source may keep it"),
	ON(CUT,      VMM_REFUSED, FAILED,    REFUSED,  "no vCPU entered: the record says so"),
	ON(SERVING,  VMM_REFUSED, FAILED,    LOST,     "given up by its VMM after it had run here"),
	ON(OUTAGE,   VMM_REFUSED, FAILED,    LOST,     "given up by its VMM after it had run here"),
	ON(GRANTED,  VMM_LOST,    FAILED,    LOST,     "nobody knows whether a vCPU had entered"),
	ON(CUT,      VMM_LOST,    FAILED,    LOST,     "nobody knows whether a vCPU had entered"),
	ON(SERVING,  VMM_LOST,    FAILED,    LOST,     "the guest died with its VMM"),
	ON(OUTAGE,   VMM_LOST,    FAILED,    LOST,     "the guest died with its VMM"),
	ON(GRANTED,  LOSE,        FAILED,    LOST,     "given up on purpose"),
	ON(CUT,      LOSE,        FAILED,    LOST,     "given up on purpose"),
	ON(SERVING,  LOSE,        FAILED,    LOST,     "given up on purpose"),
	ON(OUTAGE,   LOSE,        FAILED,    LOST,     "given up on purpose"),
	ON(SETUP,    LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
	ON(ACTIVE,   LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
	ON(DEVICE,   LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
	ON(LOADING,  LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
	ON(READY,    LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
	ON(WAITING,  LOSE,        CANCELLED, ABORT,    "not committed: it is not lost"),
};

static const struct pf_ignored ignored[] = {
	IGNORE(LINK_UP, EVERY & ~(IN(SETUP) | IN(WAITING)), "a hello is judged before it gets here"),
	IGNORE(LINK_DOWN, IN(WAITING) | IN(CUT) | IN(OUTAGE) | FINAL, "there is no connection to lose any more"),
	IGNORE(LINK_DOWN, IN(LINGERING), "every page is here; the orchestrator says quit"),
	IGNORE(FAILED, IN(WAITING) | RUNNING | FINAL, "nothing that the peer says ends it from here on"),
	IGNORE(VMM_REGIONS, EVERY & ~IN(SETUP), "a VMM describes its memory once"),
	IGNORE(VMM_READY, EVERY & ~IN(LOADING), "READY for a device state that was dropped"),
	IGNORE(VMM_RESUMED, EVERY & ~(IN(GRANTED) | IN(CUT)), "RESUMED without RESUME, or twice"),
	IGNORE(VMM_REFUSED, EVERY & ~NEEDED, "a refusal without RESUME"),
	IGNORE(VMM_LOST, IN(LINGERING) | FINAL, "the VMM has every page and needs no agent"),
	IGNORE(REGIONS, EVERY & ~IN(SETUP), "a table after the agreement"),
	IGNORE(AGREED, EVERY & ~IN(SETUP), "agreed already"),
	IGNORE(PAUSED, EVERY & ~IN(ACTIVE), "PAUSED twice, or before the agreement"),
	IGNORE(STATE, EVERY & ~IN(DEVICE), "device state of a connection that is gone"),
	IGNORE(COMMIT, EVERY & ~IN(READY), "COMMIT is accepted once, and only after READY"),
	IGNORE(ABORT, IN(WAITING) | RUNNING | FINAL, "it cannot be taken back any more"),
	IGNORE(FILLED, EVERY & ~(IN(SERVING) | IN(OUTAGE)), "the guest does not run here"),
	IGNORE(ACK, EVERY & ~IN(LINGERING), "an acknowledgement of nothing"),
	IGNORE(CANCEL, RUNNING, "the guest runs here; only cancel --lose-guest gives it up"),
	IGNORE(CANCEL, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(LOSE, IN(LINGERING), "every page is here; use quit"),
	IGNORE(LOSE, FINAL, "the migration is over"),
	IGNORE(QUIT, BEFORE_RUN, "a migration is under way; use cancel"),
	IGNORE(QUIT, NEEDED, "the guest runs here and needs this agent"),
	IGNORE(QUIT, IN(FAILED) | IN(CANCELLED), "ending already"),
};
/* clang-format on */

static const char *const states[] = {
	"SETUP", "ACTIVE",  "DEVICE", "LOADING",   "READY",	"WAITING", "GRANTED",
	"CUT",	 "SERVING", "OUTAGE", "LINGERING", "COMPLETED", "FAILED",  "CANCELLED",
};
static const char *const events[] = {
	"LINK_UP", "LINK_DOWN", "FAILED", "VMM_REGIONS", "VMM_READY", "VMM_RESUMED", "VMM_REFUSED",
	"VMM_LOST", "REGIONS",	"AGREED", "PAUSED",	 "STATE",     "COMMIT",	     "ABORT",
	"FILLED",  "ACK",	"CANCEL", "LOSE",	 "QUIT",
};
static const char *const actions[] = {
	"-",	   "COMPARE", "ACCEPT",	"RESTART", "RECEIVE", "LOAD",  "READY", "RUN",
	"RESUMED", "REFUSED", "OUTAGE", "COMPLETE", "FINISH", "ABORT", "FAIL",	"FAIL_READY", "LOST",
};
_Static_assert(ROWS(states) == PF_D_STATES_, "a name for every state");
_Static_assert(ROWS(events) == PF_DE_EVENTS_, "a name for every event");
_Static_assert(ROWS(actions) == PF_DA_ACTIONS_, "a name for every action");

static const enum pf_phase phases[PF_D_STATES_] = {
	[PF_D_SETUP] = PF_PHASE_SETUP,	       [PF_D_ACTIVE] = PF_PHASE_ACTIVE,
	[PF_D_DEVICE] = PF_PHASE_DEVICE,       [PF_D_LOADING] = PF_PHASE_DEVICE,
	[PF_D_READY] = PF_PHASE_DEVICE,	       [PF_D_WAITING] = PF_PHASE_DEVICE,
	[PF_D_GRANTED] = PF_PHASE_POSTCOPY,    [PF_D_CUT] = PF_PHASE_PAUSED,
	[PF_D_SERVING] = PF_PHASE_POSTCOPY,
	[PF_D_OUTAGE] = PF_PHASE_PAUSED,       [PF_D_LINGERING] = PF_PHASE_POSTCOPY,
	[PF_D_COMPLETED] = PF_PHASE_COMPLETED, [PF_D_FAILED] = PF_PHASE_FAILED,
	[PF_D_CANCELLED] = PF_PHASE_CANCELLED,
};

static const enum pf_record records[PF_DA_ACTIONS_] = {
	[PF_DA_RESTART] = PF_RECORD_NONE,   [PF_DA_READY] = PF_RECORD_READY,
	[PF_DA_RUN] = PF_RECORD_RUN,	    [PF_DA_REFUSED] = PF_RECORD_REFUSED,
	[PF_DA_ABORT] = PF_RECORD_ABORTED, [PF_DA_FAIL_READY] = PF_RECORD_ABORTED,
};

const struct pf_machine pf_destination_machine = {
	.name = "destination",
	.states = PF_D_STATES_,
	.events = PF_DE_EVENTS_,
	.actions = PF_DA_ACTIONS_,
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
