/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-netfault.c - scenarios of pageferry-netfault: what is understood, and what is
 * refused.
 *
 * Tables of lines; what the statements do to a network is tests/e2e/test_netfault.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/netfault/plan.h"
#include "tests/netfault/value.h"

static const char two_hosts[] = "namespace a\n"
				"namespace b\n"
				"link a:eth0 b:eth0\n";

static int parse(const char *line, struct nf_statement *out, struct pf_err *err)
{
	return nf_statement_parse(line, strlen(line), out, err);
}

static void test_a_value_keeps_its_meaning(void **state)
{
	static const struct {
		enum nf_unit unit;
		const char *text;
		uint64_t value;
		const char *printed;
	} rows[] = {
		{NF_TIME, "0s", 0, "0s"},
		{NF_TIME, "1.5s", 1500000000, "1.5s"},
		{NF_TIME, "1500ms", 1500000000, "1.5s"},
		{NF_TIME, "0.25us", 250, "0.25us"},
		{NF_TIME, "20us", 20000, "20us"},
		{NF_TIME, "3600s", UINT64_C(3600000000000), "3600s"},
		{NF_PERCENT, "100%", 1000000, "100%"},
		{NF_PERCENT, "0.0001%", 1, "0.0001%"},
		{NF_PERCENT, "12.50000%", 125000, "12.5%"},
		{NF_BITRATE, "8kbit", 8000, "8kbit"},
		{NF_BITRATE, "2.5mbit", 2500000, "2.5mbit"},
		{NF_BITRATE, "16gbit", UINT64_C(16000000000), "16gbit"},
	};
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		char printed[NF_VALUE_TEXT_MAX];
		uint64_t value = ~UINT64_C(0);

		if (nf_value_parse(rows[i].unit, rows[i].text, &value, &err))
			fail_msg("%s: %s", rows[i].text, err.text);
		assert_int_equal(value, rows[i].value);
		nf_value_print(rows[i].unit, value, printed);
		assert_string_equal(printed, rows[i].printed);
	}
}

static void test_a_value_that_means_nothing_is_refused_with_what_would(void **state)
{
	static const struct {
		enum nf_unit unit;
		const char *text;
	} rows[] = {
		{NF_TIME, ""},		{NF_TIME, "5"},	       {NF_TIME, "s"},
		{NF_TIME, ".5s"},	{NF_TIME, "5.s"},      {NF_TIME, "-5s"},
		{NF_TIME, "5m"},	{NF_TIME, "3600.1s"},  {NF_TIME, "5 s"},
		{NF_TIME, "0.0001us"},	{NF_PERCENT, "101%"},  {NF_PERCENT, "0.00001%"},
		{NF_PERCENT, "1"},	{NF_BITRATE, "7kbit"}, {NF_BITRATE, "17gbit"},
		{NF_BITRATE, "10Mbit"}, {NF_TIME, "1.5.5s"},   {NF_TIME, "9999999999999s"},
	};
	struct pf_err err;
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		if (nf_value_parse(rows[i].unit, rows[i].text, &value, &err) == 0)
			fail_msg("'%s' was taken", rows[i].text);
		assert_int_equal(err.class, PF_ERR_USAGE);
		assert_non_null(strstr(err.hint, "unit"));
	}
}

static void test_a_statement_is_printed_as_it_was_written(void **state)
{
	static const char *const rows[] = {
		"seed 18446744073709551615",
		"namespace a",
		"link a:eth0 b:eth0",
		"bridge s:br0 s:a s:b",
		"address a:eth0 192.0.2.1/24",
		"address a:eth0 2001:db8::1/64",
		"mtu a:eth0 1280",
		"at 2.5s down a:eth0",
		"up a:eth0",
		"cut a:eth0",
		"rate a:eth0 10mbit",
		"rate a:eth0 10mbit burst 65536 queue 20ms",
		"drop a:eth0 0.5%",
		"netem a:eth0 delay 50ms jitter 5ms loss 1% duplicate 2% reorder 3% corrupt 4%",
		"heal a:eth0",
		"heal a:eth0 netem",
		"reset a",
		"reset a port 4444",
		"relay r s 192.0.2.3:4444 [2001:db8::2]:4444",
		"stall r forward",
		"flow r",
		"garble r both 100000",
		"start a sleep 5",
		"exec a sh -c \"echo '#' | cat\" \"\" \"#x\"",
		"at 0s end",
	};
	struct nf_statement statement;
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		char printed[NF_PRINT_MAX];

		if (parse(rows[i], &statement, &err))
			fail_msg("%s: %s", rows[i], err.text);
		nf_statement_print(&statement, printed);
		assert_string_equal(printed, rows[i]);
	}
}

