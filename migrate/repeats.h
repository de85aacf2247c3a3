/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/repeats.h - what has been told of somebody already, so that it is not told again each second.
 *
 * By host and reason, for the last PF_REPEATS of them.  What is told of a stranger is not told again for a
 * minute.  What is told of a peer of the session, which tries again by itself as long as it is refused, is not told
 * again until something else is told of its host, or this side is in another state.  One thread; never blocks.
 */
#ifndef PF_MIGRATE_REPEATS_H
#define PF_MIGRATE_REPEATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define PF_REPEATS 16u
#define PF_REPEATS_NS (60 * PF_NS_PER_S)

struct pf_repeats {
	struct {
		uint64_t host, what; /* hashes */
		uint64_t state;	     /* when it was told */
		uint64_t told_ns;    /* 0: none */
	} told[PF_REPEATS];
};

/* state: 0 for a stranger, else a number that is another one in each state.  true: do not tell it. */
bool pf_repeats_is_told(const struct pf_repeats *repeats, const char *address, const char *what,
			uint64_t state, uint64_t now_ns);
void pf_repeats_told(struct pf_repeats *repeats, const char *address, const char *what,
		     uint64_t state, uint64_t now_ns);

#endif
