/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/control.c - see migrate/control.h; the texts are control_line.c's.
 *
 * A connection can turn out to be dead in the middle of somebody else's command (an event goes to
 * all of them), so it is only marked there and freed by a deferred source of the loop.
 */
#include "migrate/control.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unixsock.h"
#include "migrate/control_line.h"

#define CLIENTS_MAX 16u
#define QUEUE_MAX (1024u * 1024)
#define TURN_BYTES 1024u /* of what a client has sent, in a turn of the loop: it keeps nobody waiting */
#define CLOSE_NS (200 * PF_NS_PER_MS)
#define AGAIN_US 100000u /* what the kernel had no memory for is sent again */
#define CLOSE_AGAIN_MS 10

struct client {
	struct pf_control *control;
	sd_event_source *source;
	int fd;
	bool ending; /* nothing more is read; closed when the queue is empty */
	bool dead;   /* freed by the reaper */
	bool starved; /* the kernel has no memory to send with, as at the limit of a control group */
	char *out;   /* the queue: [out_sent, out_end) of out_size bytes */
	size_t out_sent, out_end, out_size;
	size_t in_used;
	char in[PF_CONTROL_LINE_MAX + 1];
};

struct pf_control {
	sd_event_source *listener;
	sd_event_source *reaper;
	sd_event_source *again; /* a timer; on while somebody is starved */
	int fd;
	enum pf_side side;
	const char *id;
	const struct pf_command *table;
	void *agent;
	struct pf_events *events;
	struct client *client[CLIENTS_MAX];
	char path[108];
};

static void mark_dead(struct client *client)
{
	client->dead = true;
	sd_event_source_set_enabled(client->source, SD_EVENT_OFF);
	sd_event_source_set_enabled(client->control->reaper, SD_EVENT_ONESHOT);
}

static void free_client(struct client *client)
{
	sd_event_source_disable_unref(client->source);
	pf_close_fd(&client->fd);
	free(client->out);
	free(client);
}

static int on_reap(sd_event_source *source, void *opaque)
{
	struct pf_control *control = opaque;

	(void)source;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (control->client[i] && control->client[i]->dead) {
			free_client(control->client[i]);
			control->client[i] = NULL;
		}
	}
	return 0;
}

static int make_room(struct client *client, size_t length)
{
	size_t waiting = client->out_end - client->out_sent, size;
	char *grown;

	if (client->out_sent > 0) {
		memmove(client->out, client->out + client->out_sent, waiting);
		client->out_sent = 0;
		client->out_end = waiting;
	}
	if (client->out_size - waiting >= length)
		return 0;
	size = 2 * waiting + length;
	grown = realloc(client->out, size);
	if (!grown)
		return -1;
	client->out = grown;
	client->out_size = size;
	return 0;
}

/* The socket can be written as far as poll(2) knows: to wait for that would be to turn in circles. */
static void starve(struct client *client)
{
	sd_event_source *again = client->control->again;

	client->starved = true;
	if (sd_event_source_set_time_relative(again, AGAIN_US) < 0 ||
	    sd_event_source_set_enabled(again, SD_EVENT_ONESHOT) < 0)
		mark_dead(client);
}

static void flush(struct client *client)
{
	while (!client->dead && !client->starved && client->out_sent < client->out_end) {
		ssize_t sent =
			send(client->fd, client->out + client->out_sent,
			     client->out_end - client->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0)
			client->out_sent += (size_t)sent;
		else if (errno == EAGAIN)
			return;
		else if (pf_unix_no_memory(errno))
			starve(client);
		else if (errno != EINTR)
			mark_dead(client);
	}
}

/* Asks the loop for what the connection needs next. */
static void settle(struct client *client)
{
	bool waiting = client->out_sent < client->out_end;

	if (client->dead)
		return;
	if (client->ending && !waiting)
		mark_dead(client);
	else
		sd_event_source_set_io_events(client->source, (client->ending ? 0 : EPOLLIN) |
								      (waiting && !client->starved ? EPOLLOUT : 0));
}

static int on_again(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_control *control = opaque;

	(void)source, (void)usec;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = control->client[i];

		if (!client || client->dead || !client->starved)
			continue;
		client->starved = false;
		flush(client);
		settle(client);
	}
	return 0;
}

