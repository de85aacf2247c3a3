/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/options.h - the command line of `pageferry probe`.
 *
 * Pure; any thread.
 */
#ifndef PF_MIGRATE_PROBE_OPTIONS_H
#define PF_MIGRATE_PROBE_OPTIONS_H

#include <stdio.h>

#include "net/addr.h"

struct pf_probe_options {
	bool json, help;
	uint64_t memory;	    /* bytes of a guest that is to fit; 0: none in particular */
	struct pf_endpoint connect; /* port 0: no peer */
	const char *tls_dir;	    /* borrowed from argv; NULL: none */
	const char *peer_name;	    /* NULL: the host of --connect */
};

/* PF_ERR_USAGE. */
PF_MUST_USE int pf_probe_options_parse(int argc, char **argv, struct pf_probe_options *out,
				       struct pf_err *err);
void pf_probe_options_help(FILE *out);

#endif
