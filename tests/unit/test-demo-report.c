/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-demo-report.c - the demo's options, the guest's words, and the report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/demo/guest.h"
#include "migrate/demo/options.h"
#include "migrate/demo/report.h"

static int parse(struct pf_demo_options *options, struct pf_err *err, const char *first,
		 const char *second)
{
	char verb[] = "demo", one[64], two[64];
	char *argv[] = {verb, one, two, NULL};

	snprintf(one, sizeof(one), "%s", first ? first : "");
	snprintf(two, sizeof(two), "%s", second ? second : "");
	return pf_demo_options_parse(1 + (first != NULL) + (second != NULL), argv, options, err);
}

static void test_without_options_it_is_one_gib_and_one_vcpu(void **state)
{
	struct pf_demo_options options;
	struct pf_err err;

	(void)state;
	assert_int_equal(parse(&options, &err, NULL, NULL), 0);
	assert_int_equal(options.memory, UINT64_C(1) << 30);
	assert_int_equal(options.vcpus, 1);
	assert_string_equal(options.backend->name, "memfd");
	assert_false(options.help);
	assert_false(options.outage);
}

static void test_options_take_sizes_and_both_spellings(void **state)
{
	struct pf_demo_options options;
	struct pf_err err;

	(void)state;
	assert_int_equal(parse(&options, &err, "--memory", "64M"), 0);
	assert_int_equal(options.memory, 64 << 20);
	assert_int_equal(parse(&options, &err, "--vcpus=4", "--backend=memfd"), 0);
	assert_int_equal(options.vcpus, 4);
	assert_int_equal(parse(&options, &err, "--memory=18M", "--backend=hugetlb"), 0);
	assert_int_equal(options.backend->page_bytes, 2 << 20);
	assert_int_equal(parse(&options, &err, "--backend=guest_memfd", NULL), 0);
	assert_true(options.backend->guest_memfd); /* the kernel is asked later, not by the parser */
	assert_int_equal(parse(&options, &err, "--outage", "--vcpus=2"), 0);
	assert_true(options.outage);
	assert_int_equal(parse(&options, &err, "--help", NULL), 0);
	assert_true(options.help);
}

static void test_what_is_not_possible_is_a_usage_error_that_names_it(void **state)
{
	static const struct {
		const char *first, *second, *names;
	} wrong[] = {
		{"--backend", "floppy", "floppy is unknown"},
		{"--outage=yes", NULL, "--outage=yes is not an option"},
		{"--memory", "1", "16M to 3G"},
		{"--memory", "4G", "16M to 3G"},
		{"--memory", "16777217", "--backend memfd has pages of 4K"},
		{"--memory=17M", "--backend=hugetlb", "--backend hugetlb has pages of 2048K"},
		{"--backend=hugetlb", "--memory=17M", "--backend hugetlb has pages of 2048K"},
		{"--memory", "much", "--memory"},
		{"--memory", NULL, "--memory needs a value"},
		{"--vcpus", "0", "--vcpus"},
		{"--vcpus", "5", "--vcpus"},
		{"--frobnicate", NULL, "--frobnicate is not an option"},
		{"stray", NULL, "stray: demo takes options only"},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(wrong); i++) {
		struct pf_demo_options options;
		struct pf_err err;

		assert_int_equal(parse(&options, &err, wrong[i].first, wrong[i].second), -1);
		assert_int_equal(pf_err_exit_code(&err), 64);
		if (!strstr(err.text, wrong[i].names))
			fail_msg("%s: not in \"%s\"", wrong[i].names, err.text);
	}
}

static const char *const finish[] = {
	"backend: kvm",
	"vcpus: 2",
	"memory-bytes: 1073741824",
	"visits: 5000000",
	"visits-here: 700000",
	"pages-touched-here: 200000",
	"heartbeats: 1234",
	"worst-stall-us: 4321",
	"downtime-guest-us: 987",
	"verdict: identical (1073741824 bytes)",
};

static void take(struct pf_demo_guest *guest, const char *line)
{
	struct pf_err err;

	if (pf_demo_guest_take(guest, line, &err))
		fail_msg("%s: %s", line, err.text);
}

