/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/clock.h - monotonic time in nanoseconds; any thread, never blocks, cannot fail. */
#ifndef PF_BASE_CLOCK_H
#define PF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define PF_NS_PER_US UINT64_C(1000)
#define PF_NS_PER_MS UINT64_C(1000000)
#define PF_NS_PER_S UINT64_C(1000000000)

static inline uint64_t pf_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * PF_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
