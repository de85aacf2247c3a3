/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/destination_table.c - the destination's state machine, whole.
 *
 * Read it with DESIGN.md sections 4 and 4.1: the record is NONE up to LOADING, READY in READY and
 * WAITING, RUN from GRANTED on.  The one write that commits a migration is the action RUN.  A
 * process that is started again begins where the list at the end says, and the AWAY states wait for
 * its VMM to come back and say how it is.  tests/explore drives this table and the source's together
 * through every interleaving.
 */
#include "core/fsm.h"

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))
#define IN(state) (UINT32_C(1) << PF_D_##state)
#define FINAL (IN(COMPLETED) | IN(FAILED) | IN(CANCELLED))
#define EVERY ((UINT32_C(1) << PF_D_STATES_) - 1)
#define AWAY_READYS (IN(AWAY_READY) | IN(AWAY_READY_UP))
#define AWAY_RUNS (IN(AWAY_RUN) | IN(AWAY_RUN_UP))
#define AWAY (AWAY_READYS | AWAY_RUNS)
#define DONE (IN(LINGERING) | IN(AWAY_DONE))
#define SETTING_UP (IN(NEW) | IN(SETUP) | IN(ACTIVE) | IN(DEVICE) | IN(LOADING))
#define BEFORE_RUN (SETTING_UP | IN(READY) | IN(WAITING) | AWAY_READYS)
#define NEEDED (IN(GRANTED) | IN(CUT) | IN(SERVING) | IN(OUTAGE))
#define RUNNING (NEEDED | AWAY_RUNS | DONE)
#define OVER (FINAL | IN(TOMBSTONE))
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
	ON(NEW,      VMM_REGIONS, SETUP,     ADOPT,    "nothing was ever loaded: now that is known"),
	ON(NEW,      VMM_LOADED,  FAILED,    FAIL_NEW, "what was loaded is of a session not on record here"),
	ON(NEW,      VMM_RUNS,    FAILED,    LOST,     "it runs here, and which pages are here is lost"),
	ON(NEW,      VMM_LOST,    FAILED,    FAIL_NEW, "it has not said what is in it"),
	ON(NEW,      REGIONS,     NEW,       COMPARE,  "kept until the VMM comes"),
	ON(NEW,      LINK_UP,     NEW,       NONE,     "the source's table comes next"),
	ON(NEW,      LINK_DOWN,   NEW,       RESTART,  "the source starts again with a first hello"),
	ON(NEW,      FAILED,      FAILED,    FAIL_NEW, "it cannot work"),
	ON(NEW,      ABORT,       CANCELLED, WITHDRAW, "the source wants its guest back"),
	ON(NEW,      CANCEL,      CANCELLED, WITHDRAW, "the tombstone is written first"),
	ON(NEW,      LOSE,        CANCELLED, WITHDRAW, "no VMM has come: nothing is lost"),

	ON(SETUP,    VMM_REGIONS, SETUP,     COMPARE,  "both tables are needed"),
	ON(SETUP,    VMM_LOADED,  SETUP,     COMPARE,  "LOAD may come again before RESUME"),
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
	ON(LINGERING, QUIT_KEPT,  COMPLETED, FINISH,   "the orchestrator tells the source"),
	ON(COMPLETED, QUIT,       COMPLETED, NONE,     "done already"),
	ON(COMPLETED, QUIT_KEPT,  COMPLETED, NONE,     "done already"),

	ON(WAITING,  MET_COMMIT,  READY,     NONE,     "COMMIT comes again, or ABORT"),
	ON(WAITING,  MET_ABORT,   CANCELLED, ABORT,    "the source has kept its guest"),
	ON(CUT,      MET_RUN,     GRANTED,   NONE,     "WELCOME has told the source of RUN"),
	ON(OUTAGE,   MET_RUN,     SERVING,   GO_ON,    "the guest runs here and needs pages"),
	ON(LINGERING, MET_RUN,    LINGERING, REPEAT,   "the source may not have heard it"),
	ON(CUT,      MET_CONFLICT, CUT,      CONFLICT, "RUN here, and resolved as fenced there"),
	ON(OUTAGE,   MET_CONFLICT, OUTAGE,   CONFLICT, "RUN here, and resolved as fenced there"),
	ON(LINGERING, MET_CONFLICT, LINGERING, CONFLICT, "RUN here, and resolved as fenced there"),

	ON(AWAY_READY, LINK_UP,    SETUP,         RESTART, "a source whose record is NONE starts again"),
	ON(AWAY_READY, MET_COMMIT, AWAY_READY_UP, NONE,    "COMMIT must wait for the VMM"),
	ON(AWAY_READY, MET_ABORT,  CANCELLED,     ABORT,   "the source has kept its guest"),
	ON(AWAY_READY, VMM_LOADED, WAITING,       NONE,    "it holds what it had loaded"),
	ON(AWAY_READY, VMM_REGIONS, FAILED,       FAIL_READY, "what it had loaded is gone"),
	ON(AWAY_READY, VMM_LOST,   FAILED,        FAIL_READY, "it came, and what it had loaded is gone"),
	ON(AWAY_READY, CANCEL,     CANCELLED,     ABORT,   "the tombstone is written first"),
	ON(AWAY_READY, LOSE,       CANCELLED,     ABORT,   "not committed: it is not lost"),
	ON(AWAY_READY_UP, LINK_DOWN, AWAY_READY,  NONE,    "COMMIT comes again with the next connection"),
	ON(AWAY_READY_UP, VMM_LOADED, READY,      READY,   "READY again asks for COMMIT again"),
	ON(AWAY_READY_UP, VMM_REGIONS, FAILED,    FAIL_READY, "what it had loaded is gone"),
	ON(AWAY_READY_UP, VMM_LOST, FAILED,       FAIL_READY, "it came, and what it had loaded is gone"),
	ON(AWAY_READY_UP, ABORT,   CANCELLED,     ABORT,   "the source wants its guest back"),
	ON(AWAY_READY_UP, CANCEL,  CANCELLED,     ABORT,   "the tombstone is written first"),
	ON(AWAY_READY_UP, LOSE,    CANCELLED,     ABORT,   "not committed: it is not lost"),
	ON(AWAY_RUN, MET_RUN,      AWAY_RUN_UP,   NONE,    "pages come, if its memory was kept; the rest waits for it"),
	ON(AWAY_RUN, MET_CONFLICT, AWAY_RUN,      CONFLICT, "RUN here, and resolved as fenced there"),
	ON(AWAY_RUN, VMM_LOADED,   CUT,           RESUME,  "RUN is on record, and it had not heard RESUME"),
	ON(AWAY_RUN, VMM_RUNS,     OUTAGE,        RESUMED, "the guest runs here"),
	ON(AWAY_RUN, VMM_REFUSED,  FAILED,        REFUSED, "no vCPU entered: the record says so"),
	ON(AWAY_RUN, VMM_REGIONS,  FAILED,        LOST,    "nobody knows whether a vCPU had entered"),
	ON(AWAY_RUN, VMM_LOST,     FAILED,        LOST,    "it died while its agent was away"),
	ON(AWAY_RUN, LOSE,         FAILED,        LOST,    "given up on purpose"),
	ON(AWAY_RUN_UP, LINK_DOWN, AWAY_RUN,      OUTAGE,  "the VMM has not come back, nor has the source"),
	ON(AWAY_RUN_UP, VMM_LOADED, GRANTED,      RESUME,  "RUN is on record, and it had not heard RESUME"),
	ON(AWAY_RUN_UP, VMM_RUNS,  SERVING,       RESUMED, "the guest runs here"),
	ON(AWAY_RUN_UP, VMM_REFUSED, FAILED,      REFUSED, "no vCPU entered: the source may keep it"),
	ON(AWAY_RUN_UP, VMM_REGIONS, FAILED,      LOST,    "nobody knows whether a vCPU had entered"),
	ON(AWAY_RUN_UP, VMM_LOST,  FAILED,        LOST,    "it died while its agent was away"),
	ON(AWAY_RUN_UP, LOSE,      FAILED,        LOST,    "given up on purpose"),
	ON(AWAY_DONE, MET_RUN,     AWAY_DONE,     REPEAT,  "the source may not have heard COMPLETE"),
	ON(AWAY_DONE, MET_CONFLICT, AWAY_DONE,    CONFLICT, "RUN here, and resolved as fenced there"),
	ON(AWAY_DONE, ACK,         AWAY_DONE,     NONE,    "the source knows; the VMM may not"),
	ON(AWAY_DONE, VMM_RUNS,    LINGERING,     COMPLETE, "it had not heard COMPLETE"),
	ON(AWAY_DONE, VMM_LOST,    LINGERING,     REPEAT,  "it has heard COMPLETE, or needs no agent any more"),
	ON(AWAY_DONE, QUIT,        COMPLETED,     FINISH,  "the orchestrator knows that the VMM heard it"),
	ON(AWAY_DONE, QUIT_KEPT,   COMPLETED,     FINISH,  "the orchestrator knows that the VMM heard it"),
	ON(TOMBSTONE, MET_CANCELLED, TOMBSTONE,   NONE,    "WELCOME has told the source"),
	ON(TOMBSTONE, MET_KEPT,    TOMBSTONE,     NONE,    "WELCOME has told the source, which writes KEPT"),
	ON(TOMBSTONE, MET_SETTLED, CANCELLED,     LEAVE,   "KEPT is on record there"),
	ON(TOMBSTONE, CANCEL,      CANCELLED,     LEAVE,   "done already"),
	ON(TOMBSTONE, LOSE,        CANCELLED,     LEAVE,   "done already"),
	ON(TOMBSTONE, QUIT,        CANCELLED,     LEAVE,   "the orchestrator tells the source"),
	ON(TOMBSTONE, QUIT_KEPT,   CANCELLED,     LEAVE,   "the orchestrator tells the source"),
	ON(CUT,      QUIT_KEPT,   CUT,       LEAVE_PAUSED, "what the guest needs is kept for the next process"),
	ON(OUTAGE,   QUIT_KEPT,   OUTAGE,    LEAVE_PAUSED, "what the guest needs is kept for the next process"),
	ON(AWAY_RUN, QUIT_KEPT,   AWAY_RUN,  LEAVE_PAUSED, "what the guest needs is kept for the next process"),

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
	ON(WAITING,  ABORT,       CANCELLED, ABORT,    "heard before the cut, written after it"),
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
	IGNORE(LINK_UP, EVERY & ~(IN(NEW) | IN(SETUP) | IN(WAITING) | IN(AWAY_READY)),
	       "a hello is judged before it gets here"),
	IGNORE(LINK_DOWN, IN(WAITING) | IN(CUT) | IN(OUTAGE) | IN(AWAY_READY) | IN(AWAY_RUN) | OVER,
	       "there is no connection to lose any more"),
	IGNORE(LINK_DOWN, DONE, "every page is here; the orchestrator says quit"),
	IGNORE(MET_CANCELLED, EVERY & ~IN(TOMBSTONE), "the record is not ABORTED, or it has been said"),
	IGNORE(MET_KEPT, EVERY & ~IN(TOMBSTONE), "the record is not ABORTED or REFUSED"),
	IGNORE(MET_SETTLED, EVERY & ~IN(TOMBSTONE), "the record is not ABORTED or REFUSED"),
	IGNORE(MET_COMMIT, EVERY & ~(IN(WAITING) | IN(AWAY_READY)), "the record is not READY, or there is a connection"),
	IGNORE(MET_ABORT, EVERY & ~(IN(WAITING) | IN(AWAY_READY)), "nothing here knows the source's session"),
	IGNORE(MET_RUN, EVERY & ~(IN(CUT) | IN(OUTAGE) | IN(AWAY_RUN) | DONE),
	       "the record is not RUN, or there is a connection"),
	IGNORE(MET_CONFLICT, EVERY & ~(IN(CUT) | IN(OUTAGE) | IN(AWAY_RUN) | DONE),
	       "the record is not RUN, or there is a connection"),
	IGNORE(FAILED, IN(WAITING) | AWAY | NEEDED | DONE | OVER,
	       "nothing that the peer says ends it from here on"),
	IGNORE(VMM_REGIONS, EVERY & ~(IN(NEW) | IN(SETUP) | AWAY), "a VMM describes its memory once"),
	IGNORE(VMM_LOADED, EVERY & ~(IN(NEW) | IN(SETUP) | AWAY), "a VMM describes its memory once"),
	IGNORE(VMM_RUNS, EVERY & ~(IN(NEW) | AWAY_RUNS | IN(AWAY_DONE)), "no VMM runs before RUN is on record"),
	IGNORE(VMM_READY, EVERY & ~IN(LOADING), "READY for a device state that was dropped"),
	IGNORE(VMM_RESUMED, EVERY & ~(IN(GRANTED) | IN(CUT)), "RESUMED without RESUME, or twice"),
	IGNORE(VMM_REFUSED, EVERY & ~(NEEDED | AWAY_RUNS), "a refusal without RESUME"),
	IGNORE(VMM_LOST, IN(LINGERING) | OVER, "the VMM needs no agent"),
	IGNORE(REGIONS, EVERY & ~(IN(NEW) | IN(SETUP)), "a table after the agreement"),
	IGNORE(AGREED, EVERY & ~IN(SETUP), "agreed already"),
	IGNORE(PAUSED, EVERY & ~IN(ACTIVE), "PAUSED twice, or before the agreement"),
	IGNORE(STATE, EVERY & ~IN(DEVICE), "device state of a connection that is gone"),
	IGNORE(COMMIT, EVERY & ~(IN(READY) | IN(AWAY_READY_UP)), "COMMIT is accepted once, and only after READY"),
	IGNORE(COMMIT, IN(AWAY_READY_UP), "nobody to resume yet: READY is said again when there is"),
	IGNORE(ABORT, IN(AWAY_READY), "it was said on a connection that is gone"),
	IGNORE(ABORT, RUNNING | OVER, "it cannot be taken back any more"),
	IGNORE(FILLED, EVERY & ~(IN(SERVING) | IN(OUTAGE)), "the guest does not run here"),
	IGNORE(ACK, EVERY & ~DONE, "an acknowledgement of nothing"),
	IGNORE(CANCEL, RUNNING, "the guest runs here; only cancel --lose-guest gives it up"),
	IGNORE(CANCEL, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(LOSE, DONE, "every page is here; use quit"),
	IGNORE(LOSE, FINAL, "the migration is over"),
	IGNORE(QUIT, BEFORE_RUN, "a migration is under way; use cancel"),
	IGNORE(QUIT, NEEDED | AWAY_RUNS,
	       "the guest runs here and needs this agent: no service manager keeps what it has"),
	IGNORE(QUIT, IN(FAILED) | IN(CANCELLED), "ending already"),
	IGNORE(QUIT_KEPT, BEFORE_RUN, "a migration is under way; use cancel"),
	IGNORE(QUIT_KEPT, IN(GRANTED) | IN(SERVING) | IN(AWAY_RUN_UP), "the guest runs here; pause comes first"),
	IGNORE(QUIT_KEPT, IN(FAILED) | IN(CANCELLED), "ending already"),
};
/* clang-format on */

