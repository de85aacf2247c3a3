/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/outage.c - see migrate/outage.h. */
#include "migrate/outage.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "core/fsm.h"
#include "core/pulse.h"
#include "migrate/agent.h"
#include "migrate/report.h"

#define OUTAGE_FILE "outage"

struct kept {
	uint64_t epoch;
	uint64_t since_ns; /* CLOCK_MONOTONIC: of this boot, as whatever else of a guest */
	uint64_t since_real_us;
};

static uint64_t now_real_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/*
 * The link that ended the outage before did not stand for long.  One from which nothing comes is lost after twice the
 * time-out, behind the time that its first sign may take; what has stood for longer has said something, and who
 * still waits then waits for something else.
 */
static bool goes_on(const struct pf_agent *agent, uint64_t now_ns)
{
	uint64_t lost_ns = PF_PULSE_FIRST_SIGN_NS + 4 * atomic_load(&agent->link_timeout_ns);

	return agent->outage.before.over_ns > 0 && now_ns - agent->outage.before.over_ns < lost_ns;
}

/* A process before may have lost the same link; or nobody has got anything since the outage before. */
static struct kept recall(struct pf_agent *agent, bool in_vain)
{
	struct kept kept, now = {agent->epoch, pf_now_ns(), now_real_us()};
	struct pf_err err;
	int found = pf_statedir_read(&agent->dir, OUTAGE_FILE, &kept, sizeof(kept), &err);

	if (found < 0)
		pf_report(pf_agent_role(agent), &err);
	if (found == 0 && kept.epoch == agent->epoch && kept.since_ns <= now.since_ns)
		return kept;
	if (in_vain && goes_on(agent, now.since_ns))
		return (struct kept){agent->epoch, agent->outage.before.ns,
				     agent->outage.before.real_us};
	return now;
}

static void keep(struct pf_agent *agent)
{
	const struct kept kept = {agent->epoch, agent->outage.since_ns, agent->outage.since_real_us};
	struct pf_err err;

	if (pf_statedir_write(&agent->dir, OUTAGE_FILE, &kept, sizeof(kept), &err) == 0)
		agent->outage.kept_epoch = agent->epoch;
	else
		pf_report(pf_agent_role(agent), &err);
}

void pf_outage_begin(struct pf_agent *agent, bool in_vain)
{
	struct kept kept;

	if (agent->outage.since_ns == 0) {
		kept = recall(agent, in_vain);
		agent->outage.since_ns = kept.since_ns;
		agent->outage.since_real_us = kept.since_real_us;
	} else if (agent->outage.kept_epoch == agent->epoch) {
		return;
	}
	/* A link that goes again before it has served is the same outage in another epoch. */
	keep(agent);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_agent *agent = opaque;

	(void)source, (void)usec;
	pf_agent_emit(agent, "OUTAGE_DEADLINE",
		      json_pack("{s:I}", "blocked-ms",
				(json_int_t)((pf_now_ns() - agent->outage.since_ns) / PF_NS_PER_MS)));
	return 0;
}

void pf_outage_unwatch(struct pf_agent *agent)
{
	agent->outage.timer = sd_event_source_disable_unref(agent->outage.timer);
}

static void watch(struct pf_agent *agent)
{
	uint64_t limit_us = agent->outage.deadline_ms * 1000;

	pf_outage_unwatch(agent);
	if (limit_us && sd_event_add_time(agent->loop, &agent->outage.timer, CLOCK_MONOTONIC,
					  agent->outage.since_ns / PF_NS_PER_US + limit_us, 0,
					  on_deadline, agent) < 0)
		fprintf(stderr, "pageferry %s: no timer for --outage-deadline\n",
			pf_agent_role(agent));
}

void pf_outage_tell(struct pf_agent *agent, json_t *vcpus)
{
	pf_outage_begin(agent, false);
	pf_agent_emit(agent, "OUTAGE",
		      json_pack("{s:o, s:{s:I, s:I}, s:s}", "vcpus", vcpus, "since", "seconds",
				(json_int_t)(agent->outage.since_real_us / 1000000), "microseconds",
				(json_int_t)(agent->outage.since_real_us % 1000000), "reason",
				agent->why.text));
	pf_agent_outcome(agent, "paused", "destination", false);
	watch(agent);
}

void pf_outage_set_deadline(struct pf_agent *agent, uint64_t ms)
{
	agent->outage.deadline_ms = ms;
	if (agent->outage.since_ns > 0 && agent->machine->phase[agent->state] == PF_PHASE_PAUSED)
		watch(agent);
}

static void over(struct pf_agent *agent)
{
	struct pf_err err;

	agent->outage.since_ns = 0;
	agent->outage.kept_epoch = 0;
	pf_outage_unwatch(agent);
	if (pf_statedir_remove(&agent->dir, OUTAGE_FILE, &err))
		pf_report(pf_agent_role(agent), &err);
}

void pf_outage_forget(struct pf_agent *agent)
{
	over(agent);
	agent->outage.before.over_ns = 0;
}

void pf_outage_end(struct pf_agent *agent)
{
	uint64_t now = pf_now_ns(), since = agent->outage.since_ns;

	if (since == 0)
		return;
	agent->outage.before.ns = since;
	agent->outage.before.real_us = agent->outage.since_real_us;
	agent->outage.before.over_ns = now;
	over(agent);
	if (agent->outcome && strcmp(agent->outcome, "paused") == 0)
		pf_agent_outcome(agent, NULL, "destination", false);
	pf_agent_emit(agent, "RECOVERED",
		      json_pack("{s:i, s:I}", "epoch", (int)agent->epoch, "ms",
				(json_int_t)((now - since) / PF_NS_PER_MS)));
}
