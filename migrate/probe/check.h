/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/check.h - what is probed, as rows, and what came of each.
 *
 * A subject is a table of rows that are tried one after the other in a process of the subject's own
 * (migrate/probe/trial.h); text, JSON and the verdicts are made from the same rows.  Data only.
 */
#ifndef PF_MIGRATE_PROBE_CHECK_H
#define PF_MIGRATE_PROBE_CHECK_H

#include "migrate/probe/options.h"

enum pf_check_result {
	PF_CHECK_PENDING, /* 0: before it was tried */
	PF_CHECK_BEGUN,
	PF_CHECK_YES,
	PF_CHECK_NO,
	PF_CHECK_UNTRIED,
};

/* In memory that the trial's process shares with the one that prints. */
struct pf_found {
	enum pf_check_result result;
	char what[256];	       /* beside a yes or a no: numbers, names; or "" */
	struct pf_err why;     /* NO and UNTRIED: text, and hint */
	const char *privilege; /* that was missing, or NULL */
};

struct pf_trial;

/* 0: yes.  -1: no, and *err says why.  1: it could not be tried, and *err says why. */
typedef int pf_attempt(struct pf_trial *trial, struct pf_found *out, struct pf_err *err);

struct pf_check {
	const char *name;  /* in JSON */
	const char *title; /* for people */
	pf_attempt *attempt;
	const char *hint;      /* what to do about a no whose error has no hint, or NULL */
	const char *privilege; /* what an EPERM or EACCES means here, or NULL */
};

#define PF_SUBJECT_CHECKS_MAX 12u

struct pf_subject {
	const char *name, *title;
	const struct pf_check *check;
	uint32_t checks;
	uint32_t needed;  /* bit i: post-copy of this kind of memory needs check i */
	bool column;	  /* subjects with the same rows next to each other are one table of text */
	const void *kind; /* what the attempts of several subjects differ by */
	bool (*wanted)(const struct pf_probe_options *options); /* NULL: always */
};

/* What an attempt sees; `state` is its process's own and lives from one attempt to the next. */
struct pf_trial {
	const struct pf_probe_options *options;
	const struct pf_subject *subject;
	uint32_t row; /* which of them is tried */
	void *state;
};

/* All that was found out; found[i] are the rows of subject[i], in shared memory. */
struct pf_probe_report {
	const struct pf_probe_options *options;
	const struct pf_subject *const *subject;
	uint32_t subjects;
	struct pf_found (*found)[PF_SUBJECT_CHECKS_MAX];
};

/* How attempts end. */
int pf_check_no(struct pf_err *err, const char *fmt, ...) PF_PRINTF(2, 3);	/* -1 */
int pf_check_untried(struct pf_err *err, const char *fmt, ...) PF_PRINTF(2, 3); /* 1 */
void pf_check_says(struct pf_found *out, const char *fmt, ...) PF_PRINTF(2, 3);

#endif