static const char *const states[] = {
	"NEW", "SETUP", "ACTIVE", "DEVICE", "LOADING", "READY", "WAITING", "AWAY_READY",
	"AWAY_READY_UP", "GRANTED", "CUT", "SERVING", "OUTAGE", "AWAY_RUN", "AWAY_RUN_UP",
	"AWAY_DONE", "LINGERING", "TOMBSTONE", "COMPLETED", "FAILED", "CANCELLED",
};
static const char *const events[] = {
	"LINK_UP", "LINK_DOWN", "MET_CANCELLED", "MET_COMMIT", "MET_RUN", "MET_KEPT", "MET_ABORT",
	"MET_CONFLICT", "MET_SETTLED", "FAILED", "VMM_REGIONS", "VMM_LOADED", "VMM_RUNS",
	"VMM_READY", "VMM_RESUMED", "VMM_REFUSED", "VMM_LOST", "REGIONS", "AGREED", "PAUSED",
	"STATE", "COMMIT", "ABORT", "FILLED", "ACK", "CANCEL", "LOSE", "QUIT",
	"QUIT_KEPT",
};
static const char *const actions[] = {
	"-", "ADOPT", "COMPARE", "ACCEPT", "RESTART", "RECEIVE", "LOAD", "READY", "RUN", "RESUME",
	"RESUMED", "GO_ON", "REFUSED", "OUTAGE", "CONFLICT", "COMPLETE", "REPEAT", "FINISH", "ABORT",
	"WITHDRAW", "FAIL", "FAIL_NEW", "FAIL_READY", "HERE", "INTACT", "LEAVE", "LOST", "LEAVE_PAUSED",
};
_Static_assert(ROWS(states) == PF_D_STATES_, "a name for every state");
_Static_assert(ROWS(events) == PF_DE_EVENTS_, "a name for every event");
_Static_assert(ROWS(actions) == PF_DA_ACTIONS_, "a name for every action");

