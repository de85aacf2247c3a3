/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/room.c - subject: is there memory for a guest of --memory, and what limits it?
 *
 * Guest memory that the agent writes is charged to the agent's control group, whoever made the
 * file.
 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "base/sysfile.h"
#include "migrate/probe/cgroup.h"
#include "migrate/probe/subjects.h"

#define HUGE_BYTES (UINT64_C(2) << 20)
/* Beside the guest: the destination agent itself, and its 128 KiB of state for each GiB. */
#define AGENT_BYTES (UINT64_C(32) << 20)

/* What a guest takes besides itself; 0: no size was given. */
static uint64_t whole(const struct pf_trial *trial)
{
	uint64_t memory = trial->options->memory;

	return memory ? memory + (memory >> 13) + AGENT_BYTES : 0;
}

static int too_small(struct pf_err *err, const struct pf_trial *trial, uint64_t room,
		     const char *where)
{
	char guest[PF_SIZE_TEXT_MAX], left[PF_SIZE_TEXT_MAX];

	pf_size_print(trial->options->memory, guest);
	pf_size_print(room, left);
	return pf_check_no(err, "a guest of %s and its agent do not fit: %s leaves %s", guest,
			   where, left);
}

static int try_available(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	uint64_t available, total;
	char left[PF_SIZE_TEXT_MAX], all[PF_SIZE_TEXT_MAX];

	if (pf_sysfile_field("/proc/meminfo", "MemAvailable", &available, err) ||
	    pf_sysfile_field("/proc/meminfo", "MemTotal", &total, err))
		return -1;
	pf_size_print(available << 10, left);
	pf_size_print(total << 10, all);
	pf_check_says(out, "%s of %s available", left, all);
	return whole(trial) <= available << 10
		       ? 0
		       : too_small(err, trial, available << 10, "this host");
}

static int try_group(struct pf_trial *trial, const struct pf_cgroup_resource *resource,
		     uint64_t wanted, struct pf_found *out, struct pf_err *err)
{
	char limit[PF_SIZE_TEXT_MAX], used[PF_SIZE_TEXT_MAX], room[PF_SIZE_TEXT_MAX];
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	const char *above;

	if (pf_cgroup_here(resource, &place, &level, err))
		return 1;
	above = place.partial ? "; groups above it cannot be seen from here" : "";
	pf_size_print(level.limit, limit);
	pf_size_print(level.usage, used);
	pf_size_print(pf_cgroup_room(&level), room);
	if (place.version == 0)
		pf_check_says(out, "no limit: no control group here counts it");
	else if (level.limit == UINT64_MAX)
		pf_check_says(out, "no limit, cgroup v%d%s", place.version, above);
	else
		pf_check_says(out, "%s left of %s, %s in use; the tightest: %.120s, cgroup v%d%s",
			      room, limit, used, level.path, place.version, above);
	if (wanted <= pf_cgroup_room(&level))
		return 0;
	return too_small(err, trial, pf_cgroup_room(&level), level.path);
}

static int try_memory_group(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	return try_group(trial, &pf_cgroup_memory, whole(trial), out, err);
}

static int try_hugetlb_group(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	return try_group(trial, &pf_cgroup_hugetlb, trial->options->memory, out, err);
}

static int try_hugepages(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	uint64_t wanted = (trial->options->memory + HUGE_BYTES - 1) / HUGE_BYTES, free_pages;
	struct pf_hugepages pool;

	if (pf_sysfile_hugepages(&pool, err))
		return -1;
	free_pages = pool.free > pool.reserved ? pool.free - pool.reserved : 0;
	pf_check_says(out, "%" PRIu64 " of %" PRIu64 " pages free, %" PRIu64 " more on demand",
		      free_pages, pool.total, pool.surplus_limit);
	if (wanted == 0)
		wanted = 1;
	if (wanted <= free_pages + pool.surplus_limit)
		return 0;
	pf_check_no(err, "%" PRIu64 " free pages are needed%s", wanted,
		    trial->options->memory ? " for such a guest" : " at least");
	return pf_err_hint(err,
			   "for guests on hugetlbfs only; as root: sysctl vm.nr_hugepages=%" PRIu64,
			   pool.total + wanted - free_pages);
}

static const struct pf_check rows[] = {
	{"available", "free memory", try_available, "give this host less to do, or a smaller guest",
	 NULL},
	{"memory-cgroup", "memory control group", try_memory_group,
	 "raise its limit, run the agent in the VMM's group, or have the VMM preallocate the "
	 "memory: "
	 "what the agent writes is charged to the agent's group",
	 NULL},
	{"hugepages", "huge pages of 2 MiB", try_hugepages, NULL, NULL},
	{"hugetlb-cgroup", "hugetlb control group", try_hugetlb_group,
	 "for guests on hugetlbfs only: raise its limit", NULL},
};

const struct pf_subject pf_subject_room = {
	.name = "room",
	.title = "Room for a guest",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
};
