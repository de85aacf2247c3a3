/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/bench/tls.c - a TLS 1.3 pair over loopback with OpenSSL alone; see ground.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/ground.h"

static void use_own_certificate(SSL_CTX *ctx)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name;

	if (!key || !cert)
		fail("making a certificate");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1,
				   0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	if (X509_sign(cert, key, EVP_sha256()) == 0 || SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1)
		fail("signing a certificate");
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void connect_sockets(int *out_client, int *out_server)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	*out_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &length) != 0 ||
	    connect(*out_client, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		fail("connecting over loopback");
	*out_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	setsockopt(*out_client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(*out_server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void *accept_tls(void *ssl)
{
	if (SSL_accept(ssl) != 1)
		fail("TLS accept");
	return NULL;
}

static SSL *new_ssl(bool server, int fd)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	SSL *ssl;

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
		fail("preparing TLS");
	if (server)
		use_own_certificate(ctx);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (!ssl || SSL_set_fd(ssl, fd) != 1)
		fail("preparing TLS");
	return ssl;
}

void tls_pair_make(struct tls_pair *pair)
{
	pthread_t thread;

	connect_sockets(&pair->client_fd, &pair->server_fd);
	pair->client = new_ssl(false, pair->client_fd);
	pair->server = new_ssl(true, pair->server_fd);
	if (pthread_create(&thread, NULL, accept_tls, pair->server) != 0 ||
	    SSL_connect(pair->client) != 1)
		fail("TLS connect");
	pthread_join(thread, NULL);
}

void tls_pair_free(struct tls_pair *pair)
{
	SSL_free(pair->client);
	SSL_free(pair->server);
	close(pair->client_fd);
	close(pair->server_fd);
}

bool tls_read(SSL *ssl, void *buffer, size_t length, const _Atomic bool *stop)
{
	size_t got = 0, done;

	while (got < length) {
		if (SSL_read_ex(ssl, (char *)buffer + got, length - got, &done) == 1)
			got += done;
		else if (SSL_get_error(ssl, 0) != SSL_ERROR_WANT_READ ||
			 atomic_load_explicit(stop, memory_order_relaxed))
			return false;
	}
	return true;
}

void tls_write(SSL *ssl, const void *bytes, size_t length)
{
	size_t put = 0, done;

	while (put < length) {
		if (SSL_write_ex(ssl, (const char *)bytes + put, length - put, &done) == 1)
			put += done;
		else if (SSL_get_error(ssl, 0) != SSL_ERROR_WANT_WRITE)
			fail("TLS write");
	}
}
