/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/engines.h - the engines' part in a step: raising events, carrying actions out.
 *
 * For world.c and vmms.c alone.  A step that is asked to fail in the middle does so at its first write.
 */
#ifndef PF_TESTS_EXPLORE_ENGINES_H
#define PF_TESTS_EXPLORE_ENGINES_H

#include "base/side.h"
#include "tests/explore/world.h"

/* One step in the making. */
struct making {
	const struct tables *tables;
	struct world *world;
	enum mode mode;
	bool wrote;	 /* something went to disk, or should have */
	bool used;	 /* the mode has had its effect */
	unsigned acting; /* in an action: what it raises waits behind nothing */
	const char *why; /* the rule that was broken, or NULL */
};

enum raised { RAISED, IGNORED, NOT_WRITTEN };

struct agent *pf_agent_of(struct making *m, enum pf_side side);
enum raised pf_raise(struct making *m, enum pf_side side, uint8_t event);
/* As in migrate/agent.h; pf_raise() looks at no backlog, and pf_catch_up() is what a command does first. */
bool pf_catch_up(struct making *m, enum pf_side side);
enum raised pf_raise_in_turn(struct making *m, enum pf_side side, uint8_t event);
void pf_cut(struct making *m, enum pf_side side, uint8_t event);
void pf_note(struct making *m, enum pf_side side, uint8_t event);
void pf_act(struct making *m, enum pf_side side, uint8_t action);
/* This side has no connection any more; the other one may still read what it was sent. */
void pf_unlink(struct world *world, enum pf_side side);
void pf_stop_process(struct world *world, enum pf_side side, enum proc proc);

static inline void pf_source_notes(struct making *m, enum pf_source_event event)
{
	pf_note(m, PF_SOURCE, (uint8_t)event);
}

static inline void pf_destination_notes(struct making *m, enum pf_destination_event event)
{
	pf_note(m, PF_DESTINATION, (uint8_t)event);
}

static inline bool pf_is_alive(const struct world *world, enum pf_side side)
{
	return world->side[side].proc == PROC_ALIVE;
}

/* vmms.c: false: not possible now. */
bool pf_step_source_vmm_comes(struct making *m);
bool pf_step_source_vmm_goes_untold(struct making *m);
bool pf_step_source_vmm_pauses(struct making *m);
bool pf_step_source_vmm_dies(struct making *m);
bool pf_step_source_vmm_missed(struct making *m);
bool pf_step_destination_vmm_comes(struct making *m);
bool pf_step_destination_vmm_goes_untold(struct making *m);
bool pf_step_destination_vmm_replaced(struct making *m);
bool pf_step_destination_vmm_loads(struct making *m);
bool pf_step_destination_vmm_resumes(struct making *m);
bool pf_step_destination_vmm_refuses(struct making *m);
bool pf_step_destination_vmm_answers(struct making *m);
bool pf_step_destination_vmm_dies(struct making *m);
bool pf_step_destination_vmm_gives_up(struct making *m);
bool pf_step_destination_vmm_missed(struct making *m);
bool pf_step_destination_fails(struct making *m);
bool pf_step_last_page_arrives(struct making *m);
bool pf_step_filled_is_heard(struct making *m);

#endif
