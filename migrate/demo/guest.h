/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/guest.h - talking with pageferry-guest over its standard streams.
 *
 * It says what happens to it, a word a line ("running", "paused", ...), and answers "status" and
 * "finish" with "name: value" lines.  One thread; waits only in pf_children_wait().
 */
#ifndef PF_MIGRATE_DEMO_GUEST_H
#define PF_MIGRATE_DEMO_GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "migrate/demo/children.h"

enum pf_guest_word {
	PF_GUEST_RUNNING = 1 << 0, /* source: the guest works */
	PF_GUEST_PAUSED = 1 << 1,
	PF_GUEST_CONTINUED = 1 << 2,
	PF_GUEST_RELEASED = 1 << 3,
	PF_GUEST_ACCEPTED = 1 << 4, /* destination: every access is trapped */
	PF_GUEST_LOADING = 1 << 5,
	PF_GUEST_READY = 1 << 6,
	PF_GUEST_RESUMED = 1 << 7,
	PF_GUEST_COMPLETE = 1 << 8,
};

/* What its report consists of. */
enum pf_guest_value {
	PF_GUEST_BACKEND,
	PF_GUEST_VCPUS,
	PF_GUEST_MEMORY_BYTES,
	PF_GUEST_VISITS,
	PF_GUEST_VISITS_HERE,
	PF_GUEST_PAGES_TOUCHED_HERE,
	PF_GUEST_HEARTBEATS,
	PF_GUEST_WORST_STALL_US,
	PF_GUEST_DOWNTIME_GUEST_US,
	PF_GUEST_VERDICT,
	PF_GUEST_VALUES, /* their number */
};

struct pf_guest_answer {
	char backend[16]; /* "kvm" or "threads" */
	uint64_t vcpus, memory_bytes;
	uint64_t visits;      /* of all vCPUs since the guest was born */
	uint64_t visits_here; /* in this process */
	uint64_t pages_touched_here;
	uint64_t heartbeats, worst_stall_us, downtime_guest_us;
	char verdict[200]; /* what follows "verdict: " */
	unsigned known;	   /* which members were given: 1 << enum pf_guest_value */
};

struct pf_demo_guest {
	struct pf_child *child; /* borrowed */
	unsigned words;		/* enum pf_guest_word, all that were said */
	struct pf_guest_answer answer;
	size_t used;
	char buffer[1024]; /* a line that has not ended yet */
};

/* Takes one line; PF_ERR_STATE for "error: TEXT", PF_ERR_PROTOCOL for what is not a line of ours.
 */
PF_MUST_USE int pf_demo_guest_take(struct pf_demo_guest *guest, const char *line,
				   struct pf_err *err);
/* Reads what it has said without waiting; after an error the next call goes on behind that line. */
PF_MUST_USE int pf_demo_guest_read(struct pf_demo_guest *guest, struct pf_err *err);
/*
 * After a failure: takes all that is left in the pipe, of a guest that has ended too.  A guest that
 * finds a wrong word gives its verdict and goes at once, and whoever waits for it may learn first
 * that it is gone.  -1: there was a complaint; err is the first one.
 */
PF_MUST_USE int pf_demo_guest_drain(struct pf_demo_guest *guest, struct pf_err *err);
/* Waits for a word. */
PF_MUST_USE int pf_demo_guest_await(struct pf_demo_guest *guest, struct pf_children *children,
				    enum pf_guest_word word, uint64_t deadline_ns,
				    struct pf_err *err);
/* Asks for "status"; the number of visits so far. */
PF_MUST_USE int pf_demo_guest_visits(struct pf_demo_guest *guest, struct pf_children *children,
				     uint64_t deadline_ns, uint64_t *out_visits,
				     struct pf_err *err);
/* Waits until the guest has made `visits` visits altogether. */
PF_MUST_USE int pf_demo_guest_walk(struct pf_demo_guest *guest, struct pf_children *children,
				   uint64_t visits, uint64_t deadline_ns, struct pf_err *err);
/*
 * Asks for "finish" and waits for the verdict.  guest->answer is complete then, unless the verdict
 * is DIFFERENT: a guest that found the wrong word itself says little more.
 */
PF_MUST_USE int pf_demo_guest_finish(struct pf_demo_guest *guest, struct pf_children *children,
				     uint64_t deadline_ns, struct pf_err *err);
/* "identical (N bytes)", with N the whole memory. */
bool pf_demo_guest_identical(const struct pf_guest_answer *answer);
/* "DIFFERENT at ...", asked for or not. */
bool pf_demo_guest_different(const struct pf_guest_answer *answer);
bool pf_demo_guest_knows(const struct pf_guest_answer *answer, enum pf_guest_value value);

#endif
