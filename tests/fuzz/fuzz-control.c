/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-control.c - one line of a control client: parsed, looked up, answered.
 *
 * What is checked beyond memory: every line gets one line back, which is JSON,
 * has either `return` or `error`, and carries the id that was given.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/control_line.h"
#include "tests/fuzz/fuzz.h"

static int run_nothing(void *agent, const json_t *args, json_t **out_return, struct pf_err *err)
{
	(void)agent;
	(void)args;
	(void)out_return;
	(void)err;
	return 0;
}

static const struct pf_command table[] = {
	{"query-migrate", (1u << PF_SOURCE) | (1u << PF_DESTINATION), run_nothing, NULL},
	{"query-events", (1u << PF_SOURCE) | (1u << PF_DESTINATION), run_nothing, "since"},
	{"resolve", 1u << PF_SOURCE, run_nothing, "destination"},
	{"vmm-ready", 1u << PF_DESTINATION, run_nothing, "one two"},
	{NULL, 0, NULL, NULL},
};

static void check_answer(char *line, const json_t *id)
{
	size_t length = line ? strlen(line) : 0;
	json_t *answer;

	FUZZ_ASSERT(length > 0 && line[length - 1] == '\n');
	FUZZ_ASSERT(strchr(line, '\n') == line + length - 1);
	answer = json_loadb(line, length - 1, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_ASSERT(json_is_object(answer));
	FUZZ_ASSERT((json_object_get(answer, "return") != NULL) !=
		    (json_object_get(answer, "error") != NULL));
	FUZZ_ASSERT(id ? json_equal(json_object_get(answer, "id"), id)
		       : json_object_get(answer, "id") == NULL);
	json_decref(answer);
	free(line);
}

static void answer_as(enum pf_side side, const struct pf_control_line *line)
{
	const char *class = NULL;
	struct pf_err err = {0};

	if (pf_control_find(table, side, line, &class, &err))
		check_answer(pf_control_return(json_incref(line->args), line->id), line->id);
	else
		check_answer(pf_control_error(class, &err, line->id), line->id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pf_control_line line;
	struct pf_err err = {0};

	if (size > PF_CONTROL_LINE_MAX)
		return 0;
	if (pf_control_parse((const char *)data, size, &line, &err)) {
		check_answer(pf_control_error(pf_control_class(&err), &err, line.id), line.id);
	} else {
		answer_as(PF_SOURCE, &line);
		answer_as(PF_DESTINATION, &line);
	}
	pf_control_line_free(&line);
	return 0;
}
