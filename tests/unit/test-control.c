/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-control.c - the control socket from both ends: the real server on a real event
 * loop in a thread of its own, the real client and hostile ones in this thread.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unixsock.h"
#include "migrate/client.h"
#include "migrate/control.h"
#include "migrate/control_line.h"
#include "tests/unit/scratch.h"

#define PATIENCE_NS (20 * PF_NS_PER_S)
#define EITHER ((1u << PF_SOURCE) | (1u << PF_DESTINATION))

struct agent {
	pthread_t thread;
	sd_event *loop;
	struct pf_statedir dir;
	struct pf_events *events;
	struct pf_control *control;
	char path[128];
};

static int run_echo(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	(void)opaque;
	(void)err;
	*out_return = json_deep_copy(args);
	return 0;
}

static int run_nothing(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	(void)opaque;
	(void)args;
	(void)out_return;
	(void)err;
	return 0;
}

static int run_refuse(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	(void)opaque;
	(void)out_return;
	switch (json_integer_value(json_object_get(args, "class"))) {
	case PF_ERR_USAGE:
		return pf_err_set(err, PF_ERR_USAGE, "a bad value");
	case PF_ERR_STATE:
		pf_err_set(err, PF_ERR_STATE, "not in this state");
		return pf_err_hint(err, "wait");
	default:
		return pf_err_set(err, PF_ERR_SYSTEM, "a file named \xff\xfe");
	}
}

static int run_emit(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	struct agent *agent = opaque;
	json_int_t count = json_integer_value(json_object_get(args, "count"));

	(void)out_return;
	(void)err;
	for (json_int_t i = 0; i < count; i++)
		pf_events_emit(agent->events, "STATE", json_pack("{s:s}", "state", "active"));
	return 0;
}

static int run_events(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	struct agent *agent = opaque;

	(void)args;
	(void)err;
	*out_return = json_pack("{s:o}", "events", pf_events_since(agent->events, 0));
	return 0;
}

static int run_quit(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	struct agent *agent = opaque;

	(void)args;
	(void)out_return;
	(void)err;
	pf_events_emit(agent->events, "OUTCOME", json_pack("{s:b}", "final", 1));
	sd_event_exit(agent->loop, 0);
	return 0;
}

static const struct pf_command commands[] = {
	{"echo", EITHER, run_echo, "value text"},
	{"nothing", EITHER, run_nothing, NULL},
	{"refuse", EITHER, run_refuse, "class"},
	{"emit", EITHER, run_emit, "count"},
	{"query-events", EITHER, run_events, NULL},
	{"source-paused", 1u << PF_SOURCE, run_nothing, NULL},
	{"vmm-ready", 1u << PF_DESTINATION, run_nothing, NULL},
	{"quit", EITHER, run_quit, NULL},
	{NULL, 0, NULL, NULL},
};

static void *serve(void *opaque)
{
	struct agent *agent = opaque;

	sd_event_loop(agent->loop);
	pf_control_close(agent->control);
	return NULL;
}

static int start(void **state)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	struct pf_err err = {0};
	char path[128];

	*state = agent;
	if (!agent || scratch_make(state))
		return -1;
	scratch_path(agent->path, "control");
	if (sd_event_new(&agent->loop) < 0 ||
	    pf_statedir_open(&agent->dir, scratch_path(path, "state"), PF_SOURCE, "vm-1", &err) ||
	    pf_events_open(&agent->dir, NULL, &agent->events, &err) ||
	    pf_control_open(agent->loop, agent->path, PF_SOURCE, "vm-1", commands, agent,
			    agent->events, &agent->control, &err) ||
	    pthread_create(&agent->thread, NULL, serve, agent)) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

/* Asks again while places are taken: the loop may not have seen yet that a connection ended. */
static int open_soon(const char *path, struct pf_client **out, struct pf_err *err)
{
	uint64_t deadline = pf_now_ns() + PATIENCE_NS;

	while (pf_client_open(path, deadline, out, err))
		if (err->class != PF_ERR_STATE || pf_now_ns() > deadline)
			return -1;
	return 0;
}

