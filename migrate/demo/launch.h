/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/launch.h - the command lines of the agents and of the guest's VMMs.
 *
 * One thread; see migrate/demo/children.h for what starting means.
 */
#ifndef PF_MIGRATE_DEMO_LAUNCH_H
#define PF_MIGRATE_DEMO_LAUNCH_H

#include <stdint.h>

#include "base/err.h"
#include "base/side.h"
#include "migrate/demo/children.h"
#include "migrate/demo/options.h"

#define PF_LAUNCH_PATH_MAX 128u

/* Where everything of one side is. */
struct pf_launch {
	enum pf_side side;
	int netns; /* of the agent; -1: ours */
	uint64_t max_bandwidth; /* of its push, bytes a second; 0: no limit */
	char vmm[PF_LAUNCH_PATH_MAX], control[PF_LAUNCH_PATH_MAX], state[PF_LAUNCH_PATH_MAX];
	char tls[PF_LAUNCH_PATH_MAX];
};

/* The paths of a side below the demo's two directories. */
void pf_launch_paths(struct pf_launch *launch, enum pf_side side, const char *dir,
		     const char *state_dir);
/* address: what it listens on, or what it connects to. */
PF_MUST_USE int pf_launch_agent(const struct pf_launch *launch, const char *program,
				const char *address, struct pf_children *children,
				struct pf_child **out, struct pf_err *err);
PF_MUST_USE int pf_launch_guest(const struct pf_launch *launch, const char *program,
				const struct pf_demo_options *options,
				struct pf_children *children, struct pf_child **out,
				struct pf_err *err);
/*
 * pageferry-guest: $PAGEFERRY_GUEST, else the one of the build tree that self lies in, else the
 * installed one.  PF_ERR_CONFIG says where it was looked for.
 */
PF_MUST_USE int pf_launch_find_guest(const char *self, char *out, size_t size, struct pf_err *err);

#endif
