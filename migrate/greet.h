/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/greet.h - the first and the last frames of a connection.
 *
 * For the thread that owns the channel at that moment: these wait, until a deadline or until
 * cancel_fd is readable, whichever comes first.
 */
#ifndef PF_MIGRATE_GREET_H
#define PF_MIGRATE_GREET_H

#include "net/channel.h"

struct pf_greet {
	uint64_t deadline_ns;
	int cancel_fd;
};

/* Receives one frame.  PF_ERR_UNREACHABLE: closed, deadline or cancelled; PF_ERR_PROTOCOL. */
PF_MUST_USE int pf_greet_recv(struct pf_channel *channel, const struct pf_greet *how,
			      struct pf_frame *out, const uint8_t **out_body, struct pf_err *err);
PF_MUST_USE int pf_greet_send(struct pf_channel *channel, const struct pf_greet *how,
			      enum pf_frame_type type, const void *body, size_t length,
			      struct pf_err *err);
/* Sends what is gathered, whatever was sent last included. */
PF_MUST_USE int pf_greet_flush(struct pf_channel *channel, const struct pf_greet *how,
			       struct pf_err *err);
/* FAILURE with the reason, as far as it goes without waiting. */
void pf_greet_refuse(struct pf_channel *channel, const struct pf_err *why);
/* Sends what is gathered, says that it was the last, and reads on until the peer does the same, so
 * that no reset overtakes it; 2 s at most.  The channel is only good for pf_channel_free() then. */
void pf_greet_part(struct pf_channel *channel);

#endif