/* Asks the agent to end if the test has not done it. */
static int stop(void **state)
{
	struct agent *agent = *state;
	struct pf_client *client;
	struct pf_err err;

	if (open_soon(agent->path, &client, &err) == 0) {
		if (pf_client_command(client, "quit", NULL, pf_now_ns() + PATIENCE_NS, NULL, &err))
			return -1;
		pf_client_close(client);
	}
	pthread_join(agent->thread, NULL);
	pf_events_close(agent->events);
	pf_statedir_close(&agent->dir);
	sd_event_unref(agent->loop);
	free(agent);
	return scratch_remove(state);
}

static struct pf_client *open_client(const struct agent *agent)
{
	struct pf_client *client = NULL;
	struct pf_err err = {0};

	if (open_soon(agent->path, &client, &err))
		fail_msg("%s", err.text);
	return client;
}

static json_t *command(struct pf_client *client, const char *name, json_t *args)
{
	struct pf_err err = {0};
	json_t *answer = NULL;

	if (pf_client_command(client, name, args, pf_now_ns() + PATIENCE_NS, &answer, &err))
		fail_msg("%s: %s", name, err.text);
	return answer;
}

/* A connection without manners; what it waits for comes within 20 s or the test fails. */
static int open_raw(const struct agent *agent)
{
	struct timeval patience = {.tv_sec = 20};
	struct pf_err err = {0};
	int fd = pf_unix_connect(agent->path, SOCK_STREAM, &err);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static void send_raw(int fd, const char *bytes, size_t length)
{
	assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* The next line without its newline, byte by byte so that nothing of the one after is taken. */
static size_t raw_line(int fd, char *out, size_t size)
{
	size_t used = 0;

	while (used + 1 < size && recv(fd, out + used, 1, 0) == 1 && out[used] != '\n')
		used++;
	out[used] = '\0';
	return used;
}

static json_t *raw_message(int fd)
{
	static char line[128 * 1024];
	json_t *message;

	raw_line(fd, line, sizeof(line));
	message = json_loads(line, 0, NULL);
	if (!message)
		fail_msg("no message but '%.80s'", line);
	return message;
}

static void skip_message(int fd)
{
	json_decref(raw_message(fd));
}

static void expect_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	if (!(got == 0 || (got < 0 && errno == ECONNRESET)))
		fail_msg("recv gives %zd (%s) instead of the end", got, strerror(errno));
}

static void the_greeting_says_who_is_there(void **state)
{
	struct pf_client *client = open_client(*state);
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
	struct pf_client *client = open_client(*state);
	json_t *answer;

	answer = command(client, "echo", json_pack("{s:i, s:s}", "value", 7, "text", "\xc3\xa4"));
	assert_int_equal(json_integer_value(json_object_get(answer, "value")), 7);
	assert_string_equal(json_string_value(json_object_get(answer, "text")), "\xc3\xa4");
	json_decref(answer);
	answer = command(client, "nothing", NULL);
	assert_true(json_is_object(answer) && json_object_size(answer) == 0);
	json_decref(answer);
	pf_client_close(client);
}

static void a_refusal_reaches_the_caller_in_the_agents_words(void **state)
{
	struct pf_client *client = open_client(*state);
	struct pf_err err = {0};

	assert_int_equal(pf_client_command(client, "refuse",
					   json_pack("{s:i}", "class", PF_ERR_STATE),
					   pf_now_ns() + PATIENCE_NS, NULL, &err),
			 -1);
	assert_int_equal(err.class, PF_ERR_STATE);
	assert_string_equal(err.text, "not in this state; wait");
	json_decref(command(client, "nothing", NULL));
	pf_client_close(client);
}

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
	int fd = open_raw(*state);

	skip_message(fd);
	for (size_t i = 0; i < PF_ARRAY_LEN(exchanges); i++) {
		char line[256];
		size_t length;
		json_t *reply;

		length = (size_t)snprintf(line, sizeof(line), "%s\n", exchanges[i].line);
		for (size_t at = 0; at < length; at++)
			if (line[at] == '\x01')
				line[at] = '\0';
		send_raw(fd, line, length);
		reply = raw_message(fd);
		check_reply(&exchanges[i], reply);
		json_decref(reply);
	}
	close(fd);
}

