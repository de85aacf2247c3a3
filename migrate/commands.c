/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/commands.c - what an orchestrator can ask for: proto/CONTROL.md.
 *
 * Main thread.  A command that changes the migration raises an event of the state table, so that
 * whether it is possible, and why not, is said there and nowhere else.
 */
#include "migrate/commands.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/control_line.h"
#include "migrate/orders.h"
#include "migrate/outage.h"
#include "migrate/report.h"
#include "migrate/status.h"

#define SOURCE (1u << PF_SOURCE)
#define DESTINATION (1u << PF_DESTINATION)
#define BOTH (SOURCE | DESTINATION)
#define PARAMETERS_FILE "parameters"
#define PARAMETERS_MAX 4096u

int pf_command_cancel(struct pf_agent *agent, bool lose_guest, struct pf_err *err)
{
	bool source = agent->options->side == PF_SOURCE;

	if (lose_guest)
		return pf_agent_raise(agent, source ? PF_SE_LOSE : PF_DE_LOSE, err);
	return pf_agent_raise(agent, source ? PF_SE_CANCEL : PF_DE_CANCEL, err);
}

static int query_migrate(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	(void)args, (void)err;
	*out = pf_status(opaque);
	return 0;
}

static int query_metrics(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	(void)args, (void)err;
	*out = pf_metrics(opaque);
	return 0;
}

/* Kinds of memory that this side serves (src/memory/row.h; the source reads files only). */
static json_t *memory_kinds(enum pf_side side)
{
	json_t *kinds = json_pack("[s, s, s, s]", "memfd", "tmpfs", "hugetlbfs", "guest_memfd");

	if (side == PF_DESTINATION)
		json_array_append_new(kinds, json_string("private"));
	return kinds;
}

static int query_capabilities(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const struct pf_agent *agent = opaque;
	unsigned side = 1u << agent->options->side;
	json_t *names = json_array();

	(void)args, (void)err;
	for (const struct pf_command *command = pf_commands; command->name; command++)
		if (command->sides & side)
			json_array_append_new(names, json_string(command->name));
	*out = json_pack("{s:o, s:[s], s:o, s:b}", "commands", names, "dialects", "native",
			 "memory", memory_kinds(agent->options->side), "recovery", 1);
	return 0;
}

static int query_events(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const struct pf_agent *agent = opaque;
	const json_t *since = json_object_get(args, "since");

	if (since && (!json_is_integer(since) || json_integer_value(since) < 0))
		return pf_err_set(err, PF_ERR_USAGE, "'since' must be the number of an event");
	*out = json_pack("{s:o}", "events",
			 pf_events_since(agent->events,
					 since ? (uint64_t)json_integer_value(since) : 0));
	return 0;
}

static int switchover(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	(void)args, (void)out;
	return pf_agent_raise(opaque, PF_SE_SWITCHOVER, err);
}

static int cancel(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const json_t *lose = json_object_get(args, "lose-guest");

	(void)out;
	if (lose && !json_is_boolean(lose))
		return pf_err_set(err, PF_ERR_USAGE, "'lose-guest' must be true or false");
	return pf_command_cancel(opaque, json_is_true(lose), err);
}

static int resolve(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const char *answer = json_string_value(json_object_get(args, "destination"));

	(void)out;
	if (answer && strcmp(answer, "fenced") == 0)
		return pf_agent_raise(opaque, PF_SE_FENCED, err);
	if (answer && strcmp(answer, "completed") == 0)
		return pf_agent_raise(opaque, PF_SE_DEST_COMPLETED, err);
	return pf_err_set(err, PF_ERR_USAGE, "'destination' must be \"fenced\" or \"completed\"");
}

static int set_spin(struct pf_agent *agent, const json_t *value, bool apply, struct pf_err *err)
{
	json_int_t us = json_integer_value(value);

	if (!json_is_integer(value) || us < 0 || us > PF_SPIN_US_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "'spin-us' must be 0 to %u microseconds",
				  PF_SPIN_US_MAX);
	if (!apply)
		return 0;
	agent->spin_ns = (uint64_t)us * PF_NS_PER_US;
	atomic_store(agent->spin_limit_ns, agent->spin_ns);
	return 0;
}

static int set_link_timeout(struct pf_agent *agent, const json_t *value, bool apply,
			    struct pf_err *err)
{
	json_int_t ms = json_integer_value(value);

	if (!json_is_integer(value) || ms < PF_LINK_TIMEOUT_MS_MIN || ms > PF_LINK_TIMEOUT_MS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "'link-timeout' must be %u to %u milliseconds",
				  PF_LINK_TIMEOUT_MS_MIN, PF_LINK_TIMEOUT_MS_MAX);
	if (apply)
		atomic_store(&agent->link_timeout_ns, (uint64_t)ms * PF_NS_PER_MS);
	return 0;
}

static int set_outage_deadline(struct pf_agent *agent, const json_t *value, bool apply,
			       struct pf_err *err)
{
	json_int_t ms = json_integer_value(value);

	if (!json_is_integer(value) || ms < 0 || ms > PF_OUTAGE_DEADLINE_MS_MAX)
		return pf_err_set(err, PF_ERR_USAGE,
				  "'outage-deadline' must be 0 (never) to %u milliseconds",
				  PF_OUTAGE_DEADLINE_MS_MAX);
	if (apply)
		pf_outage_set_deadline(agent, (uint64_t)ms);
	return 0;
}

