/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/conn.c - see net/conn.h; SSL_get_error(3), BIO_meth_new(3). */
#include "net/conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/addr.h"
#include "net/cert.h"
#include "net/credentials.h"
#include "net/ossl.h"
#include "net/wait.h"

/* Half of what one AES-GCM key may protect at most, RFC 8446 section 5.5. */
#define REKEY_RECORDS (UINT64_C(1) << 23)
#define IDLE_MESSAGES_MAX 32u /* KeyUpdates and the like, with no data between them */

struct pf_conn {
	SSL *ssl;
	int fd;
	int sys;  /* errno of the last system call that failed, 0 if none did */
	bool eof; /* recv() has returned 0 */
	bool short_read; /* the last recv() got less than it asked for: there was no more */
	short wants;
	bool write_waits; /* a record is half sent: only the same write may go on */
	bool dead;	  /* after a fatal error: no more calls into ssl, SSL_get_error(3) */
	bool mute;	  /* after a failed send(2): what has come can still be read */
	uint64_t records; /* written with the present key */
	uint64_t rekey_records;
	uint64_t key_updates;
	unsigned idle_messages; /* received since the last data */
	char peer[PF_ENDPOINT_TEXT_MAX];
	char cipher[64];
};

/* What became of the peer's certificate; on the handshake's stack. */
struct judgement {
	const char *name;
	bool accepted, refused;
	struct pf_err err;
};

/*
 * The socket as a BIO.  OpenSSL's own one uses write(), so that a peer which goes away would kill
 * the process that uses this library with SIGPIPE; and MSG_DONTWAIT needs no O_NONBLOCK.
 */
