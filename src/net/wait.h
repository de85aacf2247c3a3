/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/wait.h - waits for one socket, for a deadline and for being cancelled, whichever is first.
 *
 * Any thread; blocks until the deadline at most.  poll(2).
 */
#ifndef PF_NET_WAIT_H
#define PF_NET_WAIT_H

#include <stdint.h>

#include "base/err.h"

/*
 * 0 once fd has one of events (or an error or a hang-up, which the next call on it will tell);
 * ECANCELED once cancel_fd (or -1) is readable; ETIMEDOUT once CLOCK_MONOTONIC is past deadline_ns;
 * else poll's errno.
 */
PF_MUST_USE int pf_wait_fd(int fd, short events, uint64_t deadline_ns, int cancel_fd);

#endif
