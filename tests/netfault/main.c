/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/main.c - pageferry-netfault: the command line; pageferry-netfault(1). */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "config.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/size.h"
#include "tests/netfault/plan.h"
#include "tests/netfault/programs.h"
#include "tests/netfault/run.h"

struct options {
	bool help, version, dry_run;
	struct nf_run_options run;
	const char *path; /* NULL: none */
};

static void help(FILE *out)
{
	fputs("Usage: pageferry-netfault [--seed NUMBER] [--dry-run] SCENARIO\n"
	      "       pageferry-netfault [--seed NUMBER] --commands [SCENARIO]\n"
	      "       pageferry-netfault exec NETNS COMMAND...\n"
	      "Builds networks in namespaces of its own, and has them fail as told.  Everything "
	      "is\n"
	      "removed when it ends, whatever ends it.\n"
	      "\n"
	      "  --seed NUMBER  what drop and garble choose by (without one it is drawn, and "
	      "told)\n"
	      "  --dry-run      check SCENARIO and print what would be done; needs no privilege\n"
	      "  --commands     then take statements from stdin, and answer each with a line: "
	      "\"ok\",\n"
	      "                 \"ok: DETAIL\" or \"error: REASON\"; until \"end\" or the end of "
	      "stdin\n"
	      "  --help, --version\n"
	      "  exec           becomes COMMAND in NETNS, the path that `namespace` was answered "
	      "with\n"
	      "\n"
	      "A statement a line, \"at TIME\" before it if it has one; # begins a comment:\n",
	      out);
	nf_statements_help(out);
	fputs("\nExit status: 0, 1 (an exec failed, or a signal), 64 (usage), 71 (the system said "
	      "no), 78 (SCENARIO).\n",
	      out);
}

static int take_option(int option, const char *given, struct options *out, struct pf_err *err)
{
	switch (option) {
	case 's':
		if (pf_number_parse(optarg, 0, UINT64_MAX, &out->run.seed, err))
			return pf_err_prefix(err, "--seed");
		return 0;
	case 'd':
		out->dry_run = true;
		return 0;
	case 'c':
		out->run.commands = true;
		return 0;
	case 'h':
		out->help = true;
		return 0;
	case 'v':
		out->version = true;
		return 0;
	case ':':
		return pf_err_set(err, PF_ERR_USAGE, "%s needs a value", given);
	default:
		return pf_err_set(err, PF_ERR_USAGE, "there is no option %s", given);
	}
}

static int parse(int argc, char **argv, struct options *out, struct pf_err *err)
{
	static const struct option table[] = {
		{"seed", required_argument, NULL, 's'}, {"dry-run", no_argument, NULL, 'd'},
		{"commands", no_argument, NULL, 'c'},	{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},	{NULL, 0, NULL, 0},
	};
	int option;

	*out = (struct options){.run.seed = pf_now_ns() % 1000000};
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", table, NULL)) != -1)
		if (take_option(option, argv[optind - 1], out, err))
			return -1;
	out->path = optind < argc ? argv[optind] : NULL;
	if (optind + 1 < argc)
		return pf_err_set(err, PF_ERR_USAGE, "'%s' is too much", argv[optind + 1]);
	if (!out->path && !out->run.commands && !out->help && !out->version)
		return pf_err_set(err, PF_ERR_USAGE, "a scenario is missing, or --commands");
	return 0;
}

static int read_scenario(const char *path, struct nf_scenario *out, struct pf_err *err)
{
	static char text[NF_SCENARIO_MAX + 1]; /* one more: what is too long is refused as such */
	pf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = -1;

	while (fd >= 0 && (got = read(fd, text + have, sizeof(text) - have)) > 0)
		have += (size_t)got;
	if (got < 0) {
		pf_err_sys(err, "reading %s", path);
		err->class = PF_ERR_CONFIG;
		return -1;
	}
	if (nf_scenario_parse(text, have, out, err) || nf_plan_check(out, err)) {
		err->class = PF_ERR_CONFIG;
		return pf_err_prefix(err, "%s", path);
	}
	return 0;
}

static void print_plan(const struct nf_scenario *scenario, uint64_t seed)
{
	char text[NF_PRINT_MAX];

	printf("seed %" PRIu64 "\n", seed);
	for (unsigned i = 0; i < scenario->count; i++) {
		nf_statement_print(&scenario->statement[i], text);
		printf("%s\n", text);
	}
}

static int report(const struct pf_err *err)
{
	fprintf(stderr, "pageferry-netfault: %s\n", err->text);
	if (err->hint[0])
		fprintf(stderr, "pageferry-netfault: %s\n", err->hint);
	return pf_err_exit_code(err);
}

static int with_scenario(const struct options *options, struct nf_scenario *scenario)
{
	struct pf_err err;

	if (options->path && read_scenario(options->path, scenario, &err))
		return report(&err);
	if (options->dry_run) {
		print_plan(scenario, options->run.seed);
		return 0;
	}
	fprintf(stderr, "pageferry-netfault: seed %" PRIu64 "\n", options->run.seed);
	if (nf_run(scenario, &options->run, stdout, &err) == 0)
		return 0;
	return options->path ? (pf_err_prefix(&err, "%s", options->path), report(&err))
			     : report(&err);
}

static int exec_main(int argc, char **argv)
{
	struct pf_err err;

	if (argc < 3) {
		pf_err_set(&err, PF_ERR_USAGE, "exec: NETNS and a command are needed");
		return report(&err);
	}
	nf_programs_become(argv[1], argv + 2, &err);
	return report(&err);
}

int main(int argc, char **argv)
{
	static struct nf_scenario scenario;
	struct options options;
	struct pf_err err;

	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		return exec_main(argc - 1, argv + 1);
	if (parse(argc, argv, &options, &err)) {
		pf_err_hint(&err, "see pageferry-netfault --help");
		return report(&err);
	}
	if (options.help)
		help(stdout);
	else if (options.version)
		puts("pageferry-netfault " PACKAGE_VERSION);
	return options.help || options.version ? 0 : with_scenario(&options, &scenario);
}
