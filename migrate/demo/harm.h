/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/harm.h - carries out the mishaps of `pageferry demo --outage`, on the real things.
 *
 * The link between the two namespaces goes down and up by rtnetlink; a worker is killed by SIGKILL,
 * with the pid that its agent named, once the kernel has confirmed that it is a child of the agent.
 * One thread; blocks for netlink, and for the answer of an agent as migrate/client.h does.
 */
#ifndef PF_MIGRATE_DEMO_HARM_H
#define PF_MIGRATE_DEMO_HARM_H

#include "base/err.h"
#include "migrate/demo/orchestrate.h"

/*
 * Right after the destination was asked for its status: does what is due, if anything is.  PF_ERR_STATE names the agent that did not recover in time,
 * and how it stands.
 */
PF_MUST_USE int pf_harm_act(struct pf_orchestra *orchestra, struct pf_err *err);
/*
 * Of an error that came while a mishap was going on: says which one, and of an agent that ended by it
 * that it did not recover.  Leaves any other alone.  -1.
 */
int pf_harm_explain(const struct pf_orchestra *orchestra, struct pf_err *err);
/* All of them must have happened. */
PF_MUST_USE int pf_harm_check(const struct pf_orchestra *orchestra, struct pf_err *err);

#endif
