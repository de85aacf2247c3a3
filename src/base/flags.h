/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/flags.h - the options of a small command, by a table of getopt_long(3).
 *
 * One thread, since getopt has globals; never blocks.  Every failure is PF_ERR_USAGE, says what was given,
 * and its hint names the command's --help.
 */
#ifndef PF_BASE_FLAGS_H
#define PF_BASE_FLAGS_H

#include <getopt.h>

#include "base/err.h"

struct pf_flags {
	const char *command;	    /* as in `pageferry probe` */
	const struct option *table; /* val: what take() is given; not ':' and not '?' */
	int (*take)(int option, const char *value, void *out, struct pf_err *err);
	int (*check)(void *out, struct pf_err *err); /* all of them together, at the end; NULL: nothing */
};

/* argv[0] is the command.  Words that are no options are refused. */
PF_MUST_USE int pf_flags_parse(int argc, char **argv, const struct pf_flags *flags, void *out,
			       struct pf_err *err);

#endif
