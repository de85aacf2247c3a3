/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/test-kill.c - SIGKILL of the handling process at every step of a page's way.
 *
 * Whatever a handler was about to do, the next one takes it up from journal and rings: not one wrong
 * byte, and not one thread left blocked.  PAGEFERRY_KILLS=N: N kills at each step (default 2) and
 * eight times as many at random, for each layout of a guest.  The program is its own handler and source: stage.h.
 * test-kill 'private*' runs the tests of one layout.
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

#define RANDOM_KILLS 8u
#define SCENES_MAX 25u /* for each kill that is wanted, and to find out how far a step goes; each is a migration */

/* Steps are taken by some rows only; a mixed guest takes them all. */
enum {
	SMALL = 1,
	PRIVATE = 2,
	HUGE = 4,
	GMEM = 8,
	FILES = SMALL | HUGE | GMEM,
	LOSES = SMALL | HUGE | PRIVATE, /* pages, and can say so to whoever touches them */
	EVERY = FILES | PRIVATE
};

static const unsigned steps_of[ROWS] = {
	[ROW_MEMFD] = SMALL, [ROW_TMPFS] = SMALL, [ROW_PRIVATE] = PRIVATE, [ROW_HUGETLB] = HUGE,
	[ROW_GMEM] = GMEM};

static const struct layout layouts[] = {
	{"memfd", 2, {{ROW_MEMFD, 1024, 2}, {ROW_MEMFD, 512, 1}}},
	{"tmpfs", 2, {{ROW_TMPFS, 1024, 2}, {ROW_TMPFS, 512, 1}}},
	{"private", 2, {{ROW_PRIVATE, 1024, 1}, {ROW_PRIVATE, 512, 1}}},
	{"hugetlbfs", 1, {{ROW_HUGETLB, 16, 2}}},
	{"guest_memfd", 2, {{ROW_GMEM, 1024, 2}, {ROW_GMEM, 512, 1}}},
	{"mixed", 3, {{ROW_MEMFD, 512, 2}, {ROW_PRIVATE, 512, 1}, {ROW_HUGETLB, 16, 1}}},
};

/* A step, in whose process it is, and how far its hits may be counted before the kill. */
static const struct step {
	enum pf_fault_point point;
	unsigned rows;
	bool source;
	unsigned far;
} steps[] = {
	{PF_FAULT_EVENT_READ, EVERY, false, 12},
	{PF_FAULT_DISCARD_READ, PRIVATE, false, 4},
	{PF_FAULT_FAULT, EVERY, false, 12},
	{PF_FAULT_POPPED, EVERY, false, 20},
	{PF_FAULT_LATE_TRAP, EVERY, false, 1},
	{PF_FAULT_REQUEST_SENT, EVERY, false, 12},
	{PF_FAULT_PAGES_HEARD, EVERY, false, 12},
	{PF_FAULT_ZERO_HEARD, EVERY, false, 3},
	{PF_FAULT_CLAIMED, EVERY, false, 12},
	{PF_FAULT_ALLOCATED, HUGE, false, 1},
	{PF_FAULT_WRITTEN, EVERY, false, 12},
	{PF_FAULT_FILLED, EVERY, false, 12},
	{PF_FAULT_MAPPED, EVERY, false, 20},
	{PF_FAULT_WOKEN, EVERY, false, 1},
	{PF_FAULT_HOLE_FILLED, FILES, false, 1},
	{PF_FAULT_PAGE_ERROR_HEARD, LOSES, false, 2},
	{PF_FAULT_POISONED, LOSES, false, 4},
	{PF_FAULT_LOST, LOSES, false, 2},
	{PF_FAULT_BULK_PAGE_ERROR_HEARD, LOSES, false, 4},
	{PF_FAULT_BULK_POISONED, LOSES, false, 4},
	{PF_FAULT_BULK_LOST, LOSES, false, 4},
	{PF_FAULT_SLOT_SET, GMEM, false, 12},
	{PF_FAULT_LET_IN, GMEM, false, 20},
	{PF_FAULT_BULK_LET_IN, GMEM, false, 30},
	{PF_FAULT_RESOLVED, GMEM, false, 12},
	{PF_FAULT_BULK_PAGES_HEARD, EVERY, false, 20},
	{PF_FAULT_BULK_ZERO_HEARD, EVERY, false, 8},
	{PF_FAULT_BULK_CLAIMED, EVERY, false, 20},
	{PF_FAULT_BULK_ALLOCATED, HUGE, false, 3},
	{PF_FAULT_BULK_WRITTEN, EVERY, false, 20},
	{PF_FAULT_BULK_FILLED, EVERY, false, 20},
	{PF_FAULT_BULK_MAPPED, FILES, false, 30},
	{PF_FAULT_REQUEST_HEARD, EVERY, true, 12},
	{PF_FAULT_PAGE_READ, EVERY, true, 12},
	{PF_FAULT_PAGES_SENT, EVERY, true, 12},
	{PF_FAULT_PAGE_ERROR_SENT, LOSES, true, 2},
	{PF_FAULT_BULK_PAGE_ERROR_SENT, LOSES, true, 4},
	{PF_FAULT_BULK_PAGE_READ, EVERY, true, 20},
	{PF_FAULT_BULK_PAGES_SENT, EVERY, true, 20},
};
#define STEPS PF_ARRAY_LEN(steps)
#define HUGE_FAR 3u /* of a guest of a few huge pages: no step comes often */

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
	const struct layout *layout;
	unsigned rows; /* of the layout */
	unsigned seed;
	unsigned kills[STEPS]; /* done */
	unsigned nearer[STEPS]; /* by so much, since further hits did not come */
	unsigned wanted;
	unsigned turn; /* the step that is tried next: round and round */
};

