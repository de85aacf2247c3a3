/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/verify.h - the verdict: every byte of guest memory against the replay.
 *
 * Reads the files (pf_memory_read()) and, where there is one, the mirror as well.  Blocks for as long
 * as reading takes; any thread.
 */
#ifndef PF_GUEST_VERIFY_H
#define PF_GUEST_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/guest/memory.h"
#include "tests/guest/replay.h"

struct pf_difference {
	bool found_one;
	uint64_t address;
	unsigned char expected, found;
};

/* 0 with *out, which says whether and where the first difference is; -1 if it cannot be read. */
PF_MUST_USE int pf_verify_memory(const struct pf_guest_memory *memory,
				 const struct pf_replay *replay, struct pf_difference *out,
				 struct pf_err *err);
/* The first wrong byte of a wrong word. */
struct pf_difference pf_verify_word(const struct pf_walk_wrong *wrong);

#endif
