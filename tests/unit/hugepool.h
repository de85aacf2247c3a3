/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/hugepool.h - the machine's pool of 2 MiB pages, which tests that run at once share.
 *
 * A test that empties the pool, or counts on what it gives back, would fail others and be failed by
 * them: it has the pool alone.  An advisory lock, flock(2), that ends with the process.
 */
#ifndef PF_TESTS_HUGEPOOL_H
#define PF_TESTS_HUGEPOOL_H

#include <stdbool.h>

/* Waits until nobody has it alone; alone: until nobody else has it at all.  The first call counts. */
void hugepool_hold(bool alone);
/* Free pages; 0 where there is no such pool. */
long long hugepool_free(void);

#endif
