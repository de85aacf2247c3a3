/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/pause.h - how long to wait before trying again.  Pure: also for who may read no clock; any thread. */
#ifndef PF_BASE_PAUSE_H
#define PF_BASE_PAUSE_H

#include <stdint.h>

/* first_ns, doubled so many times, up to the longest. */
static inline uint64_t pf_doubled_ns(uint64_t first_ns, unsigned times, uint64_t longest_ns)
{
	while (times-- > 0 && first_ns < longest_ns)
		first_ns *= 2;
	return first_ns < longest_ns ? first_ns : longest_ns;
}

#endif
