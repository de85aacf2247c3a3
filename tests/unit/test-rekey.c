/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-rekey.c - keys that change under load, both ways, and a peer that only changes keys. */
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/wait.h"
#include "netkit.h"

#define STREAM ((size_t)2 << 20)
#define EVERY 8u /* records with one key */

/* One end, in a thread of its own: sends a stream and receives another, whichever goes on. */
struct end {
	struct pf_conn *conn;
	uint8_t salt; /* of what it sends; the peer's is salt ^ 1 */
	size_t sent, received;
	bool wrong;
	struct pf_err err;
};

static uint8_t byte_at(size_t at, uint8_t salt)
{
	return (uint8_t)(at * 31 + at / 4099 + salt);
}

static bool send_some(struct end *end)
{
	uint8_t bytes[5000];
	size_t done = 0, length = STREAM - end->sent;
	enum pf_io io;

	if (length == 0)
		return true;
	length = length < sizeof(bytes) ? length : sizeof(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(end->sent + i, end->salt);
	io = pf_conn_write(end->conn, bytes, length, &done, &end->err);
	end->sent += done;
	return io == PF_IO_OK || io == PF_IO_AGAIN;
}

/* Until AGAIN: what OpenSSL holds already, no poll(2) tells. */
static bool receive_all(struct end *end)
{
	uint8_t bytes[3000];
	size_t done = 0;
	enum pf_io io;

	while ((io = pf_conn_read(end->conn, bytes, sizeof(bytes), &done, &end->err)) == PF_IO_OK) {
		for (size_t i = 0; i < done; i++)
			end->wrong |= bytes[i] != byte_at(end->received + i, end->salt ^ 1);
		end->received += done;
	}
	return io == PF_IO_AGAIN;
}

static void *both_ways(void *argument)
{
	struct end *end = argument;
	uint64_t deadline = kit_deadline();

	while (end->sent < STREAM || end->received < STREAM) {
		short events = end->sent < STREAM ? POLLIN | POLLOUT : POLLIN;

		if (!send_some(end) || !receive_all(end) ||
		    (end->received < STREAM &&
		     pf_wait_fd(pf_conn_fd(end->conn), events, deadline, -1)))
			break;
	}
	return NULL;
}

static void both_ends_change_keys_under_load_and_nothing_is_lost(void **state)
{
	struct kit_end source = {.how = {.tls_dir = kit_tls.path, .peer_name = "destination",
					 .rekey_records = EVERY}};
	struct kit_end destination = {.how = {.tls_dir = kit_tls.path, .peer_name = "source",
					      .rekey_records = EVERY}};
	struct end ends[2];
	pthread_t thread[2];

	(void)state;
	kit_shake(&source, &destination);
	assert_non_null(source.conn);
	assert_non_null(destination.conn);
	ends[0] = (struct end){.conn = source.conn, .salt = 0};
	ends[1] = (struct end){.conn = destination.conn, .salt = 1};
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, both_ways, &ends[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 2; i++) {
		if (ends[i].sent != STREAM || ends[i].received != STREAM)
			fail_msg("sent %zu, received %zu: %s", ends[i].sent, ends[i].received,
				 ends[i].err.text);
		assert_false(ends[i].wrong);
		/* 5000 bytes a record at most. */
		assert_true(pf_conn_key_updates(ends[i].conn) >= STREAM / 5000 / EVERY - 1);
	}
	pf_conn_close(source.conn);
	pf_conn_close(destination.conn);
}

/* A peer of OpenSSL alone, with our certificates, that changes its keys as told and then sends "x". */
struct raw_peer {
	int fd, updates, bursts;
	bool broken;
	pthread_t thread;
};

static bool update(SSL *ssl, int times)
{
	for (int i = 0; i < times; i++)
		if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1 ||
		    SSL_do_handshake(ssl) != 1)
			return false;
	return true;
}

static void *raw_peer(void *argument)
{
	struct raw_peer *peer = argument;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char cert[128], key[128], sink[512];
	SSL *ssl = SSL_new(ctx);
	sigset_t pipe_signal;

	/* OpenSSL's own socket BIO raises it, for the thread that writes. */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
	kit_file(&kit_tls, "client-cert.pem", cert);
	kit_file(&kit_tls, "client-key.pem", key);
	peer->broken = SSL_use_certificate_file(ssl, cert, SSL_FILETYPE_PEM) != 1 ||
		       SSL_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 ||
		       SSL_set_fd(ssl, peer->fd) != 1 || SSL_connect(ssl) != 1;
	for (int i = 0; !peer->broken && i < peer->bursts; i++)
		if (!update(ssl, peer->updates) || SSL_write(ssl, "x", 1) != 1)
			break;
	(void)shutdown(peer->fd, SHUT_WR);
	while (!peer->broken && read(peer->fd, sink, sizeof(sink)) > 0)
		;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(peer->fd);
	return NULL;
}

static struct pf_conn *meet(struct raw_peer *peer)
{
	struct pf_handshake how = {.tls_dir = kit_tls.path, .side = PF_DESTINATION,
				   .peer_name = "source", .deadline_ns = kit_deadline(),
				   .cancel_fd = -1};
	struct pf_conn *conn = NULL;
	struct pf_err err;
	int fd;

	kit_sockets(&peer->fd, &fd);
	assert_int_equal(fcntl(peer->fd, F_SETFL, fcntl(peer->fd, F_GETFL) & ~O_NONBLOCK), 0);
	assert_int_equal(pthread_create(&peer->thread, NULL, raw_peer, peer), 0);
	if (pf_conn_handshake(fd, &how, &conn, &err))
		fail_msg("%s", err.text);
	return conn;
}

static void part(struct raw_peer *peer, struct pf_conn *conn)
{
	pf_conn_close(conn);
	pthread_join(peer->thread, NULL);
	assert_false(peer->broken);
}

static void a_peer_may_change_its_keys_as_often_as_it_likes_between_data(void **state)
{
	struct raw_peer peer = {.updates = 20, .bursts = 20};
	struct pf_conn *conn = meet(&peer);
	struct pf_err err;
	char byte = 0;
	size_t done;

	(void)state;
	for (int i = 0; i < peer.bursts; i++) {
		assert_int_equal(kit_read(conn, &byte, 1, &done, &err), PF_IO_OK);
		assert_int_equal(byte, 'x');
		/* Our own answers go out with this. */
		assert_int_equal(kit_write_all(conn, "y", 1, &err), PF_IO_OK);
	}
	part(&peer, conn);
}

static void a_flood_of_key_updates_costs_the_peer_its_connection(void **state)
{
	struct raw_peer peer = {.updates = 100000, .bursts = 1};
	struct pf_conn *conn = meet(&peer);
	struct pf_err err;
	char byte;
	size_t done;

	(void)state;
	assert_int_equal(kit_read(conn, &byte, 1, &done, &err), PF_IO_ERROR);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.text, "changes its keys again and again"));
	assert_int_equal(pf_conn_read(conn, &byte, 1, &done, &err), PF_IO_ERROR);
	part(&peer, conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_change_keys_under_load_and_nothing_is_lost),
		cmocka_unit_test(a_peer_may_change_its_keys_as_often_as_it_likes_between_data),
		cmocka_unit_test(a_flood_of_key_updates_costs_the_peer_its_connection),
	};

	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