static const enum pf_phase phases[PF_D_STATES_] = {
	[PF_D_NEW] = PF_PHASE_SETUP,	       [PF_D_SETUP] = PF_PHASE_SETUP,
	[PF_D_ACTIVE] = PF_PHASE_ACTIVE,       [PF_D_DEVICE] = PF_PHASE_DEVICE,
	[PF_D_LOADING] = PF_PHASE_DEVICE,      [PF_D_READY] = PF_PHASE_DEVICE,
	[PF_D_WAITING] = PF_PHASE_DEVICE,      [PF_D_AWAY_READY] = PF_PHASE_DEVICE,
	[PF_D_AWAY_READY_UP] = PF_PHASE_DEVICE, [PF_D_GRANTED] = PF_PHASE_POSTCOPY,
	[PF_D_CUT] = PF_PHASE_PAUSED,	       [PF_D_SERVING] = PF_PHASE_POSTCOPY,
	[PF_D_OUTAGE] = PF_PHASE_PAUSED,       [PF_D_AWAY_RUN] = PF_PHASE_PAUSED,
	[PF_D_AWAY_DONE] = PF_PHASE_POSTCOPY,
	[PF_D_AWAY_RUN_UP] = PF_PHASE_RECOVER, [PF_D_LINGERING] = PF_PHASE_POSTCOPY,
	[PF_D_TOMBSTONE] = PF_PHASE_RECOVER,   [PF_D_COMPLETED] = PF_PHASE_COMPLETED,
	[PF_D_FAILED] = PF_PHASE_FAILED,       [PF_D_CANCELLED] = PF_PHASE_CANCELLED,
};

