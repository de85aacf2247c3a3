/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/watch.c - see migrate/watch.h. */
#include "migrate/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "migrate/client.h"
#include "migrate/progress.h"
#include "migrate/report.h"
#include "migrate/termline.h"
#include "migrate/verbs_print.h"

#define TICK_NS (250 * PF_NS_PER_MS)
#define QUIET_NS (5 * PF_NS_PER_S)    /* nothing is heard: is it there still? */
#define PATIENCE_NS (5 * PF_NS_PER_S) /* for somebody to listen again */
#define AGAIN_MS 20

struct watch {
	const char *path;
	bool json;
	struct pf_client *client; /* NULL: between two processes */
	json_int_t last; /* seq of the last event that was shown, or that came before the first */
	bool begun;	 /* last is known */
	bool ended;	 /* it was the agent's last word */
	struct pf_progress progress;
	struct pf_termline line;
	uint64_t tick_ns;
};

static void show_event(struct watch *watch, json_t *event)
{
	json_int_t seq = json_integer_value(json_object_get(event, "seq"));
	const char *name = json_string_value(json_object_get(event, "event"));
	const json_t *data = json_object_get(event, "data");

	if (seq <= watch->last)
		return;
	watch->last = seq;
	watch->ended = name && strcmp(name, "OUTCOME") == 0 &&
		       json_is_true(json_object_get(data, "final"));
	pf_termline_clear(&watch->line);
	if (watch->json)
		pf_print_json(stdout, event);
	else
		pf_print_event(stdout, event);
	fflush(stdout);
}

/* What has come and is in the client's queue still. */
static void show_queued(struct watch *watch)
{
	json_t *event = NULL;
	struct pf_err err;

	while (pf_client_event(watch->client, 1, &event, &err) == 0) {
		show_event(watch, event);
		json_decref(event);
	}
}

static void tell_silent(struct watch *watch, const struct pf_err *why)
{
	struct pf_err err = *why;

	pf_err_hint(&err, "it is waited for");
	pf_termline_clear(&watch->line);
	pf_report("watch", &err);
}

/* However long the answer takes; that it takes long is said, once. */
static int ask(struct watch *watch, const char *name, json_t *args, json_t **out,
	       struct pf_err *err)
{
	int r = pf_client_command(watch->client, name, args ? json_incref(args) : NULL,
				  pf_now_ns() + PF_CLIENT_PATIENCE_NS, out, err);

	if (r && pf_client_is_late(err)) {
		tell_silent(watch, err);
		r = pf_client_command(watch->client, name, args ? json_incref(args) : NULL, 0, out,
				      err);
	}
	json_decref(args);
	return r;
}

static int history(struct watch *watch, json_int_t since, json_t **out, struct pf_err *err)
{
	json_t *answer = NULL;

	if (ask(watch, "query-events", json_pack("{s:I}", "since", since), &answer, err))
		return -1;
	*out = json_incref(json_object_get(answer, "events"));
	json_decref(answer);
	if (*out)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "%s: query-events: no array `events`", watch->path);
}

/* Events from here on: what came before is known by the number of its last alone. */
static int begin(struct watch *watch, struct pf_err *err)
{
	json_t *events = NULL;
	size_t count;

	if (history(watch, 0, &events, err))
		return -1;
	show_queued(watch);
	count = json_array_size(events);
	if (watch->last == 0 && count > 0)
		watch->last = json_integer_value(
			json_object_get(json_array_get(events, count - 1), "seq"));
	json_decref(events);
	watch->begun = true;
	return 0;
}

/* What was told while nobody could hear it, from the last event on that is known. */
static int take_up(struct watch *watch, struct pf_err *err)
{
	json_int_t since = watch->last > 0 ? watch->last - 1 : 0;
	json_t *events = NULL, *event;
	size_t i;

	if (history(watch, since, &events, err))
		return -1;
	/* It does not know that one: its state directory is another, which begins with 1. */
	if (since > 0 && json_array_size(events) == 0) {
		json_decref(events);
		watch->last = 0;
		if (history(watch, 0, &events, err))
			return -1;
	}
	json_array_foreach(events, i, event) show_event(watch, event);
	json_decref(events);
	return 0;
}

static int open_silent(struct watch *watch, struct pf_err *err)
{
	int r = pf_client_open(watch->path, pf_now_ns() + PF_CLIENT_PATIENCE_NS, &watch->client,
			       err);

	if (!r || !pf_client_is_late(err))
		return r;
	tell_silent(watch, err);
	return pf_client_open(watch->path, 0, &watch->client, err);
}

/* The keeper listens while it has no worker; who has no keeper any more may be started again. */
static int open_again(struct watch *watch, struct pf_err *err)
{
	uint64_t until = pf_now_ns() + PATIENCE_NS;

	while (open_silent(watch, err)) {
		if (err->class != PF_ERR_UNREACHABLE)
			return -1;
		if (pf_now_ns() >= until) {
			pf_err_set(err, PF_ERR_UNREACHABLE,
				   "%s: nobody listens there any more, and the agent has not said "
				   "that it ends",
				   watch->path);
			return pf_err_hint(
				err, "it was killed, or its host's memory is full: see its own "
				     "messages; if its guest needs it, start it again on its "
				     "--state-dir");
		}
		(void)poll(NULL, 0, AGAIN_MS);
	}
	return 0;
}

static int show_progress(struct watch *watch, struct pf_err *err)
{
	json_t *status = NULL;
	char text[256];

	if (ask(watch, "query-migrate", NULL, &status, err))
		return -1;
	pf_progress_line(&watch->progress, status, pf_now_ns(), text, sizeof(text));
	pf_termline_show(&watch->line, text);
	json_decref(status);
	return 0;
}

/* 0: go on. */
static int step(struct watch *watch, struct pf_err *err)
{
	json_t *event = NULL;
	int late = pf_client_event(watch->client, watch->tick_ns, &event, err);

	if (late < 0)
		return -1;
	if (late && show_progress(watch, err))
		return -1;
	if (!late)
		show_event(watch, event);
	json_decref(event);
	if (late || !watch->line.active)
		watch->tick_ns = pf_now_ns() + (watch->line.active ? TICK_NS : QUIET_NS);
	return 0;
}

/* One process of the agent's, until its connection ends. */
static int listen_to(struct watch *watch, struct pf_err *err)
{
	watch->tick_ns = pf_now_ns() + (watch->line.active ? 0 : QUIET_NS);
	if (watch->begun || watch->last > 0 ? take_up(watch, err) : begin(watch, err))
		return -1;
	while (step(watch, err) == 0 && !ferror(stdout))
		continue;
	return -1;
}

static int watch_all(struct watch *watch, struct pf_err *err)
{
	int r = open_silent(watch, err);

	while (r == 0) {
		(void)listen_to(watch, err);
		show_queued(watch);
		pf_client_close(watch->client);
		watch->client = NULL;
		if (watch->ended || ferror(stdout))
			return 0;
		if (err->sys != ECONNRESET)
			return -1;
		r = open_again(watch, err);
	}
	return r;
}

int pf_watch(const char *path, bool json, struct pf_err *err)
{
	struct watch watch = {.path = path, .json = json};
	int r;

	pf_termline_init(&watch.line, stderr);
	r = watch_all(&watch, err);
	pf_termline_end(&watch.line);
	return r;
}
