/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/orchestrate.c - see migrate/demo/orchestrate.h. */
#include "migrate/demo/orchestrate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "migrate/demo/harm.h"
#include "migrate/demo/tally.h"

#define COMMAND_NS (10 * PF_NS_PER_S)
#define PROGRESS_NS (100 * PF_NS_PER_MS)
#define AGAIN_NS (60 * PF_NS_PER_S) /* generous, as all that waits for a process */
/* No event tells when somebody begins to listen on a socket that is not there yet. */
#define CONNECT_AGAIN_NS (10 * PF_NS_PER_MS)

void pf_orchestra_init(struct pf_orchestra *orchestra, struct pf_children *children)
{
	memset(orchestra, 0, sizeof(*orchestra));
	orchestra->children = children;
	orchestra->source.which = PF_SOURCE;
	orchestra->source.name = "source";
	orchestra->destination.which = PF_DESTINATION;
	orchestra->destination.name = "destination";
	pf_termline_init(&orchestra->line, stderr);
	orchestra->started_ns = pf_now_ns();
}

static void side_done(struct pf_demo_side *side)
{
	pf_client_close(side->client);
	side->client = NULL;
	json_decref(side->status);
	json_decref(side->earlier);
	side->status = side->earlier = NULL;
}

void pf_orchestra_done(struct pf_orchestra *orchestra)
{
	pf_termline_end(&orchestra->line);
	side_done(&orchestra->source);
	side_done(&orchestra->destination);
}

