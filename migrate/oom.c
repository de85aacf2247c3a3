/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/oom.c - see migrate/oom.h. */
#include "migrate/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sysfile.h"
#include "migrate/probe/cgroup.h"

/* What an idle worker has of its own, and the kernel for it. */
#define START_BYTES (UINT64_C(4) << 20)

static void set_score(const char *score)
{
	pf_auto_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, score, strlen(score));
}

void pf_oom_go_first(void)
{
	set_score("1000");
}

void pf_oom_stay(void)
{
	set_score("-1000");
}

uint64_t pf_oom_kills(void)
{
	static const char *const names[] = {"memory.oom_control", "memory.events"};
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	char path[PF_CGROUP_PATH_MAX + 32];
	uint64_t kills = 0;
	struct pf_err err;

	if (pf_cgroup_here(&pf_cgroup_memory, &place, &level, &err) || place.version == 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", place.group, names[place.version - 1]);
	return pf_sysfile_field(path, "oom_kill", &kills, &err) ? 0 : kills;
}

bool pf_oom_room(void)
{
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	struct pf_err err;

	return pf_cgroup_here(&pf_cgroup_memory, &place, &level, &err) ||
	       pf_cgroup_room(&level) >= START_BYTES;
}
