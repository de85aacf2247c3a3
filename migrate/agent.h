/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/agent.h - what both agents are made of: loop, state, record, events, outcome, exit.
 *
 * Main thread only.  pf_agent_raise() is the one place where a state changes: it looks the pair up
 * in the core table, writes the record that goes with the transition, tells the orchestrator, and
 * has the engine carry the action out.
 */
#ifndef PF_MIGRATE_AGENT_H
#define PF_MIGRATE_AGENT_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/mailbox.h"
#include "base/spin.h"
#include "core/backlog.h"
#include "core/fsm.h"
#include "migrate/control.h"
#include "migrate/events.h"
#include "migrate/kept.h"
#include "migrate/options.h"
#include "migrate/outage.h"
#include "migrate/path.h"
#include "migrate/progress.h"
#include "migrate/statedir.h"
#include "migrate/vmm.h"
#include "migrate/watchdog.h"

struct pf_agent_ops {
	void (*act)(void *engine, uint8_t action);
	/* From the engine's threads; mail->data is freed by the caller. */
	void (*mail)(void *engine, struct pf_mail *mail);
	/* set-parameters: checks all (apply false), then applies all; PF_ERR_USAGE. */
	int (*set)(void *engine, const char *name, const json_t *value, bool apply,
		   struct pf_err *err);
	/* The way to the peer is otherwise than it was, and that is told; NULL: it is enough to tell. */
	void (*path)(void *engine, unsigned news, const struct pf_path *path);
	/* `pause` and `recover`, of which main has decided that they are possible now; connect: an array of
	 * new addresses, or NULL. */
	int (*pause)(void *engine, struct pf_err *err);
	int (*recover)(void *engine, const json_t *connect, struct pf_err *err);
	/* Before anything is connected: what they had ordered of a process before this one. */
	int (*restore)(void *engine, bool held, const json_t *connect, struct pf_err *err);
	/* Adds the engine's members to the object that query-migrate returns. */
	void (*status)(void *engine, json_t *status);
	pf_watchdog_boxes boxes; /* of its threads */
	pf_watchdog_late late;
};

struct pf_agent {
	const struct pf_options *options;
	struct pf_kept *kept; /* borrowed */
	const struct pf_machine *machine;
	const struct pf_agent_ops *ops;
	void *engine;
	sd_event *loop;
	struct pf_statedir dir;
	struct pf_events *events;
	struct pf_control *control;
	struct pf_vmm *vmm;
	struct pf_paths *paths;
	struct pf_mailbox inbox; /* every thread -> main */
	struct pf_watchdog *watchdog;
	json_t *orders;	    /* migrate/orders.h; NULL: there were none */
	json_t *parameters; /* what set-parameters has set, in this process or before; NULL: nothing */
	sd_event_source *progress_timer, *retry_timer;
	struct pf_backlog backlog; /* whose records could not be written, and what came behind */
	bool acting; /* in an action: what it raises follows from it, and waits behind nothing */
	struct pf_outage outage; /* migrate/outage.h */
	_Atomic uint64_t link_timeout_ns; /* parameter, for the urgent thread's struct pf_pulse */
	uint64_t spin_ns; /* parameter: how long the urgent thread looks before it sleeps */
	_Atomic uint64_t *spin_limit_ns; /* the engine's: where that thread reads it */
	struct pf_progress progress;
	uint8_t state;
	enum pf_record record;
	uint32_t epoch;
	struct pf_err why; /* of the last failure that was raised */
	const char *outcome, *owner; /* NULL: not decided */
	int exit_code;
	uint8_t start_action; /* what its record and marks begin with: pf_agent_begin() */
	bool ending, failed; /* failed: why is what ended it */
	bool noted; /* why is to be told with an outcome that is no failure */
};

/*
 * Opens state directory, events, control socket, VMM socket and mailbox, and blocks the signals that the
 * loop hears (so before any thread is started).  On -1 whatever was opened is closed.
 */
