/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/conn.h - one TLS 1.3 connection.
 *
 * One owner thread at a time: an SSL object may not even be used by one reader and one writer
 * (openssl-threads(7)).  The handshake waits (until its deadline, or until cancel_fd is readable);
 * afterwards nothing blocks: a call that cannot go on says AGAIN, and pf_conn_wants() says what to
 * poll for.
 */
#ifndef PF_NET_CONN_H
#define PF_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/side.h"

struct pf_conn;

enum pf_io {
	PF_IO_OK,
	PF_IO_AGAIN, /* poll pf_conn_fd() for pf_conn_wants(), then call again */
	PF_IO_EOF,   /* the peer closed the connection; err.sys is 0 if cleanly (close_notify) */
	PF_IO_ERROR, /* err says what */
};

struct pf_handshake {
	const char *tls_dir;
	enum pf_side side;	/* source: TLS client; destination: TLS server */
	const char *peer_name;	/* never NULL */
	uint64_t deadline_ns;	/* CLOCK_MONOTONIC */
	int cancel_fd;		/* or -1 */
	uint64_t rekey_records; /* KeyUpdate after so many records sent; 0: half the safe number;
				   only tests give another */
};

/*
 * Takes over tcp_fd (closed on failure too) and shakes hands.  PF_ERR_CONFIG: our files;
 * PF_ERR_PROTOCOL: the peer's identity or TLS was refused, by whom and why; PF_ERR_UNREACHABLE:
 * it went away, or the deadline passed.
 */
PF_MUST_USE int pf_conn_handshake(int tcp_fd, const struct pf_handshake *how, struct pf_conn **out,
				  struct pf_err *err);
/*
 * Sends close_notify if it can without waiting: nothing more will be written, and the peer can still
 * be read until PF_IO_EOF, which is its own close_notify.
 */
void pf_conn_goodbye(struct pf_conn *conn);
/*
 * Sends close_notify if it can without waiting, closes, frees; takes NULL.  Bytes from the peer
 * that were not read make the kernel reset the connection, and what it has not sent yet is lost.
 */
void pf_conn_close(struct pf_conn *conn);

/*
 * PF_IO_OK: *out_done > 0 bytes were moved, at most one TLS record (16 KiB) a call.  After AGAIN a
 * write must go on with the same bytes (they may have moved, and more may follow them).  When a write has
 * failed because the peer is gone, what it had said is still there to be read.
 * PF_ERR_PROTOCOL: the peer refused us (a TLS 1.3 server judges the client's certificate after the
 * client's handshake has ended), or floods us with KeyUpdates; all else is PF_ERR_UNREACHABLE: lost,
 * closed or damaged.
 */
enum pf_io pf_conn_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
			struct pf_err *err);
enum pf_io pf_conn_write(struct pf_conn *conn, const void *buffer, size_t length, size_t *out_done,
			 struct pf_err *err);
/* One TLS record is read at a time from here on, unless more than that is waiting in TLS already: less
 * memory, and more system calls where records are long. */
void pf_conn_shrink(struct pf_conn *conn);
/* true: the last read has left nothing, neither in TLS nor, when it looked, in the socket: to read
 * again before poll(2) says so would only cost a system call. */
bool pf_conn_drained(const struct pf_conn *conn);
int pf_conn_fd(const struct pf_conn *conn);
/* POLLIN, or POLLOUT while the last call on the connection waits to send. */
short pf_conn_wants(const struct pf_conn *conn);
/* Keying material by RFC 8446 section 7.5; label as RFC 5705 wants it. */
PF_MUST_USE int pf_conn_export(struct pf_conn *conn, const char *label, uint8_t *out, size_t length,
			       struct pf_err *err);
/* "TLSv1.3 TLS_AES_128_GCM_SHA256", for status. */
const char *pf_conn_cipher(const struct pf_conn *conn);
/* How often the sending key was changed, RFC 8446 section 5.5. */
uint64_t pf_conn_key_updates(const struct pf_conn *conn);

#endif