static void blank_lines_are_nothing_at_all(void **state)
{
	int fd = open_raw(*state);
	json_t *reply;

	skip_message(fd);
	send_raw(fd, "\n \t\r\n\n{\"execute\":\"nothing\",\"id\":1}\n", 35);
	reply = raw_message(fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 1);
	json_decref(reply);
	close(fd);
}

static void a_line_may_come_in_pieces_and_many_at_once(void **state)
{
	static const char two[] = "{\"execute\":\"nothing\",\"id\":1}\n"
				  "{\"execute\":\"nothing\",\"id\":2}\n";
	int fd = open_raw(*state);

	skip_message(fd);
	for (size_t i = 0; i < sizeof(two) - 1; i++)
		send_raw(fd, two + i, 1);
	send_raw(fd, two, sizeof(two) - 1);
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
	int fd = open_raw(*state);
	json_t *reply;

	skip_message(fd);
	memset(line, ' ', sizeof(line));
	memcpy(line, head, sizeof(head) - 1);
	line[PF_CONTROL_LINE_MAX] = '\n';
	send_raw(fd, line, PF_CONTROL_LINE_MAX + 1);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	line[PF_CONTROL_LINE_MAX] = ' ';
	line[PF_CONTROL_LINE_MAX + 1] = '\n';
	send_raw(fd, line, PF_CONTROL_LINE_MAX + 2);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	expect_end(fd);
	close(fd);
}

static void an_endless_line_ends_its_own_connection_only(void **state)
{
	struct pf_client *client = open_client(*state);
	static char piece[32 * 1024];
	int fd = open_raw(*state);
	size_t sent = 0;

	memset(piece, '[', sizeof(piece));
	while (send(fd, piece, sizeof(piece), MSG_NOSIGNAL) > 0)
		assert_true((sent += sizeof(piece)) < (64u << 20));
	assert_true(errno == EPIPE || errno == ECONNRESET);
	close(fd);
	json_decref(command(client, "nothing", NULL));
	pf_client_close(client);
}

static void nesting_as_deep_as_a_line_allows_is_refused(void **state)
{
	static char line[60000];
	int fd = open_raw(*state);
	json_t *reply;

	skip_message(fd);
	memset(line, '[', sizeof(line));
	memcpy(line, "{\"id\":", 6);
	line[sizeof(line) - 1] = '\n';
	send_raw(fd, line, sizeof(line));
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	/* The deepest that is taken has to come back out as an id. */
	memset(line + 6, '[', 2000);
	memset(line + 2006, ']', 2000);
	memcpy(line + 4006, ",\"execute\":\"nothing\"}\n", 22);
	send_raw(fd, line, 4028);
	reply = raw_message(fd);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	close(fd);
}

static void answers_reach_a_client_that_has_finished_writing(void **state)
{
	int fd = open_raw(*state);

	send_raw(fd, "{\"execute\":\"nothing\",\"id\":1}\n{\"execute\":\"half", 45);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	skip_message(fd);
	skip_message(fd);
	expect_end(fd);
	close(fd);
}

static void events_reach_every_connection_in_order_between_whole_lines(void **state)
{
	struct pf_client *first = open_client(*state), *second = open_client(*state);
	struct pf_err err = {0};
	json_int_t seq[2] = {0};

	for (int round = 0; round < 50; round++) {
		json_decref(command(first, "emit", json_pack("{s:i}", "count", 3)));
		json_decref(command(second, "echo", json_pack("{s:i}", "value", round)));
	}
	json_decref(command(second, "nothing", NULL));
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
	struct pf_client *client = open_client(*state);
	json_t *answer;

	json_decref(command(client, "emit", json_pack("{s:i}", "count", 1000)));
	answer = command(client, "query-events", NULL);
	assert_int_equal(json_array_size(json_object_get(answer, "events")), 1000);
	json_decref(answer);
	pf_client_close(client);
}