static void test_what_a_line_says_is_taken(void **state)
{
	struct nf_statement statement;
	struct pf_err err;

	(void)state;
	assert_int_equal(
		parse("\tat 1s rate a:eth0 8mbit queue 10ms # half of it", &statement, &err), 0);
	assert_int_equal(statement.verb, NF_RATE);
	assert_true(statement.timed);
	assert_int_equal(statement.at_ns, 1000000000);
	assert_string_equal(statement.port[0].space, "a");
	assert_string_equal(statement.port[0].interface, "eth0");
	assert_int_equal(statement.number, 8000000);
	assert_int_equal(statement.given, 1u << NF_QUEUE);
	assert_int_equal(statement.option[NF_QUEUE], 10000000);
	assert_int_equal(parse("exec a one \"two words\" a\"b c\"d", &statement, &err), 0);
	assert_int_equal(statement.words, 3);
	assert_string_equal(statement.text + statement.word[1], "two words");
	assert_string_equal(statement.text + statement.word[2], "ab cd");
	assert_int_equal(parse("address a:eth0 2001:db8::1/64", &statement, &err), 0);
	assert_int_equal(statement.address.family, AF_INET6);
	assert_int_equal(statement.address.prefix, 64);
	for (const char *const *blank = (const char *const[]){"", "  \t", "# at 1s", NULL}; *blank;
	     blank++)
		assert_int_equal(parse(*blank, &statement, &err), 1);
}

static void test_a_refused_line_says_why(void **state)
{
	static const struct {
		const char *line, *why;
	} rows[] = {
		{"lnk a:eth0 b:eth0", "there is no statement 'lnk'"},
		{"at", "a time is missing"},
		{"at 1s", "a statement is missing"},
		{"at soon end", "'soon' is not a time"},
		{"link a:eth0", "an interface (NS:IF) is missing"},
		{"link a:eth0 b:eth0 c:eth0", "'c:eth0' is too much"},
		{"link eth0 b:eth0", "'eth0' is not an interface"},
		{"link a: b:eth0", "'' is not a name"},
		{"namespace A", "'A' is not a name"},
		{"namespace sixteen_letters_", "is not a name"},
		{"namespace -a", "'-a' is not a name"},
		{"bridge s:br0", "is missing"},
		{"bridge s:0 s:1 s:2 s:3 s:4 s:5 s:6 s:7 s:8", "more than 8 interfaces"},
		{"address a:eth0 192.0.2.1", "is not an address with its prefix"},
		{"address a:eth0 192.0.2.1/33", "from 1 to 32"},
		{"address a:eth0 host/24", "is not an address"},
		{"mtu a:eth0 67", "from 68 to 65535"},
		{"drop a:eth0 10", "'10' is not a percentage"},
		{"rate a:eth0 10mbit burst", "burst needs a value"},
		{"rate a:eth0 10mbit burst 1K", "from 2K to 64M"},
		{"rate a:eth0 10mbit queue 1s queue 1s", "queue is given twice"},
		{"rate a:eth0 10mbit delay 1s", "'delay' is too much"},
		{"netem a:eth0", "says nothing"},
		{"netem a:eth0 reorder 5%", "need a delay"},
		{"heal a:eth0 all", "not cut, rate, drop or netem"},
		{"reset a port 0", "from 1 to 65535"},
		{"relay r s localhost:1 192.0.2.1:2", "is not an address and its port"},
		{"relay r s 192.0.2.1:1 192.0.2.1:0", "is not an address and its port"},
		{"stall r sideways", "not forward, back or both"},
		{"garble r forward 0", "from 1 to"},
		{"exec a", "a command is missing"},
		{"exec a \"one", "has no end"},
		{"end now", "'now' is too much"},
		{"end \x01", "control character"},
	};
	struct nf_statement statement;
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		memset(&err, 0, sizeof(err));
		if (parse(rows[i].line, &statement, &err) != -1)
			fail_msg("'%s' was taken", rows[i].line);
		if (!strstr(err.text, rows[i].why))
			fail_msg("'%s': %s", rows[i].line, err.text);
		assert_int_equal(err.class, PF_ERR_USAGE);
	}
}

