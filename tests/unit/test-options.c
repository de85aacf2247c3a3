/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-options.c - the agents' command lines: what is taken, and what each refusal says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/options.h"

#define COMMON " --vmm-socket /v --control /c --tls-dir /t --state-dir /s --id vm-1"
#define SOURCE "source --connect 192.0.2.1:4444" COMMON
#define DESTINATION "destination --listen [::1]:0 --peer-name src.example" COMMON

static char words[2048];

/* The words of line, cut at blanks; they live until the next call, as argv does. */
static int parse(const char *line, struct pf_options *options, struct pf_err *err)
{
	enum pf_side side = strncmp(line, "source", 6) == 0 ? PF_SOURCE : PF_DESTINATION;
	char *argv[64], *rest = NULL;
	int argc = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = strcmp(word, "EMPTY") == 0 ? word + 5 : word;
	argv[argc] = NULL;
	return pf_options_parse(argc, argv, side, options, err);
}

static void a_source_needs_no_more_than_the_synopsis_says(void **state)
{
	struct pf_options options;
	struct pf_err err = {0};

	(void)state;
	if (parse(SOURCE, &options, &err))
		fail_msg("%s", err.text);
	assert_int_equal(options.side, PF_SOURCE);
	assert_int_equal(options.connects, 1);
	assert_string_equal(options.connect[0].host, "192.0.2.1");
	assert_int_equal(options.connect[0].port, 4444);
	assert_string_equal(options.vmm_socket, "/v");
	assert_string_equal(options.control, "/c");
	assert_string_equal(options.tls_dir, "/t");
	assert_string_equal(options.state_dir, "/s");
	assert_string_equal(options.id, "vm-1");
	assert_null(options.peer_name);
	assert_null(options.events);
	assert_string_equal(options.vmm, "native");
	assert_int_equal(options.channels, 1);
	assert_int_equal(options.outage_deadline_ms, 0);
	assert_int_equal(options.link_timeout_ms, 750);
	assert_int_equal(options.max_bandwidth, 0);
	assert_int_equal(options.max_device_state, 64 << 20);
	assert_int_equal(options.connect_timeout_s, 30);
	assert_false(options.help);
}

static void every_option_can_be_given(void **state)
{
	struct pf_options options;
	struct pf_err err = {0};

	(void)state;
	if (parse(DESTINATION " --vmm=native --channels=8 --events fd:3 --outage-deadline 1500"
			      " --max-bandwidth 100M --max-device-state 1G --connect-timeout 5",
		  &options, &err))
		fail_msg("%s", err.text);
	assert_string_equal(options.listen.host, "::1");
	assert_int_equal(options.listen.port, 0);
	assert_string_equal(options.peer_name, "src.example");
	assert_int_equal(options.channels, 8);
	assert_string_equal(options.events, "fd:3");
	assert_int_equal(options.outage_deadline_ms, 1500);
	assert_int_equal(options.max_bandwidth, 100 << 20);
	assert_int_equal(options.max_device_state, 1 << 30);
	assert_int_equal(options.connect_timeout_s, 5);
}

static void a_source_takes_eight_addresses(void **state)
{
	char line[1024] = SOURCE;
	struct pf_options options;
	struct pf_err err = {0};

	(void)state;
	for (int i = 0; i < 7; i++)
		strncat(line, " --connect [2001:db8::1]:1", sizeof(line) - strlen(line) - 1);
	if (parse(line, &options, &err))
		fail_msg("%s", err.text);
	assert_int_equal(options.connects, 8);
	strncat(line, " --connect host:1", sizeof(line) - strlen(line) - 1);
	assert_int_equal(parse(line, &options, &err), -1);
	assert_non_null(strstr(err.text, "8 times"));
}

struct refusal {
	const char *line;
	const char *says; /* must be in the text */
};

