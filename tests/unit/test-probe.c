/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-probe.c - what `pageferry probe` makes of a subject: trial, verdict, text, JSON.
 *
 * The subjects here are made up: one hangs, one dies, one leaves things behind.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/probe/report.h"
#include "migrate/probe/trial.h"

/* A trial that hangs ends at this deadline; one that does not has all the time it needs. */
#define SHORT_NS (200 * PF_NS_PER_MS)
#define LONG_NS (60 * PF_NS_PER_S)

static int yes(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)err;
	pf_check_says(out, "in process %d", (int)getpid());
	return 0;
}

static int no(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out;
	return pf_check_no(err, "it has none");
}

static int forbidden(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out;
	errno = EACCES;
	pf_err_sys(err, "opening it");
	return 1;
}

static int hang(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	sigset_t all;

	(void)trial, (void)out, (void)err;
	sigfillset(&all);
	return sigwaitinfo(&all, NULL) > 0 ? hang(trial, out, err) : 0;
}

static int die(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out, (void)err;
	raise(SIGKILL);
	return 0;
}

static const struct pf_check good_rows[] = {
	{"one", "ONE", yes, "never shown", NULL},
	{"two", "TWO", no, "get one", "CAP_TWO"},
	{"three", "THREE", forbidden, "ask for it", "CAP_THREE"},
};
static const struct pf_check hang_rows[] = {{"one", "ONE", yes, NULL, NULL},
					    {"two", "TWO", hang, NULL, NULL},
					    {"three", "THREE", yes, NULL, NULL}};
static const struct pf_check dead_rows[] = {{"one", "ONE", die, NULL, NULL},
					    {"two", "TWO", yes, NULL, NULL}};

static struct pf_found (*found)[PF_SUBJECT_CHECKS_MAX];
static const struct pf_probe_options no_options;

static int setup(void **state)
{
	(void)state;
	found = mmap(NULL, 8 * sizeof(found[0]), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	return found == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(found, 8 * sizeof(found[0]));
}

#define SUBJECT(rows)                                                                              \
	(struct pf_subject)                                                                        \
	{                                                                                          \
		.name = "made-up", .title = "Made up", .check = (rows),                            \
		.checks = PF_ARRAY_LEN(rows)                                                       \
	}

static void test_rows_are_tried_in_another_process(void **state)
{
	const struct pf_subject subject = SUBJECT(good_rows);
	char ours[64];

	(void)state;
	pf_trial_run(&subject, &no_options, pf_now_ns() + LONG_NS, found[0]);
	snprintf(ours, sizeof(ours), "in process %d", (int)getpid());
	assert_int_equal(found[0][0].result, PF_CHECK_YES);
	assert_memory_equal(found[0][0].what, "in process ", 11);
	assert_string_not_equal(found[0][0].what, ours);
	assert_string_equal(found[0][0].why.hint, "");
}

static void test_a_no_has_its_reason_and_what_to_do(void **state)
{
	const struct pf_subject subject = SUBJECT(good_rows);

	(void)state;
	pf_trial_run(&subject, &no_options, pf_now_ns() + LONG_NS, found[0]);
	assert_int_equal(found[0][1].result, PF_CHECK_NO);
	assert_string_equal(found[0][1].why.text, "it has none");
	assert_string_equal(found[0][1].why.hint, "get one");
	assert_null(found[0][1].privilege); /* nobody forbade it */
	assert_int_equal(found[0][2].result, PF_CHECK_UNTRIED);
	assert_string_equal(found[0][2].privilege, "CAP_THREE");
	assert_string_equal(found[0][2].why.hint, "ask for it");
}

static void test_what_hangs_is_ended_at_its_deadline(void **state)
{
	const struct pf_subject subject = SUBJECT(hang_rows);

	(void)state;
	pf_trial_run(&subject, &no_options, pf_now_ns() + SHORT_NS, found[0]);
	/* On a machine so busy that not even the first one was tried, it is the one that is late.
	 */
	if (found[0][0].result != PF_CHECK_YES) {
		fputs("skip test_what_hangs_is_ended_at_its_deadline: the machine is too busy\n",
		      stderr);
		skip();
	}
	assert_int_equal(found[0][1].result, PF_CHECK_NO);
	assert_non_null(strstr(found[0][1].why.text, "in time"));
	assert_int_equal(found[0][2].result, PF_CHECK_UNTRIED);
	assert_int_not_equal(found[0][2].why.text[0], '\0');
}

static void test_what_dies_is_an_answer(void **state)
{
	const struct pf_subject subject = SUBJECT(dead_rows);

	(void)state;
	pf_trial_run(&subject, &no_options, pf_now_ns() + LONG_NS, found[0]);
	assert_int_equal(found[0][0].result, PF_CHECK_NO);
	assert_non_null(strstr(found[0][0].why.text, "signal 9"));
	assert_int_equal(found[0][1].result, PF_CHECK_UNTRIED);
}

/* ---- verdicts ---- */

static const struct pf_check kind_rows[] = {{"missing", "MISSING", yes, NULL, NULL},
					    {"poison", "POISON", yes, NULL, NULL}};
static const struct pf_check kernel_rows[] = {{"kernel-accesses", "kernel", yes, NULL, NULL}};
static const struct pf_check kvm_rows[] = {{"userfault", "userfault", yes, NULL, NULL}};
static const struct pf_subject
	memfd = {.name = "memfd",
		 .title = "memfd",
		 .check = kind_rows,
		 .checks = 2,
		 .needed = 1,
		 .column = true},
	gmem = {.name = "guest_memfd",
		.title = "guest_memfd",
		.check = kind_rows,
		.checks = 2,
		.needed = 1,
		.column = true},
	kernel = {.name = "userfaultfd", .title = "userfaultfd", .check = kernel_rows, .checks = 1},
	kvm = {.name = "kvm", .title = "KVM", .check = kvm_rows, .checks = 1};
static const struct pf_subject *const made_up[] = {&kernel, &memfd, &gmem, &kvm};

static struct pf_probe_report report_with(enum pf_check_result all)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(made_up); i++)
		for (uint32_t k = 0; k < made_up[i]->checks; k++)
			found[i][k].result = all;
	return (struct pf_probe_report){
		.options = &no_options, .subject = made_up, .subjects = 4, .found = found};
}

