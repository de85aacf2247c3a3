/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/hugepool.h - the machine's pool of 2 MiB pages, which tests that run at once share.
 *
 * One test at a time has it: a test that empties the pool, or counts on what it gives back, would fail others
 * and be failed by them, and so would two that each find enough of it free, before either has taken any.  An
 * advisory lock, flock(2), which ends with the process at the latest.
 */
#ifndef PF_TESTS_HUGEPOOL_H
#define PF_TESTS_HUGEPOOL_H

/* Waits until nobody else has it; nothing if this process has. */
void hugepool_take(void);
/* Once every page is given back; nothing if it was not taken. */
void hugepool_give(void);
/* Pages that nobody has taken or reserved; 0 where there is no such pool. */
long long hugepool_free(void);

#endif
