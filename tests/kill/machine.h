/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/machine.h - vCPUs for the threads that fault: they read guest_memfd as a guest does.
 *
 * A KVM machine that the keeper owns, with a slot for each region of guest_memfd and its userfault
 * bitmap.  A thread has its vCPU read a word, which leaves KVM_RUN where the page has not come and waits
 * for the handler's answer; or has KVM read it for the vCPU, by string I/O, which waits in
 * userfaultfd.  The fault socket outlives every handler.
 */
#ifndef PF_TESTS_KILL_MACHINE_H
#define PF_TESTS_KILL_MACHINE_H

#include <stdint.h>

#include "stage.h"

struct machine;

/* NULL: no region is guest_memfd.  Fills the stage's fault_fd; helpers fail the test by cmocka. */
struct machine *machine_open(struct stage *stage, unsigned vcpus);
/* Every handler is gone, and no vCPU reads.  Takes NULL. */
void machine_close(struct machine *machine, struct stage *stage);

enum reader { BY_VCPU, BY_KVM, READERS };
/* The word at a guest physical address, read by the vCPU of the calling thread; not cmocka's. */
uint64_t machine_read(struct machine *machine, unsigned vcpu, enum reader reader, uint64_t gpa);
/* How often vCPUs have left KVM_RUN for a page. */
uint64_t machine_exits(const struct machine *machine);

#endif