static void test_the_guests_words_are_remembered(void **state)
{
	struct pf_demo_guest guest = {0};

	(void)state;
	take(&guest, "running");
	take(&guest, "paused");
	take(&guest, "released");
	assert_int_equal(guest.words, PF_GUEST_RUNNING | PF_GUEST_PAUSED | PF_GUEST_RELEASED);
}

static void test_the_guests_answer_is_taken_apart(void **state)
{
	struct pf_demo_guest guest = {0};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(finish); i++)
		take(&guest, finish[i]);
	take(&guest, "colour: blue"); /* a newer guest may say more */
	assert_string_equal(guest.answer.backend, "kvm");
	assert_int_equal(guest.answer.vcpus, 2);
	assert_int_equal(guest.answer.memory_bytes, 1073741824);
	assert_int_equal(guest.answer.visits, 5000000);
	assert_int_equal(guest.answer.visits_here, 700000);
	assert_int_equal(guest.answer.pages_touched_here, 200000);
	assert_int_equal(guest.answer.heartbeats, 1234);
	assert_int_equal(guest.answer.worst_stall_us, 4321);
	assert_int_equal(guest.answer.downtime_guest_us, 987);
	assert_true(pf_demo_guest_identical(&guest.answer));
}

static void test_only_the_whole_memory_counts_as_identical(void **state)
{
	static const char *const verdicts[] = {
		"verdict: identical (1073741823 bytes)",
		"verdict: DIFFERENT at 0x1000 expected 12 found 00",
		"verdict: identical",
	};

	(void)state;
	for (size_t v = 0; v < PF_ARRAY_LEN(verdicts); v++) {
		struct pf_demo_guest guest = {0};

		for (size_t i = 0; i + 1 < PF_ARRAY_LEN(finish); i++)
			take(&guest, finish[i]);
		take(&guest, verdicts[v]);
		assert_false(pf_demo_guest_identical(&guest.answer));
	}
}

static void test_the_guests_complaints_are_errors(void **state)
{
	struct pf_demo_guest guest = {0};
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_demo_guest_take(&guest, "error: the agent is gone", &err), -1);
	assert_non_null(strstr(err.text, "the agent is gone"));
	assert_int_equal(pf_demo_guest_take(&guest, "gibberish", &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(pf_demo_guest_take(&guest, "visits: many", &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.text, "visits"));
}

static json_t *status_of_completed(void)
{
	json_t *status = json_loads(
		"{\"state\": \"completed\", \"downtime-us\": 1500,"
		" \"pages\": {\"total\": 262144, \"filled\": 262144, \"requested\": 40000,"
		" \"pushed\": 222000, \"zero\": 144, \"duplicates\": 7,"
		" \"resent-after-resume\": 0},"
		" \"faults\": {\"count\": 42000, \"open\": 0, \"vcpu\": 30, \"kvm\": 20, \"vmm\": 10},"
		" \"latency-us\": {\"p50\": 31.25, \"p99\": 210, \"max\": 4000.5}}",
		0, NULL);

	assert_non_null(status);
	return status;
}

static void test_the_report_is_one_name_and_value_a_line(void **state)
{
	static const char *const lines[] = {
		"backend: kvm\n",
		"network: loopback\n",
		"cipher: TLSv1.3 X\n",
		"visits: 5000000\n",
		"visits-before: 4300000\n",
		"visits-during: 600000\n",
		"visits-after: 100000\n",
		"downtime-guest-us: 987\n",
		"downtime-us: 1500\n",
		"total-ms: 2500\n",
		"pages: 262144\n",
		"pages-by-request: 40000\n",
		"pages-by-push: 222000\n",
		"pages-zero: 144\n",
		"duplicates: 7\n",
		"faults: 42000\n",
		"faults-vcpu: 30\n",
		"faults-kvm: 20\n",
		"faults-vmm: 10\n",
		"fault-latency-p50-us: 31.2",
		"fault-latency-p99-us: 210.0\n",
		"worst-stall-us: 4321\n",
		"remote-faults-per-page-touched: 0.210\n",
		"throughput-mb-per-s: 536.6\n",
	};
	struct pf_demo_guest guest = {0};
	struct pf_demo_report report = {.backend = &pf_demo_memfd, .network = "loopback",
					.cipher = "TLSv1.3 X",
					.guest = &guest.answer,
					.visits_end = 4900000,
					.total_ns = 2500 * PF_NS_PER_MS,
					.postcopy_ns = 2 * PF_NS_PER_S};
	json_t *status = status_of_completed();
	char text[4096] = "", *last;
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(finish); i++)
		take(&guest, finish[i]);
	assert_int_equal(pf_demo_report_take(&report, status, status, &err), 0);
	pf_demo_report_print(&report, out);
	fclose(out);
	json_decref(status);
	for (size_t i = 0; i < PF_ARRAY_LEN(lines); i++)
		if (!strstr(text, lines[i]))
			fail_msg("%s is not in\n%s", lines[i], text);
	text[strlen(text) - 1] = '\0';
	last = strrchr(text, '\n');
	assert_non_null(last);
	assert_string_equal(last + 1, finish[PF_ARRAY_LEN(finish) - 1]);
}

