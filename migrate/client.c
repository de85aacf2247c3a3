/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/client.c - see migrate/client.h. */
#include "migrate/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unixsock.h"
#include "migrate/control_line.h"
#include "migrate/jsonline.h"

#define ANSWER_MAX (64u * 1024 * 1024) /* bytes of a line from the agent; more is not an agent */
#define CHUNK 16384u

struct pf_client {
	int fd;
	json_int_t last_id;
	json_t *greeting;
	json_t *events; /* array: what came while an answer was waited for */
	char *in;	/* [in_start, in_end) of in_size bytes was received and not yet taken */
	size_t in_start, in_end, in_size;
	size_t scanned; /* bytes from in_start on that hold no newline */
};

/* 0: readiness or an error that the next call will name; 1: the deadline passed. */
static int wait_ready(int fd, short what, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = what};
		uint64_t now = pf_now_ns();
		int timeout = -1, count;

		if (deadline_ns) {
			uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
			uint64_t ms = (left + PF_NS_PER_MS - 1) / PF_NS_PER_MS;

			timeout = ms > INT_MAX ? INT_MAX : (int)ms;
		}
		count = poll(&ready, 1, timeout);
		if (count > 0 || (count < 0 && errno != EINTR))
			return 0;
		if (deadline_ns && pf_now_ns() >= deadline_ns)
			return 1;
	}
}

static int silent(const char *what, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_UNREACHABLE, "the agent does not answer: %s", what);
	return pf_err_hint(err, "its process may be stopped (ps(1): T), or its host stand still");
}

bool pf_client_is_late(const struct pf_err *err)
{
	return err->class == PF_ERR_UNREACHABLE && err->sys == 0;
}

static int gone(struct pf_err *err)
{
	pf_err_set(err, PF_ERR_UNREACHABLE, "the agent closed the control connection");
	err->sys = ECONNRESET;
	return -1;
}

static int grow(struct pf_client *client, struct pf_err *err)
{
	size_t used = client->in_end - client->in_start;
	char *grown;

	if (client->in_start > 0) {
		memmove(client->in, client->in + client->in_start, used);
		client->in_start = 0;
		client->in_end = used;
	}
	if (client->in_size - used >= CHUNK)
		return 0;
	if (used > ANSWER_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a line of more than %u bytes came",
				  ANSWER_MAX);
	grown = realloc(client->in, client->in_size * 2 + CHUNK);
	if (!grown)
		return pf_err_sys(err, "receiving from the agent");
	client->in = grown;
	client->in_size = client->in_size * 2 + CHUNK;
	return 0;
}

/* More bytes: 0; 1: the deadline passed; -1. */
static int receive(struct pf_client *client, uint64_t deadline_ns, struct pf_err *err)
{
	ssize_t got;

	if (grow(client, err))
		return -1;
	if (wait_ready(client->fd, POLLIN, deadline_ns))
		return 1;
	got = recv(client->fd, client->in + client->in_end, client->in_size - client->in_end,
		   MSG_DONTWAIT);
	if (got == 0)
		return gone(err);
	if (got > 0)
		client->in_end += (size_t)got;
	else if (errno == ECONNRESET)
		return gone(err);
	else if (errno != EAGAIN && errno != EINTR)
		return pf_err_sys(err, "receiving from the agent");
	return 0;
}

/* The next message: 0 and a new reference; 1: the deadline passed; -1. */
static int next_message(struct pf_client *client, uint64_t deadline_ns, json_t **out,
			struct pf_err *err)
{
	for (;;) {
		char *start = client->in + client->in_start;
		size_t used = client->in_end - client->in_start;
		char *newline = used > client->scanned ? memchr(start + client->scanned, '\n',
								used - client->scanned)
						       : NULL;
		int late;

		if (newline) {
			json_error_t where;

			client->in_start += (size_t)(newline - start) + 1;
			client->scanned = 0;
			*out = json_loadb(start, (size_t)(newline - start), 0, &where);
			if (*out)
				return 0;
			return pf_err_set(err, PF_ERR_PROTOCOL, "the agent sent no JSON: %s",
					  where.text);
		}
		client->scanned = used;
		late = receive(client, deadline_ns, err);
		if (late)
			return late;
	}
}

/* Fills err with the agent's words if message is an error. */
static int check_error(const json_t *message, struct pf_err *err)
{
	const json_t *error = json_object_get(message, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!error)
		return 0;
	return pf_err_set(err, PF_ERR_STATE, "%s", desc ? desc : "refused without a reason");
}

static int take_greeting(struct pf_client *client, uint64_t deadline_ns, struct pf_err *err)
{
	json_t *message = NULL, *greeting;
	int late = next_message(client, deadline_ns, &message, err);

	if (late < 0)
		return -1;
	if (late)
		return silent("no greeting in time", err);
	greeting = json_object_get(message, "pageferry");
	if (json_integer_value(json_object_get(greeting, "protocol")) != PF_CONTROL_PROTOCOL) {
		if (check_error(message, err) == 0) {
			pf_err_set(err, PF_ERR_PROTOCOL,
				   "what answers there is no pageferry agent of protocol %d",
				   PF_CONTROL_PROTOCOL);
		}
		json_decref(message);
		return -1;
	}
	client->greeting = json_incref(greeting);
	json_decref(message);
	return 0;
}

