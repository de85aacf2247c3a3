/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/demo.c - `pageferry demo`: the main job on one machine, start to verdict.
 *
 * A guest works under one VMM, moves to another one through two agents while it goes on writing,
 * and every byte of its memory is compared with a guest that never moved.  demo_run() is the whole
 * story; whatever ends it, demo_done() removes all that was made.  One thread.
 */
#include "migrate/demo/demo.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "migrate/demo/children.h"
#include "migrate/demo/launch.h"
#include "migrate/demo/mishaps.h"
#include "migrate/demo/needs.h"
#include "migrate/demo/netns.h"
#include "migrate/demo/options.h"
#include "migrate/demo/orchestrate.h"
#include "migrate/demo/pki.h"
#include "migrate/demo/report.h"
#include "migrate/demo/workdir.h"
#include "migrate/report.h"

#define GIB (UINT64_C(1) << 30)
/* Generous: a sanitizer's build on a busy machine must not fail for being slow. */
#define START_NS (60 * PF_NS_PER_S)
#define GIB_NS (300 * PF_NS_PER_S)
/* The guest visits so many pages before the switch-over, and again after completion: about a
 * second's work where KVM itself is emulated. */
#define WALK_VISITS 4096
/* With --outage push alone would take so many seconds, so that the guest still asks for pages at each
 * mishap.  An option, and not `set`: so it holds from the first page on. */
#define MISHAPS_S 128

struct demo {
	struct pf_demo_options options;
	const char *self;
	char guest_program[PATH_MAX];
	struct pf_workdir dir;
	struct pf_netns netns;
	bool namespaces;
	char network[640];
	struct pf_launch source, destination;
	bool children_open;
	struct pf_children children;
	struct pf_orchestra orchestra;
	struct pf_mishaps mishaps; /* with --outage */
	uint64_t visits_end; /* the guest's, once both agents had ended */
};

static uint64_t soon(void)
{
	return pf_now_ns() + START_NS;
}

/* For what takes the longer the more memory there is. */
static uint64_t eventually(const struct demo *demo)
{
	return soon() + demo->options.memory / (GIB / 1024) * (GIB_NS / 1024);
}

static int no_link(struct pf_err *err, const char *why)
{
	pf_err_set(err, PF_ERR_SYSTEM, "--outage needs two network namespaces, to cut the link "
		   "between them: %s", why);
	return pf_err_hint(err, "run it as root");
}

/* Two hosts if this process may have them; the report says what it was. */
static int make_network(struct demo *demo, struct pf_err *err)
{
	struct pf_err why;
	int refused;

	if (geteuid() != 0 && demo->options.outage)
		return no_link(err, "not root");
	if (geteuid() != 0) {
		snprintf(demo->network, sizeof(demo->network), "loopback (not root)");
		return 0;
	}
	refused = pf_netns_make(&demo->netns, &why);
	if (refused < 0) {
		*err = why;
		return -1;
	}
	if (refused && demo->options.outage)
		return no_link(err, why.text);
	demo->namespaces = !refused;
	if (refused)
		snprintf(demo->network, sizeof(demo->network), "loopback (%s)", why.text);
	else
		snprintf(demo->network, sizeof(demo->network),
			 "two network namespaces joined by veth");
	demo->source.netns = demo->netns.source;
	demo->destination.netns = demo->netns.destination;
	return 0;
}

