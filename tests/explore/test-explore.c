/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/test-explore.c - no interleaving of messages, faults and people makes two guests of
 * one, or none of one without a name for it.
 *
 * What may go wrong in one history is bounded by a budget.  With arguments (CRASHES LOSSES CUTS FAILURES
 * DEATHS HALVES LATES) it explores that budget alone; the whole of "1 1 1 1 1 1 1" has some tens of millions of
 * worlds.  With PAGEFERRY_EXPLORE=long in the environment it adds budgets that take minutes and 1.5 GB.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/side.h"
#include "tests/explore/explore.h"

#define WORLDS_MOST 3000000u
#define WORLDS_MOST_LONG 20000000u
#define ROWS_MOST 256u

static uint64_t followed[SIDES][ROWS_MOST];

static const struct pf_machine *const machines[SIDES] = {
	[PF_SOURCE] = &pf_source_machine,
	[PF_DESTINATION] = &pf_destination_machine,
};

static struct tables real_tables(void)
{
	struct tables tables = {0};

	for (unsigned side = PF_SOURCE; side <= PF_DESTINATION; side++) {
		tables.machine[side] = machines[side];
		tables.followed[side] = followed[side];
	}
	return tables;
}

static bool explore(const struct budget *budget, uint32_t most)
{
	struct tables tables = real_tables();
	struct exploration found;

	if (pf_explore(&tables, budget, most, stderr, &found)) {
		print_error("more than %u worlds, or no memory for them\n", most);
		return false;
	}
	print_message("crashes %u, lost directories %u, cuts %u, failed writes %u, dead VMMs %u, "
		      "half connections %u, late HELLOs %u: %llu worlds, %llu transitions, up to %u steps deep, "
		      "%llu in which nothing happens by itself%s%s\n",
		      budget->crashes, budget->losses, budget->cuts, budget->failures,
		      budget->deaths, budget->halves, budget->lates, (unsigned long long)found.worlds,
		      (unsigned long long)found.steps, found.depth,
		      (unsigned long long)found.quiet, found.broken ? ": " : "",
		      found.broken ? found.broken : "");
	return !found.broken;
}

/* ARCHITECTURE.md has them in words. */
static const struct budget budgets[] = {
	{.crashes = 2, .cuts = 1},
	{.crashes = 1, .losses = 1, .cuts = 1},
	{.crashes = 2, .losses = 2},
	{.cuts = 1, .failures = 1, .deaths = 1},
	{.crashes = 1, .deaths = 1},
	{.crashes = 1, .failures = 1, .halves = 1},
	{.crashes = 1, .cuts = 1, .deaths = 1, .lates = 1},
};
static const struct budget long_budgets[] = {
	{.crashes = 1, .cuts = 1, .failures = 1},
	{.crashes = 2, .cuts = 1, .lates = 1},
	{.crashes = 1, .cuts = 1, .failures = 1, .deaths = 1},
};

static void no_interleaving_breaks_a_rule(void **unused)
{
	const char *asked = getenv("PAGEFERRY_EXPLORE");

	(void)unused;
	for (size_t i = 0; i < PF_ARRAY_LEN(budgets); i++)
		assert_true(explore(&budgets[i], WORLDS_MOST));
	if (!asked)
		return;
	assert_string_equal(asked, "long");
	for (size_t i = 0; i < PF_ARRAY_LEN(long_budgets); i++)
		assert_true(explore(&long_budgets[i], WORLDS_MOST_LONG));
}

/* After the explorations above. */
static void every_row_is_followed(void **unused)
{
	unsigned wrong = 0;

	(void)unused;
	for (unsigned side = PF_SOURCE; side <= PF_DESTINATION; side++) {
		const struct pf_machine *machine = machines[side];
		size_t count = 0;

		for (size_t i = 0; i < machine->rows; i++) {
			const struct pf_transition *row = &machine->row[i];

			if (followed[side][i] > 0) {
				count++;
				continue;
			}
			wrong++;
			print_error("%s: (%s, %s) was never followed\n", machine->name,
				    machine->state_name[row->from],
				    machine->event_name[row->event]);
		}
		print_message("%s: %zu of %zu rows followed\n", machine->name, count, machine->rows);
	}
	assert_int_equal(wrong, 0);
}

