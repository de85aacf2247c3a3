/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/cgroup.h - what the control groups above this process still let it have.
 *
 * A limit counts for everybody below it, so that the tightest level from the process's own group up
 * to the root decides.  One thread; does not block.
 */
#ifndef PF_MIGRATE_PROBE_CGROUP_H
#define PF_MIGRATE_PROBE_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PF_CGROUP_PATH_MAX 1024u
#define PF_CGROUP_LEVELS_MAX 16u

/* What is limited, and in which files of cgroup v1 and v2. */
struct pf_cgroup_resource {
	const char *controller; /* of v1, and the prefix of its files */
	struct pf_cgroup_names {
		const char *limit, *high, *usage; /* high: NULL: there is none */
		const char *stat, *reclaimable; /* a field of a file of fields; NULL: nothing is */
	} file[2];				/* of version 1 and 2 */
};

extern const struct pf_cgroup_resource pf_cgroup_memory, pf_cgroup_hugetlb;

/* Where this process's group is in the file system. */
struct pf_cgroup_place {
	int version;			/* 1 or 2 */
	char mount[PF_CGROUP_PATH_MAX]; /* how far up can be seen from here */
	char group[PF_CGROUP_PATH_MAX]; /* mount, or below it */
	bool partial; /* there are groups above the mount, as in a container without a namespace */
};

/* One group; `room` is what its limit leaves. */
struct pf_cgroup_level {
	char path[PF_CGROUP_PATH_MAX];
	uint64_t limit; /* UINT64_MAX: none */
	uint64_t usage, reclaimable;
};

/*
 * From the texts of /proc/self/cgroup and /proc/self/mountinfo; controller: "" for version 2.  -1:
 * it is not mounted.  Pure.
 */
PF_MUST_USE int pf_cgroup_find(const char *cgroups, const char *mounts, const char *controller,
			       struct pf_cgroup_place *out, struct pf_err *err);
/* What can still be had below it: page cache makes room.  UINT64_MAX: there is no limit.  Pure. */
uint64_t pf_cgroup_room(const struct pf_cgroup_level *level);
/*
 * The tightest of the group and its parents.  0: *out is it, or has UINT64_MAX as its limit if none
 * has one.  1: no group here has the files of this resource.
 */
PF_MUST_USE int pf_cgroup_tightest(const struct pf_cgroup_place *place,
				   const struct pf_cgroup_resource *resource,
				   struct pf_cgroup_level *out, struct pf_err *err);
/*
 * The levels, from the group up, with their files open: what they say is then read without a need of memory
 * (base/sysfile.h), for who has to know it where there is none.
 */
struct pf_cgroup_files {
	const struct pf_cgroup_resource *resource;
	int version;
	size_t count; /* of PF_CGROUP_LEVELS_MAX; groups further up are left out */
	struct pf_cgroup_open {
		int limit, high, usage, stat; /* -1: there is none */
	} at[PF_CGROUP_LEVELS_MAX];
};
/* count 0: no group here has the files of this resource. */
PF_MUST_USE int pf_cgroup_open(const struct pf_cgroup_place *place,
			       const struct pf_cgroup_resource *resource,
			       struct pf_cgroup_files *out, struct pf_err *err);
/* What the tightest of them leaves; UINT64_MAX: none has a limit. */
PF_MUST_USE int pf_cgroup_read(const struct pf_cgroup_files *files, uint64_t *out_room,
			       struct pf_err *err);
void pf_cgroup_close(struct pf_cgroup_files *files);
/* All of it but that for this process, whichever version has the resource; version 0: none has. */
PF_MUST_USE int pf_cgroup_here(const struct pf_cgroup_resource *resource,
			       struct pf_cgroup_place *out_place, struct pf_cgroup_level *out,
			       struct pf_err *err);

#endif