static void print(struct pf_demo_report *report, char *text, size_t size)
{
	json_t *source = status_of_completed(), *destination = status_of_completed();
	FILE *out = fmemopen(text, size, "w");
	struct pf_err err;

	json_object_set_new(json_object_get(source, "pages"), "resent-after-resume",
			    json_integer(3));
	assert_int_equal(pf_demo_report_take(report, source, destination, &err), 0);
	pf_demo_report_print(report, out);
	fclose(out);
	json_decref(source);
	json_decref(destination);
}

static void test_the_report_says_what_became_of_each_mishap(void **state)
{
	static const char lines[] = "cut-ms: 5001\n"
				    "cut-healed-to-page-ms: 40.3 (goal 250)\n"
				    "source-killed-to-page-ms: 60.0 (goal 100)\n"
				    "resent-after-resume: 3\n"
				    "verdict: identical";
	const uint64_t ms = PF_NS_PER_MS;
	struct pf_mishaps mishaps = {
		.course = {{1000 * ms, 6001 * ms, 6041 * ms + ms / 3},
			   {7000 * ms, 7000 * ms, 7060 * ms},
			   {8000 * ms, 8000 * ms, 0}}}; /* no page came any more */
	struct pf_demo_guest guest = {0};
	struct pf_demo_report report = {.backend = &pf_demo_memfd, .network = "", .cipher = "",
					.guest = &guest.answer};
	char text[4096] = "";

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(finish); i++)
		take(&guest, finish[i]);
	print(&report, text, sizeof(text));
	assert_null(strstr(text, "resent")); /* nothing was to go wrong */
	report.mishaps = &mishaps;
	print(&report, text, sizeof(text));
	if (!strstr(text, lines))
		fail_msg("%s is not in\n%s", lines, text);
}

static void test_a_guest_that_found_the_wrong_word_itself_is_reported_too(void **state)
{
	static const char verdict[] = "verdict: DIFFERENT at 0x12345 expected 0x01 found 0x02";
	struct pf_demo_guest guest = {0};
	struct pf_demo_report report = {.backend = &pf_demo_memfd, .network = "", .cipher = "", .guest = &guest.answer};
	char text[256] = "", expected[256];
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_false(pf_demo_guest_different(&guest.answer));
	take(&guest, finish[PF_GUEST_BACKEND]);
	take(&guest, verdict);
	assert_true(pf_demo_guest_different(&guest.answer));
	assert_false(pf_demo_guest_identical(&guest.answer));
	pf_demo_report_print(&report, out);
	fclose(out);
	snprintf(expected, sizeof(expected), "backend: kvm\nmemory: memfd\n%s\n", verdict);
	assert_string_equal(text, expected);
}

/* What a demo needs in order to have shown a post-copy migration. */
static struct pf_demo_report proof(struct pf_demo_guest *guest)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(finish); i++)
		take(guest, finish[i]);
	return (struct pf_demo_report){
		.backend = &pf_demo_memfd,
		.guest = &guest->answer, .visits_end = 4900000, .requested = 1, .faults = 1};
}

