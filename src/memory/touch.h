/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/touch.h - the one guard around all touches of mappings that belong to somebody else.
 *
 * Whoever owns a memory file can shrink it at any time, and then a touch of what is gone is a
 * SIGBUS (mmap(2)); so is a page whose memory has failed, and one of hugetlbfs for which the pool
 * has nothing left.  Here that is an error of the copy: a handler that takes the thread out of it,
 * and leaves every other SIGBUS to do what it did before.
 *
 * Any number of threads at once: what is under way is a thread's own.  No lock, no allocation, no
 * system call; about 10 ns more than the copy.  SIGBUS must not be blocked in the thread: the
 * kernel ends a process that cannot take it.
 */
#ifndef PF_MEMORY_TOUCH_H
#define PF_MEMORY_TOUCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Installs the handler unless it is there; main, before the first touch. */
void pf_touch_init(void);
/*
 * 0, or -1 with errno: EIO: the file is shorter now, or has no page there and cannot get one;
 * EHWPOISON: the memory has failed.  Then some of the bytes may have been copied.
 */
PF_MUST_USE int pf_touch_read(void *out, const void *foreign, size_t length);
PF_MUST_USE int pf_touch_write(void *foreign, const void *bytes, size_t length);
PF_MUST_USE int pf_touch_zero(void *foreign, size_t length);
/* What is there, as it is now: *out_same is whether it is these bytes. */
PF_MUST_USE int pf_touch_compare(const void *foreign, const void *bytes, size_t length, bool *out_same);
/* Sets or clears bits of one word, atomically, after all that this thread has seen or written. */
PF_MUST_USE int pf_touch_bits(unsigned long *foreign, unsigned long bits, bool set);

#endif
