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

/* What is left of an input that is read as instructions. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next bytes as a number, the first one highest; of an input that ends, those there are. */
static inline uint64_t fuzz_take_long(struct fuzz_input *input, unsigned bytes)
{
	uint64_t value = 0;

	for (; bytes > 0 && input->size > 0; bytes--, input->size--)
		value = value << 8 | *input->data++;
	return value;
}

/* The same of four bytes at most. */
static inline uint32_t fuzz_take(struct fuzz_input *input, unsigned bytes)
{
	return (uint32_t)fuzz_take_long(input, bytes);
}

#endif
