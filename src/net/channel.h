/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/channel.h - frames on a connection: fixed buffers, no allocation after pf_channel_new().
 *
 * Receiving parses in place: the body of a frame stays in the channel's buffer until the next
 * receive.  Sending gathers frames in the buffer until pf_channel_flush(), so that several requests
 * cost one TLS record.  The connection's owner thread only; never blocks.
 */
#ifndef PF_NET_CHANNEL_H
#define PF_NET_CHANNEL_H

#include "net/conn.h"
#include "wire/frame.h"

struct pf_channel;

/* Takes over conn (closed on failure too).  urgent decides the limits and buffer sizes; from_source
 * of the rules is derived from `side`: the source receives what the destination sends and the other
 * way round. */
PF_MUST_USE int pf_channel_new(struct pf_conn *conn, enum pf_side side, bool urgent,
			       struct pf_channel **out, struct pf_err *err);
/* Closes the connection too; takes NULL. */
void pf_channel_free(struct pf_channel *channel);

/* HELLO has said that this is the urgent connection: its limits hold from here on. */
void pf_channel_become_urgent(struct pf_channel *channel);

struct pf_conn *pf_channel_conn(struct pf_channel *channel);
/* What may be received from here on.  table is borrowed and must outlive the channel. */
void pf_channel_expect(struct pf_channel *channel, uint32_t epoch,
		       const struct pf_region_table *table, uint64_t device_state_size);
/*
 * The table is what another thread puts there, once it is agreed on; NULL: not yet.  It is looked at where a frame is
 * judged, which is behind its arrival: whoever hears of the agreement may send at once.  Outlives the channel.
 */
void pf_channel_follow(struct pf_channel *channel, const _Atomic(const struct pf_region_table *) *agreed);

/*
 * The next frame, checked.  OK: *out is filled and *out_body points at its length bytes, valid
 * until the next call.  AGAIN: not yet a whole one.  EOF, ERROR: the connection is of no more use.
 */
enum pf_io pf_channel_recv(struct pf_channel *channel, struct pf_frame *out,
			   const uint8_t **out_body, struct pf_err *err);

/* true: behind the frame that was received last there was nothing more; what comes now, poll(2) tells. */
bool pf_channel_drained(const struct pf_channel *channel);

/*
 * Room for a frame with a body of up to `body` bytes (within the channel's limit): a pointer at
 * which to put the body, or NULL if the buffer must be flushed first.  More than the limit is NULL
 * too, and the flush that follows then says so (PF_ERR_STATE).
 */
uint8_t *pf_channel_reserve(struct pf_channel *channel, uint32_t body);
/* Appends the frame whose body (frame->length bytes) was put at the reserved place; fills in the
 * channel's epoch. */
void pf_channel_commit(struct pf_channel *channel, struct pf_frame *frame);
/* reserve + copy + commit: false if the buffer must be flushed first. */
PF_MUST_USE bool pf_channel_put(struct pf_channel *channel, struct pf_frame *frame,
				const void *body);
/* OK: everything gathered is with the kernel.  AGAIN: poll and call again. */
enum pf_io pf_channel_flush(struct pf_channel *channel, struct pf_err *err);
/* Bytes gathered and not yet flushed. */
size_t pf_channel_unsent(const struct pf_channel *channel);
/* What to poll the connection's fd for, given what is unsent. */
short pf_channel_wants(const struct pf_channel *channel);
/* Bytes received (true) or sent (false) so far, headers included; for any thread. */
uint64_t pf_channel_bytes(const struct pf_channel *channel, bool received);

#endif