static struct plan new_plan(const struct layout *layout)
{
	struct plan plan = {.layout = layout, .seed = test_seed(), .wanted = kills_wanted()};

	for (uint32_t r = 0; r < layout->regions; r++)
		plan.rows |= steps_of[layout->region[r].row];
	return plan;
}

static bool is_missing(const struct plan *plan, size_t step)
{
	return steps[step].rows & plan->rows && plan->kills[step] < plan->wanted;
}

static const struct step *next_step(struct plan *plan)
{
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned at = plan->turn++ % STEPS;

		if (is_missing(plan, at))
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
	unsigned far;

	if (!step)
		return;
	far = plan->rows == HUGE && step->far > HUGE_FAR ? HUGE_FAR : step->far;
	far -= plan->nearer[step - steps] < far ? plan->nearer[step - steps] : far - 1;
	snprintf(out, 64, "%s:%u=kill", pf_fault_table[step->point].name, 1 + draw(plan, far));
}

/* One migration: each handler, or source, is to die at the next step; false: none is left. */
static void run_scene(struct plan *plan)
{
	struct scene scene;
	const struct step *step = next_step(plan);
	enum turn turn;

	scene_open(&scene, plan->layout, plan->seed);
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
	if (step)
		plan->nearer[step - steps]++;
	scene_close(&scene);
}

static unsigned count_missing(const struct plan *plan)
{
	unsigned missing = 0;

	for (size_t i = 0; i < STEPS; i++)
		missing += is_missing(plan, i);
	return missing;
}

static void killed_at_every_step_of_a_pages_way(void **state)
{
	struct plan plan = new_plan(*state);
	unsigned scenes = 0;

	for (; scenes < SCENES_MAX * (plan.wanted + 1) && count_missing(&plan) > 0; scenes++)
		run_scene(&plan);
	printf("%s: %u migrations\n", plan.layout->name, scenes);
	for (size_t i = 0; i < STEPS; i++)
		if (steps[i].rows & plan.rows)
			printf("%s: killed at %s: %u\n", plan.layout->name,
			       pf_fault_table[steps[i].point].name, plan.kills[i]);
	for (size_t i = 0; i < STEPS; i++)
		if (is_missing(&plan, i))
			fail_msg("%s was reached %u times", pf_fault_table[steps[i].point].name,
				 plan.kills[i]);
}

/* ---- at random ---- */

static void killed_at_random_under_load(void **state)
{
	struct plan plan = new_plan(*state);
	unsigned kills = 0, wanted = RANDOM_KILLS * plan.wanted, scenes = 0;

	for (; kills < wanted; scenes++) {
		struct scene scene;
		enum turn turn;

		scene_open(&scene, plan.layout, plan.seed);
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
	printf("%s: killed at random: %u, in %u migrations\n", plan.layout->name, kills, scenes);
}

/* ---- what only the ring can say ---- */

/*
 * A fault that a dead handler had read is taken again, since everybody is woken: memfd, tmpfs and
 * hugetlbfs come through every kill above without a replay of the ring.  A REMOVE of private memory is
 * not: without replay_discards() in pf_guest_take_up() the source's data comes back into a page that
 * its owner has given up, and he, who must find zeros there, says so.
 */
static void a_discard_that_a_dead_handler_has_read_is_heeded_by_the_next(void **state)
{
	struct scene scene;

	scene_open(&scene, *state, test_seed());
	/* Nothing comes before the discard. */
	scene.no_source = true;
	scene_start(&scene, "discard-read=kill", NULL);
	assert_int_equal(scene_wait(&scene, -1), TURN_HANDLER_KILLED);
	scene.no_source = false;
	scene_start(&scene, NULL, NULL);
	assert_int_equal(scene_wait(&scene, -1), TURN_OVER);
	scene_close(&scene);
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

/* Lives as long as the program. */
static struct CMUnitTest case_of(const char *what, const char *layout, CMUnitTestFunction test,
				 const struct layout *state)
{
	char *name = NULL;

	if (asprintf(&name, "%s: %s", layout, what) < 0)
		abort();
	return (struct CMUnitTest){name, test, NULL, NULL, (void *)(uintptr_t)state};
}

int main(int argc, char **argv)
{
	static struct CMUnitTest tests[2 * PF_ARRAY_LEN(layouts) + 1]; /* their names too */
	size_t count = 0;

	if (argc > 2)
		return run_role(argc, argv);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	if (uffd_refused())
		return 77;
	for (size_t i = 0; i < PF_ARRAY_LEN(layouts); i++) {
		tests[count++] = case_of("killed at every step", layouts[i].name,
					 killed_at_every_step_of_a_pages_way, &layouts[i]);
		tests[count++] = case_of("killed at random under load", layouts[i].name,
					 killed_at_random_under_load, &layouts[i]);
	}
	tests[count++] = case_of("a discard that a dead handler has read is heeded", layouts[2].name,
				 a_discard_that_a_dead_handler_has_read_is_heeded_by_the_next,
				 &layouts[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
