/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/fsm.h - a state machine is a table; both agents have one (DESIGN.md section 4).
 *
 * For every state and event there is exactly one row that says what follows, or one line in the
 * list of what is ignored, with the reason.  Looking a pair up is pure.  Only the main thread of an
 * agent changes its state; the rows' actions are carried out by migrate/source_actions.c
 * and migrate/destination_actions.c.
 */
#ifndef PF_CORE_FSM_H
#define PF_CORE_FSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "core/switchover.h"

/* What orchestrators see, with the names that they know from QEMU. */
enum pf_phase {
	PF_PHASE_SETUP,
	PF_PHASE_ACTIVE,
	PF_PHASE_DEVICE,
	PF_PHASE_POSTCOPY,
	PF_PHASE_PAUSED,
	PF_PHASE_RECOVER,
	PF_PHASE_COMPLETED,
	PF_PHASE_FAILED,
	PF_PHASE_CANCELLED,
};

const char *pf_phase_name(enum pf_phase phase);

struct pf_transition {
	uint8_t from, event, to, action;
	const char *why;
};

/* An event that does nothing in the states of the mask (bit 1 << state); a command that raises it is
 * refused with the reason. */
struct pf_ignored {
	uint8_t event;
	uint32_t states;
	const char *why;
};

/* What the state directory holds beside the record. */
enum pf_mark {
	/* The VMM came, and this migration had not touched its guest: the record has a history.
	 * Without it a session proves nothing about what was offered. */
	PF_MARK_SEEN = 1,
	PF_MARK_COMPLETE = 2, /* the VMM may have been told COMPLETE, or RELEASE */
	PF_MARK_TOLD = 4,     /* destination: and it has been */
};

/* How a process begins: the first row whose record and marks are there. */
struct pf_start {
	enum pf_record record;
	unsigned marks;
	uint8_t state, action;
};

struct pf_machine {
	const char *name;
	uint8_t states, events, actions; /* how many */
	uint32_t final;			 /* states (bit 1 << state) that nothing leaves */
	const char *const *state_name;
	const char *const *event_name;
	const char *const *action_name;
	/* The record that an action begins with: durable before anything of it is done or said; 0:
	 * none.  If it cannot be written the transition does not happen. */
	const enum pf_record *action_record;
	const enum pf_phase *phase; /* of each state */
	const char *const *waits_for; /* what leads out of each state, for people; NULL: nothing does */
	const struct pf_transition *row;
	size_t rows;
	const struct pf_ignored *ignored;
	size_t ignoreds;
	const struct pf_start *start;
	size_t starts;
	/* What a meeting of the two records (core/switchover.h) is to this side; events: nothing. */
	const uint8_t *meeting_event;
};

extern const struct pf_machine pf_source_machine;
extern const struct pf_machine pf_destination_machine;

/* The row for the pair, or NULL with *out_why: the reason why it is ignored. */
const struct pf_transition *pf_machine_look(const struct pf_machine *machine, uint8_t state,
					    uint8_t event, const char **out_why);
/* Where a process begins whose state directory holds this record and these marks. */
const struct pf_start *pf_machine_start(const struct pf_machine *machine, enum pf_record record,
					unsigned marks);
/* true in COMPLETED, FAILED and CANCELLED: nothing follows. */
bool pf_machine_final(const struct pf_machine *machine, uint8_t state);

enum pf_source_state {
	PF_S_NEW,      /* a new state directory, and no VMM yet: nothing is known of the guest */
	PF_S_SETUP,    /* the guest is here; no connection, or no agreement yet */
	PF_S_ACTIVE,
	PF_S_PAUSING,  /* PAUSE asked of the VMM */
	PF_S_SENDING,  /* the VMM is paused; its device state is on the way */
	PF_S_OFFERED,  /* COMMIT sent: the destination decides */
	PF_S_ABORTING, /* OFFERED, and the destination is asked to abort */
	PF_S_IN_DOUBT, /* OFFERED and no connection */
	PF_S_RETRACTING, /* the same, and the destination shall be asked to abort */
	PF_S_SERVING,  /* GONE */
	PF_S_OUTAGE,   /* GONE and no connection */
	PF_S_KEPT,     /* KEPT; its VMM is to be told, and may have to come back first */
	PF_S_COMPLETED,
	PF_S_FAILED,
	PF_S_CANCELLED,
	PF_S_STATES_
};