static void test_a_verdict_names_what_is_lacking(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_YES);
	const struct pf_verdict *guest = &pf_verdicts[PF_VERDICTS - 1];
	char lacks[256];

	(void)state;
	assert_false(pf_verdict_lacks(&report, &pf_verdicts[0], lacks, sizeof(lacks)));
	assert_false(pf_verdict_lacks(&report, guest, lacks, sizeof(lacks)));
	found[1][1].result = PF_CHECK_NO; /* POISON is not needed */
	assert_false(pf_verdict_lacks(&report, &pf_verdicts[0], lacks, sizeof(lacks)));
	found[1][0].result = PF_CHECK_UNTRIED;
	assert_true(pf_verdict_lacks(&report, &pf_verdicts[0], lacks, sizeof(lacks)));
	assert_string_equal(lacks, "MISSING");
	found[3][0].result = PF_CHECK_NO; /* vCPUs' accesses matter for guest_memfd alone */
	assert_true(pf_verdict_lacks(&report, guest, lacks, sizeof(lacks)));
	assert_string_equal(lacks, "KVM userfault");
	found[0][0].result = PF_CHECK_NO;
	assert_true(pf_verdict_lacks(&report, &pf_verdicts[0], lacks, sizeof(lacks)));
	assert_non_null(strstr(lacks, "by the kernel"));
}

static void test_a_kind_that_was_not_tried_is_no_yes(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_YES);
	char lacks[256];

	(void)state;
	assert_true(pf_verdict_lacks(&report, &pf_verdicts[2], lacks, sizeof(lacks)));
}

/* ---- what is printed ---- */

static char *text_of(const struct pf_probe_report *report, unsigned width, bool colour)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	pf_report_text(report, out, width, colour);
	assert_int_equal(fclose(out), 0);
	return text;
}

static size_t longest_line(const char *text)
{
	size_t longest = 0;

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
		if (strcspn(text, "\n") > longest)
			longest = strcspn(text, "\n");
	return longest;
}

