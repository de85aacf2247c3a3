/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/run.h - does what a scenario says at its times, then what stdin says.
 *
 * One thread and one poll(2) for all: times, commands, the relays, programs that end, signals. What
 * it makes is removed when it returns, and by the kernel if it never does.
 */
#ifndef PF_TESTS_NETFAULT_RUN_H
#define PF_TESTS_NETFAULT_RUN_H

#include "tests/netfault/scenario.h"

struct nf_run_options {
	uint64_t seed;
	bool commands; /* take commands from stdin when the scenario is done */
};

/*
 * Time 0 of "at" is when the statements before the first of them are done.  A line on `out` for
 * each statement of the scenario when it is done, and an answer for each command.  -1: a statement
 * failed, which ends a scenario, or a signal came.
 */
PF_MUST_USE int nf_run(const struct nf_scenario *scenario, const struct nf_run_options *options,
		       FILE *out, struct pf_err *err);

#endif
