/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/verbs.h - the small verbs: one command on the control socket of a running agent.
 *
 * One thread; blocks until the agent answers (`watch`: until it ends).  Reports on stderr and
 * returns the exit code: 0 done, 1 refused by the agent, 64 usage, 69 no agent there.
 */
#ifndef PF_MIGRATE_VERBS_H
#define PF_MIGRATE_VERBS_H

struct pf_verb {
	const char *name;
	const char *arguments; /* as --help shows them */
	const char *summary;
	const char *command; /* of proto/CONTROL.md; NULL: `watch` */
};

/* Ends with a NULL name. */
extern const struct pf_verb pf_verbs[];

/* argv[0] is the verb. */
int pf_verb_main(const struct pf_verb *verb, int argc, char **argv);

#endif
