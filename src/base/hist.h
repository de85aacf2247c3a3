/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/hist.h - a latency histogram: log-linear buckets, relative error at most 1/32.
 *
 * One thread records, any thread reads (relaxed atomics: a reader sees each bucket's past, never
 * a torn one).  No allocation, never blocks, cannot fail.
 */
#ifndef PF_BASE_HIST_H
#define PF_BASE_HIST_H

#include <stdatomic.h>
#include <stdint.h>

#define PF_HIST_SUB_BITS 5
#define PF_HIST_BUCKETS ((64 - PF_HIST_SUB_BITS + 1) << PF_HIST_SUB_BITS)

struct pf_hist {
	_Atomic uint64_t bucket[PF_HIST_BUCKETS];
	_Atomic uint64_t count;
	_Atomic uint64_t max;
	_Atomic uint64_t sum;
};

void pf_hist_record(struct pf_hist *hist, uint64_t value);
/* The value that `permille` of the records do not exceed (a bucket's upper end); 0 if empty. */
uint64_t pf_hist_quantile(const struct pf_hist *hist, unsigned permille);

#endif
