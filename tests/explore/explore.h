/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/explore/explore.h - every world that can be reached from one, breadth first. */
#ifndef PF_TESTS_EXPLORE_EXPLORE_H
#define PF_TESTS_EXPLORE_EXPLORE_H

#include <stdio.h>

#include "tests/explore/world.h"

/* How much may go wrong in one history. */
struct budget {
	uint8_t crashes, losses, cuts, failures, deaths, halves, lates;
};

struct exploration {
	uint64_t worlds, steps, quiet; /* quiet: worlds in which nothing happens by itself */
	unsigned depth;		       /* steps to the farthest world */
	const char *broken;	       /* the rule that was broken, or NULL */
};

/*
 * Explores until every world is known or a rule is broken; then the shortest history that leads
 * there is printed to trace (NULL: not).  -1: out of memory, or more worlds than most.
 */
int pf_explore(const struct tables *tables, const struct budget *budget, uint32_t most, FILE *trace,
	       struct exploration *out);

#endif
