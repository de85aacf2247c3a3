/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/progress.h - one line for people from what query-migrate returns.
 *
 * Used by the agents on a terminal, by `pageferry watch` and by the demo.  Pure; one thread.
 */
#ifndef PF_MIGRATE_PROGRESS_H
#define PF_MIGRATE_PROGRESS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct pf_progress {	  /* what the line before knew, for the rate; zero it first */
	uint64_t filled; /* pages */
	uint64_t bytes;	 /* on the wire, both ways */
	uint64_t at_ns;
	double rate;	  /* bytes/s on the wire, smoothed */
	double page_rate; /* pages/s, smoothed */
};

/*
 * "postcopy-active 41 % 107402/262144 812 MiB/s 3021 faults 31/210 us 1 s left": state, pages, rate,
 * faults, their p50 and p99, time left, without a newline; a guest of some GiB fits 80 columns.  Only what status says is shown; a member of the wrong type counts as absent.
 */
void pf_progress_line(struct pf_progress *progress, const json_t *status, uint64_t now_ns,
		      char *out, size_t size);

#endif
