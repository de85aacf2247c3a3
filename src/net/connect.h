/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/connect.h - TCP to the first of a host's addresses that answers.
 *
 * One after the other, 250 ms apart (RFC 8305, section 5; of more than four as far apart that the last begins within a
 * second, for an attempt may be given up after 1.5 s) or as soon as one has failed, and all of them stay in the running:
 * an address that swallows packets must not cost those behind it their time.  Any thread; waits until the deadline, or
 * until cancel_fd (or -1) is readable.
 */
#ifndef PF_NET_CONNECT_H
#define PF_NET_CONNECT_H

#include <stdint.h>

#include "net/names.h"

/*
 * 0, and *out_fd is the caller's: non-blocking, close-on-exec.  Or an errno, ETIMEDOUT at the deadline and ECANCELED
 * among them, and *out_which is the place of the address that it is about, the last that was tried.
 */
PF_MUST_USE int pf_connect_first(const struct pf_addresses *addresses, uint64_t deadline_ns,
				 int cancel_fd, int *out_fd, uint32_t *out_which);

#endif