void pf_orchestra_say(struct pf_orchestra *orchestra, const char *fmt, ...)
{
	uint64_t ms = (pf_now_ns() - orchestra->started_ns) / PF_NS_PER_MS;
	va_list args;

	pf_termline_clear(&orchestra->line);
	fprintf(stderr, "%5llu.%03llu  ", (unsigned long long)(ms / 1000),
		(unsigned long long)(ms % 1000));
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

static void take_state(struct pf_orchestra *orchestra, struct pf_demo_side *side, const char *state)
{
	uint64_t now = pf_now_ns();

	if (strcmp(side->state, state) == 0)
		return;
	snprintf(side->state, sizeof(side->state), "%s", state);
	pf_orchestra_say(orchestra, "%-11s %s", side->name, state);
	if (side != &orchestra->destination)
		return;
	if (strcmp(state, "postcopy-active") == 0 && orchestra->running_ns == 0)
		orchestra->running_ns = now;
	if (strcmp(state, "completed") == 0 && orchestra->completed_ns == 0)
		orchestra->completed_ns = now;
}

/* An outage is none: agents mend it by themselves, and one that they do not mend makes the demo late. */
static int judge_state(const struct pf_demo_side *side, struct pf_err *err)
{
	static const char *const bad[] = {"failed", "cancelled"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (strcmp(side->state, bad[i]) == 0)
			return pf_err_set(err, PF_ERR_STATE, "the %s agent is in state %s",
					  side->name, side->state);
	return 0;
}

/* Events that belong to every migration; any other is shown, since it explains what follows. */
static bool is_routine(const char *name)
{
	static const char *const routine[] = {"NEED_PAUSE", "NEED_DEVICE_LOAD", "RUN_GRANTED",
					      "OUTCOME"};

	for (size_t i = 0; i < sizeof(routine) / sizeof(routine[0]); i++)
		if (strcmp(name, routine[i]) == 0)
			return true;
	return false;
}

/* A machine that stands still for longer than --link-timeout is enough: it is said, and no failure. */
static void note_outage(struct pf_orchestra *orchestra, const struct pf_demo_side *side)
{
	if (side != &orchestra->destination ||
	    (orchestra->mishaps && pf_mishaps_now(orchestra->mishaps)))
		return;
	orchestra->outages++;
	pf_orchestra_say(orchestra, "%-11s nobody has made this outage; the guest is here, and waits for "
			 "pages until it is over", "demo");
}

static void show_event(struct pf_orchestra *orchestra, const struct pf_demo_side *side,
		       const char *name, const json_t *data)
{
	char *dump = json_dumps(data, JSON_COMPACT);

	pf_orchestra_say(orchestra, "%-11s %s %s", side->name, name, dump ? dump : "");
	free(dump);
}

static int take_event(struct pf_orchestra *orchestra, struct pf_demo_side *side,
		      const json_t *event, struct pf_err *err)
{
	const char *name = json_string_value(json_object_get(event, "event"));
	const json_t *data = json_object_get(event, "data");
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
	const char *text;

	if (!name || seq == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the %s agent sent an event without name or number", side->name);
	if (seq <= side->seq) /* it came in query-events already */
		return 0;
	side->seq = seq;
	if (orchestra->mishaps)
		pf_mishaps_event(orchestra->mishaps, side->which, name);
	if (strcmp(name, "OUTCOME") == 0)
		side->final = json_is_true(json_object_get(data, "final"));
	if (strcmp(name, "STATE") == 0) {
		text = json_string_value(json_object_get(data, "state"));
		take_state(orchestra, side, text ? text : "?");
		return judge_state(side, err);
	}
	if (strcmp(name, "LISTENING") == 0) {
		text = json_string_value(json_object_get(data, "address"));
		snprintf(side->address, sizeof(side->address), "%s", text ? text : "");
		return 0;
	}
	if (!is_routine(name))
		show_event(orchestra, side, name, data);
	if (strcmp(name, "OUTAGE") == 0)
		note_outage(orchestra, side);
	return 0;
}

/* The next worker answers on the same socket, and knows what the one before had said. */
static int side_again(struct pf_orchestra *orchestra, struct pf_demo_side *side,
		      struct pf_err *err)
{
	json_decref(side->status); /* of the worker that is gone */
	side->status = NULL;
	return pf_orchestra_connect(orchestra, side, side->control, pf_now_ns() + AGAIN_NS, err);
}

/* An agent whose control connection ended: the end of the process says why. */
static int side_lost(struct pf_orchestra *orchestra, struct pf_demo_side *side, struct pf_err *err)
{
	uint64_t deadline = pf_now_ns() + PF_NS_PER_S;
	struct pf_err end;
	int woken = 0;

	pf_client_close(side->client);
	side->client = NULL;
	if (orchestra->mishaps && pf_mishaps_now(orchestra->mishaps) && !side->final)
		return side_again(orchestra, side, err);
	if (side->agent->end == PF_END_SUCCESS)
		return 0;
	while (woken == 0) {
		woken = pf_children_wait(orchestra->children, NULL, 0, deadline, &end);
		if (woken < 0)
			*err = end;
	}
	return -1;
}

static int take_events(struct pf_orchestra *orchestra, struct pf_demo_side *side,
		       struct pf_err *err)
{
	while (side->client) {
		json_t *event;
		int got = pf_client_event(side->client, pf_now_ns(), &event, err);

		if (got == 1)
			return 0;
		if (got < 0)
			return err->class == PF_ERR_UNREACHABLE ? side_lost(orchestra, side, err)
								: -1;
		got = take_event(orchestra, side, event, err);
		json_decref(event);
		if (got)
			return -1;
	}
	return 0;
}

static int side_read(struct pf_orchestra *orchestra, struct pf_demo_side *side, struct pf_err *err)
{
	if (side->guest.child && side->guest.child->from >= 0 &&
	    pf_demo_guest_read(&side->guest, err))
		return -1;
	return take_events(orchestra, side, err);
}

/* Takes what everybody has said, or waits until somebody does.  1: the deadline passed. */
static int listen_once(struct pf_orchestra *orchestra, uint64_t deadline_ns, struct pf_err *err)
{
	const struct pf_demo_side *sides[] = {&orchestra->source, &orchestra->destination};
	int fds[4], woken;

	for (size_t i = 0; i < 2; i++) {
		fds[2 * i] = sides[i]->client ? pf_client_fd(sides[i]->client) : -1;
		fds[2 * i + 1] = sides[i]->guest.child ? sides[i]->guest.child->from : -1;
	}
	woken = pf_children_wait(orchestra->children, fds, 4, deadline_ns, err);
	if (woken < 0)
		return -1;
	if (side_read(orchestra, &orchestra->source, err) ||
	    side_read(orchestra, &orchestra->destination, err))
		return -1;
	return woken;
}

static int command(struct pf_demo_side *side, const char *name, json_t *args, json_t **out,
		   struct pf_err *err)
{
	if (pf_client_command(side->client, name, args, pf_now_ns() + COMMAND_NS, out, err))
		return pf_err_prefix(err, "the %s agent, %s", side->name, name);
	return 0;
}

static int take_history(struct pf_orchestra *orchestra, struct pf_demo_side *side,
			struct pf_err *err)
{
	json_t *answer, *events, *event;
	size_t i;
	int failed = 0;

	if (command(side, "query-events", json_pack("{s:I}", "since", (json_int_t)side->seq), &answer, err))
		return -1;
	events = json_object_get(answer, "events");
	if (!json_is_array(events))
		failed = pf_err_set(err, PF_ERR_PROTOCOL,
				    "the %s agent, query-events: no array `events`", side->name);
	json_array_foreach(events, i, event) if (!failed) failed =
		take_event(orchestra, side, event, err);
	json_decref(answer);
	return failed;
}

int pf_orchestra_connect(struct pf_orchestra *orchestra, struct pf_demo_side *side,
			 const char *control, uint64_t deadline_ns, struct pf_err *err)
{
	side->control = control;
	while (pf_client_open(control, deadline_ns, &side->client, err)) {
		uint64_t again = pf_now_ns() + CONNECT_AGAIN_NS;

		side->client = NULL;
		if (err->class != PF_ERR_UNREACHABLE || pf_now_ns() >= deadline_ns)
			return pf_err_prefix(err, "reaching the %s agent", side->name);
		if (pf_children_wait(orchestra->children, NULL, 0, again, err) < 0)
			return -1;
	}
	return take_history(orchestra, side, err);
}

int pf_orchestra_await_address(struct pf_orchestra *orchestra, uint64_t deadline_ns,
			       struct pf_err *err)
{
	while (orchestra->destination.address[0] == '\0') {
		int woken = listen_once(orchestra, deadline_ns, err);

		if (woken < 0)
			return -1;
		if (woken == 1)
			return pf_err_set(err, PF_ERR_STATE,
					  "the destination agent did not listen in time");
	}
	return 0;
}

static int ask_status(struct pf_orchestra *orchestra, struct pf_demo_side *side, struct pf_err *err)
{
	json_t *status;

	if (!side->client)
		return 0;
	/* An agent that ended meanwhile: its last events wait in the client. */
	if (command(side, "query-migrate", NULL, &status, err))
		return err->class == PF_ERR_UNREACHABLE ? take_events(orchestra, side, err) : -1;
	json_decref(side->status);
	side->status = status;
	return 0;
}

static int take_cipher(struct pf_orchestra *orchestra, struct pf_err *err)
{
	const json_t *peer;
	const char *cipher;

	if (ask_status(orchestra, &orchestra->destination, err))
		return -1;
	peer = json_object_get(orchestra->destination.status, "peer");
	cipher = json_string_value(json_object_get(peer, "cipher"));
	if (!cipher)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the destination agent is active and names no peer.cipher");
	snprintf(orchestra->cipher, sizeof(orchestra->cipher), "%s", cipher);
	return 0;
}

int pf_orchestra_await_active(struct pf_orchestra *orchestra, uint64_t deadline_ns,
			      struct pf_err *err)
{
	while (strcmp(orchestra->source.state, "active") != 0 ||
	       strcmp(orchestra->destination.state, "active") != 0) {
		int woken = listen_once(orchestra, deadline_ns, err);

		if (woken < 0)
			return -1;
		if (woken == 1)
			return pf_err_set(err, PF_ERR_STATE,
					  "the agents did not agree in time: the source is in "
					  "state `%s`, the destination in `%s`",
					  orchestra->source.state, orchestra->destination.state);
	}
	return take_cipher(orchestra, err);
}

static void show_progress(struct pf_orchestra *orchestra)
{
	char text[256];

	if (!orchestra->line.active || !orchestra->destination.status)
		return;
	pf_progress_line(&orchestra->progress, orchestra->destination.status, pf_now_ns(), text,
			 sizeof(text));
	pf_termline_show(&orchestra->line, text);
}

static bool ended(const struct pf_orchestra *orchestra)
{
	return orchestra->source.agent->ended && orchestra->destination.agent->ended;
}

static int late(struct pf_orchestra *orchestra, struct pf_err *err)
{
	char source[64], destination[64];

	pf_child_state(orchestra->source.agent, source, sizeof(source));
	pf_child_state(orchestra->destination.agent, destination, sizeof(destination));
	return pf_err_set(err, PF_ERR_STATE,
			  "the migration did not end in time: the source agent is in state `%s` "
			  "(%s), the destination agent in `%s` (%s)",
			  orchestra->source.state, source, orchestra->destination.state,
			  destination);
}

/* The agents have said all; what they said last is read before the connections are dropped. */
static int take_last_words(struct pf_orchestra *orchestra, struct pf_err *err)
{
	if (take_events(orchestra, &orchestra->source, err) ||
	    take_events(orchestra, &orchestra->destination, err))
		return -1;
	if (orchestra->completed_ns == 0)
		return pf_err_set(err, PF_ERR_STATE,
				  "the destination agent ended in state `%s`, not `completed`",
				  orchestra->destination.state);
	return pf_harm_check(orchestra, err);
}

/* What is asked for again and again, since no event tells it. */
struct asking {
	uint64_t destination_ns, source_ns; /* when the next time is */
};

static int ask_both(struct pf_orchestra *orchestra, struct asking *asking, struct pf_err *err)
{
	uint64_t now = pf_now_ns(), period = 0;

	if (now < asking->destination_ns)
		return 0;
	if (ask_status(orchestra, &orchestra->destination, err))
		return -1;
	if (orchestra->mishaps) {
		if (pf_harm_act(orchestra, err))
			return -1;
		period = pf_mishaps_look_again_ns(orchestra->mishaps);
	}
	if (now >= asking->source_ns) {
		if (ask_status(orchestra, &orchestra->source, err))
			return -1;
		show_progress(orchestra);
		asking->source_ns = pf_now_ns() + PROGRESS_NS;
	}
	asking->destination_ns = pf_now_ns() + (period ? period : PROGRESS_NS);
	return 0;
}

static int follow(struct pf_orchestra *orchestra, uint64_t deadline_ns, struct pf_err *err)
{
	struct asking asking = {0};

	while (!ended(orchestra)) {
		bool final = orchestra->completed_ns != 0;
		uint64_t until;

		if (pf_now_ns() >= deadline_ns)
			return late(orchestra, err);
		if (ask_both(orchestra, &asking, err))
			return -1;
		until = pf_sooner_ns(asking.destination_ns, deadline_ns);
		if (listen_once(orchestra, until, err) < 0)
			return -1;
		if (!final && orchestra->completed_ns != 0)
			asking = (struct asking){0}; /* the last numbers, before the agent goes */
	}
	return take_last_words(orchestra, err);
}

int pf_orchestra_migrate(struct pf_orchestra *orchestra, uint64_t deadline_ns, struct pf_err *err)
{
	orchestra->switchover_ns = pf_now_ns();
	if (command(&orchestra->source, "switchover", NULL, NULL, err))
		return -1;
	orchestra->source.agent->end = PF_END_SUCCESS;
	orchestra->destination.agent->end = PF_END_SUCCESS;
	return follow(orchestra, deadline_ns, err) ? pf_harm_explain(orchestra, err) : 0;
}

int pf_orchestra_check_outcome(struct pf_demo_side *side, const char *state_dir, struct pf_err *err)
{
	char path[PF_CHILD_PATH_MAX];
	json_error_t wrong;
	const char *outcome;
	json_t *file;
	int failed = 0;

	snprintf(path, sizeof(path), "%s/outcome.json", state_dir);
	file = json_load_file(path, 0, &wrong);
	if (!file)
		return pf_err_set(err, PF_ERR_STATE, "the %s agent's outcome.json: %s", side->name,
				  wrong.text);
	outcome = json_string_value(json_object_get(file, "outcome"));
	if (!outcome || strcmp(outcome, "completed") != 0)
		failed = pf_err_set(err, PF_ERR_STATE,
				    "the %s agent's outcome.json says `%s`, not `completed`",
				    side->name, outcome ? outcome : "");
	/* An agent ends as soon as it is done: what it said last on the socket is older. */
	json_decref(side->status);
	side->status = json_incref(json_object_get(file, "migrate"));
	json_decref(file);
	if (!failed && side->earlier)
		pf_tally_add(side->status, side->earlier);
	return failed;
}
