/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-control-hostile.c - the control socket against clients that mean it no good. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/control_line.h"
#include "tests/unit/control_agent.h"

struct exchange {
	const char *line;  /* sent with a newline; \x01 stands for a NUL */
	const char *class; /* NULL: a return */
	const char *id;	   /* expected, as JSON; NULL: none */
};

static const struct exchange exchanges[] = {
	{"{\"execute\":\"nothing\"}", NULL, NULL},
	{"{\"execute\":\"nothing\",\"id\":1}", NULL, "1"},
	{" { \"id\" : \"x\" , \"execute\" : \"nothing\" } \r", NULL, "\"x\""},
	{"{\"execute\":\"nothing\",\"id\":null}", NULL, "null"},
	{"{\"execute\":\"nothing\",\"id\":false}", NULL, "false"},
	{"{\"execute\":\"nothing\",\"id\":[1,{\"a\":[]}]}", NULL, "[1,{\"a\":[]}]"},
	{"{\"execute\":\"nothing\",\"id\":{\"a\":\"\\u00e4\"}}", NULL, "{\"a\":\"\\u00e4\"}"},
	{"{\"execute\":\"nothing\",\"id\":-9223372036854775808}", NULL, "-9223372036854775808"},
	{"{\"execute\":\"nothing\",\"id\":0.5}", NULL, "0.5"},
	{"{\"execute\":\"nothing\",\"arguments\":{},\"id\":2}", NULL, "2"},
	{"{\"execute\":\"source-paused\",\"id\":2}", NULL, "2"},
	{"{\"execute\":\"vmm-ready\",\"id\":3}", "CommandNotFound", "3"},
	{"{\"execute\":\"no-such\",\"id\":3}", "CommandNotFound", "3"},
	{"{\"execute\":\"\",\"id\":3}", "CommandNotFound", "3"},
	{"{\"execute\":\"NOTHING\",\"id\":3}", "CommandNotFound", "3"},
	{"{\"execute\":\"nothing\\n\",\"id\":3}", "CommandNotFound", "3"},
	{"{\"execute\":\"nothing\",\"arguments\":{\"x\":1},\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"echo\",\"arguments\":{\"val\":1},\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"echo\",\"arguments\":{\"value text\":1},\"id\":4}", "InvalidArgument",
	 "4"},
	{"{\"execute\":\"echo\",\"arguments\":{\"\":1},\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"echo\",\"arguments\":[],\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"echo\",\"arguments\":null,\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"echo\",\"arguments\":\"x\",\"id\":4}", "InvalidArgument", "4"},
	{"{\"execute\":\"refuse\",\"arguments\":{\"class\":1},\"id\":5}", "InvalidArgument", "5"},
	{"{\"execute\":\"refuse\",\"arguments\":{\"class\":6},\"id\":5}", "WrongState", "5"},
	{"{\"execute\":\"refuse\",\"id\":5}", "GenericError", "5"},
	{"{\"id\":6}", "GenericError", "6"},
	{"{\"execute\":7,\"id\":6}", "GenericError", "6"},
	{"{\"execute\":null,\"id\":6}", "GenericError", "6"},
	{"{\"execute\":\"nothing\",\"extra\":1,\"id\":6}", "GenericError", "6"},
	{"{\"execute\":\"nothing\",\"execute\":\"quit\"}", "GenericError", NULL},
	{"{}", "GenericError", NULL},
	{"[]", "GenericError", NULL},
	{"[{\"execute\":\"nothing\"}]", "GenericError", NULL},
	{"42", "GenericError", NULL},
	{"\"nothing\"", "GenericError", NULL},
	{"null", "GenericError", NULL},
	{"nothing", "GenericError", NULL},
	{"{", "GenericError", NULL},
	{"}", "GenericError", NULL},
	{"{\"execute\":\"nothing\"} {\"execute\":\"nothing\"}", "GenericError", NULL},
	{"{\"execute\":\"nothing\",}", "GenericError", NULL},
	{"{'execute':'nothing'}", "GenericError", NULL},
	{"{\"execute\":\"nothing\",\"id\":9223372036854775808}", "GenericError", NULL},
	{"{\"execute\":\"nothing\",\"id\":1e999}", "GenericError", NULL},
	{"{\"execute\":\"nothing\",\"id\":NaN}", "GenericError", NULL},
	{"{\"execute\":\"no\xffthing\"}", "GenericError", NULL},
	{"{\"execute\":\"\xed\xa0\x80\"}", "GenericError", NULL},
	{"{\"execute\":\"\\ud800\"}", "GenericError", NULL},
	{"{\"execute\":\"nothing\\u0000x\"}", "GenericError", NULL},
	{"{\"execute\":\"nothing\"\x01}", "GenericError", NULL},
	{"\x01", "GenericError", NULL},
	{"\xef\xbb\xbf{\"execute\":\"nothing\"}", "GenericError", NULL},
	{"GET / HTTP/1.1\r", "GenericError", NULL},
};