static int link_write(BIO *bio, const char *data, int length)
{
	struct pf_conn *conn = BIO_get_data(bio);
	ssize_t sent;

	BIO_clear_retry_flags(bio);
	do {
		sent = send(conn->fd, data, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return (int)sent;
	if (errno == EAGAIN)
		BIO_set_retry_write(bio);
	else
		conn->sys = errno;
	return -1;
}

static int link_read(BIO *bio, char *data, int size)
{
	struct pf_conn *conn = BIO_get_data(bio);
	ssize_t got;

	BIO_clear_retry_flags(bio);
	if (conn->idle_messages > IDLE_MESSAGES_MAX)
		return -1;
	do {
		got = recv(conn->fd, data, (size_t)size, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	conn->short_read = got > 0 && got < size;
	if (got > 0)
		return (int)got;
	if (got == 0) {
		conn->eof = true;
		return 0;
	}
	if (errno == EAGAIN)
		BIO_set_retry_read(bio);
	else
		conn->sys = errno;
	return -1;
}

static long link_ctrl(BIO *bio, int command, long number, void *pointer)
{
	struct pf_conn *conn = BIO_get_data(bio);

	(void)number, (void)pointer;
	if (command == BIO_CTRL_EOF)
		return conn->eof;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *link_method;
static pthread_once_t link_once = PTHREAD_ONCE_INIT;

static void make_link_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pageferry");

	if (method && BIO_meth_set_write(method, link_write) == 1 &&
	    BIO_meth_set_read(method, link_read) == 1 && BIO_meth_set_ctrl(method, link_ctrl) == 1)
		link_method = method;
	else
		BIO_meth_free(method);
}

static int attach_link(struct pf_conn *conn)
{
	BIO *bio;

	pthread_once(&link_once, make_link_method);
	bio = link_method ? BIO_new(link_method) : NULL;
	if (!bio)
		return -1;
	BIO_set_data(bio, conn);
	BIO_set_init(bio, 1);
	SSL_set_bio(conn->ssl, bio, bio);
	return 0;
}

/* Within the handshake, so that the peer that is refused hears it as an alert. */
static int judge_certificate(int ok, X509_STORE_CTX *verification)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct judgement *judgement = SSL_get_app_data(ssl);
	X509 *leaf = X509_STORE_CTX_get0_cert(verification);
	char who[200], why[192];

	if (!ok) {
		judgement->refused = true;
		pf_cert_describe(leaf, who, sizeof(who));
		pf_cert_reason(verification, why, sizeof(why));
		pf_err_set(&judgement->err, PF_ERR_PROTOCOL, "its certificate (%s) is refused: %s",
			   who, why);
		pf_err_hint(&judgement->err,
			    "the peer needs a certificate that our ca-cert.pem vouches for");
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(verification) > 0)
		return 1;
	if (pf_peer_name_check(leaf, judgement->name, &judgement->err) == 0) {
		judgement->accepted = true;
		return 1;
	}
	judgement->refused = true;
	X509_STORE_CTX_set_error(verification, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

/*
 * SSL_read() goes on until it meets data: a peer that sends nothing but KeyUpdates, each asking for
 * another in return, would hold the thread for ever.  So they are counted, and link_read() ends it.
 */
static void count_message(int sent, int version, int type, const void *message, size_t length,
			  SSL *ssl, void *conn)
{
	(void)version, (void)message, (void)length, (void)ssl;
	if (!sent && type == SSL3_RT_HANDSHAKE)
		((struct pf_conn *)conn)->idle_messages++;
}

static const struct explanation {
	int reason[3];
	const char *words, *hint;
} explanations[] = {
	{{SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST},
	 "the peer does not speak TLS",
	 "is the port pageferry's? compare --connect with the address in the event LISTENING"},
	{{SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW,
	  SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION},
	 "the peer does not speak TLS 1.3, and nothing older is accepted",
	 "is it pageferry, or a proxy in between that ends TLS?"},
	{{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE},
	 "the peer presented no certificate",
	 "is it pageferry? a source needs client-cert.pem and client-key.pem"},
	{{SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC},
	 "what arrived was damaged on its way",
	 "look at the network: TCP's checksum did not see it"},
};

static const struct explanation *explain_reason(int reason)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(explanations); i++)
		for (size_t k = 0; k < PF_ARRAY_LEN(explanations[i].reason); k++)
			if (reason != 0 && explanations[i].reason[k] == reason)
				return &explanations[i];
	return NULL;
}

/* Alerts by which a peer says that it will not have us, RFC 8446 section 6.2. */
static bool is_refusal(int alert)
{
	switch (alert) {
	case SSL_AD_HANDSHAKE_FAILURE:
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_ACCESS_DENIED:
	case SSL_AD_CERTIFICATE_REQUIRED:
		return true;
	default:
		return false;
	}
}

static enum pf_io refused_by_peer(int alert, struct pf_err *err)
{
	ERR_clear_error();
	pf_err_set(err, PF_ERR_PROTOCOL, "the peer refused us with the TLS alert \"%s\"",
		   SSL_alert_desc_string_long(alert));
	pf_err_hint(err, "the peer knows the reason: see its PEER_REFUSED event or message; it "
			 "concerns our certificate, its names or its authority");
	return PF_IO_ERROR;
}

/*
 * SSL_ERROR_SSL.  After the handshake nobody but the right peer can send a record that is good, so
 * a bad one is the network's doing: to try again helps, and an attacker who throws in a byte must
 * not look like a peer that breaks the protocol.
 */
static enum pf_io explain_tls(bool shaken, struct pf_err *err)
{
	int reason = ERR_GET_REASON(ERR_peek_error());
	const struct explanation *known = explain_reason(reason);
	bool damaged = shaken || reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC ||
		       reason == SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC;
	enum pf_err_class class = damaged ? PF_ERR_UNREACHABLE : PF_ERR_PROTOCOL;

	if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		pf_err_set(err, PF_ERR_UNREACHABLE, "the connection ended without a goodbye");
		err->sys = ECONNRESET;
		return PF_IO_EOF;
	}
	if (reason > SSL_AD_REASON_OFFSET && is_refusal(reason - SSL_AD_REASON_OFFSET))
		return refused_by_peer(reason - SSL_AD_REASON_OFFSET, err);
	pf_ossl_err(err, class, "%s", known ? known->words : "TLS failed");
	if (known)
		pf_err_hint(err, "%s", known->hint);
	err->sys = damaged ? EBADMSG : 0;
	return PF_IO_ERROR;
}

static enum pf_io explain_system(int sys, struct pf_err *err)
{
	ERR_clear_error();
	errno = sys ? sys : ECONNRESET;
	pf_err_sys(err, "the connection broke");
	err->class = PF_ERR_UNREACHABLE;
	return sys == 0 || sys == ECONNRESET || sys == EPIPE ? PF_IO_EOF : PF_IO_ERROR;
}

/* result: what the SSL function returned, < 1. */
static enum pf_io conclude(struct pf_conn *conn, int result, bool shaken, struct pf_err *err)
{
	switch (SSL_get_error(conn->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		conn->wants = POLLIN;
		return PF_IO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		conn->wants = POLLOUT;
		return PF_IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		pf_err_set(err, PF_ERR_UNREACHABLE, "the peer closed the connection");
		return PF_IO_EOF;
	case SSL_ERROR_SYSCALL:
		conn->dead = true;
		return explain_system(conn->sys, err);
	default:
		conn->dead = true;
		return explain_tls(shaken, err);
	}
}

/* Our own verdict on the peer's certificate says more than OpenSSL's error. */
static int give_up(const struct pf_conn *conn, const struct judgement *judgement,
		   struct pf_err *err)
{
	if (judgement->refused)
		*err = judgement->err;
	return pf_err_prefix(err, "TLS handshake with %s", conn->peer);
}

static int timed_out(struct pf_conn *conn, int failure, struct pf_err *err)
{
	if (failure == ETIMEDOUT) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "TLS handshake with %s: no answer in time",
			   conn->peer);
	} else if (failure == ECANCELED) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "TLS handshake with %s: cancelled", conn->peer);
	} else {
		errno = failure;
		pf_err_sys(err, "TLS handshake with %s: waiting", conn->peer);
	}
	err->sys = failure;
	return -1;
}