static int prepare(struct demo *demo, struct pf_err *err)
{
	const struct pf_pki_names names = {
		.server = {.sans = "DNS:destination", .common_name = "destination"},
		.client = {.sans = "DNS:source", .common_name = "source"},
	};

	if (pf_launch_find_guest(demo->self, demo->guest_program, sizeof(demo->guest_program),
				 err) ||
	    pf_needs_kernel(demo->options.backend, err) ||
	    pf_needs_memory(demo->options.backend, demo->options.memory, err))
		return -1;
	/* First of all the signals: from here on they are an orderly end. */
	if (pf_children_open(&demo->children, demo->dir.path, err))
		return -1;
	demo->children_open = true;
	if (pf_workdir_make(&demo->dir, err))
		return -1;
	pf_launch_paths(&demo->source, PF_SOURCE, demo->dir.path, demo->dir.state);
	pf_launch_paths(&demo->destination, PF_DESTINATION, demo->dir.path, demo->dir.state);
	if (demo->options.outage)
		demo->source.max_bandwidth = demo->options.memory / MISHAPS_S;
	if (mkdir(demo->source.tls, 0700) != 0)
		return pf_err_sys(err, "making %s", demo->source.tls);
	return pf_pki_make(demo->source.tls, &names, err) || make_network(demo, err) ? -1 : 0;
}

static int start_agents(struct demo *demo, struct pf_err *err)
{
	struct pf_orchestra *orchestra = &demo->orchestra;
	const char *listen = demo->namespaces ? PF_NETNS_DESTINATION ":0" : "127.0.0.1:0";

	if (pf_launch_agent(&demo->destination, demo->self, listen, &demo->children,
			    &orchestra->destination.agent, err) ||
	    pf_orchestra_connect(orchestra, &orchestra->destination, demo->destination.control,
				 soon(), err) ||
	    pf_orchestra_await_address(orchestra, soon(), err))
		return -1;
	if (pf_launch_agent(&demo->source, demo->self, orchestra->destination.address,
			    &demo->children, &orchestra->source.agent, err))
		return -1;
	return pf_orchestra_connect(orchestra, &orchestra->source, demo->source.control, soon(),
				    err);
}

static int start_guests(struct demo *demo, struct pf_err *err)
{
	const struct pf_demo_options *options = &demo->options;

	if (pf_launch_guest(&demo->source, demo->guest_program, options, &demo->children,
			    &demo->orchestra.source.guest.child, err))
		return -1;
	return pf_launch_guest(&demo->destination, demo->guest_program, options, &demo->children,
			       &demo->orchestra.destination.guest.child, err);
}

/* Lets a guest work on: its counter must grow. */
static int walk(struct demo *demo, struct pf_demo_guest *guest, uint64_t *out_before,
		struct pf_err *err)
{
	if (pf_demo_guest_visits(guest, &demo->children, soon(), out_before, err))
		return -1;
	return pf_demo_guest_walk(guest, &demo->children, *out_before + WALK_VISITS,
				  eventually(demo), err);
}

static struct pf_demo_report make_report(const struct demo *demo, const struct pf_demo_guest *guest)
{
	const struct pf_orchestra *orchestra = &demo->orchestra;
	struct pf_demo_report report = {
		.network = demo->network,
		.backend = demo->options.backend,
		.cipher = orchestra->cipher,
		.guest = &guest->answer,
		.visits_end = demo->visits_end,
		.outages = orchestra->outages,
		.mishaps = orchestra->mishaps,
	};

	if (orchestra->completed_ns != 0) {
		report.total_ns = orchestra->completed_ns - orchestra->switchover_ns;
		report.postcopy_ns = orchestra->completed_ns - orchestra->running_ns;
	}
	return report;
}

static int print_report(const struct demo *demo, struct pf_err *err)
{
	const struct pf_orchestra *orchestra = &demo->orchestra;
	struct pf_demo_report report = make_report(demo, &orchestra->destination.guest);

	if (pf_demo_report_take(&report, orchestra->source.status, orchestra->destination.status,
				err))
		return -1;
	pf_demo_report_print(&report, stdout);
	if (fflush(stdout) != 0)
		return pf_err_sys(err, "writing the report");
	return pf_demo_report_prove(&report, err);
}

