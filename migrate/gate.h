/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/gate.h - push waits while a request does (DESIGN.md section 3.4).
 *
 * The source's urgent thread counts the requests that wait for an answer; its bulk threads look
 * between frames, and sleep on their own descriptor while there are any.  Atomics, no lock; waking
 * costs the urgent thread a system call only when somebody sleeps, and after the answer has gone.
 */
#ifndef PF_MIGRATE_GATE_H
#define PF_MIGRATE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PF_GATE_USERS 32u

struct pf_gate {
	_Atomic uint32_t waiting; /* requests without an answer */
	_Atomic uint32_t asleep;  /* bulk threads, a bit each */
	_Atomic int wake_fd[PF_GATE_USERS]; /* eventfd of each that has ever slept */
};

/* A new connection: nobody waits.  No thread uses the gate meanwhile. */
void pf_gate_reset(struct pf_gate *gate);
/* Urgent: a request has come. */
void pf_gate_request(struct pf_gate *gate);
/* Urgent: every answer is with the kernel. */
void pf_gate_answered(struct pf_gate *gate);
/* Bulk `user`: true: send nothing, wake_fd becomes readable when that changes. */
bool pf_gate_closed(struct pf_gate *gate, uint32_t user, int wake_fd);

#endif
