/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/options.h - the demo's command line.
 *
 * Pure; any thread.
 */
#ifndef PF_MIGRATE_DEMO_OPTIONS_H
#define PF_MIGRATE_DEMO_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "migrate/demo/backend.h"

struct pf_demo_options {
	uint64_t memory; /* bytes, 16M..3G, a multiple of the backend's page size; default 1G */
	uint64_t vcpus;	 /* 1..4; default 1 */
	const struct pf_demo_backend *backend; /* default memfd */
	bool outage; /* a cut, and the death of each worker, in mid post-copy */
	bool help;
};

PF_MUST_USE int pf_demo_options_parse(int argc, char **argv, struct pf_demo_options *out,
				      struct pf_err *err);
void pf_demo_options_help(FILE *out);

#endif
