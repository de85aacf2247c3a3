/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/orders.c - see migrate/orders.h. */
#include "migrate/orders.h"

#include "base/cleanup.h"
#include "migrate/report.h"

#define ORDERS_FILE "orders"
#define ORDERS_MAX 8192u /* twice PF_CONNECTS_MAX addresses */

static json_t *command_line(const struct pf_agent *agent)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < agent->options->connects; i++) {
		char text[PF_ENDPOINT_TEXT_MAX];

		pf_endpoint_print(&agent->options->connect[i], text);
		json_array_append_new(all, json_string(text));
	}
	return all;
}

int pf_orders_keep(struct pf_agent *agent, bool held, const json_t *connect, struct pf_err *err)
{
	if (!agent->orders)
		agent->orders = json_object();
	json_object_set_new(agent->orders, "held", json_boolean(held));
	if (connect) {
		json_object_set_new(agent->orders, "connect", json_deep_copy(connect));
		json_object_set_new(agent->orders, "instead-of", command_line(agent));
	}
	return pf_agent_keep(agent, ORDERS_FILE, agent->orders, err);
}

/* NULL: there are none, or they stood for other addresses than this process was given. */
static const json_t *addresses(const struct pf_agent *agent)
{
	json_t *given = command_line(agent);
	bool same = json_equal(json_object_get(agent->orders, "instead-of"), given);

	json_decref(given);
	return same ? json_object_get(agent->orders, "connect") : NULL;
}

static int take_up(struct pf_agent *agent, const char *text, size_t length, struct pf_err *err)
{
	const json_t *held;

	agent->orders = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	held = json_object_get(agent->orders, "held");
	if (!json_is_boolean(held))
		return pf_err_set(err, PF_ERR_CONFIG, "it is no JSON object with `held`");
	return agent->ops->restore(agent->engine, json_is_true(held), addresses(agent), err);
}

void pf_orders_restore(struct pf_agent *agent)
{
	char text[ORDERS_MAX];
	size_t length = 0;
	struct pf_err err;
	int found = pf_statedir_read_most(&agent->dir, ORDERS_FILE, text, sizeof(text), &length,
					  &err);

	if (found == 1 || (found == 0 && take_up(agent, text, length, &err) == 0))
		return;
	json_decref(pf_steal(&agent->orders));
	pf_err_prefix(&err, "%s/" ORDERS_FILE, agent->dir.path);
	pf_report(pf_agent_role(agent), &err);
}
