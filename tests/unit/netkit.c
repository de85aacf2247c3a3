/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/netkit.c - see netkit.h. */
#include "netkit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/tcp.h"
#include "net/wait.h"

static const char *const pki_files[] = {
	"ca-cert.pem",	  "ca-crl.pem",	     "server-cert.pem",
	"server-key.pem", "client-cert.pem", "client-key.pem",
};

static const struct pf_pki_names usual = {
	.server = {.sans = "DNS:destination"},
	.client = {.sans = "DNS:source"},
};

void kit_dir_make(struct kit_dir *dir, const struct pf_pki_names *names)
{
	struct pf_err err;

	snprintf(dir->path, sizeof(dir->path), "/tmp/pageferry-net-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	if (pf_pki_make(dir->path, names ? names : &usual, &err))
		fail_msg("%s", err.text);
}

void kit_file(const struct kit_dir *dir, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", dir->path, name);
}

void kit_dir_remove(const struct kit_dir *dir)
{
	char path[128];

	for (size_t i = 0; i < PF_ARRAY_LEN(pki_files); i++) {
		kit_file(dir, pki_files[i], path);
		unlink(path);
	}
	assert_int_equal(rmdir(dir->path), 0);
}

struct kit_dir kit_tls;

int kit_make_tls(void **state)
{
	(void)state;
	kit_dir_make(&kit_tls, NULL);
	return 0;
}

int kit_remove_tls(void **state)
{
	(void)state;
	kit_dir_remove(&kit_tls);
	return 0;
}

static size_t read_file(const struct kit_dir *dir, const char *name, char *out, size_t size)
{
	char path[128];
	size_t length;
	FILE *file;

	kit_file(dir, name, path);
	file = fopen(path, "re");
	assert_non_null(file);
	length = fread(out, 1, size - 1, file);
	out[length] = '\0';
	fclose(file);
	return length;
}

static void write_file(const struct kit_dir *dir, const char *name, const char *text, int flags)
{
	char path[128];
	int fd;

	kit_file(dir, name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

void kit_copy(const struct kit_dir *from, const char *name, const struct kit_dir *to,
	      const char *as, bool append)
{
	char text[8192];

	assert_true(read_file(from, name, text, sizeof(text)) > 0);
	write_file(to, as, text, append ? O_APPEND : O_TRUNC);
}

void kit_write(const struct kit_dir *dir, const char *name, const char *text)
{
	write_file(dir, name, text, O_TRUNC);
}

uint64_t kit_deadline(void)
{
	return pf_now_ns() + KIT_PATIENCE_S * PF_NS_PER_S;
}

void kit_sockets(int *out_connected, int *out_accepted)
{
	struct pf_endpoint endpoint = {.host = "127.0.0.1"};
	struct sockaddr_storage addr;
	struct sockaddr_in in;
	struct pf_err err;
	int listener;

	assert_int_equal(pf_tcp_listen(&endpoint, &listener, &addr, &err), 0);
	memcpy(&in, &addr, sizeof(in));
	endpoint.port = ntohs(in.sin_port);
	assert_int_equal(pf_tcp_connect(&endpoint, kit_deadline(), -1, out_connected, &err), 0);
	assert_int_equal(pf_wait_fd(listener, POLLIN, kit_deadline(), -1), 0);
	assert_int_equal(pf_tcp_accept(listener, out_accepted, &addr), 0);
	close(listener);
}

/* Left by somebody else: it must neither mislead the next call nor survive it. */
static void leave_error(void)
{
	ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
}

static void *shake_thread(void *argument)
{
	struct kit_end *end = argument;

	end->conn = NULL;
	if (end->how.deadline_ns == 0)
		end->how.deadline_ns = kit_deadline();
	if (end->how.cancel_fd == 0)
		end->how.cancel_fd = -1;
	leave_error();
	if (pf_conn_handshake(end->fd, &end->how, &end->conn, &end->err))
		end->conn = NULL;
	end->queue_empty = ERR_peek_error() == 0;
	return NULL;
}

void kit_shake(struct kit_end *source, struct kit_end *destination)
{
	pthread_t thread;

	kit_sockets(&source->fd, &destination->fd);
	source->how.side = PF_SOURCE;
	destination->how.side = PF_DESTINATION;
	assert_int_equal(pthread_create(&thread, NULL, shake_thread, destination), 0);
	shake_thread(source);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(source->queue_empty);
	assert_true(destination->queue_empty);
}

void kit_pair(const struct kit_dir *dir, struct pf_conn **out_source,
	      struct pf_conn **out_destination)
{
	struct kit_end source = {.how = {.tls_dir = dir->path, .peer_name = "destination"}};
	struct kit_end destination = {.how = {.tls_dir = dir->path, .peer_name = "source"}};

	kit_shake(&source, &destination);
	if (!source.conn)
		fail_msg("%s", source.err.text);
	if (!destination.conn)
		fail_msg("%s", destination.err.text);
	*out_source = source.conn;
	*out_destination = destination.conn;
}

enum pf_io kit_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
		    struct pf_err *err)
{
	uint64_t deadline = kit_deadline();
	enum pf_io io;

	leave_error();
	while ((io = pf_conn_read(conn, buffer, size, out_done, err)) == PF_IO_AGAIN) {
		assert_int_equal(ERR_peek_error(), 0);
		assert_int_equal(pf_wait_fd(pf_conn_fd(conn), pf_conn_wants(conn), deadline, -1),
				 0);
		leave_error();
	}
	assert_int_equal(ERR_peek_error(), 0);
	return io;
}

enum pf_io kit_write_all(struct pf_conn *conn, const void *buffer, size_t length,
			 struct pf_err *err)
{
	const char *from = buffer;
	uint64_t deadline = kit_deadline();

	while (length > 0) {
		size_t done = 0;
		enum pf_io io;

		leave_error();
		io = pf_conn_write(conn, from, length, &done, err);
		assert_int_equal(ERR_peek_error(), 0);
		if (io == PF_IO_AGAIN)
			assert_int_equal(
				pf_wait_fd(pf_conn_fd(conn), pf_conn_wants(conn), deadline, -1), 0);
		else if (io != PF_IO_OK)
			return io;
		from += done;
		length -= done;
	}
	return PF_IO_OK;
}

struct raw_thread {
	const struct kit_raw *raw;
	int fd;
	bool broken; /* its own set-up: a fault of the test */
};

static bool raw_tls(const struct raw_thread *self)
{
	const struct kit_raw *raw = self->raw;
	SSL_CTX *ctx = SSL_CTX_new(raw->server ? TLS_server_method() : TLS_client_method());
	char cert[128], key[128], byte;
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	bool ready = ssl != NULL;

	if (ready && raw->dir) {
		kit_file(raw->dir, raw->server ? "server-cert.pem" : "client-cert.pem", cert);
		kit_file(raw->dir, raw->server ? "server-key.pem" : "client-key.pem", key);
		ready = SSL_use_certificate_file(ssl, cert, SSL_FILETYPE_PEM) == 1 &&
			SSL_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1;
	}
	ready = ready &&
		(raw->max_version == 0 || SSL_set_max_proto_version(ssl, raw->max_version) == 1);
	if (ready && SSL_set_fd(ssl, self->fd) == 1 &&
	    (raw->server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1)
		(void)SSL_read(ssl, &byte, 1);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ready;
}

static void *raw_main(void *argument)
{
	struct raw_thread *self = argument;
	sigset_t pipe_signal;
	char sink[512];

	/* OpenSSL's own socket BIO raises it, for the thread that writes. */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
	if (self->raw->plain)
		self->broken = write(self->fd, self->raw->plain, strlen(self->raw->plain)) < 0;
	else if (!self->raw->silent)
		self->broken = !raw_tls(self);
	/* Until our end has gone: what it refuses must not look like a connection lost. */
	while (read(self->fd, sink, sizeof(sink)) > 0)
		;
	close(self->fd);
	return NULL;
}

void kit_against(const struct kit_raw *raw, struct kit_end *ours)
{
	struct raw_thread self = {.raw = raw};
	pthread_t thread;

	if (raw->server)
		kit_sockets(&ours->fd, &self.fd);
	else
		kit_sockets(&self.fd, &ours->fd);
	assert_int_equal(fcntl(self.fd, F_SETFL, fcntl(self.fd, F_GETFL) & ~O_NONBLOCK), 0);
	ours->how.side = raw->server ? PF_SOURCE : PF_DESTINATION;
	assert_int_equal(pthread_create(&thread, NULL, raw_main, &self), 0);
	shake_thread(ours);
	if (ours->conn)
		pf_conn_close(ours->conn);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(self.broken);
	assert_true(ours->queue_empty);
}
