/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_hello.h - one connection of the source from TCP to WELCOME, in steps.
 *
 * For the threads that connect: source_connect.c (a first session), source_race.c (one that is taken up
 * again).  Each step waits, until the deadline or until cancel_fd is readable.  PF_ERR_UNREACHABLE: try
 * again; PF_ERR_PROTOCOL, PF_ERR_CONFIG: who is there was refused, or our files were.
 */
#ifndef PF_MIGRATE_SOURCE_HELLO_H
#define PF_MIGRATE_SOURCE_HELLO_H

#include "migrate/greet.h"
#include "migrate/options.h"
#include "net/session.h"
#include "wire/msg.h"

struct pf_call {
	const struct pf_options *options;
	const struct pf_endpoint *endpoint;
	struct pf_greet greet;
};

/* TCP; the descriptor is the caller's. */
PF_MUST_USE int pf_call_connect(const struct pf_call *call, bool urgent, int *out_fd,
				struct pf_err *err);
/* TLS over it with the names checked; certificates are read anew.  fd is taken over in any case. */
PF_MUST_USE int pf_call_secure(const struct pf_call *call, bool urgent, int fd,
			       struct pf_channel **out, struct pf_err *err);
/* Both. */
PF_MUST_USE int pf_call_open(const struct pf_call *call, bool urgent, struct pf_channel **out,
			     struct pf_err *err);
/* HELLO for this channel: protocol, id, software and channels are filled in; secret: what a hello with
 * an epoch is proved by. */
PF_MUST_USE int pf_call_hello(const struct pf_call *call, struct pf_channel *channel,
			      struct pf_msg_hello *hello, const uint8_t secret[PF_SECRET_BYTES],
			      struct pf_err *err);
/* WELCOME, of a protocol that is known here; its proof and record are the caller's to judge. */
PF_MUST_USE int pf_call_welcome(const struct pf_call *call, struct pf_channel *channel,
				struct pf_msg_welcome *out, struct pf_err *err);

#endif