static void test_limits_hold_from_both_sides(void **state)
{
	char line[NF_LINE_MAX + 2] = "";
	struct nf_statement statement;
	struct pf_err err;

	(void)state;
	strncat(line, "exec a ", sizeof(line) - 1);
	memset(line + 7, 'x', NF_LINE_MAX - 7);
	assert_int_equal(parse(line, &statement, &err), 0);
	assert_int_equal(strlen(statement.text), NF_LINE_MAX - 7);
	line[NF_LINE_MAX] = 'x';
	assert_int_equal(parse(line, &statement, &err), -1);
	memset(line, 0, sizeof(line));
	strncat(line, "exec a", sizeof(line) - 1);
	for (unsigned i = 0; i < NF_WORDS_MAX; i++)
		strncat(line, " x", sizeof(line) - strlen(line) - 1);
	assert_int_equal(parse(line, &statement, &err), 0);
	assert_int_equal(statement.words, NF_WORDS_MAX);
	strncat(line, " x", sizeof(line) - strlen(line) - 1);
	assert_int_equal(parse(line, &statement, &err), -1);
}

static int check(const char *first, const char *then, struct pf_err *err)
{
	struct nf_scenario *scenario = calloc(1, sizeof(*scenario));
	char text[4096];
	int failed;

	snprintf(text, sizeof(text), "%s%s", first, then);
	failed = nf_scenario_parse(text, strlen(text), scenario, err) ||
		 nf_plan_check(scenario, err);
	free(scenario);
	return failed;
}

static void test_a_wrong_scenario_names_the_line(void **state)
{
	static const struct {
		const char *then, *why;
	} rows[] = {
		{"\n# comment\nmtu a:eth0 1", "line 6: mtu:"},
		{"at 2s down a:eth0\nup a:eth0\nat 1s end",
		 "line 6: its time is before that of line 4"},
		{"namespace a", "line 4: namespace: there is a namespace 'a' already"},
		{"address c:eth0 192.0.2.1/24", "line 4: address: there is no namespace 'c'"},
		{"down a:eth1", "line 4: down: there is no interface 'eth1' in namespace 'a'"},
		{"link a:eth0 b:eth1", "there is an interface 'eth0' in namespace 'a' already"},
		{"link a:lo b:eth1", "there is an interface 'lo' in namespace 'a' already"},
		{"bridge a:br0 b:eth0", "b:eth0 is in another namespace than the bridge"},
		{"bridge a:br0 a:eth0\nbridge a:br1 a:eth0", "line 5: bridge: a:eth0 is a bridge"},
		{"stall r both", "there is no relay 'r'"},
		{"relay r c 192.0.2.1:1 192.0.2.2:1", "there is no namespace 'c'"},
		{"drop a:eth0 1%\nseed 4", "line 5: seed: it must stand before"},
	};
	struct pf_err err;

	(void)state;
	assert_int_equal(check(two_hosts, "at 1s down a:eth0\nat 1s up a:eth0\n", &err), 0);
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		if (check(two_hosts, rows[i].then, &err) == 0)
			fail_msg("'%s' was taken", rows[i].then);
		if (!strstr(err.text, rows[i].why))
			fail_msg("'%s': %s", rows[i].then, err.text);
	}
}

static void test_a_refused_statement_leaves_the_plan_alone(void **state)
{
	struct nf_plan plan = {0}, before;
	struct nf_statement statement;
	struct nf_target target;
	struct pf_err err;

	(void)state;
	assert_int_equal(parse("namespace a", &statement, &err), 0);
	assert_int_equal(nf_plan_take(&plan, &statement, &target, &err), 0);
	before = plan;
	/* Its first end could be made, its second could not. */
	assert_int_equal(parse("link a:eth0 b:eth0", &statement, &err), 0);
	assert_int_equal(nf_plan_take(&plan, &statement, &target, &err), -1);
	assert_memory_equal(&plan, &before, sizeof(plan));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_value_keeps_its_meaning),
		cmocka_unit_test(test_a_value_that_means_nothing_is_refused_with_what_would),
		cmocka_unit_test(test_a_statement_is_printed_as_it_was_written),
		cmocka_unit_test(test_what_a_line_says_is_taken),
		cmocka_unit_test(test_a_refused_line_says_why),
		cmocka_unit_test(test_limits_hold_from_both_sides),
		cmocka_unit_test(test_a_wrong_scenario_names_the_line),
		cmocka_unit_test(test_a_refused_statement_leaves_the_plan_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
