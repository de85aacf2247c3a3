/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/urgency.c - see base/urgency.h; sched_setattr(2). */
#include "base/urgency.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000u /* the shortest that the kernel grants (kernel/sched/syscalls.c) */

/* As the kernel defines it; glibc 2.36 has neither the struct nor the call. */
struct sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

void pf_thread_is_urgent(void)
{
	struct sched_attr attr = {.size = sizeof(attr)};

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0)
		return;
	attr.flags = 0;
	attr.runtime = SLICE_NS;
	(void)syscall(SYS_sched_setattr, 0, &attr, 0);
}
