/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/replay.h - guest memory as it is in a guest that never moved.
 *
 * Computes the content of any page from a plan and the visit count of each vCPU: with no visits it
 * is what the source VMM writes at the start, with the final counts it is what the verdict compares
 * against.  Never reads guest memory.  Pure computation, any thread, cannot fail.
 */
#ifndef PF_GUEST_REPLAY_H
#define PF_GUEST_REPLAY_H

#include <stdint.h>

#include "tests/guest/layout.h"
#include "tests/guest/walk.h"

struct pf_plan {
	uint64_t memory; /* bytes */
	uint32_t vcpus;
	uint32_t seed;
};

/* The guest program, as it is in memory at PF_GUEST_IMAGE. */
extern const unsigned char pf_guest_image[];
extern const uint32_t pf_guest_image_size;

/* A vCPU's walk after so many visits. */
struct pf_walk pf_replay_walk(const struct pf_plan *plan, uint32_t vcpu, uint64_t visits);

struct pf_replay {
	struct pf_plan plan;
	struct pf_walk walk[PF_GUEST_VCPUS_MAX];     /* after the visits */
	uint32_t stride_inverse[PF_GUEST_VCPUS_MAX]; /* modulo count */
};

void pf_replay_init(struct pf_replay *replay, const struct pf_plan *plan, const uint64_t *visits);
/* The 4096 bytes of a page. */
void pf_replay_page(const struct pf_replay *replay, uint32_t page, unsigned char *out);

#endif