static void who_does_not_read_loses_its_connection_and_nobody_elses(void **state)
{
	struct pf_client *client = open_client(*state);
	int deaf = open_raw(*state);
	static char sink[65536];
	ssize_t got;
	size_t total = 0;

	skip_message(deaf);
	/* About 120 bytes each: 3 MiB, more than the queue and the kernel's buffers hold. */
	for (int i = 0; i < 50; i++) {
		json_decref(command(client, "emit", json_pack("{s:i}", "count", 500)));
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
	json_decref(command(client, "nothing", NULL));
	close(deaf);
	pf_client_close(client);
}

static void who_asks_and_does_not_read_is_bounded_too(void **state)
{
	struct pf_client *client = open_client(*state);
	static const char ask[] = "{\"execute\":\"query-events\"}\n";
	int deaf = open_raw(*state);

	json_decref(command(client, "emit", json_pack("{s:i}", "count", 1000)));
	for (int i = 0; i < 1000; i++)
		if (send(deaf, ask, sizeof(ask) - 1, MSG_NOSIGNAL) < 0)
			break;
	while (recv(deaf, (char[4096]){0}, 4096, 0) > 0)
		continue;
	json_decref(command(client, "nothing", NULL));
	close(deaf);
	pf_client_close(client);
}

static void the_seventeenth_connection_is_told_why_it_is_refused(void **state)
{
	struct agent *agent = *state;
	struct pf_client *client[16], *more;
	struct pf_err err = {0};

	for (int i = 0; i < 16; i++)
		client[i] = open_client(agent);
	assert_int_equal(pf_client_open(agent->path, pf_now_ns() + PATIENCE_NS, &more, &err), -1);
	assert_int_equal(err.class, PF_ERR_STATE);
	assert_non_null(strstr(err.text, "16 connections"));
	pf_client_close(client[7]);
	client[7] = open_client(agent);
	for (int i = 0; i < 16; i++) {
		json_decref(command(client[i], "nothing", NULL));
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
		print_message("skipped: only root can become another user\n");
		skip();
	}
	assert_int_equal(chmod(scratch, 0755), 0);
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
	struct pf_client *client = open_client(agent);
	struct pf_err err = {0};
	json_t *event = NULL;

	json_decref(command(client, "quit", NULL));
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

	assert_int_equal(pf_control_open(agent->loop, agent->path, PF_SOURCE, "vm-2", commands,
					 agent, agent->events, &second, &err),
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
		send_raw(peer, says[i], strlen(says[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		close(peer);
	}
	close(mute);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_greeting_says_who_is_there),
		TEST(a_command_gets_its_arguments_and_gives_its_value),
		TEST(a_refusal_reaches_the_caller_in_the_agents_words),
		TEST(every_line_gets_the_answer_it_deserves),
		TEST(blank_lines_are_nothing_at_all),
		TEST(a_line_may_come_in_pieces_and_many_at_once),
		TEST(a_line_has_at_most_64_kib),
		TEST(an_endless_line_ends_its_own_connection_only),
		TEST(nesting_as_deep_as_a_line_allows_is_refused),
		TEST(answers_reach_a_client_that_has_finished_writing),
		TEST(events_reach_every_connection_in_order_between_whole_lines),
		TEST(a_long_answer_reaches_its_reader),
		TEST(who_does_not_read_loses_its_connection_and_nobody_elses),
		TEST(who_asks_and_does_not_read_is_bounded_too),
		TEST(the_seventeenth_connection_is_told_why_it_is_refused),
		TEST(another_user_is_refused_even_if_the_mode_lets_it_in),
		TEST(the_last_event_is_delivered_before_the_end),
		TEST(a_second_agent_on_the_path_is_refused),
		cmocka_unit_test_setup_teardown(a_client_gives_up_on_what_is_no_agent, scratch_make,
						scratch_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