static void check_reply(const struct exchange *exchange, const json_t *reply)
{
	const json_t *error = json_object_get(reply, "error");
	json_t *id = json_object_get(reply, "id"), *expected = NULL;
	const char *class = json_string_value(json_object_get(error, "class"));

	if (exchange->id)
		expected = json_loads(exchange->id, JSON_DECODE_ANY, NULL);
	if (exchange->id ? !json_equal(id, expected) : id != NULL)
		fail_msg("%s: the id is not echoed", exchange->line);
	json_decref(expected);
	if (!exchange->class) {
		if (!json_is_object(json_object_get(reply, "return")))
			fail_msg("%s: refused: %s", exchange->line,
				 json_string_value(json_object_get(error, "desc")));
		return;
	}
	if (!class || strcmp(class, exchange->class) != 0)
		fail_msg("%s: class %s", exchange->line, class ? class : "none");
	assert_true(json_string_length(json_object_get(error, "desc")) > 0);
	assert_null(json_object_get(reply, "return"));
}

/* One connection for all of them: none of it may break the ones behind. */
static void every_line_gets_the_answer_it_deserves(void **state)
{
	int fd = raw_open(*state);

	raw_skip(fd);
	for (size_t i = 0; i < PF_ARRAY_LEN(exchanges); i++) {
		char line[256];
		size_t length;
		json_t *reply;

		length = (size_t)snprintf(line, sizeof(line), "%s\n", exchanges[i].line);
		for (size_t at = 0; at < length; at++)
			if (line[at] == '\x01')
				line[at] = '\0';
		raw_send(fd, line, length);
		reply = raw_message(fd);
		check_reply(&exchanges[i], reply);
		json_decref(reply);
	}
	close(fd);
}

static void blank_lines_are_nothing_at_all(void **state)
{
	int fd = raw_open(*state);
	json_t *reply;

	raw_skip(fd);
	raw_send(fd, "\n \t\r\n\n{\"execute\":\"nothing\",\"id\":1}\n", 35);
	reply = raw_message(fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 1);
	json_decref(reply);
	close(fd);
}

static void a_line_may_come_in_pieces_and_many_at_once(void **state)
{
	static const char two[] = "{\"execute\":\"nothing\",\"id\":1}\n"
				  "{\"execute\":\"nothing\",\"id\":2}\n";
	int fd = raw_open(*state);

	raw_skip(fd);
	for (size_t i = 0; i < sizeof(two) - 1; i++)
		raw_send(fd, two + i, 1);
	raw_send(fd, two, sizeof(two) - 1);
	for (int i = 0; i < 4; i++) {
		json_t *reply = raw_message(fd);

		assert_int_equal(json_integer_value(json_object_get(reply, "id")), i % 2 + 1);
		json_decref(reply);
	}
	close(fd);
}

static void a_line_has_at_most_64_kib(void **state)
{
	static const char head[] = "{\"execute\":\"nothing\",\"id\":1}";
	static char line[PF_CONTROL_LINE_MAX + 2];
	int fd = raw_open(*state);
	json_t *reply;

	raw_skip(fd);
	memset(line, ' ', sizeof(line));
	memcpy(line, head, sizeof(head) - 1);
	line[PF_CONTROL_LINE_MAX] = '\n';
	raw_send(fd, line, PF_CONTROL_LINE_MAX + 1);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	line[PF_CONTROL_LINE_MAX] = ' ';
	line[PF_CONTROL_LINE_MAX + 1] = '\n';
	raw_send(fd, line, PF_CONTROL_LINE_MAX + 2);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	raw_expect_end(fd);
	close(fd);
}

static void an_endless_line_ends_its_own_connection_only(void **state)
{
	struct pf_client *client = control_client(*state);
	static char piece[32 * 1024];
	int fd = raw_open(*state);
	size_t sent = 0;

	memset(piece, '[', sizeof(piece));
	while (send(fd, piece, sizeof(piece), MSG_NOSIGNAL) > 0)
		assert_true((sent += sizeof(piece)) < (64u << 20));
	assert_true(errno == EPIPE || errno == ECONNRESET);
	close(fd);
	json_decref(control_command(client, "nothing", NULL));
	pf_client_close(client);
}

static void nesting_as_deep_as_a_line_allows_is_refused(void **state)
{
	static char line[60000];
	int fd = raw_open(*state);
	json_t *reply;

	raw_skip(fd);
	memset(line, '[', sizeof(line));
	memcpy(line, "{\"id\":", 6);
	line[sizeof(line) - 1] = '\n';
	raw_send(fd, line, sizeof(line));
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	/* The deepest that is taken has to come back out as an id. */
	memset(line + 6, '[', 2000);
	memset(line + 2006, ']', 2000);
	memcpy(line + 4006, ",\"execute\":\"nothing\"}\n", 22);
	raw_send(fd, line, 4028);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	close(fd);
}

