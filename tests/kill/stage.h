/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/stage.h - what the three processes of the kill test share: one guest, its two memories.
 *
 *   keeper   test-kill.c, keeper.c, vcpus.c   stands for keeper and VMM: holds memory, userfaultfds
 *                                             and state directory, faults, and starts the others
 *   handler  handler.c                        the destination's real threads; killed and started again
 *   source   source.c                         the source's real threads; killed and started again
 *
 * The struct is a memfd that all of them map; descriptors have the same numbers in each.  The keeper
 * fills it before it starts the others.
 */
#ifndef PF_TESTS_KILL_STAGE_H
#define PF_TESTS_KILL_STAGE_H

#include <stdatomic.h>

#include "base/page.h"
#include "tests/unit/rows.h"

#define REGIONS_MAX 3u
#define MAPPINGS 2u
#define CHANNELS 2u
#define PATIENCE_MS 60000

struct stage {
	uint64_t seed;
	struct pf_region_table table;
	struct {
		enum row_name row;
		int source_fd, fd; /* fd -1: private memory */
		uint32_t mappings;
		uint32_t uffd[MAPPINGS];
		uint64_t base[MAPPINGS];
		int bitmap_fd; /* of guest_memfd: the userfault bitmap; else -1 */
		unsigned long *bitmap;
	} region[REGIONS_MAX];
	int uffd[MAPPINGS]; /* each region's mapping m is in uffd m */
	int state_dir, tls_dir;
	int fault_fd; /* the handlers' end of the fault socket; -1: nothing is guest_memfd */
	_Atomic uint32_t epoch;
	_Atomic bool armed; /* a handler has: the next ones take up */
	/* Counted by handlers that lived to say it. */
	_Atomic uint64_t taken_up;
};

/* What a handler says to the keeper, on its stdout. */
struct said {
	enum { SAID_PORT, SAID_FILLED } what;
	uint32_t port;
};

struct stage *stage_map(int fd);
const struct memory_row *stage_row(const struct stage *stage, uint32_t region);
/* What the row of a region is at the source, which reads files only. */
const struct memory_row *stage_source_row(const struct stage *stage, uint32_t region);
/* Words in a page. */
size_t stage_words(const struct stage *stage, uint32_t region);
/* The last pages of a region, from this one on, cannot be read at the source: they are lost, where whoever
 * touches a page can be told so. */
uint64_t stage_lost_from(const struct stage *stage, uint32_t region);
/* What a page has at the source: word i.  Every sixth page is zero. */
uint64_t stage_word(const struct stage *stage, uint32_t region, uint64_t page, size_t i);

/* Their mains; the keeper closes the pipe on stdin when it is over. */
int handler_main(struct stage *stage);
int source_main(struct stage *stage);

#endif