static const char *const waits[PF_D_STATES_] = {
	[PF_D_NEW] = "REGIONS of its VMM, and the source",
	[PF_D_SETUP] = "the source, and an agreement with it about the regions",
	[PF_D_ACTIVE] = "PAUSED of the source",
	[PF_D_DEVICE] = "the device state",
	[PF_D_LOADING] = "READY of its VMM",
	[PF_D_READY] = "COMMIT of the source",
	[PF_D_WAITING] = "a connection",
	[PF_D_AWAY_READY] = "its VMM, and a connection",
	[PF_D_AWAY_READY_UP] = "its VMM",
	[PF_D_GRANTED] = "RESUMED of its VMM",
	[PF_D_CUT] = "RESUMED of its VMM, and a connection",
	[PF_D_SERVING] = "pages",
	[PF_D_OUTAGE] = "a connection",
	[PF_D_AWAY_RUN] = "its VMM, and a connection",
	[PF_D_AWAY_RUN_UP] = "its VMM",
	[PF_D_AWAY_DONE] = "its VMM, which is to hear COMPLETE",
	[PF_D_LINGERING] = "COMPLETE_ACK of the source",
	[PF_D_TOMBSTONE] = "the source, which is to hear of the end",
};

static const enum pf_record records[PF_DA_ACTIONS_] = {
	[PF_DA_RESTART] = PF_RECORD_NONE,     [PF_DA_READY] = PF_RECORD_READY,
	[PF_DA_RUN] = PF_RECORD_RUN,	      [PF_DA_REFUSED] = PF_RECORD_REFUSED,
	[PF_DA_ABORT] = PF_RECORD_ABORTED,    [PF_DA_WITHDRAW] = PF_RECORD_ABORTED,
	[PF_DA_FAIL_READY] = PF_RECORD_ABORTED,
};

