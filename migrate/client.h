/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/client.h - the control socket's client, for the verbs and for the demo's orchestrator.
 *
 * Blocking, with deadlines (CLOCK_MONOTONIC nanoseconds, 0: none).  Events that arrive while a
 * command waits for its answer are queued for pf_client_event().  One thread.
 */
#ifndef PF_MIGRATE_CLIENT_H
#define PF_MIGRATE_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define PF_CLIENT_PATIENCE_NS (10 * PF_NS_PER_S) /* for an answer; most take a millisecond */

struct pf_client;

/* Connects and reads the greeting.  PF_ERR_UNREACHABLE: nobody answers on the socket, or not in time. */
PF_MUST_USE int pf_client_open(const char *path, uint64_t deadline_ns, struct pf_client **out,
			       struct pf_err *err);
void pf_client_close(struct pf_client *client);
/* The greeting's "pageferry" object; borrowed. */
const json_t *pf_client_greeting(const struct pf_client *client);
/*
 * Takes over args (may be NULL).  0: *out_return (may be NULL if not wanted) is a new reference.
 * -1: PF_ERR_STATE with the agent's `desc` if it refused, PF_ERR_UNREACHABLE if it went away (sys
 * is ECONNRESET) or did not answer in time (sys is 0).
 */
PF_MUST_USE int pf_client_command(struct pf_client *client, const char *name, json_t *args,
				  uint64_t deadline_ns, json_t **out_return, struct pf_err *err);
/* Somebody is there, and was silent up to the deadline. */
bool pf_client_is_late(const struct pf_err *err);
/* The next event: 0; 1: the deadline passed; -1: PF_ERR_UNREACHABLE, the agent is gone. */
PF_MUST_USE int pf_client_event(struct pf_client *client, uint64_t deadline_ns, json_t **out_event,
				struct pf_err *err);
int pf_client_fd(const struct pf_client *client);

#endif