/* The limit is looked at before the line is added: one long answer to a reader is no offence. */
static void put(struct client *client, const char *line)
{
	size_t length = line ? strlen(line) : 0;

	if (client->dead)
		return;
	if (!line || client->out_end - client->out_sent > QUEUE_MAX ||
	    (client->out_size - client->out_end < length && make_room(client, length))) {
		mark_dead(client);
		return;
	}
	memcpy(client->out + client->out_end, line, length);
	client->out_end += length;
	flush(client);
}

static void on_event(void *opaque, const char *line)
{
	struct pf_control *control = opaque;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = control->client[i];

		if (!client || client->dead || client->ending)
			continue;
		put(client, line);
		settle(client);
	}
}

static char *answer(struct pf_control *control, const struct pf_control_line *line)
{
	struct pf_err err = {0};
	const struct pf_command *row;
	json_t *value = NULL;
	const char *class;

	row = pf_control_find(control->table, control->side, line, &class, &err);
	if (!row)
		return pf_control_error(class, &err, line->id);
	if (row->run(control->agent, line->args, &value, &err))
		return pf_control_error(pf_control_class(&err), &err, line->id);
	return pf_control_return(value, line->id);
}

static void take_line(struct client *client, const char *text, size_t length)
{
	struct pf_control_line line;
	pf_auto_free char *reply = NULL;
	struct pf_err err;

	if (pf_control_parse(text, length, &line, &err))
		reply = pf_control_error(pf_control_class(&err), &err, line.id);
	else
		reply = answer(client->control, &line);
	pf_control_line_free(&line);
	put(client, reply);
}

static bool is_blank(const char *text, size_t length)
{
	while (length > 0 && strchr(" \t\r", text[length - 1]) && text[length - 1])
		length--;
	return length == 0;
}

static void refuse_long_line(struct client *client)
{
	pf_auto_free char *reply = NULL;
	struct pf_err err;

	pf_err_set(&err, PF_ERR_PROTOCOL, "a line of more than %u bytes", PF_CONTROL_LINE_MAX);
	reply = pf_control_error("GenericError", &err, NULL);
	put(client, reply);
	client->ending = true;
}

/* The first `old` bytes are known to hold no newline. */
static void take_lines(struct client *client, size_t old)
{
	char *start = client->in, *end = client->in + client->in_used, *newline;

	newline = memchr(start + old, '\n', client->in_used - old);
	while (newline && !client->dead) {
		if (!is_blank(start, (size_t)(newline - start)))
			take_line(client, start, (size_t)(newline - start));
		start = newline + 1;
		newline = memchr(start, '\n', (size_t)(end - start));
	}
	client->in_used = (size_t)(end - start);
	memmove(client->in, start, client->in_used);
	if (client->in_used == sizeof(client->in) && !client->dead)
		refuse_long_line(client);
}

