/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/flags.c - see base/flags.h. */
#include "base/flags.h"

static int take(int option, const char *given, const struct pf_flags *flags, void *out,
		struct pf_err *err)
{
	if (option == ':')
		return pf_err_set(err, PF_ERR_USAGE, "%s needs a value", given);
	if (option == '?')
		return pf_err_set(err, PF_ERR_USAGE, "%s is not an option of %s", given,
				  flags->command);
	return flags->take(option, optarg, out, err);
}

int pf_flags_parse(int argc, char **argv, const struct pf_flags *flags, void *out,
		   struct pf_err *err)
{
	int option, failed = 0;

	opterr = 0;
	optind = 0; /* getopt(3): 0 starts anew, whoever has used it before */
	while (!failed && (option = getopt_long(argc, argv, "+:", flags->table, NULL)) != -1)
		failed = take(option, argv[optind - 1], flags, out, err);
	if (!failed && optind < argc)
		failed = pf_err_set(err, PF_ERR_USAGE, "%s: %s takes options only", argv[optind],
				    flags->command);
	if (!failed && flags->check)
		failed = flags->check(out, err);
	if (failed)
		pf_err_hint(err, "see `pageferry %s --help`", flags->command);
	return failed;
}