enum pf_source_event {
	PF_SE_LINK_UP,	   /* urgent and every bulk connection stand, after a first hello */
	PF_SE_LINK_DOWN,   /* one of them is gone */
	PF_SE_MET_CANCELLED, /* meetings of the two records: pf_record_meet() */
	PF_SE_MET_REFUSED,
	PF_SE_MET_COMMIT,
	PF_SE_MET_GONE,
	PF_SE_MET_KEPT,
	PF_SE_MET_LOST,
	PF_SE_MET_GO_ON,
	PF_SE_MET_CONFLICT,
	PF_SE_MET_SETTLED,
	PF_SE_GIVE_UP,	   /* --connect-timeout is over, or the peer or our files were refused */
	PF_SE_VMM_REGIONS, /* the VMM has described its memory, and its guest runs */
	PF_SE_VMM_STANDS,  /* the same, and an agent that is no more had paused the guest */
	PF_SE_VMM_PAUSED,  /* the VMM is quiescent and handed its device state over */
	PF_SE_VMM_LOST,	   /* the VMM's connection is gone */
	PF_SE_VMM_TOLD,	   /* KEPT, and the VMM of this process has been there, so that it can be told */
	PF_SE_REGIONS_OK,  /* the destination agreed to the region table */
	PF_SE_READY,
	PF_SE_RUN,
	PF_SE_RESUMED,
	PF_SE_REFUSED,
	PF_SE_ABORTED,
	PF_SE_COMPLETE,
	PF_SE_FAILURE,	    /* the destination gave up, or broke the protocol beyond repair */
	PF_SE_SWITCHOVER,   /* commands from here on */
	PF_SE_CANCEL,	    /* also SIGTERM */
	PF_SE_LOSE,	    /* cancel --lose-guest */
	PF_SE_FENCED,	    /* resolve --destination-fenced */
	PF_SE_DEST_COMPLETED, /* resolve --destination-completed */
	PF_SE_QUIT,
	PF_SE_EVENTS_
};

enum pf_source_action {
	PF_SA_NONE,
	PF_SA_ADOPT,	   /* note in the state directory that the guest is here; then PROPOSE */
	PF_SA_PROPOSE,	   /* send the region table, once link and VMM are both there */
	PF_SA_RETAKE,	   /* CONTINUE_SOURCE to a VMM that came back paused; then PROPOSE */
	PF_SA_ADMIT,	   /* record OFFERED, since it may have been; drop the connection, as DOUBT */
	PF_SA_REJOIN,	   /* the VMM that came back has the memory: requests can be answered */
	PF_SA_AGREE,	   /* both know the same regions */
	PF_SA_RECONNECT,   /* connect again, within --connect-timeout */
	PF_SA_TAKE_BACK,   /* CONTINUE_SOURCE, then connect again */
	PF_SA_PAUSE,	   /* PAUSE to the VMM */
	PF_SA_SEND_STATE,  /* PAUSED and device state; requests are answered from here on */
	PF_SA_COMMIT,	   /* record OFFERED, then COMMIT */
	PF_SA_ASK_ABORT,   /* ABORT to the destination */
	PF_SA_GONE,	   /* record GONE; push */
	PF_SA_GONE_CUT,	   /* record GONE; the connection is lost meanwhile, as in OUTAGE */
	PF_SA_GO_ON,	   /* answer and push again, behind the received bitmap */
	PF_SA_DOWNTIME,	   /* the guest runs there: note how long it stood */
	PF_SA_KEEP,	   /* record KEPT; VMM_TOLD if the VMM is there or has been */
	PF_SA_INTACT,	   /* tell the orchestrator again that the guest is here */
	PF_SA_SETTLE,	   /* CONTINUE_SOURCE, end with 130 */
	PF_SA_OUTAGE,	   /* tell the orchestrator; keep everything; connect again for ever */
	PF_SA_DOUBT,	   /* tell the orchestrator which question is open; connect again for ever */
	PF_SA_CONFLICT,	   /* RECORD_CONFLICT to the orchestrator; no record changes */
	PF_SA_COMPLETE,	   /* acknowledge, RELEASE, end with 0 */
	PF_SA_RELEASE,	   /* RELEASE without a connection, end with 0 */
	PF_SA_CANCEL,	   /* record still NONE: ABORT to the peer, CONTINUE_SOURCE, end with 130 */
	PF_SA_WITHDRAW,	   /* the same where nothing is known of the guest: nothing is said of it */
	PF_SA_FAIL,	   /* record still NONE: CONTINUE_SOURCE if paused, end with the error's code */
	PF_SA_FAIL_NEW,	   /* end with the error's code; nothing is said of the guest */
	PF_SA_LOSE,	   /* end with 65 */
	PF_SA_LEAVE_DOUBT, /* end with 72 */
	PF_SA_LEAVE_PAUSED, /* end with 75 */
	PF_SA_ACTIONS_
};

