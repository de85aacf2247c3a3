/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/ration.h - how often an event is told that somebody else can cause at will.
 *
 * PF_RATION_KEPT at once and one a second, so that the events which are kept are not for a stranger,
 * or a peer that lies, to wash away.  What is not told is counted.  One thread; never blocks.
 */
#ifndef PF_MIGRATE_RATION_H
#define PF_MIGRATE_RATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define PF_RATION_KEPT 32u

struct pf_ration {
	uint64_t paid_ns; /* up to when what was told is paid for */
	uint64_t untold;  /* since the last one that was */
};

/* true: tell it, with *out_untold. */
static inline bool pf_ration_take(struct pf_ration *ration, uint64_t *out_untold)
{
	uint64_t now = pf_now_ns();

	if (ration->paid_ns > now + PF_RATION_KEPT * PF_NS_PER_S) {
		ration->untold++;
		return false;
	}
	if (ration->paid_ns < now)
		ration->paid_ns = now;
	ration->paid_ns += PF_NS_PER_S;
	*out_untold = ration->untold;
	ration->untold = 0;
	return true;
}

#endif