/* ---- the explorer is explored: a table with one row wrong must be caught ---- */

#define S(from, event, to, action) PF_SOURCE, PF_S_##from, PF_SE_##event, PF_S_##to, PF_SA_##action
#define D(from, event, to, action) \
	PF_DESTINATION, PF_D_##from, PF_DE_##event, PF_D_##to, PF_DA_##action

static const struct mutation {
	enum pf_side side;
	uint8_t from, event, to, action;
	struct budget budget;
	const char *caught; /* a part of the rule that it breaks */
} mutations[] = {
	{S(OFFERED, LINK_DOWN, KEPT, KEEP), {.cuts = 1}, "run"},
	{S(IN_DOUBT, CANCEL, KEPT, KEEP), {.cuts = 1}, "run"},
	{S(IN_DOUBT, MET_LOST, KEPT, KEEP), {.crashes = 1, .losses = 1}, "run"},
	{S(IN_DOUBT, MET_GONE, KEPT, KEEP), {.cuts = 1}, "run"},
	{S(OUTAGE, MET_CONFLICT, KEPT, KEEP), {.crashes = 1, .losses = 1}, "run"},
	{S(NEW, VMM_STANDS, SETUP, RETAKE), {.crashes = 1, .losses = 1}, "source-intact"},
	{S(NEW, VMM_LOST, FAILED, FAIL), {.losses = 1, .deaths = 1}, "source-intact"},
	{S(NEW, CANCEL, CANCELLED, CANCEL), {.crashes = 1, .losses = 1}, "source-intact"},
	{S(SENDING, LINK_DOWN, SETUP, RECONNECT), {.cuts = 1}, "nobody"},
	{S(OFFERED, ABORTED, FAILED, NONE), {0}, "mend"},
	{S(IN_DOUBT, FENCED, FAILED, NONE), {.cuts = 1}, "mend"},
	{S(OFFERED, FENCED, CANCELLED, SETTLE), {0}, "may not"},
	{S(SERVING, FENCED, CANCELLED, SETTLE), {0}, "may not"},
	{S(SERVING, FENCED, COMPLETED, RELEASE), {0}, "releases"},
	{S(OFFERED, ABORTED, CANCELLED, CANCEL), {0}, "may not"},
	{S(SERVING, LINK_DOWN, COMPLETED, RELEASE), {.cuts = 1}, "releases"},
	{D(READY, ABORT, CANCELLED, FAIL), {0}, "source-intact"},
	{D(READY, COMMIT, GRANTED, NONE), {0}, ""},
	{D(WAITING, CANCEL, CANCELLED, FAIL), {.cuts = 1}, "source-intact"},
	{D(GRANTED, LINK_DOWN, WAITING, NONE), {.cuts = 1}, ""},
	{D(GRANTED, VMM_LOST, FAILED, REFUSED), {.deaths = 1}, "past"},
	{D(AWAY_RUN, VMM_LOST, FAILED, REFUSED), {.crashes = 1, .deaths = 1}, "past"},
	{D(SERVING, VMM_REFUSED, FAILED, REFUSED), {.deaths = 1}, "past"},
	{D(OUTAGE, QUIT_KEPT, COMPLETED, FINISH), {.cuts = 1}, "missing"},
	{D(SERVING, LINK_DOWN, COMPLETED, FINISH), {.cuts = 1}, "missing"},
	{D(OUTAGE, QUIT_KEPT, CANCELLED, ABORT), {.cuts = 1}, "record"},
	{D(LOADING, VMM_READY, READY, LOAD), {0}, ""},
	{D(NEW, VMM_LOST, FAILED, FAIL), {.losses = 1, .deaths = 1}, "source-intact"},
	{D(NEW, CANCEL, CANCELLED, ABORT), {.crashes = 1, .losses = 1}, "source-intact"},
	{D(AWAY_READY_UP, VMM_LOADED, READY, NONE), {.crashes = 1}, "both wait"},
};