static const struct refusal refusals[] = {
	{"source", "missing: --connect ADDR:PORT, --vmm-socket PATH, --control PATH"},
	{"destination", "--peer-name NAME"},
	{"destination --listen h:1" COMMON, "missing: --peer-name NAME"},
	{SOURCE " --listen h:1", "--listen is an option of the destination"},
	{DESTINATION " --connect h:1", "--connect is an option of the source"},
	{SOURCE " --id vm-1", "--id is given twice"},
	{SOURCE " --frobnicate", "unknown option --frobnicate"},
	{SOURCE " --frobnicate=1", "unknown option --frobnicate"},
	{SOURCE " --vm native", "unknown option --vm"},
	{SOURCE " -h", "unknown option -h"},
	{SOURCE " stray", "'stray' belongs to no option"},
	{SOURCE " --events", "--events needs a value: FILE|fd:N"},
	{SOURCE " --events --channels 2", "--events needs a value"},
	{SOURCE " --events=", "--events: it is empty"},
	{SOURCE " --events fd:x", "--events: 'x' is not a whole number"},
	{SOURCE " --channels 0", "--channels: '0' is not a whole number from 1 to 8"},
	{SOURCE " --channels 9", "from 1 to 8"},
	{SOURCE " --max-bandwidth 10m", "--max-bandwidth: '10m' is not a size"},
	{SOURCE " --max-device-state 0", "--max-device-state: '0': at least one byte"},
	{SOURCE " --outage-deadline -1", "--outage-deadline: '-1'"},
	{SOURCE " --link-timeout 99", "--link-timeout: '99'"},
	{SOURCE " --link-timeout 3600001", "--link-timeout: '3600001'"},
	{SOURCE " --connect-timeout 0", "--connect-timeout: '0'"},
	{SOURCE " --connect host", "--connect: "},
	{SOURCE " --connect host:0", "nobody can connect to port 0"},
	{SOURCE " --vmm firecracker", "--vmm: this build has no firecracker dialect"},
	{SOURCE " --vmm cloud-hypervisor", "this build has no cloud-hypervisor dialect"},
	{SOURCE " --vmm qemu", "this build has no qemu dialect"},
	{SOURCE " --vmm xen", "'xen' is no dialect"},
	{SOURCE " --peer-name EMPTY", "--peer-name: it is empty"},
	{"source --id .hidden", "--id: "},
	{"source --id a/b", "--id: "},
};

static void each_refusal_names_the_option_and_what_is_allowed(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(refusals); i++) {
		struct pf_options options;
		struct pf_err err = {0};

		if (parse(refusals[i].line, &options, &err) == 0)
			fail_msg("taken: %s", refusals[i].line);
		assert_int_equal(err.class, PF_ERR_USAGE);
		if (!strstr(err.text, refusals[i].says))
			fail_msg("%s: says '%s' instead of '%s'", refusals[i].line, err.text,
				 refusals[i].says);
	}
}

static void a_socket_path_that_no_socket_can_have_is_refused(void **state)
{
	struct pf_options options;
	struct pf_err err = {0};
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "source --control /%0107d", 0);
	assert_int_equal(parse(line, &options, &err), -1);
	assert_non_null(strstr(err.text, "--control: a socket path has at most 107 bytes"));
	snprintf(line, sizeof(line), "source --control /%0106d", 0);
	assert_int_equal(parse(line, &options, &err), -1);
	assert_non_null(strstr(err.text, "missing: "));
}

static void help_is_given_whatever_else_is_wrong(void **state)
{
	struct pf_options options;
	struct pf_err err = {0};

	(void)state;
	assert_int_equal(parse("source --frobnicate --help", &options, &err), 0);
	assert_true(options.help);
}

static void help_lists_a_side_its_own_options_only(void **state)
{
	static const char *const both[] = {
		"--vmm-socket PATH", "--control PATH",	"--tls-dir DIR",
		"--state-dir DIR",   "--id ID",		"--peer-name NAME",
		"--vmm DIALECT",     "--channels N",	"--events FILE|fd:N",
		"--outage-deadline", "--link-timeout MS", "--max-bandwidth", "--max-device-state BYTES",
		"--connect-timeout", "(default 64M)",	"(default 30)",
	};

	(void)state;
	for (enum pf_side side = PF_SOURCE; side <= PF_DESTINATION; side++) {
		pf_auto_free char *text = NULL;
		size_t length;
		FILE *out = open_memstream(&text, &length);

		assert_non_null(out);
		pf_options_help(side, out);
		fclose(out);
		for (size_t i = 0; i < PF_ARRAY_LEN(both); i++)
			if (!strstr(text, both[i]))
				fail_msg("no %s in the help", both[i]);
		assert_int_equal(strstr(text, "\n  --listen ") != NULL, side == PF_DESTINATION);
		assert_int_equal(strstr(text, "\n  --connect ") != NULL, side == PF_SOURCE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_needs_no_more_than_the_synopsis_says),
		cmocka_unit_test(every_option_can_be_given),
		cmocka_unit_test(a_source_takes_eight_addresses),
		cmocka_unit_test(each_refusal_names_the_option_and_what_is_allowed),
		cmocka_unit_test(a_socket_path_that_no_socket_can_have_is_refused),
		cmocka_unit_test(help_is_given_whatever_else_is_wrong),
		cmocka_unit_test(help_lists_a_side_its_own_options_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
