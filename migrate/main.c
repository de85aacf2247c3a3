/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/main.c - pageferry: finds the verb and runs it.
 *
 * Every verb returns its exit code (DESIGN.md section 6); an error is reported once, on stderr, by
 * whoever turns it into that code.
 */
#include "config.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/agent_main.h"
#include "migrate/demo/demo.h"
#include "migrate/faults.h"
#include "migrate/keeper.h"
#include "migrate/oom.h"
#include "migrate/options.h"
#include "migrate/probe/probe.h"
#include "migrate/report.h"
#include "migrate/verbs.h"

/* The agent is started twice: first as its keeper, which starts it again as its worker. */
static int run_agent(int argc, char **argv, enum pf_side side)
{
	struct pf_options options;
	struct pf_kept kept;
	struct pf_err err;
	int code;

	if (pf_options_parse(argc, argv, side, &options, &err)) {
		pf_report(argv[0], &err);
		return pf_err_exit_code(&err);
	}
	if (options.help) {
		pf_options_help(side, stdout);
		return 0;
	}
	if (pf_kept_open(&kept, &err)) {
		pf_report(argv[0], &err);
		return pf_err_exit_code(&err);
	}
	if (kept.keeper_fd < 0)
		return pf_keeper_main(argv - 1, &options, &kept);
	pf_oom_go_first();
	code = side == PF_SOURCE ? pf_source_main(&options, &kept)
				 : pf_destination_main(&options, &kept);
	pf_kept_close(&kept);
	return code;
}

static int run_source(int argc, char **argv)
{
	return run_agent(argc, argv, PF_SOURCE);
}

static int run_destination(int argc, char **argv)
{
	return run_agent(argc, argv, PF_DESTINATION);
}

/* The demo starts agents: this very program, wherever it was built or installed. */
static int run_demo(int argc, char **argv)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct pf_err err;

	if (length < 0) {
		pf_err_sys(&err, "finding this program by /proc/self/exe");
		pf_report(argv[0], &err);
		return 71;
	}
	self[length] = '\0';
	return pf_demo_main(argc, argv, self);
}

static const struct program {
	const char *name;
	const char *arguments;
	const char *summary;
	int (*run)(int argc, char **argv);
} programs[] = {
	{"source", "OPTIONS", "the agent beside the VMM that the guest leaves", run_source},
	{"destination", "OPTIONS", "the agent beside the VMM that the guest moves to",
	 run_destination},
	{"demo", "OPTIONS", "move a guest between two agents on this machine and compare it",
	 run_demo},
	{"probe", "[OPTIONS]", "find out what post-copy can do on this host, and on the way to a peer",
	 pf_probe_main},
	{"fault-points", "", "list where a test can stop, kill or cut off this build",
	 pf_faults_main},
};

static void print_help(FILE *out)
{
	fputs("usage: pageferry VERB ...\n\n", out);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		fprintf(out, "  %s %s\n      %s\n", programs[i].name, programs[i].arguments,
			programs[i].summary);
	for (const struct pf_verb *verb = pf_verbs; verb->name; verb++)
		fprintf(out, "  %s %s\n      %s\n", verb->name, verb->arguments, verb->summary);
	fputs("\n`pageferry VERB --help` says more.  `pageferry --version` prints the version.\n",
	      out);
}

static int run(int argc, char **argv)
{
	struct pf_err err;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (strcmp(argv[0], programs[i].name) == 0)
			return programs[i].run(argc, argv);
	for (const struct pf_verb *verb = pf_verbs; verb->name; verb++)
		if (strcmp(argv[0], verb->name) == 0)
			return pf_verb_main(verb, argc, argv);
	pf_err_set(&err, PF_ERR_USAGE, "unknown verb");
	pf_err_hint(&err, "see: pageferry --help");
	pf_report(argv[0], &err);
	return pf_err_exit_code(&err);
}

int main(int argc, char **argv)
{
	int code;

	/* A peer that goes away is an error of write(2), not the end of the agent. */
	signal(SIGPIPE, SIG_IGN);
	/* So is a limit on file sizes: pwrite(2) then says EFBIG. */
	signal(SIGXFSZ, SIG_IGN);
	code = pf_faults_arm();
	if (code != 0)
		return code;
	if (argc < 2) {
		print_help(stderr);
		return 64;
	}
	if (strcmp(argv[1], "--help") == 0) {
		print_help(stdout);
		code = 0;
	} else if (strcmp(argv[1], "--version") == 0) {
		printf("pageferry %s%s\n", PACKAGE_VERSION, pf_faults_built());
		code = 0;
	} else {
		code = run(argc - 1, argv + 1);
	}
	if (fflush(stdout) != 0 && code == 0) {
		struct pf_err err;

		pf_err_sys(&err, "writing to stdout");
		pf_report(argv[1], &err);
		return 71;
	}
	return code;
}
