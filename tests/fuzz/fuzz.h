/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz.h - what a fuzz target is: libFuzzer's entry, and a check that stops the program.
 *
 * With --enable-fuzzing (clang) each target is linked with libFuzzer; in an ordinary build with
 * replay.c, which runs the committed corpus through it as a test.
 */
#ifndef PF_TEST_FUZZ_H
#define PF_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* -Wmissing-prototypes: libFuzzer has no header for C. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ASSERT(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
