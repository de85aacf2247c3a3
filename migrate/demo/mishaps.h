/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/mishaps.h - what goes wrong in `pageferry demo --outage`, when, and what came of it.
 *
 * One mishap after the other, each only when the one before is over: both agents have said RECOVERED,
 * and the guest has got a page that it asked for.  Told what the agents say, it says what is due; who
 * carries it out is migrate/demo/harm.h.  Pure: no clock, no I/O; one thread.
 */
#ifndef PF_MIGRATE_DEMO_MISHAPS_H
#define PF_MIGRATE_DEMO_MISHAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/side.h"

#define PF_MISHAPS 3u

enum pf_mishap_kind { PF_MISHAP_CUT, PF_MISHAP_KILL };

struct pf_mishap {
	const char *what;    /* for people */
	const char *measure; /* the report's name of: until the first page that the guest asked for */
	unsigned goal_ms;    /* of that: DESIGN.md section 11 */
	uint32_t part, of;   /* it happens once part/of of the pages is there */
	enum pf_mishap_kind kind;
	enum pf_side victim; /* whose worker is killed; of a cut: nobody's */
};

extern const struct pf_mishap pf_mishap_table[PF_MISHAPS];

/* How far the one is whose turn it is. */
enum pf_mishap_phase {
	PF_MISHAP_AWAITED, /* so many pages are not there yet */
	PF_MISHAP_CUT_OFF, /* the link is down */
	PF_MISHAP_MENDING, /* the link is up again, or a worker was killed: it is the agents' turn */
};

/* What is to be done now; the caller does it, and says so by pf_mishaps_done(). */
enum pf_mishap_due {
	PF_DUE_NOTHING,
	PF_DUE_CUT,
	PF_DUE_HEAL,
	PF_DUE_KILL,
	PF_DUE_LET_GO, /* the last one is over: push needs no limit any more */
	PF_DUE_LATE,   /* an agent has not recovered in time: pf_mishaps_stuck() */
};

/* CLOCK_MONOTONIC; 0: it did not come to that. */
struct pf_mishap_course {
	uint64_t struck_ns; /* cut, or killed */
	uint64_t mended_ns; /* the link is up again; of a kill: struck_ns */
	uint64_t page_ns;   /* the first page came that the guest had asked for */
};

struct pf_mishap_side {
	bool hit;  /* it has said OUTAGE or WORKER_RESTARTED since */
	bool back; /* and RECOVERED after that */
};

struct pf_mishaps {
	uint32_t turn; /* into the table; PF_MISHAPS: all are over */
	bool let_go;
	enum pf_mishap_phase phase;
	struct pf_mishap_side source, destination;
	bool counted;	   /* requested is known */
	uint64_t requested; /* pages that had come by request before anything was mended */
	struct pf_mishap_course course[PF_MISHAPS];
};

/* What query-migrate of the destination says. */
struct pf_mishap_pages {
	uint64_t total, filled, requested;
};

/* An event of one side; those that mean nothing here are passed over. */
void pf_mishaps_event(struct pf_mishaps *mishaps, enum pf_side side, const char *event);
void pf_mishaps_pages(struct pf_mishaps *mishaps, const struct pf_mishap_pages *pages,
		      uint64_t now_ns);
enum pf_mishap_due pf_mishaps_due(const struct pf_mishaps *mishaps,
				  const struct pf_mishap_pages *pages, uint64_t now_ns);
/* It was done; now_ns is the moment before it was, so that no measure is too short. */
void pf_mishaps_done(struct pf_mishaps *mishaps, enum pf_mishap_due due, uint64_t now_ns);
/* The mishap that happens right now; NULL: none does. */
const struct pf_mishap *pf_mishaps_now(const struct pf_mishaps *mishaps);
/* The side that has not recovered from it; 0: both have. */
enum pf_side pf_mishaps_stuck(const struct pf_mishaps *mishaps);
/* How soon the pages should be looked at again: no event tells how many there are. */
uint64_t pf_mishaps_look_again_ns(const struct pf_mishaps *mishaps);

#endif
