/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/oom.c - see migrate/oom.h. */
#include "migrate/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sysfile.h"

/* What an idle worker has of its own, and the kernel for it. */
#define START_BYTES (UINT64_C(4) << 20)
/* A group is charged for 64 pages at once (MEMCG_CHARGE_BATCH of linux/memcontrol.h) on each processor. */
#define SPEAK_BYTES (UINT64_C(512) << 10)
#define KILLS_FIELD "oom_kill"

static const char *const kills_file[] = {"memory.oom_control", "memory.events"};

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
	/* A page of its program that is dropped in a full group would have to be paid for again.  Best effort:
	 * RLIMIT_MEMLOCK. */
	(void)mlockall(MCL_CURRENT | MCL_ONFAULT);
}

static void open_kills(struct pf_oom *oom, const struct pf_cgroup_place *place)
{
	char path[PF_CGROUP_PATH_MAX + 32];
	struct pf_err ignored;
	uint64_t kills;

	snprintf(path, sizeof(path), "%s/%s", place->group, kills_file[place->version - 1]);
	oom->kills = pf_sysfile_open(path, &ignored);
	if (oom->kills >= 0 &&
	    pf_sysfile_read_field(oom->kills, path, KILLS_FIELD, &kills, &ignored))
		pf_close_fd(&oom->kills);
}

/* Each is read once: what the kernel needs for that it keeps until the file is closed (seq_file.c). */
static void open_files(struct pf_oom *oom)
{
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	struct pf_err ignored;
	uint64_t room;

	if (pf_cgroup_here(&pf_cgroup_memory, &place, &level, &ignored) || place.version == 0 ||
	    pf_cgroup_open(&place, &pf_cgroup_memory, &oom->files, &ignored))
		return;
	if (pf_cgroup_read(&oom->files, &room, &ignored))
		pf_cgroup_close(&oom->files);
	open_kills(oom, &place);
}

static void read_groups(const struct pf_oom *oom, char out[PF_OOM_GROUPS_MAX])
{
	ssize_t got = oom->groups < 0 ? 0 : pread(oom->groups, out, PF_OOM_GROUPS_MAX - 1, 0);

	out[got > 0 ? got : 0] = '\0';
}

static void close_files(struct pf_oom *oom)
{
	pf_cgroup_close(&oom->files);
	pf_close_fd(&oom->kills);
}

void pf_oom_open(struct pf_oom *oom)
{
	memset(oom, 0, sizeof(*oom));
	oom->kills = -1;
	oom->groups = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	read_groups(oom, oom->is_in);
	open_files(oom);
}

void pf_oom_close(struct pf_oom *oom)
{
	close_files(oom);
	pf_close_fd(&oom->groups);
}

/* Whoever manages groups may move a process at any time. */
static void follow(struct pf_oom *oom)
{
	char now[PF_OOM_GROUPS_MAX];

	read_groups(oom, now);
	if (strcmp(now, oom->is_in) == 0)
		return;
	memcpy(oom->is_in, now, sizeof(now));
	close_files(oom);
	open_files(oom);
}

uint64_t pf_oom_kills(struct pf_oom *oom)
{
	uint64_t kills = 0;
	struct pf_err ignored;

	follow(oom);
	return oom->kills < 0 || pf_sysfile_read_field(oom->kills, "", KILLS_FIELD, &kills, &ignored) ?
		       0 : kills;
}

static bool has_room(struct pf_oom *oom, uint64_t bytes)
{
	struct pf_err ignored;
	uint64_t room;

	follow(oom);
	return pf_cgroup_read(&oom->files, &room, &ignored) || room >= bytes;
}

bool pf_oom_room(struct pf_oom *oom)
{
	return has_room(oom, START_BYTES);
}

bool pf_oom_may_speak(struct pf_oom *oom)
{
	return has_room(oom, SPEAK_BYTES);
}
