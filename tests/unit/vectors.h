/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/vectors.h - the golden bytes of the wire: what travels, in hex, written down once.
 *
 * A change here is a change of the protocol.  The same vectors are the seeds of the fuzzers
 * (tests/fuzz/seed.c).  Each list ends with a name of NULL.
 */
#ifndef PF_TEST_VECTORS_H
#define PF_TEST_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vector {
	const char *name;
	const char *hex; /* blanks are for the reader */
};

extern const struct vector frame_vectors[];   /* headers, one for each type and more */
extern const struct vector message_vectors[]; /* bodies of control frames */
extern const struct vector vmm_vectors[];     /* messages on the VMM socket */

const struct vector *vector_find(const struct vector *list, const char *name);
/* The bytes that hex stands for; false if it is not hex or has more than size bytes. */
bool vector_bytes(const char *hex, uint8_t *out, size_t size, size_t *out_length);

#endif
