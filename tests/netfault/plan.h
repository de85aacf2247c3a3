/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/plan.h - which namespaces, interfaces and relays there are, by their names.
 *
 * A scenario is planned as a whole before anything is made, and --dry-run is no more than that, so
 * that a wrong name in line 40 does not end a run in its middle.  The run plans again, statement by
 * statement, and finds its things by the same indices.  Pure; refusals are PF_ERR_USAGE.
 */
#ifndef PF_TESTS_NETFAULT_PLAN_H
#define PF_TESTS_NETFAULT_PLAN_H

#include "tests/netfault/scenario.h"

#define NF_SPACES_MAX 8u
#define NF_INTERFACES_MAX 32u
#define NF_RELAYS_MAX 8u

struct nf_plan {
	unsigned spaces, interfaces, relays;
	char space[NF_SPACES_MAX][NF_NAME_MAX + 1];
	struct {
		struct nf_port port;
		unsigned space;
		bool bridge, enslaved;
	} interface[NF_INTERFACES_MAX];
	char relay[NF_RELAYS_MAX][NF_NAME_MAX + 1];
	bool chosen; /* something has been chosen by the seed */
};

/* What a statement's names mean: indices into the plan. */
struct nf_target {
	unsigned space, relay;
	unsigned interface[NF_PORTS_MAX];
};

/* Adds what the statement makes.  On -1 the plan is as it was. */
PF_MUST_USE int nf_plan_take(struct nf_plan *plan, const struct nf_statement *statement,
			     struct nf_target *out, struct pf_err *err);
/* All of it, into an empty plan. */
PF_MUST_USE int nf_plan_check(const struct nf_scenario *scenario, struct pf_err *err);

#endif