static void expect_no_proof(const struct pf_demo_report *report, const char *name)
{
	struct pf_err err;

	assert_int_equal(pf_demo_report_prove(report, &err), -1);
	assert_int_equal(err.class, PF_ERR_STATE);
	if (!strstr(err.text, name))
		fail_msg("%s is not in \"%s\"", name, err.text);
}

static void test_a_migration_without_faults_is_no_post_copy(void **state)
{
	struct pf_demo_guest guest = {0};
	struct pf_demo_report good = proof(&guest), bad;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_demo_report_prove(&good, &err), 0);
	bad = good;
	bad.faults = 0;
	expect_no_proof(&bad, "faults is 0");
	bad = good;
	bad.resent = 1;
	expect_no_proof(&bad, "1 pages were sent again");
	bad = good;
	bad.requested = 0;
	expect_no_proof(&bad, "pages-by-request is 0");
	guest.answer.pages_touched_here = 0;
	expect_no_proof(&good, "pages-touched is 0");
}

static void test_on_guest_memfd_everybody_must_have_waited(void **state)
{
	struct pf_demo_guest guest = {0};
	struct pf_demo_report good = proof(&guest), bad;
	struct pf_err err;

	(void)state;
	good.backend = pf_demo_backend_find("guest_memfd");
	good.faults_vcpu = good.faults_kvm = good.faults_vmm = 1;
	assert_int_equal(pf_demo_report_prove(&good, &err), 0);
	bad = good;
	bad.faults_vcpu = 0;
	expect_no_proof(&bad, "faults-vcpu is 0");
	bad = good;
	bad.faults_kvm = 0;
	expect_no_proof(&bad, "faults-kvm is 0");
	bad = good;
	bad.faults_vmm = 0;
	expect_no_proof(&bad, "faults-vmm is 0");
}

static void test_a_guest_that_stood_still_is_no_post_copy(void **state)
{
	struct pf_demo_guest guest = {0};
	struct pf_demo_report good = proof(&guest), bad = good;

	(void)state;
	bad.visits_end = guest.answer.visits - guest.answer.visits_here;
	expect_no_proof(&bad, "visits-during is 0");
	bad.visits_end = guest.answer.visits;
	expect_no_proof(&bad, "visits-after is 0");
	guest.answer.visits_here = guest.answer.visits;
	expect_no_proof(&good, "visits-before is 0");
}

static void test_a_status_without_a_member_is_refused_by_name(void **state)
{
	static const char *const members[] = {"downtime-us", "pages", "faults", "latency-us"};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(members); i++) {
		struct pf_demo_report report = {0};
		json_t *status = status_of_completed();
		struct pf_err err;

		json_object_del(status, members[i]);
		assert_int_equal(pf_demo_report_take(&report, status, status, &err), -1);
		assert_int_equal(err.class, PF_ERR_PROTOCOL);
		assert_non_null(strstr(err.text, members[i]));
		json_decref(status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_options_it_is_one_gib_and_one_vcpu),
		cmocka_unit_test(test_options_take_sizes_and_both_spellings),
		cmocka_unit_test(test_what_is_not_possible_is_a_usage_error_that_names_it),
		cmocka_unit_test(test_the_guests_words_are_remembered),
		cmocka_unit_test(test_the_guests_answer_is_taken_apart),
		cmocka_unit_test(test_only_the_whole_memory_counts_as_identical),
		cmocka_unit_test(test_the_guests_complaints_are_errors),
		cmocka_unit_test(test_the_report_is_one_name_and_value_a_line),
		cmocka_unit_test(test_the_report_says_what_became_of_each_mishap),
		cmocka_unit_test(test_a_guest_that_found_the_wrong_word_itself_is_reported_too),
		cmocka_unit_test(test_a_migration_without_faults_is_no_post_copy),
		cmocka_unit_test(test_on_guest_memfd_everybody_must_have_waited),
		cmocka_unit_test(test_a_guest_that_stood_still_is_no_post_copy),
		cmocka_unit_test(test_a_status_without_a_member_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
