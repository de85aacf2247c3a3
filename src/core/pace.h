/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/pace.h - a limit of bytes a second, shared by several senders (--max-bandwidth).
 *
 * Each transfer moves the moment when the next may begin; up to 10 ms of unused time may be made up
 * for.  Any thread, lock free, cannot fail.
 */
#ifndef PF_CORE_PACE_H
#define PF_CORE_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pf_pace {
	_Atomic uint64_t bytes_per_s; /* 0: no limit; may be changed at any time */
	_Atomic uint64_t next_ns; /* when the next transfer may begin */
};

/* true: bytes may be sent now.  false: not before *out_when_ns. */
bool pf_pace_take(struct pf_pace *pace, uint64_t bytes, uint64_t now_ns, uint64_t *out_when_ns);

#endif
