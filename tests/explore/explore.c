/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/explore.c - see tests/explore/explore.h.
 *
 * Worlds are kept in the order in which they were found, each with the world and the step that led
 * to it first, so that the history of a broken rule is a shortest one.  Afterwards the edges that
 * no fault is needed for are followed backwards from every world whose guest runs or was given up:
 * a world that stands and is not reached so can be mended by nobody.
 */
#include "tests/explore/explore.h"

#include <stdlib.h>
#include <string.h>

#include "base/side.h"

#define NOBODY UINT32_MAX

struct found {
	uint32_t from;
	uint8_t step, mode;
};

struct edge {
	uint32_t from, to;
};

struct explorer {
	const struct tables *tables;
	struct world *world;
	struct found *found;
	uint32_t count, most;
	uint32_t *slot; /* hash table of 1 + index; 0: free */
	uint32_t slots; /* a power of two */
	struct edge *edge;
	size_t edges, room;
	struct exploration *out;
	struct world broken; /* and how it came about */
	struct found broken_found;
};

static uint64_t hash(const struct world *world)
{
	uint64_t words[sizeof(*world) / 8], h = 0;

	memcpy(words, world, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		h = (h ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	return h;
}

/* The world's index; it is added if it is new.  NOBODY: too many. */
static uint32_t intern(struct explorer *x, const struct world *world, struct found found)
{
	uint32_t at = (uint32_t)hash(world) & (x->slots - 1);

	while (x->slot[at]) {
		if (memcmp(&x->world[x->slot[at] - 1], world, sizeof(*world)) == 0)
			return x->slot[at] - 1;
		at = (at + 1) & (x->slots - 1);
	}
	if (x->count == x->most)
		return NOBODY;
	x->world[x->count] = *world;
	x->found[x->count] = found;
	x->slot[at] = ++x->count;
	return x->count - 1;
}

static int add_edge(struct explorer *x, uint32_t from, uint32_t to)
{
	if (x->edges == x->room) {
		size_t room = x->room ? x->room * 2 : 1 << 16;
		struct edge *edge = realloc(x->edge, room * sizeof(*edge));

		if (!edge)
			return -1;
		x->edge = edge;
		x->room = room;
	}
	x->edge[x->edges++] = (struct edge){from, to};
	return 0;
}

static void note_broken(struct explorer *x, const char *why, const struct world *world,
			struct found found)
{
	if (x->out->broken)
		return;
	x->out->broken = why;
	x->broken = *world;
	x->broken_found = found;
}

/* 1: the step leads to another world; 0: to none; -1: no room. */
static int try_step(struct explorer *x, uint32_t from, unsigned step, enum mode mode,
		    bool *out_wrote)
{
	struct found found = {.from = from, .step = (uint8_t)step, .mode = (uint8_t)mode};
	struct world world = x->world[from];
	const char *why = NULL;
	uint32_t to;

	if (pf_world_step(x->tables, &world, step, mode, out_wrote, &why) == NOT_POSSIBLE)
		return 0;
	if (memcmp(&world, &x->world[from], sizeof(world)) == 0)
		return 0;
	x->out->steps++;
	if (!why)
		why = pf_world_broken(&world);
	if (why)
		note_broken(x, why, &world, found);
	to = intern(x, &world, found);
	if (to == NOBODY)
		return -1;
	if (mode == AS_MEANT && pf_steps[step].class != FAULT && add_edge(x, from, to))
		return -1;
	return 1;
}

static int expand(struct explorer *x, uint32_t from)
{
	bool quiet = true;

	for (unsigned step = 0; step < pf_step_count && !x->out->broken; step++) {
		bool more = true;

		for (enum mode mode = AS_MEANT; mode < MODES_ && more; mode++) {
			bool wrote = false;
			int led = try_step(x, from, step, mode, &wrote);

			more = wrote || mode != AS_MEANT;

			if (led < 0)
				return -1;
			if (led > 0 && pf_steps[step].class == PROGRESS)
				quiet = false;
		}
	}
	if (quiet) {
		const char *why = pf_world_unnamed(&x->world[from]);

		x->out->quiet++;
		if (why)
			note_broken(x, why, &x->world[from], x->found[from]);
	}
	return 0;
}

/* ---- afterwards ---- */

static int check_mendable(struct explorer *x)
{
	uint8_t *mended = malloc(x->count);
	bool changed = true;

	if (!mended)
		return -1;
	for (uint32_t i = 0; i < x->count; i++)
		mended[i] = !pf_world_stands(&x->world[i]);
	/* Edges mostly lead forward in the order of finding: few rounds are needed. */
	while (changed) {
		changed = false;
		for (size_t i = x->edges; i-- > 0;) {
			if (mended[x->edge[i].to] && !mended[x->edge[i].from])
				mended[x->edge[i].from] = changed = true;
		}
	}
	for (uint32_t i = 0; i < x->count; i++)
		if (!mended[i])
			note_broken(x, "nobody runs, and nobody can mend it", &x->world[i],
				    x->found[i]);
	free(mended);
	return 0;
}

static void print_step(const struct explorer *x, struct found found, const struct world *world,
		       FILE *trace)
{
	static const char *const modes[] = {"", ", and the write fails",
					    ", and crashes behind the write"};
	char text[512];

	pf_world_print(x->tables, world, text, sizeof(text));
	fprintf(trace, "  %s%s\n      %s\n", found.from == NOBODY ? "at first" : pf_steps[found.step].name,
		found.from == NOBODY ? "" : modes[found.mode], text);
}

static void print_history(const struct explorer *x, uint32_t world, FILE *trace)
{
	if (world == NOBODY)
		return;
	print_history(x, x->found[world].from, trace);
	print_step(x, x->found[world], &x->world[world], trace);
}

static unsigned depth_of(const struct explorer *x, uint32_t world)
{
	unsigned depth = 0;

	while (x->found[world].from != NOBODY) {
		world = x->found[world].from;
		depth++;
	}
	return depth;
}

static int run(struct explorer *x, const struct budget *budget, FILE *trace)
{
	for (uint8_t differ = 0; differ < 2; differ++) {
		struct world first = {
			.crashes = budget->crashes, .losses = budget->losses, .cuts = budget->cuts,
			.failures = budget->failures, .deaths = budget->deaths,
			.halves = budget->halves, .lates = budget->lates, .differ = differ,
		};

		for (unsigned side = PF_SOURCE; side <= PF_DESTINATION; side++)
			first.side[side] = (struct agent){
				.proc = PROC_ALIVE,
				.record = PF_RECORD_NONE,
				.state = pf_machine_start(x->tables->machine[side],
							  PF_RECORD_NONE, 0)->state,
			};
		(void)intern(x, &first, (struct found){.from = NOBODY});
	}
	for (uint32_t i = 0; i < x->count && !x->out->broken; i++)
		if (expand(x, i))
			return -1;
	if (!x->out->broken && check_mendable(x))
		return -1;
	x->out->worlds = x->count;
	x->out->depth = depth_of(x, x->count - 1);
	if (x->out->broken && trace) {
		fprintf(trace, "%s:\n", x->out->broken);
		print_history(x, x->broken_found.from, trace);
		print_step(x, x->broken_found, &x->broken, trace);
	}
	return 0;
}

int pf_explore(const struct tables *tables, const struct budget *budget, uint32_t most, FILE *trace,
	       struct exploration *out)
{
	struct explorer x = {.tables = tables, .most = most, .out = out, .slots = 1};
	int result = -1;

	*out = (struct exploration){0};
	while (x.slots < most + most / 2)
		x.slots *= 2;
	x.world = malloc(most * sizeof(*x.world));
	x.found = malloc(most * sizeof(*x.found));
	x.slot = calloc(x.slots, sizeof(*x.slot));
	if (x.world && x.found && x.slot)
		result = run(&x, budget, trace);
	free(x.world);
	free(x.found);
	free(x.slot);
	free(x.edge);
	return result;
}