static size_t find_row(const struct pf_machine *machine, uint8_t from, uint8_t event)
{
	for (size_t i = 0; i < machine->rows; i++)
		if (machine->row[i].from == from && machine->row[i].event == event)
			return i;
	return machine->rows; /* the pair is ignored: a row more */
}

/* Whether it was caught by the rule that it breaks. */
static bool try_mutation(const struct mutation *mutation)
{
	const struct pf_machine *real = machines[mutation->side];
	static struct pf_transition rows[ROWS_MOST];
	static uint64_t ignored[SIDES][ROWS_MOST];
	struct tables tables = real_tables();
	struct pf_machine wrong = *real;
	size_t at = find_row(real, mutation->from, mutation->event);
	struct exploration found;

	memcpy(rows, real->row, real->rows * sizeof(rows[0]));
	rows[at] = (struct pf_transition){mutation->from, mutation->event, mutation->to,
					  mutation->action, "wrong on purpose"};
	wrong.row = rows;
	wrong.rows = at < real->rows ? real->rows : real->rows + 1;
	tables.machine[mutation->side] = &wrong;
	for (unsigned side = PF_SOURCE; side <= PF_DESTINATION; side++)
		tables.followed[side] = ignored[side];
	assert_int_equal(pf_explore(&tables, &mutation->budget, WORLDS_MOST, NULL, &found), 0);
	print_message("%s (%s, %s) -> %s, %s: %s\n", real->name, real->state_name[mutation->from],
		      real->event_name[mutation->event], real->state_name[mutation->to],
		      real->action_name[mutation->action],
		      found.broken ? found.broken : "NOT CAUGHT");
	return found.broken && strstr(found.broken, mutation->caught);
}

static void a_row_that_is_wrong_is_caught(void **unused)
{
	unsigned missed = 0;

	(void)unused;
	for (size_t i = 0; i < PF_ARRAY_LEN(mutations); i++)
		missed += !try_mutation(&mutations[i]);
	assert_int_equal(missed, 0);
}

/* A process that forgets what its state directory says. */
static void a_start_that_is_wrong_is_caught(void **unused)
{
	struct pf_machine wrong = pf_source_machine;
	struct budget budget = {.crashes = 1};
	struct tables tables = real_tables();
	struct pf_start starts[16];
	struct exploration found;

	(void)unused;
	memcpy(starts, wrong.start, wrong.starts * sizeof(starts[0]));
	for (size_t i = 0; i < wrong.starts; i++)
		if (starts[i].record == PF_RECORD_OFFERED)
			starts[i].state = PF_S_SETUP;
	wrong.start = starts;
	tables.machine[PF_SOURCE] = &wrong;
	assert_int_equal(pf_explore(&tables, &budget, WORLDS_MOST, NULL, &found), 0);
	print_message("a source that begins with SETUP in OFFERED: %s\n",
		      found.broken ? found.broken : "NOT CAUGHT");
	assert_non_null(found.broken);
}

static uint8_t number(const char *text)
{
	return (uint8_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_breaks_a_rule),
		cmocka_unit_test(every_row_is_followed),
		cmocka_unit_test(a_row_that_is_wrong_is_caught),
		cmocka_unit_test(a_start_that_is_wrong_is_caught),
	};

	if (argc == 8) {
		struct budget budget = {number(argv[1]), number(argv[2]), number(argv[3]),
					number(argv[4]), number(argv[5]), number(argv[6]),
					number(argv[7])};

		return explore(&budget, 100000000u) ? 0 : 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
