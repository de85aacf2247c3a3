/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/launch.c - see migrate/demo/launch.h. */
#include "migrate/demo/launch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/demo/pki.h"

/* What differs between the two sides. */
static const struct side_words {
	const char *role, *peer, *address_option;
	const char *agent, *agent_log, *guest, *guest_log;
} words[] = {
	[PF_SOURCE] = {"source", "destination", "--connect", "source agent", "source.log",
		       "source guest", "source-guest.log"},
	[PF_DESTINATION] = {"destination", "source", "--listen", "destination agent",
			    "destination.log", "destination guest", "destination-guest.log"},
};

static void join(char *out, const char *dir, const char *role, const char *name)
{
	snprintf(out, PF_LAUNCH_PATH_MAX, "%s/%s%s", dir, role, name);
}

void pf_launch_paths(struct pf_launch *launch, enum pf_side side, const char *dir,
		     const char *state_dir)
{
	*launch = (struct pf_launch){.side = side, .netns = -1};
	join(launch->vmm, dir, words[side].role, ".vmm");
	join(launch->control, dir, words[side].role, ".control");
	join(launch->state, state_dir, words[side].role, ".state");
	join(launch->tls, dir, "tls", "");
}

int pf_launch_agent(const struct pf_launch *launch, const char *program, const char *address,
		    struct pf_children *children, struct pf_child **out, struct pf_err *err)
{
	const struct side_words *word = &words[launch->side];
	char limit[24];
	const char *const argv[] = {
		program,	word->role,  word->address_option, address,
		"--vmm-socket", launch->vmm, "--control",	   launch->control,
		"--tls-dir",	launch->tls, "--state-dir",	   launch->state,
		"--id",		"demo",	     "--peer-name",	   word->peer,
		"--max-bandwidth", limit,    NULL,
	};
	const struct pf_spawn spawn = {
		.name = word->agent, .log = word->agent_log, .argv = argv, .netns = launch->netns};

	snprintf(limit, sizeof(limit), "%" PRIu64, launch->max_bandwidth);
	return pf_children_start(children, &spawn, out, err);
}

int pf_launch_guest(const struct pf_launch *launch, const char *program,
		    const struct pf_demo_options *options, struct pf_children *children,
		    struct pf_child **out, struct pf_err *err)
{
	const struct side_words *word = &words[launch->side];
	char memory_text[24], vcpus_text[24], kinds[32];
	const char *const argv[] = {
		program,   "--role",   word->role,     "--memory",  memory_text,
		"--vcpus", vcpus_text, "--vmm-socket", launch->vmm, "--kinds",
		kinds,	   NULL,
	};
	const struct pf_spawn spawn = {.name = word->guest,
				       .log = word->guest_log,
				       .argv = argv,
				       .netns = -1,
				       .pipes = true};

	/* Two slots, as machines have them below and above the devices' hole. */
	snprintf(kinds, sizeof(kinds), "%s,%s", options->backend->name, options->backend->name);
	snprintf(memory_text, sizeof(memory_text), "%" PRIu64, options->memory);
	snprintf(vcpus_text, sizeof(vcpus_text), "%" PRIu64, options->vcpus);
	return pf_children_start(children, &spawn, out, err);
}

int pf_launch_find_guest(const char *self, char *out, size_t size, struct pf_err *err)
{
	const char *given = getenv("PAGEFERRY_GUEST");
	const char *slash = strrchr(self, '/');
	int dir = slash ? (int)(slash - self) : 0;

	if (given) {
		snprintf(out, size, "%s", given);
		if (access(out, X_OK) == 0)
			return 0;
		pf_err_sys(err, "$PAGEFERRY_GUEST, %s", given);
		err->class = PF_ERR_CONFIG;
		return -1;
	}
	snprintf(out, size, "%.*s/../tests/guest/pageferry-guest", dir, self);
	if (slash && access(out, X_OK) == 0)
		return 0;
	snprintf(out, size, "%s/pageferry-guest", PKGLIBEXECDIR);
	if (access(out, X_OK) == 0)
		return 0;
	pf_err_set(err, PF_ERR_CONFIG,
		   "no pageferry-guest, neither in %.*s/../tests/guest nor in %s", dir, self,
		   PKGLIBEXECDIR);
	return pf_err_hint(err,
			   "build it (`make`), or name it in the environment: PAGEFERRY_GUEST");
}
