/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/source_table.c - the source's state machine, whole.
 *
 * Read it with DESIGN.md sections 4 and 4.1: the record is NONE up to SENDING, OFFERED in OFFERED,
 * ABORTING, IN_DOUBT and RETRACTING, GONE in SERVING and OUTAGE.  A process that is started again
 * begins where the list at the end says.  tests/explore drives this table and the destination's
 * together through every interleaving.
 */
#include "core/fsm.h"

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))
#define IN(state) (UINT32_C(1) << PF_S_##state)
#define FINAL (IN(COMPLETED) | IN(FAILED) | IN(CANCELLED))
#define EVERY ((UINT32_C(1) << PF_S_STATES_) - 1)
#define BEFORE_OFFER (IN(NEW) | IN(SETUP) | IN(ACTIVE) | IN(PAUSING) | IN(SENDING))
#define DOUBT (IN(IN_DOUBT) | IN(RETRACTING))
#define CUT (DOUBT | IN(OUTAGE))
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
	ON(NEW,      VMM_REGIONS, SETUP,     ADOPT,     "its guest runs here: now that is known"),
	ON(NEW,      VMM_STANDS,  IN_DOUBT,  ADMIT,     "what paused it is not on record here: it may run there"),
	ON(NEW,      LINK_UP,     NEW,       NONE,      "the VMM comes next"),
	ON(NEW,      LINK_DOWN,   NEW,       RECONNECT, "nothing was offered: set-up starts again"),
	ON(NEW,      ABORTED,     CANCELLED, WITHDRAW,  "cancelled at the destination"),
	ON(NEW,      MET_CANCELLED, CANCELLED, WITHDRAW, "cancelled at the destination"),
	ON(NEW,      CANCEL,      CANCELLED, WITHDRAW,  "no VMM has come"),
	ON(NEW,      LOSE,        CANCELLED, WITHDRAW,  "no VMM has come: nothing is lost"),
	ON(NEW,      MET_REFUSED, FAILED,    FAIL_NEW,  "the destination knows of another attempt"),
	ON(NEW,      GIVE_UP,     FAILED,    FAIL_NEW,  "the peer cannot be reached, or was refused"),
	ON(NEW,      FAILURE,     FAILED,    FAIL_NEW,  "the destination gave up"),
	ON(NEW,      VMM_LOST,    FAILED,    FAIL_NEW,  "it has not said how its guest is"),

	ON(SETUP,    LINK_UP,     SETUP,     PROPOSE,   "the table goes out when the VMM has come too"),
	ON(SETUP,    VMM_REGIONS, SETUP,     PROPOSE,   "the table goes out when the link stands too"),
	ON(SETUP,    VMM_STANDS,  SETUP,     RETAKE,    "paused by an agent that never offered it: it runs on"),
	ON(SETUP,    REGIONS_OK,  ACTIVE,    AGREE,     "both sides know the same regions"),
	ON(SETUP,    LINK_DOWN,   SETUP,     RECONNECT, "nothing was offered: set-up starts again"),
	ON(ACTIVE,   LINK_DOWN,   SETUP,     RECONNECT, "nothing was offered: set-up starts again"),
	ON(PAUSING,  LINK_DOWN,   SETUP,     TAKE_BACK, "nothing was offered: the guest runs on here"),
	ON(SENDING,  LINK_DOWN,   SETUP,     TAKE_BACK, "nothing was offered: the guest runs on here"),

	ON(ACTIVE,   SWITCHOVER,  PAUSING,   PAUSE,     "the orchestrator wants the guest moved now"),
	ON(PAUSING,  SWITCHOVER,  PAUSING,   NONE,      "done already"),
	ON(SENDING,  SWITCHOVER,  SENDING,   NONE,      "done already"),
	ON(OFFERED,  SWITCHOVER,  OFFERED,   NONE,      "done already"),
	ON(IN_DOUBT, SWITCHOVER,  IN_DOUBT,  NONE,      "done already"),
	ON(SERVING,  SWITCHOVER,  SERVING,   NONE,      "done already"),
	ON(OUTAGE,   SWITCHOVER,  OUTAGE,    NONE,      "done already"),
	ON(COMPLETED, SWITCHOVER, COMPLETED, NONE,      "done already"),
	ON(PAUSING,  VMM_PAUSED,  SENDING,   SEND_STATE, "the guest stands; its state travels"),
	ON(SENDING,  READY,       OFFERED,   COMMIT,    "OFFERED is on record before COMMIT is sent"),
	ON(OFFERED,  READY,       OFFERED,   COMMIT,    "its VMM has come back: it may not have heard"),
	ON(OFFERED,  RUN,         SERVING,   GONE,      "the destination has committed"),
	ON(ABORTING, RUN,         SERVING,   GONE,      "it had committed before it heard of the abort"),
	ON(SERVING,  RESUMED,     SERVING,   DOWNTIME,  "the guest runs there"),
	ON(SERVING,  COMPLETE,    COMPLETED, COMPLETE,  "every page is there"),

	ON(OFFERED,  REFUSED,     KEPT,      KEEP,      "the destination's VMM never ran it"),
	ON(ABORTING, REFUSED,     KEPT,      KEEP,      "the destination's VMM never ran it"),
	ON(SERVING,  REFUSED,     KEPT,      KEEP,      "RUN was written, but no vCPU entered there"),
	ON(OFFERED,  ABORTED,     KEPT,      KEEP,      "the destination will refuse COMMIT for ever"),
	ON(ABORTING, ABORTED,     KEPT,      KEEP,      "the destination will refuse COMMIT for ever"),
	ON(SETUP,    ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(ACTIVE,   ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(PAUSING,  ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),
	ON(SENDING,  ABORTED,     CANCELLED, CANCEL,    "cancelled at the destination"),

	ON(IN_DOUBT, RUN,         OUTAGE,    GONE_CUT,  "heard before the cut, written after it"),
	ON(IN_DOUBT, REFUSED,     KEPT,      KEEP,      "heard before the cut, written after it"),
	ON(IN_DOUBT, ABORTED,     KEPT,      KEEP,      "heard before the cut, written after it"),
	ON(RETRACTING, RUN,       OUTAGE,    GONE_CUT,  "heard before the cut, written after it"),
	ON(RETRACTING, REFUSED,   KEPT,      KEEP,      "heard before the cut, written after it"),
	ON(RETRACTING, ABORTED,   KEPT,      KEEP,      "heard before the cut, written after it"),
	ON(OUTAGE,   REFUSED,     KEPT,      KEEP,      "heard before the cut, written after it"),
	ON(OUTAGE,   RESUMED,     OUTAGE,    DOWNTIME,  "heard before the cut, behind a RUN written after it"),
	ON(OUTAGE,   COMPLETE,    COMPLETED, COMPLETE,  "heard before the cut, behind a RUN written after it"),

	ON(OFFERED,  LINK_DOWN,   IN_DOUBT,  DOUBT,     "COMMIT may or may not have arrived"),
	ON(ABORTING, LINK_DOWN,   RETRACTING, DOUBT,    "COMMIT or ABORT may or may not have arrived"),
	ON(SERVING,  LINK_DOWN,   OUTAGE,    OUTAGE,    "the guest runs there and needs our pages"),

	ON(SETUP,    MET_CANCELLED, CANCELLED, CANCEL,  "cancelled at the destination"),
	ON(SETUP,    MET_REFUSED, FAILED,    FAIL,      "the destination knows of another attempt"),
	ON(IN_DOUBT, MET_COMMIT,  OFFERED,   COMMIT,    "it is READY still: COMMIT again"),
	ON(IN_DOUBT, MET_GONE,    SERVING,   GONE,      "it had committed"),
	ON(IN_DOUBT, MET_KEPT,    KEPT,      KEEP,      "it never ran there, and never will"),
	ON(IN_DOUBT, MET_LOST,    IN_DOUBT,  DOUBT,     "its state was lost: only a person can know"),
	ON(RETRACTING, MET_COMMIT, ABORTING, ASK_ABORT, "it is READY still, and a cancel was asked"),
	ON(RETRACTING, MET_GONE,  SERVING,   GONE,      "it had committed before it heard of the abort"),
	ON(RETRACTING, MET_KEPT,  KEPT,      KEEP,      "it never ran there, and never will"),
	ON(RETRACTING, MET_LOST,  RETRACTING, DOUBT,    "its state was lost: only a person can know"),
	ON(OUTAGE,   MET_GO_ON,   SERVING,   GO_ON,     "the guest runs there and needs our pages"),
	ON(OUTAGE,   MET_KEPT,    KEPT,      KEEP,      "RUN was written, but no vCPU entered there"),
	ON(OUTAGE,   MET_CONFLICT, OUTAGE,   CONFLICT,  "its state was lost: only a person can know"),
	ON(KEPT,     MET_SETTLED, KEPT,      NONE,      "the destination knows, or is told so by this meeting"),
	ON(KEPT,     MET_CONFLICT, KEPT,     CONFLICT,  "RUN there, and resolved as fenced here"),

	ON(OFFERED,  VMM_STANDS,  OFFERED,   REJOIN,    "it came back behind the connection"),
	ON(ABORTING, VMM_STANDS,  ABORTING,  REJOIN,    "it came back behind the connection"),
	ON(IN_DOUBT, VMM_STANDS,  IN_DOUBT,  REJOIN,    "its memory may be needed"),
	ON(RETRACTING, VMM_STANDS, RETRACTING, REJOIN,  "its memory may be needed"),
	ON(SERVING,  VMM_STANDS,  SERVING,   REJOIN,    "it came back behind the connection"),
	ON(OUTAGE,   VMM_STANDS,  OUTAGE,    REJOIN,    "its memory is needed"),
	ON(KEPT,     VMM_STANDS,  CANCELLED, SETTLE,    "KEPT is on record: it may run"),
	ON(KEPT,     VMM_TOLD,    CANCELLED, SETTLE,    "KEPT is on record: it may run"),
	ON(KEPT,     VMM_REGIONS, CANCELLED, SETTLE,    "it had been told before this process was"),
	ON(KEPT,     VMM_LOST,    FAILED,    LOSE,      "it died while its guest stood: nobody has it"),

	ON(SETUP,    CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(ACTIVE,   CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(PAUSING,  CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(SENDING,  CANCEL,      CANCELLED, CANCEL,    "nothing was offered"),
	ON(OFFERED,  CANCEL,      ABORTING,  ASK_ABORT, "only the destination's ABORTED gives it back"),
	ON(ABORTING, CANCEL,      ABORTING,  NONE,      "asked already"),
	ON(IN_DOUBT, CANCEL,      RETRACTING, NONE,     "asked as soon as there is a connection"),
	ON(RETRACTING, CANCEL,    RETRACTING, NONE,     "asked already"),
	ON(KEPT,     CANCEL,      CANCELLED, SETTLE,    "it is kept already"),
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
	ON(RETRACTING, VMM_LOST,  RETRACTING, NONE,     "its memory files are ours to read on"),
	ON(SERVING,  VMM_LOST,    SERVING,   NONE,      "its memory files are ours to read on"),
	ON(OUTAGE,   VMM_LOST,    OUTAGE,    NONE,      "its memory files are ours to read on"),

	/* Nothing detects silence: behind a peer that is gone without a word the link stands. */
	ON(OFFERED,  FENCED,      KEPT,      KEEP,      "somebody made sure that it cannot run there"),
	ON(ABORTING, FENCED,      KEPT,      KEEP,      "somebody made sure that it cannot run there"),
	ON(SERVING,  FENCED,      KEPT,      KEEP,      "somebody made sure that it does not run there"),
	ON(IN_DOUBT, FENCED,      KEPT,      KEEP,      "somebody made sure that it cannot run there"),
	ON(RETRACTING, FENCED,    KEPT,      KEEP,      "somebody made sure that it cannot run there"),
	ON(OUTAGE,   FENCED,      KEPT,      KEEP,      "somebody made sure that it does not run there"),
	ON(KEPT,     FENCED,      CANCELLED, SETTLE,    "it is kept already"),
	ON(CANCELLED, FENCED,     CANCELLED, NONE,      "done already"),
	ON(SERVING,  DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(IN_DOUBT, DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(RETRACTING, DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(OUTAGE,   DEST_COMPLETED, COMPLETED, RELEASE, "the destination has every page"),
	ON(COMPLETED, DEST_COMPLETED, COMPLETED, NONE,  "done already"),

	ON(OFFERED,  LOSE,        ABORTING,  ASK_ABORT, "it may still be given back; asked again, it is lost"),
	ON(ABORTING, LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(IN_DOUBT, LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(RETRACTING, LOSE,      FAILED,    LOSE,      "given up on purpose"),
	ON(SERVING,  LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(OUTAGE,   LOSE,        FAILED,    LOSE,      "given up on purpose"),
	ON(SETUP,    LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(ACTIVE,   LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(PAUSING,  LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),
	ON(SENDING,  LOSE,        CANCELLED, CANCEL,    "nothing was offered: it is not lost"),

	ON(IN_DOUBT, QUIT,        IN_DOUBT,  LEAVE_DOUBT,  "the question stays open in the state dir"),
	ON(RETRACTING, QUIT,      RETRACTING, LEAVE_DOUBT, "the question stays open in the state dir"),
	ON(OUTAGE,   QUIT,        OUTAGE,    LEAVE_PAUSED, "the state dir holds what is needed"),
	ON(KEPT,     LOSE,        CANCELLED, SETTLE,    "it is kept already: it is not lost"),
	ON(KEPT,     QUIT,        CANCELLED, SETTLE,    "it is kept: its VMM may be started again"),
	ON(COMPLETED, QUIT,       COMPLETED, NONE,      "done already"),
};

static const struct pf_ignored ignored[] = {
	IGNORE(LINK_UP, EVERY & ~(IN(NEW) | IN(SETUP)), "a first hello is for set-up only"),
	IGNORE(LINK_DOWN, FINAL | CUT | IN(KEPT), "there is no connection to lose any more"),
	IGNORE(MET_CANCELLED, EVERY & ~(IN(NEW) | IN(SETUP)), "the record is not NONE"),
	IGNORE(MET_REFUSED, EVERY & ~(IN(NEW) | IN(SETUP)), "the record is not NONE"),
	IGNORE(MET_COMMIT, EVERY & ~DOUBT, "the record is not OFFERED, or there is a connection"),
	IGNORE(MET_GONE, EVERY & ~DOUBT, "the record is not OFFERED, or there is a connection"),
	IGNORE(MET_LOST, EVERY & ~DOUBT, "the record is not OFFERED, or there is a connection"),
	IGNORE(MET_KEPT, EVERY & ~CUT, "the record is not OFFERED or GONE, or there is a connection"),
	IGNORE(MET_GO_ON, EVERY & ~IN(OUTAGE), "the record is not GONE, or there is a connection"),
	IGNORE(MET_CONFLICT, EVERY & ~(IN(OUTAGE) | IN(KEPT)), "the record is not GONE or KEPT"),
	IGNORE(MET_SETTLED, EVERY & ~IN(KEPT), "the record is not KEPT"),
	IGNORE(GIVE_UP, EVERY & ~(IN(NEW) | IN(SETUP)), "only set-up is ever given up"),
	IGNORE(VMM_REGIONS, EVERY & ~(IN(NEW) | IN(SETUP) | IN(KEPT)),
	       "a VMM describes its memory once, and this one is not the one that was paused"),
	IGNORE(VMM_STANDS, IN(ACTIVE) | IN(PAUSING) | IN(SENDING) | FINAL,
	       "a VMM describes its memory once"),
	IGNORE(VMM_PAUSED, EVERY & ~IN(PAUSING), "the answer to a pause that was taken back"),
	IGNORE(VMM_LOST, FINAL, "the migration is over for this side"),
	IGNORE(VMM_TOLD, EVERY & ~IN(KEPT), "the record is not KEPT"),
	IGNORE(REGIONS_OK, EVERY & ~IN(SETUP), "agreed already, or from a connection that is gone"),
	IGNORE(READY, EVERY & ~(IN(SENDING) | IN(OFFERED)), "READY without device state on the way"),
	IGNORE(RUN, EVERY & ~(OFFER | DOUBT), "RUN without COMMIT, or a repeated one"),
	IGNORE(RESUMED, EVERY & ~(IN(SERVING) | IN(OUTAGE)), "RESUMED without RUN"),
	IGNORE(REFUSED, BEFORE_OFFER | IN(KEPT) | FINAL, "REFUSED without COMMIT"),
	IGNORE(ABORTED, IN(SERVING) | IN(OUTAGE) | FINAL, "ABORTED after RUN"),
	IGNORE(ABORTED, IN(KEPT), "it is kept already"),
	IGNORE(COMPLETE, EVERY & ~(IN(SERVING) | IN(OUTAGE)), "COMPLETE without RUN"),
	IGNORE(FAILURE, OFFER | IN(SERVING) | CUT | IN(KEPT) | FINAL,
	       "after OFFERED only records count; the connection ends behind it"),
	IGNORE(SWITCHOVER, IN(NEW) | IN(SETUP), "the two sides have not agreed on the regions yet"),
	IGNORE(SWITCHOVER, IN(ABORTING) | IN(RETRACTING), "the migration is being cancelled"),
	IGNORE(SWITCHOVER, IN(KEPT) | IN(FAILED) | IN(CANCELLED), "the migration is over"),
	IGNORE(CANCEL, IN(SERVING) | IN(OUTAGE), "the guest runs at the destination; only "
	       "cancel --lose-guest gives it up"),
	IGNORE(CANCEL, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(LOSE, FINAL, "the migration is over"),
	IGNORE(FENCED, BEFORE_OFFER, "nothing is in doubt: the guest is here; use cancel"),
	IGNORE(FENCED, IN(COMPLETED) | IN(FAILED), "the migration is over"),
	IGNORE(DEST_COMPLETED, BEFORE_OFFER, "nothing was offered: the destination has no guest"),
	IGNORE(DEST_COMPLETED, OFFER, "RUN has not come: most pages have not been sent"),
	IGNORE(DEST_COMPLETED, IN(FAILED) | IN(CANCELLED) | IN(KEPT), "the migration is over"),
	IGNORE(QUIT, BEFORE_OFFER, "a migration is under way; use cancel"),
	IGNORE(QUIT, OFFER | IN(SERVING), "the destination needs this agent"),
	IGNORE(QUIT, IN(FAILED) | IN(CANCELLED), "ending already"),
};
/* clang-format on */

static const char *const states[] = {
	"NEW",	    "SETUP",	  "ACTIVE",  "PAUSING", "SENDING", "OFFERED",	"ABORTING",
	"IN_DOUBT", "RETRACTING", "SERVING", "OUTAGE",	"KEPT",	   "COMPLETED", "FAILED",
	"CANCELLED",
};
static const char *const events[] = {
	"LINK_UP", "LINK_DOWN", "MET_CANCELLED", "MET_REFUSED", "MET_COMMIT", "MET_GONE",
	"MET_KEPT", "MET_LOST", "MET_GO_ON", "MET_CONFLICT", "MET_SETTLED", "GIVE_UP",
	"VMM_REGIONS", "VMM_STANDS", "VMM_PAUSED", "VMM_LOST", "VMM_TOLD", "REGIONS_OK", "READY", "RUN",
	"RESUMED", "REFUSED", "ABORTED", "COMPLETE", "FAILURE", "SWITCHOVER", "CANCEL", "LOSE",
	"FENCED", "DEST_COMPLETED", "QUIT",
};
static const char *const actions[] = {
	"-", "ADOPT", "PROPOSE", "RETAKE", "ADMIT", "REJOIN", "AGREE", "RECONNECT", "TAKE_BACK",
	"PAUSE", "SEND_STATE", "COMMIT", "ASK_ABORT", "GONE", "GONE_CUT", "GO_ON", "DOWNTIME",
	"KEEP", "INTACT", "SETTLE", "OUTAGE", "DOUBT", "CONFLICT", "COMPLETE", "RELEASE", "CANCEL", "WITHDRAW",
	"FAIL", "FAIL_NEW", "LOSE", "LEAVE_DOUBT", "LEAVE_PAUSED",
};
_Static_assert(ROWS(states) == PF_S_STATES_, "a name for every state");
_Static_assert(ROWS(events) == PF_SE_EVENTS_, "a name for every event");
_Static_assert(ROWS(actions) == PF_SA_ACTIONS_, "a name for every action");

static const enum pf_phase phases[PF_S_STATES_] = {
	[PF_S_NEW] = PF_PHASE_SETUP,	       [PF_S_RETRACTING] = PF_PHASE_DEVICE,
	[PF_S_KEPT] = PF_PHASE_CANCELLED,
	[PF_S_SETUP] = PF_PHASE_SETUP,	       [PF_S_ACTIVE] = PF_PHASE_ACTIVE,
	[PF_S_PAUSING] = PF_PHASE_DEVICE,      [PF_S_SENDING] = PF_PHASE_DEVICE,
	[PF_S_OFFERED] = PF_PHASE_DEVICE,      [PF_S_ABORTING] = PF_PHASE_DEVICE,
	[PF_S_IN_DOUBT] = PF_PHASE_DEVICE,     [PF_S_SERVING] = PF_PHASE_POSTCOPY,
	[PF_S_OUTAGE] = PF_PHASE_PAUSED,       [PF_S_COMPLETED] = PF_PHASE_COMPLETED,
	[PF_S_FAILED] = PF_PHASE_FAILED,       [PF_S_CANCELLED] = PF_PHASE_CANCELLED,
};

static const char *const waits[PF_S_STATES_] = {
	[PF_S_NEW] = "REGIONS of its VMM",
	[PF_S_SETUP] = "an agreement with the destination about the regions",
	[PF_S_ACTIVE] = "switchover",
	[PF_S_PAUSING] = "PAUSED of its VMM",
	[PF_S_SENDING] = "READY of the destination",
	[PF_S_OFFERED] = "RUN of the destination",
	[PF_S_ABORTING] = "ABORTED or RUN of the destination",
	[PF_S_IN_DOUBT] = "a connection, or resolve",
	[PF_S_RETRACTING] = "a connection to cancel by, or resolve",
	[PF_S_SERVING] = "COMPLETE of the destination",
	[PF_S_OUTAGE] = "a connection",
	[PF_S_KEPT] = "its VMM, which is to go on",
};

static const enum pf_record records[PF_SA_ACTIONS_] = {
	[PF_SA_ADMIT] = PF_RECORD_OFFERED,
	[PF_SA_COMMIT] = PF_RECORD_OFFERED,
	[PF_SA_GONE] = PF_RECORD_GONE,
	[PF_SA_GONE_CUT] = PF_RECORD_GONE,
	[PF_SA_KEEP] = PF_RECORD_KEPT,
};

static const struct pf_start starts[] = {
	{PF_RECORD_NONE, PF_MARK_SEEN, PF_S_SETUP, PF_SA_NONE},
	{PF_RECORD_NONE, 0, PF_S_NEW, PF_SA_NONE},
	{PF_RECORD_OFFERED, PF_MARK_COMPLETE, PF_S_COMPLETED, PF_SA_RELEASE},
	{PF_RECORD_OFFERED, 0, PF_S_IN_DOUBT, PF_SA_DOUBT},
	{PF_RECORD_GONE, PF_MARK_COMPLETE, PF_S_COMPLETED, PF_SA_RELEASE},
	{PF_RECORD_GONE, 0, PF_S_OUTAGE, PF_SA_OUTAGE},
	{PF_RECORD_KEPT, 0, PF_S_KEPT, PF_SA_INTACT},
};

static const uint8_t meetings[PF_MEETINGS_] = {
	[PF_MEET_FRESH] = PF_SE_LINK_UP,
	[PF_MEET_CANCELLED] = PF_SE_MET_CANCELLED,
	[PF_MEET_REFUSE] = PF_SE_MET_REFUSED,
	[PF_MEET_COMMIT_AGAIN] = PF_SE_MET_COMMIT,
	[PF_MEET_GONE] = PF_SE_MET_GONE,
	[PF_MEET_KEPT] = PF_SE_MET_KEPT,
	[PF_MEET_IN_DOUBT] = PF_SE_MET_LOST,
	[PF_MEET_GO_ON] = PF_SE_MET_GO_ON,
	[PF_MEET_CONFLICT] = PF_SE_MET_CONFLICT,
	[PF_MEET_ABORT_THERE] = PF_SE_MET_SETTLED,
	[PF_MEET_SETTLED] = PF_SE_MET_SETTLED,
	[PF_MEET_REFUSE_CONFLICT] = PF_SE_MET_CONFLICT,
};

const struct pf_machine pf_source_machine = {
	.name = "source",
	.states = PF_S_STATES_,
	.events = PF_SE_EVENTS_,
	.actions = PF_SA_ACTIONS_,
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