static int set_one(struct pf_agent *agent, const char *name, const json_t *value, bool apply,
		   struct pf_err *err)
{
	if (strcmp(name, "spin-us") == 0)
		return set_spin(agent, value, apply, err);
	if (strcmp(name, "link-timeout") == 0)
		return set_link_timeout(agent, value, apply, err);
	if (strcmp(name, "outage-deadline") != 0)
		return agent->ops->set(agent->engine, name, value, apply, err);
	return set_outage_deadline(agent, value, apply, err);
}

/* All of them or none. */
static int set_all(struct pf_agent *agent, const json_t *values, struct pf_err *err)
{
	const char *name;
	json_t *value;

	for (int apply = 0; apply <= 1; apply++)
		json_object_foreach((json_t *)(uintptr_t)values, name, value)
			if (set_one(agent, name, value, apply, err))
				return -1;
	return 0;
}

/* It holds, and is not undone for want of room on a disk; who has ordered it must know how long it holds. */
static json_t *not_kept(const struct pf_agent *agent, const struct pf_err *why)
{
	pf_report(pf_agent_role(agent), why);
	return json_pack("{s:o}", "not-kept", pf_control_text(why->text));
}

static int set_parameters(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	struct pf_agent *agent = opaque;
	struct pf_err why;

	if (set_all(agent, args, err))
		return -1;
	if (!agent->parameters)
		agent->parameters = json_object();
	json_object_update(agent->parameters, (json_t *)(uintptr_t)args);
	/* For the next process: what it would take from the command line is not what holds. */
	if (pf_agent_keep(agent, PARAMETERS_FILE, agent->parameters, &why))
		*out = not_kept(agent, &why);
	return 0;
}

/* A damaged file costs what was set, and is said: no guest is held up by it. */
void pf_commands_restore(struct pf_agent *agent)
{
	char text[PARAMETERS_MAX];
	size_t length = 0;
	struct pf_err err;
	int found = pf_statedir_read_most(&agent->dir, PARAMETERS_FILE, text, sizeof(text), &length,
					  &err);

	if (found == 1)
		return;
	if (found == 0) {
		agent->parameters = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
		if (json_is_object(agent->parameters) &&
		    set_all(agent, agent->parameters, &err) == 0)
			return;
		if (!json_is_object(agent->parameters))
			pf_err_set(&err, PF_ERR_CONFIG, "it is no JSON object");
		json_decref(pf_steal(&agent->parameters));
	}
	pf_err_prefix(&err, "%s/" PARAMETERS_FILE, agent->dir.path);
	pf_report(pf_agent_role(agent), &err);
}

static bool runs_there(const struct pf_agent *agent)
{
	enum pf_phase phase = agent->machine->phase[agent->state];

	return phase == PF_PHASE_POSTCOPY || phase == PF_PHASE_PAUSED || phase == PF_PHASE_RECOVER;
}

static int pause_session(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	struct pf_agent *agent = opaque;
	struct pf_err why;

	(void)args;
	if (!runs_there(agent))
		return pf_err_set(err, PF_ERR_STATE, "not possible now (%s): the guest does not run at the "
				  "destination",
				  pf_phase_name(agent->machine->phase[agent->state]));
	if (agent->ops->pause(agent->engine, err))
		return -1;
	if (pf_orders_keep(agent, true, NULL, &why))
		*out = not_kept(agent, &why);
	return 0;
}

static int recover(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const json_t *connect = json_object_get(args, "connect");
	struct pf_agent *agent = opaque;
	struct pf_err why;

	if (agent->ops->recover(agent->engine, connect, err))
		return -1;
	if (pf_orders_keep(agent, false, connect, &why))
		*out = not_kept(agent, &why);
	return 0;
}

static int quit(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	const struct pf_agent *agent = opaque;

	(void)args, (void)out;
	if (agent->options->side == PF_SOURCE)
		return pf_agent_raise(opaque, PF_SE_QUIT, err);
	return pf_agent_raise(opaque, agent->kept->stored ? PF_DE_QUIT_KEPT : PF_DE_QUIT, err);
}

/* The native dialect's VMM says these things itself. */
static int vmm_says(void *opaque, const json_t *args, json_t **out, struct pf_err *err)
{
	(void)opaque, (void)args, (void)out;
	return pf_err_set(err, PF_ERR_STATE,
			  "with --vmm native the VMM itself says so on its socket");
}

const struct pf_command pf_commands[] = {
	{"query-migrate", BOTH, query_migrate, NULL},
	{"query-capabilities", BOTH, query_capabilities, NULL},
	{"query-metrics", BOTH, query_metrics, NULL},
	{"query-events", BOTH, query_events, "since"},
	{"switchover", SOURCE, switchover, NULL},
	{"source-paused", SOURCE, vmm_says, NULL},
	{"vmm-ready", DESTINATION, vmm_says, NULL},
	{"vmm-running", DESTINATION, vmm_says, NULL},
	{"cancel", BOTH, cancel, "lose-guest"},
	{"resolve", SOURCE, resolve, "destination"},
	{"set-parameters", BOTH, set_parameters,
	 "max-bandwidth outage-deadline link-timeout channels push spin-us"},
	{"pause", BOTH, pause_session, NULL},
	{"recover", BOTH, recover, "connect"},
	{"quit", BOTH, quit, NULL},
	{0},
};
