/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/test-kill.c - SIGKILL of the handling process at every step of a page's way.
 *
 * Whatever a handler was about to do, the next one takes it up from journal and rings: not one wrong
 * byte, and not one thread left blocked.  PAGEFERRY_KILLS=N: N kills at each step (default 2) and
 * sixteen times as many at random.  The program is its own handler and source: stage.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/size.h"
#include "keeper.h"
#include "tests/unit/memhelp.h"

#define SCENES_MAX 50u /* for one step to be reached; each is a whole migration */

/* A step, in whose process it is, and how far its hits may be counted before the kill. */
static const struct step {
	enum pf_fault_point point;
	bool source;
	unsigned far;
} steps[] = {
	{PF_FAULT_EVENT_READ, false, 12},	{PF_FAULT_FAULT, false, 12},
	{PF_FAULT_POPPED, false, 20},		{PF_FAULT_LATE_TRAP, false, 1},
	{PF_FAULT_REQUEST_SENT, false, 12},	{PF_FAULT_PAGES_HEARD, false, 12},
	{PF_FAULT_ZERO_HEARD, false, 3},	{PF_FAULT_CLAIMED, false, 12},
	{PF_FAULT_WRITTEN, false, 12},		{PF_FAULT_FILLED, false, 12},
	{PF_FAULT_MAPPED, false, 20},		{PF_FAULT_WOKEN, false, 1},
	{PF_FAULT_HOLE_FILLED, false, 1},	{PF_FAULT_BULK_PAGES_HEARD, false, 20},
	{PF_FAULT_BULK_ZERO_HEARD, false, 8},	{PF_FAULT_BULK_CLAIMED, false, 20},
	{PF_FAULT_BULK_WRITTEN, false, 20},	{PF_FAULT_BULK_FILLED, false, 20},
	{PF_FAULT_BULK_MAPPED, false, 30},	{PF_FAULT_REQUEST_HEARD, true, 12},
	{PF_FAULT_PAGE_READ, true, 12},		{PF_FAULT_PAGES_SENT, true, 12},
	{PF_FAULT_BULK_PAGE_READ, true, 20},	{PF_FAULT_BULK_PAGES_SENT, true, 20},
};
#define STEPS PF_ARRAY_LEN(steps)

static unsigned kills_wanted(void)
{
	const char *text = getenv("PAGEFERRY_KILLS");
	struct pf_err err;
	uint64_t kills = 2;

	if (text && pf_number_parse(text, 1, 10000, &kills, &err))
		fail_msg("PAGEFERRY_KILLS: %s", err.text);
	return (unsigned)kills;
}

/* ---- at every step ---- */

struct plan {
	unsigned seed;
	unsigned kills[STEPS]; /* done */
	unsigned wanted;
	unsigned turn; /* the step that is tried next: round and round */
};

static const struct step *next_step(struct plan *plan)
{
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned at = plan->turn++ % STEPS;

		if (plan->kills[at] < plan->wanted)
			return &steps[at];
	}
	return NULL;
}

static unsigned draw(struct plan *plan, unsigned below)
{
	plan->seed = plan->seed * 1103515245u + 12345u;
	return (plan->seed >> 8) % below;
}

static void name_fault(struct plan *plan, const struct step *step, char out[64])
{
	if (step)
		snprintf(out, 64, "%s:%u=kill", pf_fault_table[step->point].name,
			 1 + draw(plan, step->far));
}

/* One migration: each handler, or source, is to die at the next step; false: none is left. */
static void run_scene(struct plan *plan)
{
	struct scene scene;
	const struct step *step = next_step(plan);
	enum turn turn;

	scene_open(&scene, PF_MEMORY_MEMFD, plan->seed);
	do {
		char fault[64] = "";

		name_fault(plan, step, fault);
		if (step && step->source)
			scene_kill(&scene.source);
		scene_start(&scene, step && !step->source ? fault : NULL,
			    step && step->source ? fault : NULL);
		turn = scene_wait(&scene, -1);
		if (step && turn == (step->source ? TURN_SOURCE_KILLED : TURN_HANDLER_KILLED)) {
			plan->kills[step - steps]++;
			step = next_step(plan);
		}
	} while (turn != TURN_OVER);
	scene_close(&scene);
}

static void killed_at_every_step_of_a_pages_way(void **state)
{
	struct plan plan = {.seed = test_seed(), .wanted = kills_wanted()};
	unsigned scenes = 0;

	(void)state;
	while (scenes < SCENES_MAX) {
		unsigned missing = 0;

		for (unsigned i = 0; i < STEPS; i++)
			missing += plan.kills[i] < plan.wanted;
		if (missing == 0)
			break;
		run_scene(&plan);
		scenes++;
	}
	printf("%u migrations\n", scenes);
	for (unsigned i = 0; i < STEPS; i++)
		printf("killed at %s: %u\n", pf_fault_table[steps[i].point].name, plan.kills[i]);
	for (unsigned i = 0; i < STEPS; i++)
		if (plan.kills[i] < plan.wanted)
			fail_msg("%s was reached %u times", pf_fault_table[steps[i].point].name,
				 plan.kills[i]);
}

/* ---- at random ---- */

static void killed_at_random_under_load(void **state)
{
	struct plan plan = {.seed = test_seed()};
	unsigned kills = 0, wanted = 16 * kills_wanted(), scenes = 0;

	(void)state;
	for (; kills < wanted; scenes++) {
		struct scene scene;
		enum turn turn;

		scene_open(&scene, PF_MEMORY_MEMFD, plan.seed);
		do {
			scene_start(&scene, NULL, NULL);
			turn = scene_wait(&scene, kills < wanted ? (int)draw(&plan, 80) : -1);
			if (turn != TURN_TIME)
				continue;
			scene_kill(&scene.handler);
			kills++;
		} while (turn != TURN_OVER);
		scene_close(&scene);
	}
	printf("killed at random: %u, in %u migrations\n", kills, scenes);
}

/* ---- the other roles ---- */

static int run_role(int argc, char **argv)
{
	struct stage *stage = stage_map((int)strtol(argv[2], NULL, 10));
	struct pf_err err;

	/* Its keeper's end is its own, however that came. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (!stage || pf_fault_arm(argc > 3 ? argv[3] : NULL, &err))
		return 1;
	return strcmp(argv[1], "handler") == 0 ? handler_main(stage) : source_main(stage);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_every_step_of_a_pages_way),
		cmocka_unit_test(killed_at_random_under_load),
	};

	if (argc > 2)
		return run_role(argc, argv);
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