static int shake_hands(struct pf_conn *conn, const struct pf_handshake *how, struct pf_err *err)
{
	struct judgement judgement = {.name = how->peer_name};
	enum pf_io io;
	int result, failure;

	SSL_set_app_data(conn->ssl, &judgement);
	for (;;) {
		ERR_clear_error();
		conn->sys = 0;
		result = SSL_do_handshake(conn->ssl);
		if (result == 1)
			break;
		io = conclude(conn, result, false, err);
		if (io != PF_IO_AGAIN)
			return give_up(conn, &judgement, err);
		failure = pf_wait_fd(conn->fd, conn->wants, how->deadline_ns, how->cancel_fd);
		if (failure)
			return timed_out(conn, failure, err);
	}
	SSL_set_app_data(conn->ssl, NULL);
	SSL_set_msg_callback(conn->ssl, count_message);
	SSL_set_msg_callback_arg(conn->ssl, conn);
	ERR_clear_error();
	conn->wants = POLLIN;
	if (judgement.accepted && SSL_get_verify_result(conn->ssl) == X509_V_OK)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "TLS handshake with %s: it ended without a checked certificate",
			  conn->peer);
}

static void name_peer(struct pf_conn *conn)
{
	struct sockaddr_storage addr = {0};
	socklen_t length = sizeof(addr);

	/* If it is gone by now, the handshake will say so. */
	if (getpeername(conn->fd, (struct sockaddr *)&addr, &length) == 0)
		pf_sockaddr_print(&addr, conn->peer);
	else
		snprintf(conn->peer, sizeof(conn->peer), "a peer that is gone");
}

static int prepare(struct pf_conn *conn, const struct pf_handshake *how, struct pf_err *err)
{
	SSL_CTX *ctx;

	if (pf_credentials_load(how->tls_dir, how->side, &ctx, err))
		return -1;
	SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx), judge_certificate);
	conn->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx); /* ssl has a reference */
	if (!conn->ssl || attach_link(conn))
		return pf_ossl_err(err, PF_ERR_SYSTEM, "preparing TLS with %s", conn->peer);
	if (how->side == PF_SOURCE)
		SSL_set_connect_state(conn->ssl);
	else
		SSL_set_accept_state(conn->ssl);
	return 0;
}

static void conn_free(struct pf_conn *conn)
{
	SSL_free(conn->ssl);
	close(conn->fd);
	free(conn);
	ERR_clear_error();
}

int pf_conn_handshake(int tcp_fd, const struct pf_handshake *how, struct pf_conn **out,
		      struct pf_err *err)
{
	struct pf_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		pf_err_sys(err, "allocating a connection");
		close(tcp_fd);
		return -1;
	}
	conn->fd = tcp_fd;
	conn->wants = POLLIN;
	conn->rekey_records = how->rekey_records ? how->rekey_records : REKEY_RECORDS;
	name_peer(conn);
	if (prepare(conn, how, err) || shake_hands(conn, how, err)) {
		conn_free(conn);
		return -1;
	}
	snprintf(conn->cipher, sizeof(conn->cipher), "%s %s", SSL_get_version(conn->ssl),
		 SSL_get_cipher_name(conn->ssl));
	*out = conn;
	return 0;
}

void pf_conn_goodbye(struct pf_conn *conn)
{
	/* Behind half a record a close_notify cannot go out. */
	if (!conn->dead && !conn->mute && !conn->write_waits)
		(void)SSL_shutdown(conn->ssl);
	ERR_clear_error();
}

void pf_conn_close(struct pf_conn *conn)
{
	if (!conn)
		return;
	pf_conn_goodbye(conn);
	conn_free(conn);
}

static enum pf_io refuse_dead(struct pf_err *err)
{
	ERR_clear_error();
	pf_err_set(err, PF_ERR_UNREACHABLE, "the connection has failed before");
	err->sys = ENOTCONN;
	return PF_IO_ERROR;
}

