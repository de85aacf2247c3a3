/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/hist.c - see base/hist.h. */
#include "base/hist.h"

#define SUB_COUNT (1u << PF_HIST_SUB_BITS)

/* Values below SUB_COUNT have a bucket each; above, each power of two is cut into SUB_COUNT. */
static unsigned bucket_of(uint64_t value)
{
	unsigned exponent;

	if (value < SUB_COUNT)
		return (unsigned)value;
	exponent = 63u - (unsigned)__builtin_clzll(value) - PF_HIST_SUB_BITS;
	return ((exponent + 1) << PF_HIST_SUB_BITS) + (unsigned)((value >> exponent) - SUB_COUNT);
}

static uint64_t bucket_upper(unsigned bucket)
{
	unsigned exponent = bucket >> PF_HIST_SUB_BITS;
	uint64_t sub = bucket & (SUB_COUNT - 1);

	if (exponent == 0)
		return sub;
	return ((sub + SUB_COUNT + 1) << (exponent - 1)) - 1;
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: a load and a store are enough, and cheaper than a locked add. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void pf_hist_record(struct pf_hist *hist, uint64_t value)
{
	add(&hist->bucket[bucket_of(value)], 1);
	add(&hist->count, 1);
	add(&hist->sum, value);
	if (value > atomic_load_explicit(&hist->max, memory_order_relaxed))
		atomic_store_explicit(&hist->max, value, memory_order_relaxed);
}

uint64_t pf_hist_quantile(const struct pf_hist *hist, unsigned permille)
{
	uint64_t count = atomic_load_explicit(&hist->count, memory_order_relaxed);
	uint64_t max = atomic_load_explicit(&hist->max, memory_order_relaxed);
	uint64_t rank = (count * permille + 999) / 1000, seen = 0;

	if (count == 0)
		return 0;
	for (unsigned i = 0; i < PF_HIST_BUCKETS; i++) {
		seen += atomic_load_explicit(&hist->bucket[i], memory_order_relaxed);
		if (seen >= rank && seen > 0)
			return bucket_upper(i) < max ? bucket_upper(i) : max;
	}
	return max;
}
