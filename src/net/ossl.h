/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/ossl.h - OpenSSL's error queue as a struct pf_err.
 *
 * The queue is the thread's and outlives the call that filled it; what is left in it makes a later
 * SSL_get_error(3) lie.  So it is drained at the call that failed, and empty when a function of
 * net/ returns.  Any thread; never blocks.
 */
#ifndef PF_NET_OSSL_H
#define PF_NET_OSSL_H

#include "base/err.h"

/* Sets *err to "<text>: <OpenSSL's reasons>" and empties the queue.  Returns -1. */
int pf_ossl_err(struct pf_err *err, enum pf_err_class class, const char *fmt, ...) PF_PRINTF(3, 4);

#endif