enum pf_io pf_conn_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
			struct pf_err *err)
{
	enum pf_io io;
	int result;

	if (conn->dead)
		return refuse_dead(err);
	ERR_clear_error();
	conn->sys = 0;
	result = SSL_read_ex(conn->ssl, buffer, size, out_done);
	if (result == 1) {
		conn->wants = POLLIN;
		conn->idle_messages = 0;
		return PF_IO_OK;
	}
	io = conclude(conn, result, true, err);
	if (conn->idle_messages > IDLE_MESSAGES_MAX) {
		conn->dead = true;
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "the peer changes its keys again and again and sends no data");
		io = PF_IO_ERROR;
	}
	if (io != PF_IO_AGAIN)
		pf_err_prefix(err, "receiving from %s", conn->peer);
	return io;
}

/*
 * A failed send(2) leaves OpenSSL's reading side as it was, and the kernel keeps what had come before the
 * reset.  That can be the peer's last word; or the alert that says why we are refused: a TLS 1.3 client
 * is done before the server has looked at its certificate, and its first write may meet the reset that
 * follows.  Looked at only, so that nothing is missing for whoever reads on.
 */
static enum pf_io explain_failed_write(struct pf_conn *conn, enum pf_io io, struct pf_err *err)
{
	char byte;
	size_t got;

	if (conn->sys == 0)
		return io;
	conn->dead = false;
	conn->mute = true;
	if (SSL_peek_ex(conn->ssl, &byte, 1, &got) != 1 &&
	    ERR_GET_REASON(ERR_peek_error()) > SSL_AD_REASON_OFFSET) {
		conn->dead = true;
		io = explain_tls(true, err);
	}
	ERR_clear_error();
	return io;
}

/* RFC 8446 section 4.6.3; OpenSSL sends it with the next write. */
static enum pf_io rekey_if_due(struct pf_conn *conn, struct pf_err *err)
{
	if (conn->records < conn->rekey_records || conn->write_waits)
		return PF_IO_OK;
	if (SSL_key_update(conn->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
		conn->dead = true;
		pf_ossl_err(err, PF_ERR_SYSTEM, "changing the key of the connection with %s",
			    conn->peer);
		return PF_IO_ERROR;
	}
	conn->records = 0;
	conn->key_updates++;
	return PF_IO_OK;
}

enum pf_io pf_conn_write(struct pf_conn *conn, const void *buffer, size_t length, size_t *out_done,
			 struct pf_err *err)
{
	enum pf_io io;
	int result;

	if (conn->dead || conn->mute)
		return refuse_dead(err);
	ERR_clear_error();
	io = rekey_if_due(conn, err);
	if (io != PF_IO_OK)
		return io;
	conn->sys = 0;
	result = SSL_write_ex(conn->ssl, buffer, length, out_done);
	conn->write_waits = result != 1;
	if (result == 1) {
		conn->records++; /* partial writes: one record a call, SSL_CTX_set_mode(3) */
		conn->wants = POLLIN;
		return PF_IO_OK;
	}
	io = conclude(conn, result, true, err);
	if (io == PF_IO_AGAIN)
		return io;
	io = explain_failed_write(conn, io, err);
	pf_err_prefix(err, "sending to %s", conn->peer);
	return io;
}

void pf_conn_shrink(struct pf_conn *conn)
{
	/* The length counts for the next buffer that OpenSSL allocates, which the present one is in the way of. */
	SSL_set_default_read_buffer_len(conn->ssl, 0);
	(void)SSL_free_buffers(conn->ssl);
}

bool pf_conn_drained(const struct pf_conn *conn)
{
	return conn->short_read && !SSL_has_pending(conn->ssl);
}

int pf_conn_fd(const struct pf_conn *conn)
{
	return conn->fd;
}

short pf_conn_wants(const struct pf_conn *conn)
{
	return conn->wants;
}

int pf_conn_export(struct pf_conn *conn, const char *label, uint8_t *out, size_t length,
		   struct pf_err *err)
{
	ERR_clear_error();
	if (SSL_export_keying_material(conn->ssl, out, length, label, strlen(label), NULL, 0, 0) ==
	    1)
		return 0;
	return pf_ossl_err(err, PF_ERR_SYSTEM, "exporting keying material (%s)", label);
}

const char *pf_conn_cipher(const struct pf_conn *conn)
{
	return conn->cipher;
}

uint64_t pf_conn_key_updates(const struct pf_conn *conn)
{
	return conn->key_updates;
}