/* A demo that failed because of a wrong byte still says which one, and what else it knows. */
static bool tell_difference(const struct demo *demo, struct pf_demo_side *side)
{
	const struct pf_orchestra *orchestra = &demo->orchestra;
	struct pf_demo_report report;
	struct pf_err err;

	if (pf_demo_guest_drain(&side->guest, &err))
		pf_report("demo", &err);
	if (!pf_demo_guest_different(&side->guest.answer))
		return false;
	report = make_report(demo, &side->guest);
	/* The agents may have said nothing yet: then there are no numbers of theirs. */
	(void)!pf_demo_report_take(&report, orchestra->source.status, orchestra->destination.status,
				   &err);
	pf_demo_report_print(&report, stdout);
	if (fflush(stdout) != 0) {
		pf_err_sys(&err, "writing the report");
		pf_report("demo", &err);
	}
	return true;
}

static int demo_run(struct demo *demo, struct pf_err *err)
{
	struct pf_orchestra *orchestra = &demo->orchestra;
	struct pf_demo_guest *here = &orchestra->source.guest;
	struct pf_demo_guest *there = &orchestra->destination.guest;
	uint64_t before;

	if (prepare(demo, err) || start_agents(demo, err) || start_guests(demo, err))
		return -1;
	if (pf_demo_guest_await(here, &demo->children, PF_GUEST_RUNNING, eventually(demo), err) ||
	    pf_orchestra_await_active(orchestra, eventually(demo), err) ||
	    walk(demo, here, &before, err))
		return -1;
	pf_orchestra_say(orchestra, "%-11s switchover: the guest has made %llu visits", "demo",
			 (unsigned long long)here->answer.visits);
	if (pf_orchestra_migrate(orchestra, eventually(demo), err) ||
	    pf_orchestra_check_outcome(&orchestra->source, demo->source.state, err) ||
	    pf_orchestra_check_outcome(&orchestra->destination, demo->destination.state, err))
		return -1;
	if (walk(demo, there, &demo->visits_end, err))
		return -1;
	pf_orchestra_say(orchestra, "%-11s the guest goes on: %llu visits; comparing every byte",
			 "demo", (unsigned long long)there->answer.visits);
	if (pf_demo_guest_finish(there, &demo->children, eventually(demo), err))
		return -1;
	if (!pf_demo_guest_identical(&there->answer))
		return pf_err_set(err, PF_ERR_STATE,
				  "the guest's memory is not what it should be: %s",
				  there->answer.verdict);
	return print_report(demo, err);
}

static void demo_done(struct demo *demo)
{
	pf_orchestra_done(&demo->orchestra);
	if (demo->children_open)
		pf_children_close(&demo->children);
	pf_netns_done(&demo->netns);
	pf_workdir_remove(&demo->dir);
}

static int exit_code(const struct demo *demo, bool different, const struct pf_err *err)
{
	if (demo->children_open && demo->children.caught)
		return 128 + demo->children.caught;
	if (different)
		return 1;
	return err->class == PF_ERR_USAGE || err->class == PF_ERR_SYSTEM ? pf_err_exit_code(err)
									 : 1;
}

/* The status to exit with. */
static int demo_failed(struct demo *demo, const struct pf_err *err)
{
	struct pf_orchestra *orchestra = &demo->orchestra;
	bool different;

	pf_termline_end(&orchestra->line); /* the progress line ends before the message */
	pf_report("demo", err);
	different = tell_difference(demo, &orchestra->destination) ||
		    tell_difference(demo, &orchestra->source);
	if (demo->children_open)
		pf_children_tell(&demo->children, stderr);
	return exit_code(demo, different, err);
}

int pf_demo_main(int argc, char **argv, const char *self)
{
	struct demo demo = {.self = self, .netns = {-1, -1, NULL}};
	struct pf_err err;
	int code = 0;

	if (pf_demo_options_parse(argc, argv, &demo.options, &err)) {
		pf_report("demo", &err);
		return pf_err_exit_code(&err);
	}
	if (demo.options.help) {
		pf_demo_options_help(stdout);
		return 0;
	}
	pf_orchestra_init(&demo.orchestra, &demo.children);
	if (demo.options.outage) {
		demo.orchestra.mishaps = &demo.mishaps;
		demo.orchestra.netns = &demo.netns;
	}
	if (demo_run(&demo, &err))
		code = demo_failed(&demo, &err);
	demo_done(&demo);
	return code;
}