enum pf_destination_state {
	PF_D_NEW,      /* a new state directory, and no VMM yet: nothing is known of the guest */
	PF_D_SETUP,
	PF_D_ACTIVE,
	PF_D_DEVICE,   /* the source is paused: device state arrives */
	PF_D_LOADING,  /* LOAD sent to the VMM */
	PF_D_READY,    /* record READY */
	PF_D_WAITING,  /* record READY and no connection */
	PF_D_AWAY_READY,    /* WAITING, started again: the VMM has not come back */
	PF_D_AWAY_READY_UP, /* READY, started again: the VMM has not come back */
	PF_D_GRANTED,  /* record RUN; the VMM has not answered RESUME */
	PF_D_CUT,      /* GRANTED and no connection */
	PF_D_SERVING,  /* record RUN, and the guest has run here */
	PF_D_OUTAGE,   /* SERVING and no connection */
	PF_D_AWAY_RUN,	  /* record RUN, started again: the VMM has not come back; no connection */
	PF_D_AWAY_RUN_UP, /* the same with a connection */
	PF_D_AWAY_DONE,	  /* every page is here, and the VMM may not have heard COMPLETE */
	PF_D_LINGERING, /* every page is here; the source has not acknowledged */
	PF_D_TOMBSTONE, /* started again with ABORTED or REFUSED: it only answers with that */
	PF_D_COMPLETED,
	PF_D_FAILED,
	PF_D_CANCELLED,
	PF_D_STATES_
};

enum pf_destination_event {
	PF_DE_LINK_UP, /* after a first hello */
	PF_DE_LINK_DOWN,
	PF_DE_MET_CANCELLED, /* meetings of the two records: pf_record_meet() */
	PF_DE_MET_COMMIT,
	PF_DE_MET_RUN,
	PF_DE_MET_KEPT,
	PF_DE_MET_ABORT,
	PF_DE_MET_CONFLICT,
	PF_DE_MET_SETTLED,
	PF_DE_FAILED,	   /* something before RUN that cannot be mended: regions differ, ... */
	PF_DE_VMM_REGIONS, /* described, trapped and armed; nothing was ever loaded into it */
	PF_DE_VMM_LOADED,  /* the same of a VMM that came back, loaded and not resumed */
	PF_DE_VMM_RUNS,	   /* the same of a VMM that came back, and its guest runs */
	PF_DE_VMM_READY,
	PF_DE_VMM_RESUMED,
	PF_DE_VMM_REFUSED, /* RESUME_REFUSED: no vCPU entered, the VMM has given the guest up */
	PF_DE_VMM_LOST,
	PF_DE_REGIONS, /* the source's table arrived */
	PF_DE_AGREED,  /* both tables are here and equal */
	PF_DE_PAUSED,
	PF_DE_STATE, /* the device state is complete */
	PF_DE_COMMIT,
	PF_DE_ABORT,
	PF_DE_FILLED, /* every page is FILLED, and the VMM said RESUMED */
	PF_DE_ACK,
	PF_DE_CANCEL, /* commands from here on */
	PF_DE_LOSE,
	PF_DE_QUIT,
	PF_DE_QUIT_KEPT, /* the same, and a service manager keeps what this process has */
	PF_DE_EVENTS_
};

enum pf_destination_action {
	PF_DA_NONE,
	PF_DA_ADOPT,	/* note in the state directory that the VMM came unused; then COMPARE */
	PF_DA_COMPARE,	/* the two region tables, once both are here */
	PF_DA_ACCEPT,	/* REGIONS_OK */
	PF_DA_RESTART,	/* drop secret, pages and device state; wait for a first hello */
	PF_DA_RECEIVE,	/* note the moment */
	PF_DA_LOAD,	/* LOAD to the VMM */
	PF_DA_READY,	/* record READY, then READY */
	PF_DA_RUN,	/* record RUN: the commit point; RESUME to the VMM, RUN to the source */
	PF_DA_RESUME,	/* RESUME again, to a VMM that came back */
	PF_DA_RESUMED,	/* RESUMED to the source; complete if all is here */
	PF_DA_GO_ON,	/* the received bitmap, open requests, RESUMED again */
	PF_DA_REFUSED,	/* record REFUSED, then REFUSED; end with 130 */
	PF_DA_OUTAGE,	/* tell the orchestrator; keep everything */
	PF_DA_CONFLICT,	/* RECORD_CONFLICT to the orchestrator; the connection is refused */
	PF_DA_COMPLETE, /* unregister, COMPLETE to the VMM, COMPLETE to the source */
	PF_DA_REPEAT,	/* COMPLETE to the source again */
	PF_DA_FINISH,	/* end with 0 */
	PF_DA_ABORT,	/* record ABORTED, then ABORTED; end with 130 */
	PF_DA_WITHDRAW, /* the same where nothing is known of the guest: nothing is said of it */
	PF_DA_FAIL,	/* record still NONE: FAILURE; end with the error's code */
	PF_DA_FAIL_NEW,	/* the same where nothing is known of the guest: nothing is said of it */
	PF_DA_FAIL_READY, /* record ABORTED, then FAILURE and ABORTED; end with the error's code */
	PF_DA_HERE,	/* tell the orchestrator again that the guest is here */
	PF_DA_INTACT,	/* tell the orchestrator again that the guest is the source's */
	PF_DA_LEAVE,	/* end with 130, and the outcome as it was said */
	PF_DA_LOST,	/* end with 65 */
	PF_DA_LEAVE_PAUSED, /* end with 75 */
	PF_DA_ACTIONS_
};

#endif
