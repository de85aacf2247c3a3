/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/events.c - see migrate/events.h.
 *
 * The file `events` is appended to, one write for an event, and replaced by the kept ones when it
 * holds twice as many lines.  A line that was cut short by the death of its writer was never told
 * to anybody (the file comes first), so it is dropped and its number is given again.
 */
#include "migrate/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "migrate/jsonline.h"

#define FILE_LINES_MAX (2u * PF_EVENTS_KEPT)
#define PIECE_BYTES 4096u /* PIPE_BUF: what a pipe that polls writable takes without blocking */

struct kept {
	uint64_t seq;
	json_t *event;
};

struct pf_events {
	struct pf_statedir *dir;
	int file_fd; /* `events`, O_APPEND */
	int sink_fd; /* -1: none, or dropped */
	bool sink_is_socket;
	bool stale;	   /* the file lacks something or ends in half a line: rewrite it */
	bool warned;	   /* about the file; not again until it worked once */
	unsigned in_file;  /* lines */
	unsigned first;	   /* oldest place in kept[] */
	unsigned count;	   /* places used */
	uint64_t last_seq; /* of the newest event ever */
	uint64_t told_seq; /* of the newest that was told */
	uint64_t file_seq; /* of the newest that is in the file, if it is not stale */
	unsigned held;	   /* holds that have not been let go */
	struct kept kept[PF_EVENTS_KEPT];
	pf_events_listener listener;
	void *opaque;
};

static void keep(struct pf_events *events, uint64_t seq, json_t *event)
{
	struct kept *slot = &events->kept[(events->first + events->count) % PF_EVENTS_KEPT];

	if (events->count == PF_EVENTS_KEPT) {
		json_decref(slot->event);
		events->first = (events->first + 1) % PF_EVENTS_KEPT;
	} else {
		events->count++;
	}
	*slot = (struct kept){.seq = seq, .event = event};
	events->last_seq = seq;
}

static const struct kept *kept_at(const struct pf_events *events, unsigned index)
{
	return &events->kept[(events->first + index) % PF_EVENTS_KEPT];
}

/* One line of the file.  false: not an event that follows the one before. */
static bool load_line(struct pf_events *events, const char *line, size_t length)
{
	json_t *event, *seq;

	if (length == 0 || line[length - 1] != '\n')
		return false;
	event = json_loadb(line, length - 1, 0, NULL);
	seq = json_object_get(event, "seq");
	if (!json_is_string(json_object_get(event, "event")) || !json_is_integer(seq) ||
	    json_integer_value(seq) <= (json_int_t)events->last_seq) {
		json_decref(event);
		return false;
	}
	keep(events, (uint64_t)json_integer_value(seq), event);
	return true;
}

static int load(struct pf_events *events, struct pf_err *err)
{
	int fd = openat(events->dir->fd, "events", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	pf_auto_free char *line = NULL;
	unsigned unreadable = 0;
	size_t size = 0;
	ssize_t length;
	FILE *file;

	if (fd < 0 && errno == ENOENT)
		return 0;
	file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file) {
		pf_err_sys(err, "opening %s/events", events->dir->path);
		pf_close_fd(&fd);
		return -1;
	}
	while ((length = getline(&line, &size, file)) > 0) {
		events->in_file++;
		if (!load_line(events, line, (size_t)length))
			unreadable++;
	}
	fclose(file);
	events->stale = unreadable > 0;
	events->told_seq = events->file_seq = events->last_seq;
	if (unreadable > 0)
		fprintf(stderr, "pageferry: %s/events: %u unreadable lines dropped\n",
			events->dir->path, unreadable);
	return 0;
}

