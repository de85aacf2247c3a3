/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/options.h - the agents' command line (DESIGN.md section 6) as one table.
 *
 * The table feeds the parser, --help and the tests that compare it with the man pages.  Parsing is
 * pure: no I/O, nothing is opened.
 */
#ifndef PF_MIGRATE_OPTIONS_H
#define PF_MIGRATE_OPTIONS_H

#include <stdio.h>

#include "base/side.h"
#include "net/addr.h"

#define PF_CONNECTS_MAX 8u
#define PF_LINK_TIMEOUT_MS_MIN 100u
#define PF_LINK_TIMEOUT_MS_MAX 3600000u
#define PF_OUTAGE_DEADLINE_MS_MAX UINT32_MAX

struct pf_options {
	enum pf_side side;
	struct pf_endpoint listen;		    /* destination */
	struct pf_endpoint connect[PF_CONNECTS_MAX]; /* source */
	uint32_t connects;
	const char *vmm_socket, *control, *tls_dir, *state_dir, *id; /* borrowed from argv */
	const char *peer_name;	      /* NULL: the host of --connect (source only) */
	const char *events;	      /* FILE or fd:N; NULL: none */
	const char *vmm;	      /* dialect; "native" */
	uint32_t channels;	      /* bulk connections, 1..8; default 1 */
	uint64_t outage_deadline_ms;  /* 0: none */
	uint64_t link_timeout_ms;     /* default 750 */
	uint64_t max_bandwidth;	      /* bytes/s; 0: no limit */
	uint64_t max_device_state;    /* bytes; default 64M */
	uint64_t connect_timeout_s;   /* default 30 */
	bool help;		      /* --help was given: nothing else is checked */
};

/*
 * argv[0] is the verb.  PF_ERR_USAGE names the option and what is allowed: unknown option, missing
 * or repeated option, wrong value, option of the other side, a dialect that this build lacks.
 */
PF_MUST_USE int pf_options_parse(int argc, char **argv, enum pf_side side, struct pf_options *out,
				 struct pf_err *err);
void pf_options_help(enum pf_side side, FILE *out);

#endif
