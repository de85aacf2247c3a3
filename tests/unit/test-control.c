/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-control.c - the control socket as orchestrators use it, from both of its ends. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/unixsock.h"
#include "tests/unit/control_agent.h"
#include "tests/unit/scratch.h"

static void the_greeting_says_who_is_there(void **state)
{
	struct pf_client *client = control_client(*state);
	const json_t *greeting = pf_client_greeting(client);
	struct agent *agent = *state;
	struct stat st;

	assert_string_equal(json_string_value(json_object_get(greeting, "role")), "source");
	assert_string_equal(json_string_value(json_object_get(greeting, "id")), "vm-1");
	assert_int_equal(json_integer_value(json_object_get(greeting, "protocol")), 1);
	assert_true(json_string_length(json_object_get(greeting, "version")) > 0);
	assert_int_equal(stat(agent->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	pf_client_close(client);
}

static void a_command_gets_its_arguments_and_gives_its_value(void **state)
{
	struct pf_client *client = control_client(*state);
	json_t *answer;

	answer = control_command(client, "echo",
				 json_pack("{s:i, s:s}", "value", 7, "text", "\xc3\xa4"));
	assert_int_equal(json_integer_value(json_object_get(answer, "value")), 7);
	assert_string_equal(json_string_value(json_object_get(answer, "text")), "\xc3\xa4");
	json_decref(answer);
	answer = control_command(client, "nothing", NULL);
	assert_true(json_is_object(answer) && json_object_size(answer) == 0);
	json_decref(answer);
	pf_client_close(client);
}

static void a_refusal_reaches_the_caller_in_the_agents_words(void **state)
{
	struct pf_client *client = control_client(*state);
	struct pf_err err = {0};

	assert_int_equal(pf_client_command(client, "refuse",
					   json_pack("{s:i}", "class", PF_ERR_STATE),
					   pf_now_ns() + PATIENCE_NS, NULL, &err),
			 -1);
	assert_int_equal(err.class, PF_ERR_STATE);
	assert_string_equal(err.text, "not in this state; wait");
	json_decref(control_command(client, "nothing", NULL));
	pf_client_close(client);
}

static void events_reach_every_connection_in_order_between_whole_lines(void **state)
{
	struct pf_client *first = control_client(*state), *second = control_client(*state);
	struct pf_err err = {0};
	json_int_t seq[2] = {0};

	for (int round = 0; round < 50; round++) {
		json_decref(control_command(first, "emit", json_pack("{s:i}", "count", 3)));
		json_decref(control_command(second, "echo", json_pack("{s:i}", "value", round)));
	}
	json_decref(control_command(second, "nothing", NULL));
	for (int i = 0; i < 300; i++) {
		struct pf_client *client = i % 2 ? second : first;
		json_t *event = NULL;

		assert_int_equal(pf_client_event(client, pf_now_ns() + PATIENCE_NS, &event, &err),
				 0);
		assert_int_equal(json_integer_value(json_object_get(event, "seq")), ++seq[i % 2]);
		json_decref(event);
	}
	assert_int_equal(pf_client_event(first, pf_now_ns(), &(json_t *){NULL}, &err), 1);
	pf_client_close(first);
	pf_client_close(second);
}

static void a_long_answer_reaches_its_reader(void **state)
{
	struct pf_client *client = control_client(*state);
	json_t *answer;

	json_decref(control_command(client, "emit", json_pack("{s:i}", "count", 1000)));
	answer = control_command(client, "query-events", NULL);
	assert_int_equal(json_array_size(json_object_get(answer, "events")), 1000);
	json_decref(answer);
	pf_client_close(client);
}

static void the_seventeenth_connection_is_told_why_it_is_refused(void **state)
{
	struct agent *agent = *state;
	struct pf_client *client[16], *more;
	struct pf_err err = {0};

	for (int i = 0; i < 16; i++)
		client[i] = control_client(agent);
	assert_int_equal(pf_client_open(agent->path, pf_now_ns() + PATIENCE_NS, &more, &err), -1);
	assert_int_equal(err.class, PF_ERR_STATE);
	assert_non_null(strstr(err.text, "16 connections"));
	pf_client_close(client[7]);
	client[7] = control_client(agent);
	for (int i = 0; i < 16; i++) {
		json_decref(control_command(client[i], "nothing", NULL));
		pf_client_close(client[i]);
	}
}

/* 0: refused with words; else what went wrong. */
static int connect_as_nobody(const char *path)
{
	struct pf_client *client;
	struct pf_err err = {0};

	if (setuid(65534) != 0)
		return 2;
	if (pf_client_open(path, pf_now_ns() + PATIENCE_NS, &client, &err) == 0)
		return 3;
	return strstr(err.text, "of user 65534 connected") ? 0 : 4;
}

static void another_user_is_refused_even_if_the_mode_lets_it_in(void **state)
{
	struct agent *agent = *state;
	int status;
	pid_t child;

	if (geteuid() != 0) {
		fprintf(stderr, "skip another_user_is_refused_even_if_the_mode_lets_it_in: only "
				"root can become another user\n");
		skip();
	}
	assert_int_equal(chmod(agent->folder, 0755), 0);
	assert_int_equal(chmod(agent->path, 0666), 0);
	child = fork();
	if (child == 0)
		_exit(connect_as_nobody(agent->path));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_last_event_is_delivered_before_the_end(void **state)
{
	struct agent *agent = *state;
	struct pf_client *client = control_client(agent);
	struct pf_err err = {0};
	json_t *event = NULL;

	json_decref(control_command(client, "quit", NULL));
	assert_int_equal(pf_client_event(client, pf_now_ns() + PATIENCE_NS, &event, &err), 0);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "OUTCOME");
	json_decref(event);
	assert_int_equal(pf_client_event(client, pf_now_ns() + PATIENCE_NS, &event, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ECONNRESET);
	assert_int_equal(access(agent->path, F_OK), -1);
	assert_int_equal(pf_client_command(client, "nothing", NULL, 0, NULL, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	pf_client_close(client);
	assert_int_equal(pf_client_open(agent->path, 0, &client, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
}

static void a_second_agent_on_the_path_is_refused(void **state)
{
	struct agent *agent = *state;
	struct pf_control *second;
	struct pf_err err = {0};

	assert_int_equal(pf_control_open(agent->loop, -1, agent->path, PF_SOURCE, "vm-2",
					 control_commands, agent, agent->events, &second, &err),
			 -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_non_null(strstr(err.text, "another process answers"));
}

/* Who listens and says nothing, or something else, is no agent. */
static void a_client_gives_up_on_what_is_no_agent(void **state)
{
	struct pf_client *client;
	struct pf_err err = {0};
	char path[128];
	int mute = pf_unix_listen(scratch_path(path, "mute"), SOCK_STREAM, &err), peer;

	(void)state;
	assert_true(mute >= 0);
	assert_int_equal(pf_client_open(path, pf_now_ns() + 20 * PF_NS_PER_MS, &client, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_non_null(strstr(err.text, "no greeting"));
	close(accept(mute, NULL, NULL));
	for (int i = 0; i < 2; i++) {
		static const char *const says[] = {"220 mail.example ESMTP\n",
						   "{\"QMP\":{\"version\":{}}}\n"};
		struct pf_err why = {0};
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(pf_client_open(path, pf_now_ns() + PATIENCE_NS, &client, &why) ==
						      -1 &&
					      why.class == PF_ERR_PROTOCOL
				      ? 0
				      : 1);
		assert_int_equal(poll(&(struct pollfd){.fd = mute, .events = POLLIN}, 1, 20000), 1);
		peer = accept(mute, NULL, NULL);
		raw_send(peer, says[i], strlen(says[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		close(peer);
	}
	close(mute);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, control_start, control_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_greeting_says_who_is_there),
		TEST(a_command_gets_its_arguments_and_gives_its_value),
		TEST(a_refusal_reaches_the_caller_in_the_agents_words),
		TEST(events_reach_every_connection_in_order_between_whole_lines),
		TEST(a_long_answer_reaches_its_reader),
		TEST(the_seventeenth_connection_is_told_why_it_is_refused),
		TEST(another_user_is_refused_even_if_the_mode_lets_it_in),
		TEST(the_last_event_is_delivered_before_the_end),
		TEST(a_second_agent_on_the_path_is_refused),
		cmocka_unit_test_setup_teardown(a_client_gives_up_on_what_is_no_agent, scratch_make,
						scratch_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
