/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/plan.c - see tests/netfault/plan.h. */
#include "tests/netfault/plan.h"

#include <string.h>

static int find_name(const char (*names)[NF_NAME_MAX + 1], unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

static int find_space(const struct nf_plan *plan, const char *name, unsigned *out,
		      struct pf_err *err)
{
	int index = find_name(plan->space, plan->spaces, name);

	if (index < 0) {
		pf_err_set(err, PF_ERR_USAGE, "there is no namespace '%s'", name);
		return pf_err_hint(err, "make it first: namespace %s", name);
	}
	*out = (unsigned)index;
	return 0;
}

static bool find_interface(const struct nf_plan *plan, const struct nf_port *port, unsigned *out)
{
	for (unsigned i = 0; i < plan->interfaces; i++) {
		const struct nf_port *known = &plan->interface[i].port;

		if (strcmp(known->space, port->space) == 0 &&
		    strcmp(known->interface, port->interface) == 0) {
			*out = i;
			return true;
		}
	}
	return false;
}

static int need_interface(const struct nf_plan *plan, const struct nf_port *port, unsigned *out,
			  struct pf_err *err)
{
	unsigned space;

	if (find_space(plan, port->space, &space, err))
		return -1;
	if (find_interface(plan, port, out))
		return 0;
	pf_err_set(err, PF_ERR_USAGE, "there is no interface '%s' in namespace '%s'",
		   port->interface, port->space);
	return pf_err_hint(err, "make it first, by link or bridge");
}

static int new_name(char (*names)[NF_NAME_MAX + 1], unsigned *count, unsigned most,
		    const char *what, const char *name, struct pf_err *err)
{
	if (find_name((const char(*)[NF_NAME_MAX + 1]) names, *count, name) >= 0)
		return pf_err_set(err, PF_ERR_USAGE, "there is a %s '%s' already", what, name);
	if (*count == most)
		return pf_err_set(err, PF_ERR_USAGE, "more than %u %ss", most, what);
	memcpy(names[(*count)++], name, strlen(name) + 1);
	return 0;
}

static int new_interface(struct nf_plan *plan, const struct nf_port *port, bool bridge,
			 unsigned *out, struct pf_err *err)
{
	unsigned space;

	if (find_space(plan, port->space, &space, err))
		return -1;
	if (find_interface(plan, port, out) || strcmp(port->interface, "lo") == 0)
		return pf_err_set(err, PF_ERR_USAGE,
				  "there is an interface '%s' in namespace '%s' already",
				  port->interface, port->space);
	if (plan->interfaces == NF_INTERFACES_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "more than %u interfaces", NF_INTERFACES_MAX);
	*out = plan->interfaces++;
	plan->interface[*out].port = *port;
	plan->interface[*out].space = space;
	plan->interface[*out].bridge = bridge;
	plan->interface[*out].enslaved = false;
	return 0;
}

static int take_link(struct nf_plan *plan, const struct nf_statement *statement,
		     struct nf_target *out, struct pf_err *err)
{
	return new_interface(plan, &statement->port[0], false, &out->interface[0], err) ||
			       new_interface(plan, &statement->port[1], false, &out->interface[1],
					     err)
		       ? -1
		       : 0;
}

static int take_bridge(struct nf_plan *plan, const struct nf_statement *statement,
		       struct nf_target *out, struct pf_err *err)
{
	const struct nf_port *bridge = &statement->port[0];

	if (new_interface(plan, bridge, true, &out->interface[0], err))
		return -1;
	for (unsigned i = 1; i < statement->ports; i++) {
		const struct nf_port *port = &statement->port[i];
		unsigned *index = &out->interface[i];

		if (need_interface(plan, port, index, err))
			return -1;
		if (strcmp(port->space, bridge->space) != 0)
			return pf_err_set(err, PF_ERR_USAGE,
					  "%s:%s is in another namespace than the bridge",
					  port->space, port->interface);
		if (plan->interface[*index].bridge || plan->interface[*index].enslaved)
			return pf_err_set(err, PF_ERR_USAGE, "%s:%s is a bridge, or a port of one",
					  port->space, port->interface);
		plan->interface[*index].enslaved = true;
	}
	return 0;
}

static int take_relay(struct nf_plan *plan, const struct nf_statement *statement,
		      struct nf_target *out, struct pf_err *err)
{
	out->relay = plan->relays;
	if (find_space(plan, statement->name[1], &out->space, err))
		return -1;
	return new_name(plan->relay, &plan->relays, NF_RELAYS_MAX, "relay", statement->name[0],
			err);
}

static int find_relay(struct nf_plan *plan, const struct nf_statement *statement,
		      struct nf_target *out, struct pf_err *err)
{
	int index = find_name((const char(*)[NF_NAME_MAX + 1]) plan->relay, plan->relays,
			      statement->name[0]);

	if (index < 0)
		return pf_err_set(err, PF_ERR_USAGE, "there is no relay '%s'", statement->name[0]);
	out->relay = (unsigned)index;
	return 0;
}

static int take(struct nf_plan *plan, const struct nf_statement *statement, struct nf_target *out,
		struct pf_err *err)
{
	switch (statement->verb) {
	case NF_SEED:
		if (plan->chosen)
			return pf_err_set(err, PF_ERR_USAGE,
					  "it must stand before the first drop and garble");
		return 0;
	case NF_NAMESPACE:
		out->space = plan->spaces;
		return new_name(plan->space, &plan->spaces, NF_SPACES_MAX, "namespace",
				statement->name[0], err);
	case NF_LINK:
		return take_link(plan, statement, out, err);
	case NF_BRIDGE:
		return take_bridge(plan, statement, out, err);
	case NF_RELAY:
		return take_relay(plan, statement, out, err);
	case NF_GARBLE:
		plan->chosen = true;
		return find_relay(plan, statement, out, err);
	case NF_STALL:
	case NF_FLOW:
		return find_relay(plan, statement, out, err);
	case NF_RESET:
	case NF_START:
	case NF_EXEC:
		return find_space(plan, statement->name[0], &out->space, err);
	case NF_DROP:
		plan->chosen = true;
		break;
	default:
		break;
	}
	return statement->ports ? need_interface(plan, &statement->port[0], &out->interface[0], err)
				: 0;
}

int nf_plan_take(struct nf_plan *plan, const struct nf_statement *statement, struct nf_target *out,
		 struct pf_err *err)
{
	struct nf_plan before = *plan;

	memset(out, 0, sizeof(*out));
	if (take(plan, statement, out, err) == 0)
		return 0;
	*plan = before;
	pf_err_prefix(err, "%s", nf_verb_name(statement->verb));
	return statement->line ? pf_err_prefix(err, "line %u", statement->line) : -1;
}

int nf_plan_check(const struct nf_scenario *scenario, struct pf_err *err)
{
	struct nf_plan plan = {0};
	struct nf_target target;

	for (unsigned i = 0; i < scenario->count; i++)
		if (nf_plan_take(&plan, &scenario->statement[i], &target, err))
			return -1;
	return 0;
}
