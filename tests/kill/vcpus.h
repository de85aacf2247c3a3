/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/vcpus.h - the threads that fault: each reads pages and knows every word it must find.
 *
 * A page has an owner, who also writes three words of it and remembers what; the others check the
 * rest.  Every sixteenth page is its owner's alone, who gives it up and must find zeros.  A page that the
 * source cannot read is SIGBUS to each of them, and never zeros.  They work in
 * rounds that the keeper grants, so that nobody spins: a round begins with a page that all of them
 * touch at once.
 */
#ifndef PF_TESTS_KILL_VCPUS_H
#define PF_TESTS_KILL_VCPUS_H

#include "stage.h"

#define VCPUS 8u

struct vcpus;
struct machine;

/* machine: whose vCPUs read guest_memfd for them, too; NULL: there is none. */
struct vcpus *vcpus_start(const struct stage *stage, struct machine *machine);
/* Another round for everybody, when the one before is done. */
void vcpus_grant(struct vcpus *vcpus);
/* Each walks through every page of every mapping; after that they are done. */
void vcpus_walk(struct vcpus *vcpus);
/* How many of them are done with all that was granted (the walk: all of it). */
unsigned vcpus_idle(struct vcpus *vcpus);
/* What one of them found wrong first, or NULL. */
const char *vcpus_complaint(struct vcpus *vcpus);
/* Every byte of every mapping, when the threads are done; NULL, or what differs. */
const char *vcpus_compare(struct vcpus *vcpus);
uint64_t vcpus_visits(const struct vcpus *vcpus);
void vcpus_end(struct vcpus *vcpus);

#endif