PF_MUST_USE int pf_agent_open(struct pf_agent *agent, const struct pf_options *options,
			      struct pf_kept *kept, const struct pf_machine *machine, const struct pf_agent_ops *ops,
			      void *engine, const struct pf_vmm_callbacks *vmm,
			      struct pf_err *err);
/* Gives up what the agent does not need from here on (migrate/sandbox.h), for good: before the first
 * thread is started. */
PF_MUST_USE int pf_agent_confine(struct pf_agent *agent, struct pf_err *err);
/* Once the engine can act: what follows from the record that was found, and says that it serves. */
void pf_agent_begin(struct pf_agent *agent);
/* Runs the loop until the migration has ended; returns the exit code, of which the keeper knows then. */
int pf_agent_run(struct pf_agent *agent);
void pf_agent_close(struct pf_agent *agent);

/*
 * For what somebody decides; what was heard before comes first, as far as its records can be written.
 * 0: the transition happened.  -1, PF_ERR_STATE: the pair is ignored, with the table's reason; any
 * other class: the record could not be written, and the state is what it was.
 */
int pf_agent_raise(struct pf_agent *agent, uint8_t event, struct pf_err *err);
/* The same for what is heard, and is of no use if it must wait (core/backlog.h): then PF_ERR_STATE. */
PF_MUST_USE int pf_agent_raise_in_turn(struct pf_agent *agent, uint8_t event, struct pf_err *err);
/*
 * For events whose being ignored is nobody's error.  If the record cannot be written it is said on
 * stderr and tried again until it can, or until the table ignores the event: what the peer has said
 * stays true.  What is noted meanwhile waits behind it.
 */
void pf_agent_note(struct pf_agent *agent, uint8_t event);
/* -1: said on stderr; without SEEN the next process only claims less (enum pf_mark in core/fsm.h). */
int pf_agent_mark(struct pf_agent *agent, enum pf_mark mark);
/* The same with a reason, which the event's action finds in agent->why. */
void pf_agent_fail(struct pf_agent *agent, uint8_t event, const struct pf_err *why);
/* The connection is lost.  That waits behind nothing: the tables know what it means to hear RUN, say, on a
 * connection and to write it when that is gone, and the orchestrator must know now. */
void pf_agent_cut(struct pf_agent *agent, uint8_t event, const struct pf_err *why);

/* The same for a VMM that is gone, and VMM_LOST if that matters in this state. */
void pf_agent_vmm_lost(struct pf_agent *agent, uint8_t event, const struct pf_err *why);
/* VMM_REFUSED: who came to the socket was not the VMM that is waited for, which may come yet. */
void pf_agent_vmm_refused(struct pf_agent *agent, const struct pf_err *why);

/* Emits an event to the orchestrator; takes over data. */
void pf_agent_emit(struct pf_agent *agent, const char *name, json_t *data);
/* The guest's owner changed, or the outcome is known: OUTCOME and outcome.json. */
void pf_agent_outcome(struct pf_agent *agent, const char *outcome, const char *owner, bool final);
/* File `name` of the state directory, for the process that is started next. */
PF_MUST_USE int pf_agent_keep(struct pf_agent *agent, const char *name, const json_t *object,
			      struct pf_err *err);
/* RECORD_CONFLICT: the other side's record is not one that can stand beside ours. */
void pf_agent_conflict(struct pf_agent *agent, const char *peer_record, const char *what);
/* Ends the loop with this exit code, after the final OUTCOME. */
void pf_agent_finish(struct pf_agent *agent, int exit_code, const char *outcome,
		     const char *owner);
/* The same for a failure before the commit, agent->why: on stderr, in the final OUTCOME and by its
 * exit code. */
void pf_agent_finish_failed(struct pf_agent *agent, const char *outcome, const char *owner);
/* "source", "destination" */
const char *pf_agent_role(const struct pf_agent *agent);

#endif
