/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/control_agent.c - see tests/unit/control_agent.h. */
#include "tests/unit/control_agent.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

#include "base/unixsock.h"
#include "tests/unit/scratch.h"

#define EITHER ((1u << PF_SOURCE) | (1u << PF_DESTINATION))

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

static int run_wait(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	struct agent *agent = opaque;

	(void)args, (void)out_return, (void)err;
	pthread_mutex_lock(&agent->gate);
	pthread_mutex_unlock(&agent->gate);
	return 0;
}

static int run_note(void *opaque, const json_t *args, json_t **out_return, struct pf_err *err)
{
	struct agent *agent = opaque;

	(void)out_return, (void)err;
	pthread_mutex_lock(&agent->gate);
	if (agent->notes == sizeof(agent->noted))
		abort();
	agent->noted[agent->notes++] = json_string_value(json_object_get(args, "text"))[0];
	pthread_mutex_unlock(&agent->gate);
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

const struct pf_command control_commands[] = {
	{"echo", EITHER, run_echo, "value text"},
	{"nothing", EITHER, run_nothing, NULL},
	{"wait", EITHER, run_wait, NULL},
	{"note", EITHER, run_note, "text"},
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
	pf_control_close(agent->control, false);
	return NULL;
}

int control_start(void **state)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	struct pf_err err = {0};
	char path[128];

	*state = agent;
	if (!agent || scratch_make(state))
		return -1;
	pthread_mutex_init(&agent->gate, NULL);
	memcpy(agent->folder, scratch, sizeof(agent->folder));
	scratch_path(agent->path, "control");
	if (sd_event_new(&agent->loop) < 0 ||
	    pf_statedir_open(&agent->dir, scratch_path(path, "state"), PF_SOURCE, "vm-1", &err) ||
	    pf_events_open(&agent->dir, NULL, &agent->events, &err) ||
	    pf_control_open(agent->loop, -1, agent->path, PF_SOURCE, "vm-1", control_commands, agent,
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
int control_stop(void **state)
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

struct pf_client *control_client(const struct agent *agent)
{
	struct pf_client *client = NULL;
	struct pf_err err = {0};

	if (open_soon(agent->path, &client, &err))
		fail_msg("%s", err.text);
	return client;
}

json_t *control_command(struct pf_client *client, const char *name, json_t *args)
{
	struct pf_err err = {0};
	json_t *answer = NULL;

	if (pf_client_command(client, name, args, pf_now_ns() + PATIENCE_NS, &answer, &err))
		fail_msg("%s: %s", name, err.text);
	return answer;
}

/* A connection without manners; what it waits for comes within 20 s or the test fails. */
int raw_open(const struct agent *agent)
{
	struct timeval patience = {.tv_sec = 20};
	struct pf_err err = {0};
	int fd = pf_unix_connect(agent->path, SOCK_STREAM, &err);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

void raw_send(int fd, const char *bytes, size_t length)
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

json_t *raw_message(int fd)
{
	static char line[128 * 1024];
	json_t *message;

	raw_line(fd, line, sizeof(line));
	message = json_loads(line, 0, NULL);
	if (!message)
		fail_msg("no message but '%.80s'", line);
	return message;
}

void raw_skip(int fd)
{
	json_decref(raw_message(fd));
}

void raw_expect_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	if (!(got == 0 || (got < 0 && errno == ECONNRESET)))
		fail_msg("recv gives %zd (%s) instead of the end", got, strerror(errno));
}