static void answers_reach_a_client_that_has_finished_writing(void **state)
{
	int fd = raw_open(*state);

	raw_send(fd, "{\"execute\":\"nothing\",\"id\":1}\n{\"execute\":\"half", 45);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	raw_skip(fd);
	raw_skip(fd);
	raw_expect_end(fd);
	close(fd);
}

static void who_does_not_read_loses_its_connection_and_nobody_elses(void **state)
{
	struct pf_client *client = control_client(*state);
	int deaf = raw_open(*state);
	static char sink[65536];
	ssize_t got;
	size_t total = 0;

	raw_skip(deaf);
	/* About 120 bytes each: 3 MiB, more than the queue and the kernel's buffers hold. */
	for (int i = 0; i < 50; i++) {
		json_decref(control_command(client, "emit", json_pack("{s:i}", "count", 500)));
		for (int event = 0; event < 500; event++) {
			struct pf_err err;
			json_t *one = NULL;

			assert_int_equal(
				pf_client_event(client, pf_now_ns() + PATIENCE_NS, &one, &err), 0);
			json_decref(one);
		}
	}
	while ((got = recv(deaf, sink, sizeof(sink), 0)) > 0)
		total += (size_t)got;
	assert_true(got == 0 || errno == ECONNRESET);
	assert_true(total < (2u << 20));
	json_decref(control_command(client, "nothing", NULL));
	close(deaf);
	pf_client_close(client);
}

static void who_asks_and_does_not_read_is_bounded_too(void **state)
{
	struct pf_client *client = control_client(*state);
	static const char ask[] = "{\"execute\":\"query-events\"}\n";
	int deaf = raw_open(*state);

	json_decref(control_command(client, "emit", json_pack("{s:i}", "count", 1000)));
	for (int i = 0; i < 1000; i++)
		if (send(deaf, ask, sizeof(ask) - 1, MSG_NOSIGNAL) < 0)
			break;
	while (recv(deaf, (char[4096]){0}, 4096, 0) > 0)
		continue;
	json_decref(control_command(client, "nothing", NULL));
	close(deaf);
	pf_client_close(client);
}

#define NOTES 400u

/* In one piece: each of many would cost the socket's buffer a kilobyte, and the agent does not read yet. */
static void send_notes(int fd, char letter)
{
	char text[NOTES * 64];
	size_t used = 0;

	for (unsigned i = 0; i < NOTES; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "{\"execute\":\"note\",\"arguments\":{\"text\":\"%c\"}}\n",
					 letter);
	raw_send(fd, text, used);
}

/* Both have sent all of it before the agent looks. */
static void who_sends_much_at_once_keeps_nobody_waiting(void **state)
{
	static const char wait_line[] = "{\"execute\":\"wait\"}\n";
	struct agent *agent = *state;
	int fd[2] = {raw_open(agent), raw_open(agent)};
	unsigned run = 0, longest = 0;

	pthread_mutex_lock(&agent->gate);
	raw_send(fd[0], wait_line, strlen(wait_line));
	for (unsigned i = 0; i < 2; i++)
		send_notes(fd[i], (char)('a' + i));
	pthread_mutex_unlock(&agent->gate);
	for (unsigned i = 0; i < NOTES + 2; i++) /* the greeting, what wait says, and the notes */
		raw_skip(fd[0]);
	for (unsigned i = 0; i < NOTES + 1; i++)
		raw_skip(fd[1]);
	pthread_mutex_lock(&agent->gate);
	assert_int_equal(agent->notes, 2 * NOTES);
	for (size_t i = 1; i < agent->notes; i++) {
		run = agent->noted[i] == agent->noted[i - 1] ? run + 1 : 1;
		longest = run > longest ? run : longest;
	}
	pthread_mutex_unlock(&agent->gate);
	if (longest > NOTES / 2)
		fail_msg("%u commands of one client in a row, while another one waited", longest);
	close(fd[0]);
	close(fd[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, control_start, control_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_line_gets_the_answer_it_deserves),
		TEST(blank_lines_are_nothing_at_all),
		TEST(a_line_may_come_in_pieces_and_many_at_once),
		TEST(a_line_has_at_most_64_kib),
		TEST(an_endless_line_ends_its_own_connection_only),
		TEST(nesting_as_deep_as_a_line_allows_is_refused),
		TEST(answers_reach_a_client_that_has_finished_writing),
		TEST(who_sends_much_at_once_keeps_nobody_waiting),
		TEST(who_does_not_read_loses_its_connection_and_nobody_elses),
		TEST(who_asks_and_does_not_read_is_bounded_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
