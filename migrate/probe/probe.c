/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/probe.c - `pageferry probe`: tries every subject, prints, returns the exit code.
 *
 * One thread, which does nothing itself but wait for the trials' processes: see
 * migrate/probe/trial.h.
 */
#include "migrate/probe/probe.h"

#include <ctype.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/size.h"
#include "migrate/probe/report.h"
#include "migrate/probe/subjects.h"
#include "migrate/probe/trial.h"
#include "migrate/report.h"

/* Of one subject.  Milliseconds are usual; this is for a busy machine, or one that hangs. */
#define PATIENCE_NS (40 * PF_NS_PER_S)

static const struct pf_subject *const subjects[] = {
	&pf_subject_userfaultfd, &pf_subject_memfd,	  &pf_subject_tmpfs, &pf_subject_hugetlbfs,
	&pf_subject_private,	 &pf_subject_guest_memfd, &pf_subject_kvm,   &pf_subject_room,
	&pf_subject_netem,	 &pf_subject_tls,	  &pf_subject_peer,
};

/* Names in certificates and paths come from outside: nothing of them may steer a terminal. */
static void clean(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

static void try_everything(const struct pf_probe_report *report)
{
	for (uint32_t i = 0; i < report->subjects; i++) {
		const struct pf_subject *subject = report->subject[i];

		if (!pf_report_has(report, i))
			continue;
		pf_trial_run(subject, report->options, pf_now_ns() + PATIENCE_NS, report->found[i]);
		for (uint32_t k = 0; k < subject->checks; k++) {
			clean(report->found[i][k].what);
			clean(report->found[i][k].why.text);
			clean(report->found[i][k].why.hint);
		}
	}
}

/* Where lines are wrapped: the terminal's width, or $COLUMNS where it is none. */
static unsigned columns(void)
{
	const char *given = getenv("COLUMNS");
	struct winsize size;
	struct pf_err ignored;
	uint64_t width = 0;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		return size.ws_col >= 60 ? size.ws_col : 80;
	if (given && pf_number_parse(given, 60, 1000, &width, &ignored))
		return 0;
	return (unsigned)width;
}

/* no-color.org */
static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *never = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(never && never[0]) && term && strcmp(term, "dumb") != 0;
}

static int print(const struct pf_probe_report *report, struct pf_err *err)
{
	json_t *json;
	int failed;

	if (!report->options->json) {
		pf_report_text(report, stdout, columns(), wants_colour());
		return 0;
	}
	json = pf_report_json(report);
	failed = !json || json_dumpf(json, stdout, JSON_COMPACT) != 0;
	json_decref(json);
	if (failed)
		return pf_err_set(err, PF_ERR_SYSTEM, "writing the report as JSON failed");
	putchar('\n');
	return 0;
}

static int probe(const struct pf_probe_options *options, struct pf_err *err)
{
	struct pf_probe_report report = {
		.options = options, .subject = subjects, .subjects = PF_ARRAY_LEN(subjects)};
	size_t size = PF_ARRAY_LEN(subjects) * sizeof(report.found[0]);
	char lacks[256];
	int failed;

	report.found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report.found == MAP_FAILED)
		return pf_err_sys(err, "allocating memory for the answers");
	fflush(stdout); /* or the processes of the trials would inherit what is in it */
	try_everything(&report);
	failed = print(&report, err);
	if (!failed && pf_verdict_lacks(&report, &pf_verdicts[0], lacks, sizeof(lacks)))
		failed = pf_err_set(err, PF_ERR_SYSTEM,
				    "no post-copy of memory on memfd here: it "
				    "lacks %s",
				    lacks);
	munmap(report.found, size);
	return failed;
}

int pf_probe_main(int argc, char **argv)
{
	struct pf_probe_options options;
	struct pf_err err;

	if (pf_probe_options_parse(argc, argv, &options, &err)) {
		pf_report("probe", &err);
		return pf_err_exit_code(&err);
	}
	if (options.help) {
		pf_probe_options_help(stdout);
		return 0;
	}
	if (probe(&options, &err) == 0)
		return 0;
	pf_report("probe", &err);
	return pf_err_exit_code(&err);
}