static int open_file(struct pf_events *events, struct pf_err *err)
{
	pf_close_fd(&events->file_fd);
	events->file_fd = openat(events->dir->fd, "events",
				 O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (events->file_fd < 0)
		return pf_err_sys(err, "opening %s/events", events->dir->path);
	return 0;
}

/* Replaces the file by what is kept. */
static int rewrite(struct pf_events *events, struct pf_err *err)
{
	pf_auto_free char *all = NULL;
	size_t length = 0;
	FILE *text = open_memstream(&all, &length);
	bool whole = text != NULL;

	for (unsigned i = 0; whole && i < events->count; i++) {
		whole = json_dumpf(kept_at(events, i)->event, text, JSON_COMPACT) == 0 &&
			fputc('\n', text) != EOF;
	}
	if (text && fclose(text) != 0)
		whole = false;
	if (!whole)
		return pf_err_set(err, PF_ERR_SYSTEM, "collecting the events: out of memory");
	if (pf_statedir_write(events->dir, "events", all, length, err) || open_file(events, err))
		return -1;
	events->in_file = events->count;
	events->file_seq = events->last_seq;
	events->stale = false;
	return 0;
}

/* Errors name the number that was given, whatever it is here. */
static int open_number(struct pf_events *events, const char *sink, int kept_fd, struct pf_err *err)
{
	uint64_t number = (uint64_t)kept_fd;
	int flags;

	if (kept_fd < 0 && pf_number_parse(sink + 3, 0, INT32_MAX, &number, err))
		return pf_err_prefix(err, "--events");
	flags = fcntl((int)number, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
		pf_err_set(err, PF_ERR_CONFIG, "--events %s: no descriptor that can be written",
			   sink);
		return pf_err_hint(err, "whoever starts the agent hands it down, open for writing");
	}
	events->sink_fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
	return 0;
}

static int open_sink(struct pf_events *events, const char *sink, int kept_fd, struct pf_err *err)
{
	struct stat st;

	if (strncmp(sink, "fd:", 3) == 0) {
		if (open_number(events, sink, kept_fd, err))
			return -1;
	} else {
		/* O_NONBLOCK: a FIFO that nobody reads is an error, not a place to wait. */
		events->sink_fd = open(
			sink, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			0600);
	}
	if (events->sink_fd < 0 || fstat(events->sink_fd, &st) != 0) {
		pf_err_sys(err, "--events: opening %s", sink);
		err->class = PF_ERR_CONFIG;
		if (err->sys == ENXIO)
			pf_err_hint(err, "a FIFO needs a reader before the agent starts");
		else if (err->sys == ENOENT)
			pf_err_hint(err, "the file is made, but not its folder: it must be there");
		return -1;
	}
	events->sink_is_socket = S_ISSOCK(st.st_mode);
	return 0;
}

int pf_events_open(struct pf_statedir *dir, const char *sink, struct pf_events **out,
		   struct pf_err *err)
{
	return pf_events_open_kept(dir, sink, -1, out, err);
}

int pf_events_open_kept(struct pf_statedir *dir, const char *sink, int kept_fd,
			struct pf_events **out, struct pf_err *err)
{
	struct pf_events *events = calloc(1, sizeof(*events));

	if (!events)
		return pf_err_sys(err, "opening the events");
	events->dir = dir;
	events->file_fd = -1;
	events->sink_fd = -1;
	if (load(events, err) || (sink && open_sink(events, sink, kept_fd, err)) ||
	    (events->stale ? rewrite(events, err) : open_file(events, err))) {
		pf_events_close(events);
		return -1;
	}
	*out = events;
	return 0;
}

void pf_events_close(struct pf_events *events)
{
	if (!events)
		return;
	for (unsigned i = 0; i < events->count; i++)
		json_decref(kept_at(events, i)->event);
	pf_close_fd(&events->file_fd);
	pf_close_fd(&events->sink_fd);
	free(events);
}

void pf_events_listen(struct pf_events *events, pf_events_listener listener, void *opaque)
{
	events->listener = listener;
	events->opaque = opaque;
}

/*
 * Never blocks, whatever was handed to us: fd:N may share its open file with other processes, so
 * O_NONBLOCK cannot be set on it, and poll(2) is asked before each piece instead.
 */
static int sink_put(struct pf_events *events, const char *line, size_t length)
{
	while (length > 0) {
		struct pollfd writable = {.fd = events->sink_fd, .events = POLLOUT};
		size_t piece = length < PIECE_BYTES ? length : PIECE_BYTES;
		ssize_t put;

		if (events->sink_is_socket) {
			put = send(events->sink_fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		} else if (poll(&writable, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		} else {
			put = write(events->sink_fd, line, piece);
		}
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		line += put;
		length -= (size_t)put;
	}
	return 0;
}

static void to_sink(struct pf_events *events, const char *line, size_t length)
{
	if (events->sink_fd < 0 || sink_put(events, line, length) == 0)
		return;
	fprintf(stderr,
		"pageferry: --events: %s; nothing more is written there from event %" PRIu64
		" on\n",
		errno == EAGAIN ? "its reader does not keep up" : strerror(errno),
		events->last_seq);
	pf_close_fd(&events->sink_fd);
}

static int append(struct pf_events *events, const char *line, size_t length, struct pf_err *err)
{
	ssize_t put;

	if (events->stale || events->in_file >= FILE_LINES_MAX)
		return rewrite(events, err);
	do {
		put = write(events->file_fd, line, length);
	} while (put < 0 && errno == EINTR);
	if (put == (ssize_t)length) {
		events->in_file++;
		return 0;
	}
	if (put >= 0)
		errno = ENOSPC;
	return pf_err_sys(err, "appending to %s/events", events->dir->path);
}

/* The migration goes on without its log, and the next event tries again with the whole of it. */
static void to_file(struct pf_events *events, const char *line, size_t length, uint64_t seq)
{
	struct pf_err err;

	if (append(events, line, length, &err) == 0) {
		events->file_seq = seq > events->file_seq ? seq : events->file_seq;
		events->warned = false;
		return;
	}
	events->stale = true;
	if (!events->warned)
		fprintf(stderr, "pageferry: %s; events are lost if the agent ends now\n", err.text);
	events->warned = true;
}

static json_t *event_object(uint64_t seq, const char *name, json_t *data)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return json_pack("{s:s, s:I, s:{s:I, s:I}, s:o}", "event", name, "seq", (json_int_t)seq,
			 "timestamp", "seconds", (json_int_t)now.tv_sec, "microseconds",
			 (json_int_t)now.tv_usec, "data", data ? data : json_object());
}

static void tell(struct pf_events *events, const struct kept *kept)
{
	pf_auto_free char *line = pf_jsonline(kept->event);
	size_t length;

	if (!line) {
		fprintf(stderr, "pageferry: out of memory for event %" PRIu64 "\n", kept->seq);
		return;
	}
	length = strlen(line);
	if (kept->seq > events->file_seq) /* else it went there with others, when the file was replaced */
		to_file(events, line, length, kept->seq);
	to_sink(events, line, length);
	if (events->listener)
		events->listener(events->opaque, line);
}

static void tell_new(struct pf_events *events)
{
	/* The new ones are the last of those that are kept. */
	uint64_t untold = events->last_seq - events->told_seq;
	unsigned i = untold < events->count ? events->count - (unsigned)untold : 0;

	events->told_seq = events->last_seq;
	for (; i < events->count; i++)
		tell(events, kept_at(events, i));
}

void pf_events_emit(struct pf_events *events, const char *name, json_t *data)
{
	json_t *event = event_object(events->last_seq + 1, name, data);

	if (!event) {
		fprintf(stderr, "pageferry: out of memory for the event %s\n", name);
		return;
	}
	keep(events, events->last_seq + 1, event);
	if (events->held == 0)
		tell_new(events);
}

void pf_events_hold(struct pf_events *events)
{
	events->held++;
}

void pf_events_let_go(struct pf_events *events)
{
	if (--events->held == 0)
		tell_new(events);
}

json_t *pf_events_since(const struct pf_events *events, uint64_t since)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < events->count; i++)
		if (kept_at(events, i)->seq > since)
			json_array_append(array, kept_at(events, i)->event);
	return array;
}
