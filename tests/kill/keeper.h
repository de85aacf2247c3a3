/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/keeper.h - keeper and VMM in one: holds what must outlive a handler, starts and kills.
 *
 * One scene is one migration: fresh memory, userfaultfds and state directory, a source, any number
 * of handlers one after the other, threads that fault.  Helpers fail the test by cmocka.
 */
#ifndef PF_TESTS_KILL_KEEPER_H
#define PF_TESTS_KILL_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

#include "stage.h"
#include "vcpus.h"

/* What a guest is made of. */
struct layout {
	const char *name;
	uint32_t regions;
	struct {
		enum row_name row;
		uint64_t pages; /* a multiple of 16 */
		uint32_t mappings;
	} region[REGIONS_MAX];
};

struct child {
	pid_t pid;
	int pidfd;
	int in;	 /* its stdin's writing end */
	bool dies; /* it was started with a fault */
	int out; /* its stdout's reading end */
};

struct scene {
	struct stage *stage;
	int stage_fd;
	struct machine *machine; /* whose vCPUs they have; NULL: none */
	struct vcpus *vcpus; /* NULL until the traps stand */
	struct child handler, source;
	uint32_t port; /* of the latest handler; 0: it has not said */
	bool filled, walking;
	bool no_source; /* scene_start() starts none */
	unsigned handlers;
};

/* What a turn of waiting came to. */
enum turn {
	TURN_HANDLER_KILLED,
	TURN_SOURCE_KILLED,
	TURN_OVER, /* every page is here, and every thread has walked through all of them */
	TURN_TIME, /* the given time has passed */
};

/* Skips the test where a row's memory is lacking. */
void scene_open(struct scene *scene, const struct layout *layout, uint64_t seed);
/* Starts whichever of the two does not run, each with PAGEFERRY_FAULT or NULL. */
void scene_start(struct scene *scene, const char *handler_fault, const char *source_fault);
/* Serves until one of these; limit_ms: -1 for none but the deadline, which fails the test. */
enum turn scene_wait(struct scene *scene, int limit_ms);
/* SIGKILL, and reaped; takes one that does not run. */
void scene_kill(struct child *child);
/* After TURN_OVER: handler and source end by themselves, and every byte is compared. */
void scene_close(struct scene *scene);

#endif