static const struct pf_start starts[] = {
	{PF_RECORD_NONE, PF_MARK_SEEN, PF_D_SETUP, PF_DA_NONE},
	{PF_RECORD_NONE, 0, PF_D_NEW, PF_DA_NONE},
	{PF_RECORD_READY, 0, PF_D_AWAY_READY, PF_DA_NONE},
	{PF_RECORD_RUN, PF_MARK_TOLD, PF_D_LINGERING, PF_DA_HERE},
	{PF_RECORD_RUN, PF_MARK_COMPLETE, PF_D_AWAY_DONE, PF_DA_HERE},
	{PF_RECORD_RUN, 0, PF_D_AWAY_RUN, PF_DA_OUTAGE},
	{PF_RECORD_REFUSED, 0, PF_D_TOMBSTONE, PF_DA_INTACT},
	{PF_RECORD_ABORTED, PF_MARK_SEEN, PF_D_TOMBSTONE, PF_DA_INTACT},
	{PF_RECORD_ABORTED, 0, PF_D_TOMBSTONE, PF_DA_NONE},
};

/* Where the connection is refused for what the records say, there is no event: nothing changes here. */
static const uint8_t meetings[PF_MEETINGS_] = {
	[PF_MEET_FRESH] = PF_DE_LINK_UP,
	[PF_MEET_CANCELLED] = PF_DE_MET_CANCELLED,
	[PF_MEET_REFUSE] = PF_DE_EVENTS_,
	[PF_MEET_COMMIT_AGAIN] = PF_DE_MET_COMMIT,
	[PF_MEET_GONE] = PF_DE_MET_RUN,
	[PF_MEET_KEPT] = PF_DE_MET_KEPT,
	[PF_MEET_IN_DOUBT] = PF_DE_EVENTS_,
	[PF_MEET_GO_ON] = PF_DE_MET_RUN,
	[PF_MEET_CONFLICT] = PF_DE_EVENTS_,
	[PF_MEET_ABORT_THERE] = PF_DE_MET_ABORT,
	[PF_MEET_SETTLED] = PF_DE_MET_SETTLED,
	[PF_MEET_REFUSE_CONFLICT] = PF_DE_MET_CONFLICT,
};

const struct pf_machine pf_destination_machine = {
	.name = "destination",
	.states = PF_D_STATES_,
	.events = PF_DE_EVENTS_,
	.actions = PF_DA_ACTIONS_,
	.final = FINAL,
	.state_name = states,
	.event_name = events,
	.action_name = actions,
	.action_record = records,
	.phase = phases,
	.waits_for = waits,
	.row = rows,
	.rows = ROWS(rows),
	.ignored = ignored,
	.ignoreds = ROWS(ignored),
	.start = starts,
	.starts = ROWS(starts),
	.meeting_event = meetings,
};