/* Who finds the kernel's list of those that wait full waits in connect(2). */
static int connect_until(const char *path, uint64_t deadline_ns, struct pf_err *err)
{
	uint64_t now = pf_now_ns(), left = deadline_ns > now + PF_NS_PER_MS ? deadline_ns - now : PF_NS_PER_MS;
	int fd = pf_unix_connect_within(path, SOCK_STREAM, deadline_ns ? left : 0, err);

	return fd < 0 && err->sys == EAGAIN ? silent("it takes no connection", err) : fd;
}

int pf_client_open(const char *path, uint64_t deadline_ns, struct pf_client **out,
		   struct pf_err *err)
{
	struct pf_client *client = calloc(1, sizeof(*client));

	if (!client)
		return pf_err_sys(err, "opening the control connection");
	client->fd = -1;
	client->events = json_array();
	if (!client->events) {
		pf_client_close(client);
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	}
	client->fd = connect_until(path, deadline_ns, err);
	if (client->fd < 0 || take_greeting(client, deadline_ns, err)) {
		if (client->fd >= 0 || pf_client_is_late(err))
			pf_err_prefix(err, "%s", path);
		pf_client_close(client);
		return -1;
	}
	*out = client;
	return 0;
}

void pf_client_close(struct pf_client *client)
{
	if (!client)
		return;
	pf_close_fd(&client->fd);
	json_decref(client->greeting);
	json_decref(client->events);
	free(client->in);
	free(client);
}

const json_t *pf_client_greeting(const struct pf_client *client)
{
	return client->greeting;
}

int pf_client_fd(const struct pf_client *client)
{
	return client->fd;
}

static int send_line(struct pf_client *client, const char *line, uint64_t deadline_ns,
		     struct pf_err *err)
{
	size_t length = strlen(line), done = 0;

	while (done < length) {
		ssize_t sent =
			send(client->fd, line + done, length - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0) {
			done += (size_t)sent;
		} else if (errno == EAGAIN) {
			if (wait_ready(client->fd, POLLOUT, deadline_ns))
				return silent("it does not read its control socket", err);
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return gone(err);
		} else if (errno != EINTR) {
			return pf_err_sys(err, "sending to the agent");
		}
	}
	return 0;
}

/* Waits for the answer that carries id; events are put aside, older answers thrown away. */
static int take_answer(struct pf_client *client, uint64_t deadline_ns, json_t **out,
		       struct pf_err *err)
{
	for (;;) {
		json_t *message = NULL, *id;
		int late = next_message(client, deadline_ns, &message, err);

		if (late < 0)
			return -1;
		if (late)
			return silent("no answer in time", err);
		id = json_object_get(message, "id");
		if (json_object_get(message, "event")) {
			if (json_array_append_new(client->events, message))
				return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
		} else if (json_is_integer(id) && json_integer_value(id) == client->last_id) {
			*out = message;
			return 0;
		} else if (!id && check_error(message, err)) {
			json_decref(message); /* it was too long for the agent */
			return -1;
		} else {
			json_decref(message);
		}
	}
}

static int exchange(struct pf_client *client, json_t *command, uint64_t deadline_ns, json_t **out,
		    struct pf_err *err)
{
	pf_auto_free char *line = pf_jsonline(command);
	json_t *message = NULL, *value;
	int r = -1;

	if (!line)
		return pf_err_set(err, PF_ERR_USAGE, "the command cannot be written as JSON");
	if (send_line(client, line, deadline_ns, err) ||
	    take_answer(client, deadline_ns, &message, err))
		return -1;
	value = json_object_get(message, "return");
	if (value) {
		if (out)
			*out = json_incref(value);
		r = 0;
	} else if (check_error(message, err) == 0) {
		pf_err_set(err, PF_ERR_PROTOCOL, "the agent's answer is neither return nor error");
	}
	json_decref(message);
	return r;
}

int pf_client_command(struct pf_client *client, const char *name, json_t *args,
		      uint64_t deadline_ns, json_t **out_return, struct pf_err *err)
{
	json_t *command = json_pack("{s:s, s:I}", "execute", name, "id", ++client->last_id);
	int r;

	if (args)
		json_object_set_new(command, "arguments", args);
	r = exchange(client, command, deadline_ns, out_return, err);
	json_decref(command);
	return r;
}

int pf_client_event(struct pf_client *client, uint64_t deadline_ns, json_t **out_event,
		    struct pf_err *err)
{
	if (json_array_size(client->events) > 0) {
		*out_event = json_incref(json_array_get(client->events, 0));
		json_array_remove(client->events, 0);
		return 0;
	}
	for (;;) {
		json_t *message = NULL;
		int late = next_message(client, deadline_ns, &message, err);

		if (late)
			return late;
		if (json_object_get(message, "event")) {
			*out_event = message;
			return 0;
		}
		json_decref(message);
	}
}
