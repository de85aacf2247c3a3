/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/credit.h - how many bulk bytes may be on their way: the destination grants, the source spends.
 *
 * A limit a connection, in bytes of frames since its WELCOME, which only grows: it goes with the
 * connection, so that nothing about it can be lost, doubled or left over from the one before.  The
 * window is what the path holds (rate x round trip, wake-ups included) and room for both sides to take
 * turns; more would only wait in some buffer, in front of pages that somebody needs.  One thread each side;
 * pure, never blocks.  WIRE.md, "Credit".
 */
#ifndef PF_CORE_CREDIT_H
#define PF_CORE_CREDIT_H

#include <stdint.h>

#include "base/err.h"

#define PF_CREDIT_FIRST UINT64_C(262144)   /* every connection begins with it, and no window is less */
#define PF_CREDIT_MAX (UINT64_C(32) << 20) /* on its way at most, whatever was measured */

/* The source's side of a connection. */
struct pf_credit {
	uint64_t limit, spent;
};

void pf_credit_begin(struct pf_credit *credit);
/* CREDIT has come.  PF_ERR_PROTOCOL: it does not grow, or grants more than PF_CREDIT_MAX. */
PF_MUST_USE int pf_credit_raise(struct pf_credit *credit, uint64_t limit, struct pf_err *err);
/* May frames of so many bytes be sent?  They are spent by pf_credit_spend(). */
bool pf_credit_covers(const struct pf_credit *credit, uint64_t bytes);
void pf_credit_spend(struct pf_credit *credit, uint64_t bytes);

/* The destination's side of a connection. */
struct pf_grant {
	uint64_t limit, used;
	uint64_t window;
	uint64_t rate;		       /* bytes a second lately */
	uint64_t sample_ns, sample_used; /* where the present measurement of it began */
};

void pf_grant_begin(struct pf_grant *grant);
/* A frame of so many bytes has been dealt with.  PF_ERR_PROTOCOL: it was not covered. */
PF_MUST_USE int pf_grant_use(struct pf_grant *grant, uint64_t bytes, struct pf_err *err);
/*
 * Before CREDIT is sent: `waiting` bytes, as they travel, have come and are not dealt with.  They were
 * sent under the limit that stands.  PF_ERR_PROTOCOL: it does not cover them, though half of them may
 * be TLS's own (a record of one frame header is 22 bytes longer than that).
 */
PF_MUST_USE int pf_grant_check(const struct pf_grant *grant, uint64_t waiting, struct pf_err *err);
/* true: CREDIT is due, with *out_limit.  rtt_ns: the path's shortest round trip, 0: not known. */
bool pf_grant_due(struct pf_grant *grant, uint64_t now_ns, uint64_t rtt_ns, uint64_t *out_limit);

#endif
