/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/orchestrate.h - the orchestrator's part: two agents, through their control sockets.
 *
 * All that it knows of them is what proto/CONTROL.md promises to every orchestrator.  One thread;
 * waits only in pf_children_wait() and, for an agent's answer, in migrate/client.h.
 */
#ifndef PF_MIGRATE_DEMO_ORCHESTRATE_H
#define PF_MIGRATE_DEMO_ORCHESTRATE_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/side.h"
#include "migrate/client.h"
#include "migrate/demo/children.h"
#include "migrate/demo/guest.h"
#include "migrate/demo/mishaps.h"
#include "migrate/demo/netns.h"
#include "migrate/progress.h"
#include "migrate/termline.h"
#include "net/addr.h"

/* One agent and its VMM. */
struct pf_demo_side {
	enum pf_side which;
	const char *name;	/* "source", "destination" */
	const char *control;	/* the path of its socket; borrowed */
	struct pf_child *agent; /* borrowed */
	struct pf_demo_guest guest;
	struct pf_client *client;	    /* NULL: not yet, or the agent has gone */
	uint64_t seq;			    /* of the newest event */
	char state[32];			    /* "" before the first STATE */
	char address[PF_ENDPOINT_TEXT_MAX]; /* destination: where it listens; "" before */
	bool final;			    /* it has said that it ends */
	json_t *status;			    /* the latest query-migrate, or NULL */
	json_t *earlier;		    /* the last one of its worker that was killed, or NULL */
};

struct pf_orchestra {
	struct pf_children *children; /* borrowed */
	struct pf_mishaps *mishaps;   /* borrowed; NULL: nothing is to go wrong */
	struct pf_netns *netns;	      /* borrowed; for mishaps */
	struct pf_demo_side source, destination;
	struct pf_progress progress;
	struct pf_termline line;
	uint64_t outages;	/* of the destination's, that nobody has made */
	char cipher[64];	/* of the agents' connection, once both are active */
	uint64_t started_ns;	/* all three: CLOCK_MONOTONIC, 0 before */
	uint64_t switchover_ns; /* the command was sent */
	uint64_t running_ns;	/* the destination said postcopy-active */
	uint64_t completed_ns;	/* the destination said completed */
};

void pf_orchestra_init(struct pf_orchestra *orchestra, struct pf_children *children);
/* Connects to an agent that was just started, and takes the events there are. */
PF_MUST_USE int pf_orchestra_connect(struct pf_orchestra *orchestra, struct pf_demo_side *side,
				     const char *control, uint64_t deadline_ns, struct pf_err *err);
/* Until the destination has said where it listens. */
PF_MUST_USE int pf_orchestra_await_address(struct pf_orchestra *orchestra, uint64_t deadline_ns,
					   struct pf_err *err);
/* Until both agents say `active`. */
PF_MUST_USE int pf_orchestra_await_active(struct pf_orchestra *orchestra, uint64_t deadline_ns,
					  struct pf_err *err);
/* `switchover`, then progress until both agents have ended by themselves with status 0. */
PF_MUST_USE int pf_orchestra_migrate(struct pf_orchestra *orchestra, uint64_t deadline_ns,
				     struct pf_err *err);
/*
 * outcome.json must say `completed`; the numbers in it replace side->status, and what a worker that
 * was killed had counted is added to them.
 */
PF_MUST_USE int pf_orchestra_check_outcome(struct pf_demo_side *side, const char *state_dir,
					   struct pf_err *err);
/* One line for people on stderr. */
void pf_orchestra_say(struct pf_orchestra *orchestra, const char *fmt, ...) PF_PRINTF(2, 3);
void pf_orchestra_done(struct pf_orchestra *orchestra);

#endif
