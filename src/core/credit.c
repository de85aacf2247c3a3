/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/credit.c - see core/credit.h.
 *
 * Why it cannot get stuck: the source waits only while what is left of its credit does not cover
 * one frame, which is less than a quarter of the smallest window.  Once the destination has used all
 * that was spent, three quarters of the window or more are ungranted, and a quarter makes CREDIT due.
 */
#include "core/credit.h"

#include <inttypes.h>

#define NS_PER_S UINT64_C(1000000000)
#define SAMPLE_NS UINT64_C(10000000) /* long enough to see both sides take turns */
#define TURN_NS UINT64_C(500000)     /* a thread that sleeps has its core again by then, mostly */

void pf_credit_begin(struct pf_credit *credit)
{
	*credit = (struct pf_credit){.limit = PF_CREDIT_FIRST};
}

int pf_credit_raise(struct pf_credit *credit, uint64_t limit, struct pf_err *err)
{
	if (limit <= credit->limit)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "CREDIT up to byte %" PRIu64 ", and %" PRIu64 " was granted before",
				  limit, credit->limit);
	/* spent is our own count and never near the end of 64 bits: neither side overflows. */
	if (limit - credit->spent > PF_CREDIT_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "CREDIT for %" PRIu64 " bytes at once; %" PRIu64 " are allowed",
				  limit - credit->spent, PF_CREDIT_MAX);
	credit->limit = limit;
	return 0;
}

bool pf_credit_covers(const struct pf_credit *credit, uint64_t bytes)
{
	return credit->limit - credit->spent >= bytes;
}

void pf_credit_spend(struct pf_credit *credit, uint64_t bytes)
{
	credit->spent += bytes;
}

void pf_grant_begin(struct pf_grant *grant)
{
	*grant = (struct pf_grant){.limit = PF_CREDIT_FIRST, .window = PF_CREDIT_FIRST};
}

int pf_grant_use(struct pf_grant *grant, uint64_t bytes, struct pf_err *err)
{
	if (bytes > grant->limit - grant->used)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "pages pushed beyond the credit of %" PRIu64 " bytes",
				  grant->limit);
	grant->used += bytes;
	return 0;
}

int pf_grant_check(const struct pf_grant *grant, uint64_t waiting, struct pf_err *err)
{
	if (waiting / 2 <= grant->limit - grant->used)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "pages pushed beyond the credit of %" PRIu64 " bytes: %" PRIu64
			  " wait behind byte %" PRIu64,
			  grant->limit, waiting, grant->used);
}

/*
 * Twice what the path holds, so that a window that was too small doubles with each round trip; what
 * is more than needed stands in a queue of one round trip at most.  The path ends in two threads: on a
 * short one it is their wake-ups that take time, and without them in the window both sleep at every
 * turn.
 */
static void measure(struct pf_grant *grant, uint64_t now_ns, uint64_t rtt_ns)
{
	uint64_t took = now_ns - grant->sample_ns, window;

	if (grant->sample_ns != 0 && took < SAMPLE_NS)
		return;
	if (grant->sample_ns != 0) {
		double lately = (double)(grant->used - grant->sample_used) * NS_PER_S / (double)took;
		uint64_t rate = (uint64_t)lately;

		/* A moment without a core, or without pages, does not shrink the path. */
		grant->rate = rate > grant->rate ? rate : grant->rate - grant->rate / 8;
	}
	grant->sample_ns = now_ns;
	grant->sample_used = grant->used;
	if (rtt_ns > NS_PER_S)
		rtt_ns = NS_PER_S;
	window = PF_CREDIT_FIRST +
		 (uint64_t)(2.0 * (double)grant->rate * (double)(rtt_ns + TURN_NS) / NS_PER_S);
	grant->window = window < PF_CREDIT_MAX ? window : PF_CREDIT_MAX;
}

bool pf_grant_due(struct pf_grant *grant, uint64_t now_ns, uint64_t rtt_ns, uint64_t *out_limit)
{
	measure(grant, now_ns, rtt_ns);
	/* A window that has shrunk waits until what was granted is used up to it. */
	if (grant->used + grant->window < grant->limit + grant->window / 4)
		return false;
	*out_limit = grant->limit = grant->used + grant->window;
	return true;
}
