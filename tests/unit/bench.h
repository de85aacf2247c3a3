/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/bench.h - a VMM process and the armed guest over its memory, for tests of placing.
 *
 * Calls fail the test where a comment does not say what they return.
 */
#ifndef PF_TESTS_BENCH_H
#define PF_TESTS_BENCH_H

#include "memhelp.h"
#include "memory/place.h"
#include "memory/trap.h"

#define PAGES 256u
#define REGION 0u

struct bench {
	int dirfd;
	struct vmm vmm;
	struct pf_guest guest;
};

/* As vmm_start(). */
void bench_open(struct bench *bench, uint32_t mappings, uint64_t features, int memfd);
void bench_close(struct bench *bench);
/* pf_place_run() and pf_map_run() of the one region; place() fails the test with FAILED's text. */
enum pf_place_result place(struct bench *bench, uint64_t first, uint32_t count,
			   const uint8_t *bytes, uint32_t *out_placed);
enum pf_place_result map(struct bench *bench, uint64_t first, uint32_t count);
/* Places pages with their own content; all must be new. */
void place_own(struct bench *bench, uint64_t first, uint32_t count);
/* The next fault: its page, and what is to be done about it. */
enum pf_trap_action next_fault(struct bench *bench, uint32_t uffd, uint64_t page);
/* Has the VMM do something to a page that does not trap, and waits until it has. */
void advise(struct bench *bench, enum vmm_op op, uint32_t mapping, uint64_t page);
void punch(struct bench *bench, uint64_t page);

#endif
