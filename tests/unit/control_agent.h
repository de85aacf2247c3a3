/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/control_agent.h - a control socket with commands for tests: the real server on a real
 * event loop in a thread of its own, and both a real client and one without manners for it.
 */
#ifndef PF_TESTS_UNIT_CONTROL_AGENT_H
#define PF_TESTS_UNIT_CONTROL_AGENT_H

#include <pthread.h>
#include <stddef.h>

#include "base/clock.h"
#include "migrate/client.h"
#include "migrate/control.h"

#define PATIENCE_NS (20 * PF_NS_PER_S)

struct agent {
	pthread_t thread;
	sd_event *loop;
	struct pf_statedir dir;
	struct pf_events *events;
	struct pf_control *control;
	char path[128];
	char folder[32]; /* holds the path and the state directory */
	pthread_mutex_t gate; /* held by a test, it keeps the agent in `wait` */
	char noted[1024];     /* the letters of note, in the order of their coming */
	size_t notes;
};

/*
 * Commands: echo {value, text}; nothing; wait; note {text: a letter}; refuse {class: an enum
 * pf_err_class}; emit {count}; query-events; source-paused (a source's); vmm-ready (a destination's); quit.
 */
extern const struct pf_command control_commands[];

/* Setup and teardown of a test: *state is a struct agent, a source named vm-1. */
int control_start(void **state);
int control_stop(void **state);

/* These fail the test instead of returning an error. */
struct pf_client *control_client(const struct agent *agent);
json_t *control_command(struct pf_client *client, const char *name, json_t *args);
int raw_open(const struct agent *agent);
void raw_send(int fd, const char *bytes, size_t length);
json_t *raw_message(int fd);
void raw_skip(int fd);
void raw_expect_end(int fd);

#endif
