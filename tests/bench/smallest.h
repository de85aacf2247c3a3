/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/bench/smallest.h - the smallest resolver: a fault, a request over TLS, its page, mapped.
 *
 * One thread owns the userfaultfd and the TLS connection and does one fault after the other; one on
 * the other side answers.  No journal, no claims, no frames, no checks: what no agent can undercut.
 */
#ifndef PF_BENCH_SMALLEST_H
#define PF_BENCH_SMALLEST_H

#include "tests/bench/ground.h"

struct smallest_result {
	double p50_us, p99_us; /* one thread that faults */
	double rate[3];	       /* faults a second with 1, 4, 16 threads */
};

/*
 * spin: neither side ever sleeps.  local: no TLS, the page is there: the kernel's part alone.  faults:
 * how many a number is made of, up to 8000.
 */
void smallest_measure(bool spin, bool local, unsigned faults, struct smallest_result *out);

#endif
