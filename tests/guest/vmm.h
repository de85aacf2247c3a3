/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/vmm.h - the VMM as a whole: a machine, its memory, its agent, and its end.
 *
 * Everything here runs in the main thread.  What the agent asks is answered in vmm.c, what the
 * user asks (stdin) and the loop are in main.c.
 */
#ifndef PF_GUEST_VMM_H
#define PF_GUEST_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/machine.h"
#include "tests/guest/memory.h"
#include "tests/guest/state.h"

enum pf_guest_role { PF_GUEST_SOLO, PF_GUEST_SOURCE, PF_GUEST_DESTINATION };

struct pf_guest_options {
	enum pf_guest_role role;
	struct pf_plan plan;
	struct pf_memory_plan memory; /* its size is the plan's */
	const char *vmm_socket; /* NULL: solo */
	const struct pf_backend_ops *backend;
	bool fill_atomic, machine_checks; /* what is declared of guest_memfd */
	bool reattach; /* to another agent, when the one that serves it is gone */
};

struct pageferry_vmm;

struct pf_vmm {
	struct pf_guest_options options;
	struct pf_guest_memory memory;
	struct pf_machine machine;
	struct pageferry_vmm *agent; /* NULL: none, or gone */
	struct pf_device_state state;
	char leaves_by[108]; /* unix(7); of the agent that it is to leave by, once it has arrived */

	bool unfit; /* destination: the state that was loaded last is not that of the memory */
	struct pf_err why_unfit;

	bool running;	    /* the guest is this VMM's now, and not stopped */
	bool complete;	    /* destination: no access can fault any more */
	bool agent_may_go;  /* its work here is done: an end of connection is no error */
	bool faults_over;   /* no answer to a vCPU's fault will come on this connection */
	bool away;	    /* the agent has gone, and another one is looked for */
	bool drop_agent;    /* close the connection when no call of it is being answered */
	bool finish_wanted; /* asked for, not begun */
	bool finishing;

	bool leave; /* with exit_code */
	int exit_code;
};

PF_MUST_USE int pf_vmm_create(struct pf_vmm *vmm, const struct pf_guest_options *options,
			      struct pf_err *err);
/* Source and solo: fills memory and starts the guest.  Source and destination: tells the agent. */
PF_MUST_USE int pf_vmm_begin(struct pf_vmm *vmm, struct pf_err *err);
/* Frees everything, or ends the process where a vCPU may be stuck in a fault for ever. */
void pf_vmm_destroy(struct pf_vmm *vmm);

/* The agent's socket is readable. */
void pf_vmm_on_agent(struct pf_vmm *vmm);
/* A moment has passed while vmm->away. */
void pf_vmm_look_for_agent(struct pf_vmm *vmm);
/* Where it answers faults of vCPUs; -1: nobody does. */
int pf_vmm_fault_fd(const struct pf_vmm *vmm);
void pf_vmm_on_faults(struct pf_vmm *vmm);
/* The machine's eventfd is readable. */
void pf_vmm_on_event(struct pf_vmm *vmm);
/* A guest that has arrived is to leave again, by the agent that listens at path: this VMM is its source from now on. */
void pf_vmm_leave_by(struct pf_vmm *vmm, const char *path);
/* Stop at visit boundaries, verify, report, leave; on a destination not before all pages came. */
void pf_vmm_finish(struct pf_vmm *vmm);

#endif
