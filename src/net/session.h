/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/session.h - what ties every later connection to the first one (DESIGN.md section 7).
 *
 * The first connection's TLS exporter gives both sides a 256-bit session secret that never travels.
 * Every other connection, and every reconnect, proves HMAC-SHA256(secret, exporter of that
 * connection || epoch || channel || side), numbers as 4 bytes big endian, side as one byte.  Owner
 * thread of the connection; never blocks.
 */
#ifndef PF_NET_SESSION_H
#define PF_NET_SESSION_H

#include "net/conn.h"

#define PF_SECRET_BYTES 32u
#define PF_SESSION_PROOF_BYTES 32u

PF_MUST_USE int pf_session_secret(struct pf_conn *conn, uint8_t out[PF_SECRET_BYTES],
				  struct pf_err *err);
/* The proof that `side` gives on this connection. */
PF_MUST_USE int pf_session_proof(struct pf_conn *conn, const uint8_t secret[PF_SECRET_BYTES],
				 uint32_t epoch, uint32_t channel, enum pf_side side,
				 uint8_t out[PF_SESSION_PROOF_BYTES], struct pf_err *err);
/* Constant time. */
PF_MUST_USE int pf_session_check(struct pf_conn *conn, const uint8_t secret[PF_SECRET_BYTES],
				 uint32_t epoch, uint32_t channel, enum pf_side side,
				 const uint8_t proof[PF_SESSION_PROOF_BYTES], struct pf_err *err);

#endif