static void test_text_is_wrapped_to_the_terminal(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_YES);
	pf_auto_free char *wide = NULL, *narrow = NULL;

	(void)state;
	found[0][0].result = PF_CHECK_NO;
	for (size_t i = 0; i + 6 < sizeof(found[0][0].why.text); i += 5)
		memcpy(found[0][0].why.text + i, "word ", 6);
	wide = text_of(&report, 0, false);
	narrow = text_of(&report, 80, false);
	assert_true(longest_line(wide) > 400);
	assert_true(longest_line(narrow) <= 80);
	assert_null(strchr(narrow, '\033'));
}

static void test_colour_is_there_when_it_is_wanted(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_YES);
	pf_auto_free char *text = text_of(&report, 80, true);

	(void)state;
	assert_non_null(strstr(text, "\033[32myes\033[0m"));
}

static void test_equal_reasons_are_said_once(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_NO);
	pf_auto_free char *text = NULL;

	(void)state;
	for (uint32_t i = 0; i < 2; i++)
		pf_err_set(&found[2][i].why, PF_ERR_SYSTEM, "there is no KVM");
	text = text_of(&report, 0, false);
	assert_non_null(strstr(text, "guest_memfd MISSING: there is no KVM"));
	assert_non_null(strstr(text, "guest_memfd POISON (not needed): there is no KVM"));
	assert_non_null(strstr(text, "(no)"));
}

static void test_json_has_every_row(void **state)
{
	struct pf_probe_report report = report_with(PF_CHECK_YES);
	json_t *json, *check;

	(void)state;
	found[3][0].result = PF_CHECK_NO;
	pf_err_set(&found[3][0].why, PF_ERR_SYSTEM, "none");
	pf_err_hint(&found[3][0].why, "get it");
	json = pf_report_json(&report);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "subjects")), 4);
	check = json_array_get(
		json_object_get(json_array_get(json_object_get(json, "subjects"), 3), "checks"), 0);
	assert_string_equal(json_string_value(json_object_get(check, "result")), "no");
	assert_string_equal(json_string_value(json_object_get(check, "why")), "none");
	assert_string_equal(json_string_value(json_object_get(check, "hint")), "get it");
	assert_null(json_object_get(check, "privilege"));
	json_decref(json);
}

/* ---- the command line ---- */

static int parse(struct pf_probe_options *out, const char *first, const char *second)
{
	char *argv[] = {(char *)"probe", (char *)first, (char *)second, NULL};
	struct pf_err err;

	return pf_probe_options_parse(second ? 3 : 2, argv, out, &err);
}

static void test_options_are_checked(void **state)
{
	struct pf_probe_options options;

	(void)state;
	assert_int_equal(parse(&options, "--json", NULL), 0);
	assert_true(options.json);
	assert_int_equal(parse(&options, "--memory", "2G"), 0);
	assert_true(options.memory == UINT64_C(2) << 30);
	assert_int_equal(parse(&options, "--connect", "[::1]:4444"), 0);
	assert_int_equal(options.connect.port, 4444);
	assert_int_equal(parse(&options, "--connect", "localhost:0"), -1);
	assert_int_equal(parse(&options, "--connect", "localhost"), -1);
	assert_int_equal(parse(&options, "--memory", "0"), -1);
	assert_int_equal(parse(&options, "--memory", NULL), -1);
	assert_int_equal(parse(&options, "--peer-name", "x"), -1);
	assert_int_equal(parse(&options, "--nonsense", NULL), -1);
	assert_int_equal(parse(&options, "word", NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_rows_are_tried_in_another_process),
		TEST(test_a_no_has_its_reason_and_what_to_do),
		TEST(test_what_hangs_is_ended_at_its_deadline),
		TEST(test_what_dies_is_an_answer),
		TEST(test_a_verdict_names_what_is_lacking),
		TEST(test_a_kind_that_was_not_tried_is_no_yes),
		TEST(test_text_is_wrapped_to_the_terminal),
		TEST(test_colour_is_there_when_it_is_wanted),
		TEST(test_equal_reasons_are_said_once),
		TEST(test_json_has_every_row),
		TEST(test_options_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
