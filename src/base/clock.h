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

/* Of two moments, 0 being never. */
static inline uint64_t pf_sooner_ns(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* For ppoll(2): none once it is past. */
static inline struct timespec pf_left_until(uint64_t moment_ns, uint64_t now_ns)
{
	uint64_t left = moment_ns > now_ns ? moment_ns - now_ns : 0;

	return (struct timespec){.tv_sec = (time_t)(left / PF_NS_PER_S),
				 .tv_nsec = (long)(left % PF_NS_PER_S)};
}

#endif
