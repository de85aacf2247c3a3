/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/verbs.c - see migrate/verbs.h. */
#include "migrate/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "migrate/client.h"
#include "migrate/jsonline.h"
#include "migrate/openmetrics.h"
#include "migrate/report.h"
#include "migrate/verbs_print.h"
#include "migrate/watch.h"
#include "net/addr.h"

/* clang-format off: a table */
const struct pf_verb pf_verbs[] = {
	{"status", "--control PATH [--json]", "show what an agent is doing", "query-migrate"},
	{"watch", "--control PATH [--json]", "show events and progress until the agent ends", NULL},
	{"switchover", "--control PATH [--json]", "let the guest go over now (source)",
	 "switchover"},
	{"pause", "--control PATH [--json]", "stop the migration, keep everything", "pause"},
	{"metrics", "--control PATH [--json]", "show the counters as OpenMetrics text", "query-metrics"},
	{"quit", "--control PATH [--json]", "end the agent where that is safe", "quit"},
	{"recover", "--control PATH [--connect ADDR:PORT ...] [--json]",
	 "connect again after an outage", "recover"},
	{"cancel", "--control PATH [--lose-guest] [--json]",
	 "give the migration up, before the switch-over", "cancel"},
	{"resolve", "--control PATH --destination-fenced|--destination-completed [--json]",
	 "say what became of the destination (source)", "resolve"},
	{"set", "--control PATH NAME=VALUE ... [--json]",
	 "max-bandwidth, outage-deadline, link-timeout, channels, push (on|off), spin-us", "set-parameters"},
	{NULL, NULL, NULL, NULL},
};
/* clang-format on */

struct request {
	const struct pf_verb *verb;
	const char *control;
	bool json;
	bool help;
	json_t *args; /* object */
};

static bool verb_is(const struct request *request, const char *name)
{
	return strcmp(request->verb->name, name) == 0;
}

static int take_connect(struct request *request, const char *value, struct pf_err *err)
{
	json_t *list = json_object_get(request->args, "connect");
	struct pf_endpoint endpoint;

	if (pf_endpoint_parse_peer(value, &endpoint, err))
		return pf_err_prefix(err, "--connect");
	if (!list) {
		list = json_array();
		json_object_set_new(request->args, "connect", list);
	}
	json_array_append_new(list, json_string(value));
	return 0;
}

static json_t *parameter_value(const char *name, const char *text, struct pf_err *err)
{
	uint64_t number;

	if (strcmp(name, "push") == 0) {
		if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
			return json_boolean(strcmp(text, "on") == 0);
		pf_err_set(err, PF_ERR_USAGE, "'%s' is neither on nor off", text);
		return NULL;
	}
	if (strcmp(name, "max-bandwidth") == 0 ? pf_size_parse(text, &number, err)
					       : pf_number_parse(text, 0, UINT32_MAX, &number, err))
		return NULL;
	if (number <= INT64_MAX)
		return json_integer((json_int_t)number);
	pf_err_set(err, PF_ERR_USAGE, "'%s' is more than 63 bits hold", text);
	return NULL;
}

static int take_parameter(struct request *request, const char *arg, struct pf_err *err)
{
	static const char *const names[] = {"max-bandwidth", "outage-deadline", "link-timeout",
					    "channels",	     "push",		"spin-us"};
	const char *equals = strchr(arg, '=');
	size_t length = equals ? (size_t)(equals - arg) : 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *value;

		if (strlen(names[i]) != length || strncmp(arg, names[i], length) != 0)
			continue;
		value = parameter_value(names[i], equals + 1, err);
		if (!value)
			return pf_err_prefix(err, "%s", names[i]);
		json_object_set_new(request->args, names[i], value);
		return 0;
	}
	pf_err_set(err, PF_ERR_USAGE, "'%s' is no NAME=VALUE with a known name", arg);
	return pf_err_hint(err, "names: max-bandwidth, outage-deadline, link-timeout, channels, push, "
				"spin-us");
}

static int take_resolve(struct request *request, const char *how, struct pf_err *err)
{
	if (json_object_get(request->args, "destination"))
		return pf_err_set(err, PF_ERR_USAGE,
				  "either --destination-fenced or --destination-completed, once");
	json_object_set_new(request->args, "destination", json_string(how));
	return 0;
}

