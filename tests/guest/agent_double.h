/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/agent_double.h - plays one agent towards a VMM, over the native dialect.
 *
 * What tests/guest needs to move a guest without agents: no network, no journal, one page at a
 * time, one thread.  Failures are failed cmocka assertions.
 */
#ifndef PF_GUEST_AGENT_DOUBLE_H
#define PF_GUEST_AGENT_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/vmm_msg.h"

struct pf_double {
	char path[108];
	int listener, socket;
	bool destination;
	struct pf_vmm_regions regions;
	int memory_fd, uffd;
	uint64_t pages;
	unsigned char *present; /* destination, by page of the memory file */
	uint64_t faults;
};

/* Listens on a path of its own; the VMM is started by the caller afterwards. */
void pf_double_listen(struct pf_double *agent, const char *directory, const char *name);
/* Accepts the VMM, and takes its HELLO and its REGIONS. */
void pf_double_meet(struct pf_double *agent);
void pf_double_close(struct pf_double *agent);

/* Sends a message; fd: -1, or device state of that size. */
void pf_double_tell(struct pf_double *agent, enum pf_vmm_type type, int fd, uint64_t size);
/* Source: waits for PAUSED; returns the device state. */
int pf_double_wait_paused(struct pf_double *agent, uint64_t *size);

/* Destination: registers every region with the VMM's userfaultfd, and says so. */
void pf_double_trap(struct pf_double *agent);
/* Destination: until somebody waits for a page, which stays so. */
void pf_double_wait_fault(struct pf_double *agent);
/* Destination: drops every page, as after a lost connection. */
void pf_double_drop_pages(struct pf_double *agent);
/* Destination: resolves faults from the source's memory file until the VMM says this. */
void pf_double_serve_until(struct pf_double *agent, int source_memory, enum pf_vmm_type type);
/* Destination: the same until the VMM closes the connection. */
void pf_double_serve_until_gone(struct pf_double *agent, int source_memory);
/* Destination: resolves so many faults, or all there can be; then pushes the rest between faults.
 */
void pf_double_serve_all(struct pf_double *agent, int source_memory, uint64_t faults_first);
/* Destination: lets go of the memory, and says COMPLETE. */
void pf_double_complete(struct pf_double *agent);

#endif
