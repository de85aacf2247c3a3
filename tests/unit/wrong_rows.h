/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/wrong_rows.h - rows that are wrong on purpose: steps of placing that let a page be seen
 * before its bytes are there.
 *
 * A test of pages that should find nothing runs once more over one of these, and must find it.  Only
 * copy_late() is right, and slow, so that what is missing around it is found.  Each has
 * the signature of a placer's populate() (memory/row.h), for any thread of the test's process.
 */
#ifndef PF_TESTS_WRONG_ROWS_H
#define PF_TESTS_WRONG_ROWS_H

#include <stdatomic.h>
#include <sys/types.h>

#include "memory/row.h"

/* Of a row with a file: allocated and mapped first, written then. */
int map_before_writing(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		       const uint8_t *bytes);
/* Of private memory: zeros are placed, and overwritten then as a debugger would. */
int zeros_before_copying(const struct pf_guest *guest, uint32_t region, uint64_t first,
			 uint32_t count, const uint8_t *bytes);
/* Of private memory whose discards are told of: copied when an event is there, most likely, and claimed before. */
int copy_late(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
	      const uint8_t *bytes);
/* The same, and discards are read between the claim and the copy. */
int copy_behind_discards(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
			 const uint8_t *bytes);
/* Where these two say what is claimed and not copied yet: the first page, plus 1; 0: nothing. */
extern _Atomic uint64_t *wrong_rows_claimed;
/* Whose memory zeros_before_copying() writes to; set before a thread places pages. */
extern pid_t wrong_rows_vmm;

#endif
