/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/world.h - two agents, two VMMs, a network and people, as one small value.
 *
 * What an agent does on an event is its real table's word; world.c plays the engines that carry the
 * actions out, and everything around them.  A world is plain bytes, so that equal worlds are equal
 * memory.  A step is a number; pf_world_step() makes it, if it is possible now.
 */
#ifndef PF_TESTS_EXPLORE_WORLD_H
#define PF_TESTS_EXPLORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fsm.h"

enum proc { PROC_DEAD, PROC_ALIVE, PROC_ENDING, PROC_ENDED };
/* What a side has said last of the guest's owner. */
enum said { SAID_NOTHING, SAID_INTACT, SAID_THERE, SAID_DOUBT, SAID_LOST, SAID_COMPLETED };
enum vmm_met { VMM_ABSENT, VMM_HERE, VMM_LEFT };
enum source_vmm { SV_RUNS, SV_STANDS, SV_DEAD, SV_RELEASED };
enum destination_vmm { DV_UNUSED, DV_LOADING, DV_LOADED, DV_RUNS, DV_REFUSED, DV_DEAD };
enum answer { ANSWER_NONE, ANSWER_RESUMED, ANSWER_REFUSED };
enum link { LINK_NONE, LINK_STANDS, LINK_CUT };

#define SIDES 3u
#define URGENT_MAX 6u
#define LATE_MAX 6u

struct agent {
	uint8_t proc, state;
	uint8_t record, marks; /* on disk */
	uint8_t lost;	       /* its state directory was lost once */
	uint8_t linked;	       /* it believes in a connection */
	uint8_t met;	       /* enum vmm_met of this process */
	uint8_t said;
	/* As struct pf_backlog: 1 + an event, the oldest first; 0: no more. */
	uint8_t late[LATE_MAX];
};

struct world {
	struct agent side[SIDES]; /* by enum pf_side; the first is nobody */
	/* The network. */
	uint8_t link;
	uint8_t proven; /* both state directories hold the same session secret */
	uint8_t to_source[URGENT_MAX], to_destination[URGENT_MAX]; /* frame types; urgent */
	uint8_t bulk; /* 2: PAUSED and the device state, 1: the device state is on its way */
	/* The source's VMM, and what its agent's process knows of it. */
	uint8_t source_vmm, pause_asked, guest_paused;
	uint8_t heard_resumed;
	/* The destination's. */
	uint8_t destination_vmm, loads, resume_asked, answer;
	uint8_t theirs, resumed;
	uint8_t ran_there; /* a vCPU entered at the destination: the source's state is a past one */
	uint8_t whole;	/* every page is here */
	uint8_t filled; /* the journal says so */
	uint8_t told;	/* the VMM has heard COMPLETE */
	/* What people did. */
	uint8_t fenced, completed, given_up;
	uint8_t differ; /* the two VMMs' memories are not the same */
	/* How much can still go wrong. */
	uint8_t crashes, losses, cuts, failures, deaths;
	uint8_t halves; /* connections that one side made and the other never heard of */
	uint8_t lates;	/* HELLOs that come when the process that said them has died */
	/* Such a HELLO, on its way: 1 + its record, 0: none; does it prove the session that stands? */
	uint8_t late_hello, late_proves;
	uint8_t put_off; /* as in struct destination */
	uint8_t zero[3];
};
_Static_assert(sizeof(struct world) % 8 == 0, "hashed by words");

/* How a step goes: as meant, or with one thing that fails in the middle of it. */
enum mode { AS_MEANT, WRITE_FAILS, CRASH_BEHIND_WRITE, MODES_ };

enum step_class {
	PROGRESS, /* happens by itself */
	OPERATOR, /* somebody decides it */
	FAULT,
};

struct making; /* engines.h */

struct step_kind {
	const char *name;
	enum step_class class;
	bool (*make)(struct making *m); /* false: not possible now */
};
extern const struct step_kind pf_steps[];
extern const unsigned pf_step_count;

struct tables {
	const struct pf_machine *machine[SIDES];
	/* How often each row was followed. */
	uint64_t *followed[SIDES];
};

enum outcome_of_step {
	NOT_POSSIBLE,
	DONE,
	BROKEN, /* a rule is broken in the middle of the step; *out_why says which */
};

/*
 * Makes the step in *world, which is only to be used if DONE or BROKEN comes back.  *out_wrote: the
 * modes in which something fails are worth trying.
 */
enum outcome_of_step pf_world_step(const struct tables *tables, struct world *world, unsigned step,
				   enum mode mode, bool *out_wrote, const char **out_why);
/* NULL, or the rule that this world breaks. */
const char *pf_world_broken(const struct world *world);
/* Nobody runs, nobody was given up, and the guest could still be saved. */
bool pf_world_stands(const struct world *world);
/* In a world in which nothing happens by itself: is somebody named, or the question asked? */
const char *pf_world_unnamed(const struct world *world);
void pf_world_print(const struct tables *tables, const struct world *world, char *out, size_t length);

#endif
