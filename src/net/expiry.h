/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/expiry.h - from when to when the certificates, or revocation lists, of a PEM file hold.
 *
 * Whether they are any good otherwise, net/credentials.h says.  Any thread; blocks as the file
 * does.
 */
#ifndef PF_NET_EXPIRY_H
#define PF_NET_EXPIRY_H

#include <time.h>

#include "base/err.h"

struct pf_expiry {
	char who[160]; /* subject and names of the one that ends first; its issuer, of a list */
	time_t begins, ends;
};

/* PF_ERR_CONFIG; err.sys is ENOENT if there is no such file. */
PF_MUST_USE int pf_expiry_read(const char *path, struct pf_expiry *out, struct pf_err *err);

#endif
