/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/pace.h - a limit of bytes a second, shared by several senders (--max-bandwidth).
 *
 * What was sent moves the moment when the next may begin; up to 10 ms of unused time may be made up
 * for.  Paid for afterwards, since nobody knows before he has read a page whether it is zero: each
 * sender can be ahead by one frame.  Any thread, lock free, cannot fail.
 */
#ifndef PF_CORE_PACE_H
#define PF_CORE_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pf_pace {
	_Atomic uint64_t bytes_per_s; /* 0: no limit */
	_Atomic uint64_t next_ns;     /* when the next transfer may begin */
};

/* At any time; what was sent under the old limit is forgotten. */
void pf_pace_set(struct pf_pace *pace, uint64_t bytes_per_s, uint64_t now_ns);
/* true: something may be sent now.  false: not before *out_when_ns. */
bool pf_pace_open(const struct pf_pace *pace, uint64_t now_ns, uint64_t *out_when_ns);
void pf_pace_pay(struct pf_pace *pace, uint64_t bytes, uint64_t now_ns);

#endif