/* 1: arg is not one of this verb's own. */
static int take_own(struct request *request, const char *arg, const char *value, struct pf_err *err)
{
	if (verb_is(request, "recover") && strcmp(arg, "--connect") == 0) {
		if (!value)
			return pf_err_set(err, PF_ERR_USAGE, "--connect needs a value: ADDR:PORT");
		return take_connect(request, value, err);
	}
	if (value)
		return 1;
	if (verb_is(request, "cancel") && strcmp(arg, "--lose-guest") == 0)
		return json_object_set_new(request->args, "lose-guest", json_true());
	if (verb_is(request, "resolve") && strcmp(arg, "--destination-fenced") == 0)
		return take_resolve(request, "fenced", err);
	if (verb_is(request, "resolve") && strcmp(arg, "--destination-completed") == 0)
		return take_resolve(request, "completed", err);
	if (verb_is(request, "set") && arg[0] != '-')
		return take_parameter(request, arg, err);
	return 1;
}

static int take_control(struct request *request, const char *value, struct pf_err *err)
{
	if (!value)
		return pf_err_set(err, PF_ERR_USAGE, "--control needs a value: PATH");
	if (request->control)
		return pf_err_set(err, PF_ERR_USAGE, "--control is given twice");
	request->control = value;
	return 0;
}

static int check_complete(const struct request *request, struct pf_err *err)
{
	if (!request->control)
		return pf_err_set(err, PF_ERR_USAGE, "missing: --control PATH");
	if (verb_is(request, "resolve") && json_object_size(request->args) == 0)
		return pf_err_set(err, PF_ERR_USAGE,
				  "missing: --destination-fenced or --destination-completed");
	if (verb_is(request, "set") && json_object_size(request->args) == 0)
		return pf_err_set(err, PF_ERR_USAGE, "missing: NAME=VALUE");
	return 0;
}

/* The word behind arg, or what follows its '='; name is arg without that. */
static const char *split(char *arg, int argc, char **argv, int *i)
{
	char *equals = strncmp(arg, "--", 2) == 0 ? strchr(arg, '=') : NULL;

	if (equals) {
		*equals = '\0';
		return equals + 1;
	}
	if (strcmp(arg, "--control") != 0 && strcmp(arg, "--connect") != 0)
		return NULL;
	return *i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0 ? argv[++*i] : NULL;
}

static int parse(struct request *request, int argc, char **argv, struct pf_err *err)
{
	for (int i = 1; i < argc; i++) {
		char *arg = argv[i];
		const char *value = split(arg, argc, argv, &i);
		int own = 0;

		if (strcmp(arg, "--control") == 0)
			own = take_control(request, value, err);
		else if (strcmp(arg, "--json") == 0 && !value)
			request->json = true;
		else if (strcmp(arg, "--help") == 0 && !value)
			request->help = true;
		else
			own = take_own(request, arg, value, err);
		if (own == 1)
			return pf_err_set(err, PF_ERR_USAGE, "'%s' is not an option of %s", arg,
					  request->verb->name);
		if (own)
			return -1;
	}
	return request->help ? 0 : check_complete(request, err);
}

static int exit_code(const struct pf_err *err)
{
	if (err->class == PF_ERR_USAGE)
		return 64;
	return err->class == PF_ERR_STATE ? 1 : 69;
}

static void print_answer(const struct request *request, const json_t *answer)
{
	const char *not_kept = json_string_value(json_object_get(answer, "not-kept"));

	if (request->json)
		pf_print_json(stdout, answer);
	else if (verb_is(request, "status"))
		pf_print_status(stdout, answer);
	else if (verb_is(request, "metrics"))
		pf_openmetrics_print(stdout, answer);
	else if (not_kept)
		fprintf(stderr, "pageferry %s: it holds for this process, and the next one will not know: %s\n",
			request->verb->name, not_kept);
}

static int talk(struct request *request, struct pf_err *err)
{
	struct pf_client *client = NULL;
	uint64_t deadline = pf_now_ns() + PF_CLIENT_PATIENCE_NS;
	json_t *answer = NULL;
	int r;

	if (!request->verb->command)
		return pf_watch(request->control, request->json, err);
	if (pf_client_open(request->control, deadline, &client, err))
		return -1;
	r = pf_client_command(client, request->verb->command, json_incref(request->args), deadline,
			      &answer, err);
	if (r == 0)
		print_answer(request, answer);
	json_decref(answer);
	pf_client_close(client);
	return r;
}

int pf_verb_main(const struct pf_verb *verb, int argc, char **argv)
{
	struct request request = {.verb = verb, .args = json_object()};
	struct pf_err err = {0};
	int r = parse(&request, argc, argv, &err);

	if (r)
		pf_err_hint(&err, "usage: pageferry %s %s", verb->name, verb->arguments);
	else if (request.help)
		printf("usage: pageferry %s %s\n\n%s\n", verb->name, verb->arguments,
		       verb->summary);
	else
		r = talk(&request, &err);
	json_decref(request.args);
	if (r == 0)
		return 0;
	pf_report(verb->name, &err);
	return exit_code(&err);
}
