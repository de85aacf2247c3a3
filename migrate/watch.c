/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/watch.c - see migrate/watch.h. */
#include "migrate/watch.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "migrate/progress.h"
#include "migrate/termline.h"
#include "migrate/verbs_print.h"

#define TICK_NS (250 * PF_NS_PER_MS)
#define ANSWER_NS (30 * PF_NS_PER_S)

static int show_progress(struct pf_client *client, struct pf_progress *progress,
			 struct pf_termline *line, struct pf_err *err)
{
	json_t *status = NULL;
	char text[256];

	if (pf_client_command(client, "query-migrate", NULL, pf_now_ns() + ANSWER_NS, &status, err))
		return -1;
	pf_progress_line(progress, status, pf_now_ns(), text, sizeof(text));
	pf_termline_show(line, text);
	json_decref(status);
	return 0;
}

static void show_event(json_t *event, bool json)
{
	if (json)
		pf_print_json(stdout, event);
	else
		pf_print_event(stdout, event);
	fflush(stdout);
	json_decref(event);
}

/* 0: go on. */
static int step(struct pf_client *client, bool json, struct pf_progress *progress,
		struct pf_termline *line, uint64_t *tick_ns, struct pf_err *err)
{
	json_t *event = NULL;
	int late = pf_client_event(client, line->active ? *tick_ns : 0, &event, err);

	if (late < 0)
		return -1;
	if (!late) {
		pf_termline_clear(line);
		show_event(event, json);
		return 0;
	}
	*tick_ns = pf_now_ns() + TICK_NS;
	return show_progress(client, progress, line, err);
}

/* What was received before the agent went is in the client's queue still. */
static void show_rest(struct pf_client *client, bool json)
{
	json_t *event = NULL;
	struct pf_err err;

	while (pf_client_event(client, 1, &event, &err) == 0)
		show_event(event, json);
}

int pf_watch(struct pf_client *client, bool json, struct pf_err *err)
{
	struct pf_progress progress = {0};
	struct pf_termline line;
	uint64_t tick_ns = pf_now_ns();

	pf_termline_init(&line, stderr);
	while (step(client, json, &progress, &line, &tick_ns, err) == 0 && !ferror(stdout))
		continue;
	pf_termline_end(&line);
	show_rest(client, json);
	return ferror(stdout) || err->sys == ECONNRESET ? 0 : -1;
}