static void receive(struct client *client)
{
	size_t old = client->in_used;
	size_t room = sizeof(client->in) - old;
	ssize_t got = recv(client->fd, client->in + old, room < TURN_BYTES ? room : TURN_BYTES,
			   MSG_DONTWAIT);

	if (got > 0) {
		client->in_used += (size_t)got;
		take_lines(client, old);
	} else if (got == 0) {
		client->ending = true; /* it may have closed its half only: answers still go out */
	} else if (errno != EAGAIN && errno != EINTR) {
		mark_dead(client);
	}
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
	struct client *client = opaque;

	(void)source;
	(void)fd;
	if (!client->ending && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(client);
	flush(client);
	/* A peer that closed both halves has nobody to flush for. */
	if (client->ending && !client->dead && (events & (EPOLLHUP | EPOLLERR)))
		mark_dead(client);
	settle(client);
	return 0;
}

static struct client *new_client(struct pf_control *control, int *fd)
{
	struct client *client = malloc(sizeof(*client));

	if (!client)
		return NULL;
	/* Not calloc(): 64 KiB of line buffer need no zeros. */
	memset(client, 0, offsetof(struct client, in));
	client->control = control;
	client->fd = -1;
	if (sd_event_add_io(sd_event_source_get_event(control->listener), &client->source, *fd,
			    EPOLLIN, on_client, client) < 0) {
		free(client);
		return NULL;
	}
	client->fd = pf_steal_fd(fd);
	return client;
}

/* Best effort: whoever is not let in need not read why. */
static void refuse(int fd, const struct pf_err *err)
{
	pf_auto_free char *line = pf_control_error("GenericError", err, NULL);

	if (line)
		(void)!send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int admit(struct pf_control *control, int *fd, struct pf_err *err)
{
	pf_auto_free char *greeting = NULL;
	size_t place = 0;
	pid_t pid;

	if (pf_unix_check_peer(*fd, &pid, err))
		return -1;
	while (place < CLIENTS_MAX && control->client[place])
		place++;
	if (place == CLIENTS_MAX) {
		pf_err_set(err, PF_ERR_STATE, "%u connections are open already", CLIENTS_MAX);
		return pf_err_hint(err, "close one");
	}
	control->client[place] = new_client(control, fd);
	if (!control->client[place])
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	greeting = pf_control_greeting(control->side, control->id);
	put(control->client[place], greeting);
	settle(control->client[place]);
	return 0;
}

static int on_listen(sd_event_source *source, int listen_fd, uint32_t events, void *opaque)
{
	pf_auto_fd int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct pf_err err;

	(void)source;
	(void)events;
	if (fd >= 0 && admit(opaque, &fd, &err))
		refuse(fd, &err);
	return 0;
}

static int add_sources(struct pf_control *control, sd_event *loop, struct pf_err *err)
{
	int r = sd_event_add_io(loop, &control->listener, control->fd, EPOLLIN, on_listen, control);

	/* accept(2) with EMFILE leaves the socket readable: the limit keeps that from spinning. */
	if (r >= 0)
		r = sd_event_source_set_ratelimit(control->listener, 100000, 64);
	if (r >= 0)
		r = sd_event_add_defer(loop, &control->reaper, on_reap, control);
	if (r >= 0)
		r = sd_event_source_set_enabled(control->reaper, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(loop, &control->again, CLOCK_MONOTONIC, AGAIN_US, 0,
					       on_again, control);
	if (r >= 0)
		r = sd_event_source_set_enabled(control->again, SD_EVENT_OFF);
	if (r >= 0)
		return 0;
	errno = -r;
	return pf_err_sys(err, "adding the control socket to the event loop");
}

int pf_control_open(sd_event *loop, int fd, const char *path, enum pf_side side, const char *id,
		    const struct pf_command *table, void *agent, struct pf_events *events,
		    struct pf_control **out, struct pf_err *err)
{
	struct pf_control *control = calloc(1, sizeof(*control));

	if (!control) {
		pf_close_fd(&fd);
		return pf_err_sys(err, "opening the control socket");
	}
	control->side = side;
	control->id = id;
	control->table = table;
	control->agent = agent;
	control->events = events;
	control->fd = fd >= 0 ? fd : pf_unix_listen(path, SOCK_STREAM, err);
	if (control->fd < 0) {
		free(control);
		return pf_err_prefix(err, "--control");
	}
	memcpy(control->path, path, strlen(path) + 1); /* pf_unix_listen() checked the length */
	if (add_sources(control, loop, err)) {
		pf_control_close(control, false);
		return -1;
	}
	pf_events_listen(events, on_event, control);
	*out = control;
	return 0;
}

/* The last event before the exit is the one that matters most. */
static void drain(struct pf_control *control)
{
	uint64_t deadline = pf_now_ns() + CLOSE_NS;

	for (uint64_t now = pf_now_ns(); now < deadline; now = pf_now_ns()) {
		struct pollfd waiting[CLIENTS_MAX];
		int patience = (int)((deadline - now) / PF_NS_PER_MS) + 1;
		nfds_t count = 0;

		for (size_t i = 0; i < CLIENTS_MAX; i++) {
			struct client *client = control->client[i];

			if (!client)
				continue;
			client->starved = false;
			flush(client);
			if (client->starved && patience > CLOSE_AGAIN_MS)
				patience = CLOSE_AGAIN_MS;
			if (!client->dead && client->out_sent < client->out_end)
				waiting[count++] = (struct pollfd){
					.fd = client->fd, .events = client->starved ? 0 : POLLOUT};
		}
		if (count == 0)
			return;
		poll(waiting, count, patience);
	}
}

void pf_control_close(struct pf_control *control, bool leave)
{
	if (!control)
		return;
	pf_events_listen(control->events, NULL, NULL);
	sd_event_source_disable_unref(control->listener);
	if (!leave)
		unlink(control->path);
	pf_close_fd(&control->fd);
	drain(control);
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (control->client[i])
			free_client(control->client[i]);
	sd_event_source_disable_unref(control->reaper);
	sd_event_source_disable_unref(control->again);
	free(control);
}
