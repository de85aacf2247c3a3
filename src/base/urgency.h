/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/urgency.h - the scheduler is told which thread somebody waits for.
 *
 * Any thread, about itself; never blocks.  A kernel that cannot do it changes nothing but latency,
 * so that is no error.
 */
#ifndef PF_BASE_URGENCY_H
#define PF_BASE_URGENCY_H

/*
 * Asks for short slices: the fair scheduler (EEVDF, Linux 6.12 and later) then gives a thread that
 * wakes up an earlier deadline than those that compute, and it preempts them.  Its share of the
 * processor stays what it is, so no privilege is needed.  Documentation/scheduler/sched-eevdf.rst.
 */
void pf_thread_is_urgent(void);

#endif
