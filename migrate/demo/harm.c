/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/harm.c - see migrate/demo/harm.h. */
#include "migrate/demo/harm.h"

#include "base/clock.h"

#define COMMAND_NS (10 * PF_NS_PER_S)

static uint64_t count(const json_t *status, const char *name)
{
	json_int_t value =
		json_integer_value(json_object_get(json_object_get(status, "pages"), name));

	return value > 0 ? (uint64_t)value : 0;
}

static struct pf_mishap_pages pages_of(const struct pf_demo_side *side)
{
	return (struct pf_mishap_pages){
		.total = count(side->status, "total"),
		.filled = count(side->status, "filled"),
		.requested = count(side->status, "requested"),
	};
}

static int refresh(struct pf_demo_side *side, struct pf_err *err)
{
	json_t *status;

	if (!side->client)
		return pf_err_set(err, PF_ERR_STATE, "the %s agent has gone", side->name);
	if (pf_client_command(side->client, "query-migrate", NULL, pf_now_ns() + COMMAND_NS,
			      &status, err))
		return pf_err_prefix(err, "the %s agent, query-migrate", side->name);
	json_decref(side->status);
	side->status = status;
	return 0;
}

/* A new worker counts from 0: what this one has counted is kept for the report. */
static int kill_worker(struct pf_demo_side *side, struct pf_err *err)
{
	json_int_t pid;

	if (refresh(side, err))
		return -1;
	pid = json_integer_value(json_object_get(side->status, "worker-pid"));
	if (pf_child_kill_grandchild(side->agent, pid, err))
		return pf_err_prefix(err, "killing the worker of the %s agent", side->name);
	json_decref(side->earlier);
	side->earlier = json_incref(side->status);
	return 0;
}

static int let_go(struct pf_demo_side *source, struct pf_err *err)
{
	const int no_limit = 0;

	/* It may have ended meanwhile, as it should; whether it did is judged elsewhere. */
	if (!source->client ||
	    pf_client_command(source->client, "set-parameters",
			      json_pack("{s:i}", "max-bandwidth", no_limit),
			      pf_now_ns() + COMMAND_NS, NULL, err) == 0 ||
	    err->class == PF_ERR_UNREACHABLE)
		return 0;
	return pf_err_prefix(err, "the %s agent, set-parameters", source->name);
}

static int late(const struct pf_orchestra *orchestra, struct pf_err *err)
{
	enum pf_side stuck = pf_mishaps_stuck(orchestra->mishaps);
	const struct pf_demo_side *side =
		stuck == PF_SOURCE ? &orchestra->source : &orchestra->destination;
	char state[64];

	if (stuck == 0)
		return pf_err_set(err, PF_ERR_STATE,
				  "both agents say RECOVERED, and no page came that the guest had "
				  "asked for");
	pf_child_state(side->agent, state, sizeof(state));
	return pf_err_set(err, PF_ERR_STATE,
			  "the %s agent did not recover in time: its state is `%s` (%s)",
			  side->name, side->state, state);
}

static struct pf_demo_side *victim_of(struct pf_orchestra *orchestra)
{
	const struct pf_mishap *mishap = &pf_mishap_table[orchestra->mishaps->turn];

	return mishap->victim == PF_SOURCE ? &orchestra->source : &orchestra->destination;
}

static int act(struct pf_orchestra *orchestra, enum pf_mishap_due due, struct pf_err *err)
{
	switch (due) {
	case PF_DUE_CUT:
		return pf_netns_switch(orchestra->netns, false, err);
	case PF_DUE_HEAL:
		return pf_netns_switch(orchestra->netns, true, err);
	case PF_DUE_KILL:
		return kill_worker(victim_of(orchestra), err);
	case PF_DUE_LET_GO:
		return let_go(&orchestra->source, err);
	case PF_DUE_LATE:
		return late(orchestra, err);
	case PF_DUE_NOTHING:
		break;
	}
	return 0;
}

static void tell(struct pf_orchestra *orchestra, enum pf_mishap_due due)
{
	if (due == PF_DUE_CUT || due == PF_DUE_KILL)
		pf_orchestra_say(orchestra, "%-11s %s", "demo",
				 pf_mishap_table[orchestra->mishaps->turn].what);
	else
		pf_orchestra_say(orchestra, "%-11s %s", "demo",
				 due == PF_DUE_HEAL ? "the link is up again"
						    : "push has no limit any more");
}

int pf_harm_act(struct pf_orchestra *orchestra, struct pf_err *err)
{
	struct pf_mishaps *mishaps = orchestra->mishaps;
	struct pf_mishap_pages pages = pages_of(&orchestra->destination);
	uint64_t now = pf_now_ns();
	enum pf_mishap_due due;

	pf_mishaps_pages(mishaps, &pages, now);
	due = pf_mishaps_due(mishaps, &pages, now);
	if (due == PF_DUE_NOTHING)
		return 0;
	if (due != PF_DUE_LATE)
		tell(orchestra, due);
	now = pf_now_ns();
	if (act(orchestra, due, err))
		return -1;
	pf_mishaps_done(mishaps, due, now);
	return 0;
}

int pf_harm_explain(const struct pf_orchestra *orchestra, struct pf_err *err)
{
	const struct pf_mishap *mishap =
		orchestra->mishaps ? pf_mishaps_now(orchestra->mishaps) : NULL;
	const struct pf_demo_side *sides[] = {&orchestra->source, &orchestra->destination};

	if (!mishap)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		if (!sides[i]->agent->ended)
			continue;
		pf_err_prefix(err, "the %s agent did not recover", sides[i]->name);
		err->class = PF_ERR_STATE; /* its own code is in the text, ours is 1 */
		break;
	}
	return pf_err_prefix(err, "when %s", mishap->what);
}

int pf_harm_check(const struct pf_orchestra *orchestra, struct pf_err *err)
{
	if (!orchestra->mishaps || orchestra->mishaps->turn == PF_MISHAPS)
		return 0;
	pf_err_set(err, PF_ERR_STATE, "every page was there before it could be seen how %s",
		   pf_mishap_table[orchestra->mishaps->turn].what);
	return pf_err_hint(err, "with more --memory the move takes longer");
}
