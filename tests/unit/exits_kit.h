/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/exits_kit.h - pager_kit.h with vCPUs that leave for pages: the test is the VMM's end of the fault socket.
 *
 * The agent's side needs no kernel feature: the memory is a memfd whose row has a bitmap added.  One kit, for the
 * main thread.
 */
#ifndef PF_TESTS_EXITS_KIT_H
#define PF_TESTS_EXITS_KIT_H

#include <pthread.h>
#include <stdatomic.h>

#include "pager_kit.h"
#include "wire/vmm_msg.h"

#define PAGES 8192u
#define GPA (UINT64_C(3) << 32)
#define NO_PAGE UINT64_MAX

extern struct pager_kit kit;
extern int vcpus_end;		      /* of the fault socket */
extern _Atomic uint64_t traps[PAGES]; /* 1: a vCPU traps there */
extern _Atomic int broken;	      /* errno of touching the bitmap, 0 */
/* Pages, or NO_PAGE: */
extern _Atomic uint64_t stuck; /* cannot be mapped */
extern _Atomic uint64_t busy;  /* a bulk thread cannot map it now */
extern _Atomic uint64_t gate;  /* who maps it waits for gate_lock, and is then */
extern _Atomic bool at_gate;
extern pthread_mutex_t gate_lock;

/* A guest whose vCPUs trap, not yet the thread's. */
void open_held(uint64_t features, bool offline);
void open_kit(void);
void close_kit(void);

void leave(uint32_t vcpu, uint64_t gpa);
void leave_for(uint32_t vcpu, uint64_t page);
struct pf_vmm_fault next_answer(void);
/* The next answer is this vCPU's, and it may enter. */
void enters(uint32_t vcpu, uint64_t page);
/* The next answer is this vCPU's: the page will never come, and whoever comes for it is told again. */
void is_told_lost(uint32_t vcpu, uint64_t page);
bool nobody_enters(void);
bool slots_are_empty(void);

#endif
