/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/credentials.c - see net/credentials.h; SSL_CTX_new(3), X509_check_host(3). */
#include "net/credentials.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/cert.h"
#include "net/ossl.h"

#define PEM_BYTES_MAX (1024 * 1024)
#define CHAIN_DEPTH_MAX 8
#define SPIFFE_SCHEME "spiffe://"
/* AES-128 first: the fastest where the processor helps, and enough (RFC 8446 section 9.1). */
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
/* Two records a system call; more of them at once were not seen to save any time. */
#define READ_BUFFER_BYTES (33 * 1024)

struct pem_file {
	char path[PATH_MAX];
	BIO *bio; /* its bytes; BIO_free() wipes them (BUF_MEM_free(3)) */
};

static void pem_close(struct pem_file *file)
{
	BIO_free(file->bio);
}

#define auto_pem __attribute__((cleanup(pem_close)))

static int pem_path(struct pem_file *file, const char *dir, const char *name, struct pf_err *err)
{
	int length = snprintf(file->path, sizeof(file->path), "%s/%s", dir, name);

	if (length < 0 || (size_t)length >= sizeof(file->path))
		return pf_err_set(err, PF_ERR_CONFIG, "the path of %s is too long", name);
	return 0;
}

/* Judged on the open file: a path could mean another file by the time it is read. */
static int check_file(int fd, const char *path, bool secret, struct pf_err *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return pf_err_sys(err, "looking at %s", path);
	if (!S_ISREG(st.st_mode)) {
		pf_err_set(err, PF_ERR_CONFIG, "%s is not a regular file", path);
		return pf_err_hint(err, "a file in PEM is wanted there");
	}
	if (st.st_size > PEM_BYTES_MAX)
		return pf_err_set(err, PF_ERR_CONFIG, "%s has %lld bytes, which no PEM file has",
				  path, (long long)st.st_size);
	if (secret && (st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH))) {
		pf_err_set(err, PF_ERR_CONFIG,
			   "the key %s is open to other users than its owner (mode %04o)", path,
			   st.st_mode & 07777u);
		return pf_err_hint(err, "chmod 600 %s; if others could read it, replace it", path);
	}
	return 0;
}

static int slurp(int fd, struct pem_file *file, struct pf_err *err)
{
	char chunk[4096];
	ssize_t got;
	long total = 0;

	file->bio = BIO_new(BIO_s_mem());
	if (!file->bio)
		return pf_ossl_err(err, PF_ERR_SYSTEM, "reading %s", file->path);
	while ((got = read(fd, chunk, sizeof(chunk))) != 0 && total <= PEM_BYTES_MAX) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || BIO_write(file->bio, chunk, (int)got) != (int)got)
			break;
		total += got;
	}
	OPENSSL_cleanse(chunk, sizeof(chunk));
	if (got < 0)
		return pf_err_sys(err, "reading %s", file->path);
	if (got > 0)
		return pf_ossl_err(err, PF_ERR_SYSTEM, "reading %s", file->path);
	return 0;
}

static int pem_open(struct pem_file *file, const char *dir, const char *name, bool secret,
		    struct pf_err *err)
{
	pf_auto_fd int fd = -1;

	if (pem_path(file, dir, name, err))
		return -1;
	/* O_NONBLOCK: a FIFO of that name must not hold up a handshake. */
	fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		pf_err_sys(err, "opening %s", file->path);
		err->class = PF_ERR_CONFIG;
		return pf_err_hint(err, "--tls-dir needs ca-cert.pem and, for a destination, "
					"server-cert.pem, server-key.pem, for a source, "
					"client-cert.pem, client-key.pem");
	}
	if (check_file(fd, file->path, secret, err))
		return -1;
	return slurp(fd, file, err);
}

/* PEM readers end with PEM_R_NO_START_LINE at the end of the file; all else is damage. */
static bool pem_ended(void)
{
	unsigned long code = ERR_peek_last_error();
	bool ended = code == 0 || (ERR_GET_LIB(code) == ERR_LIB_PEM &&
				   ERR_GET_REASON(code) == PEM_R_NO_START_LINE);

	if (ended)
		ERR_clear_error();
	return ended;
}

/* After the last of `count` things was read: that there was one, and that the rest is no damage. */
static int check_pem_end(const char *path, const char *what, const char *begin, int count,
			 struct pf_err *err)
{
	if (!pem_ended())
		pf_ossl_err(err, PF_ERR_CONFIG, "reading the %s in %s", what, path);
	else if (count == 0)
		pf_err_set(err, PF_ERR_CONFIG, "%s holds no %s in PEM", path, what);
	else
		return 0;
	return pf_err_hint(err, "each begins with a line -----BEGIN %s-----, and ends with one", begin);
}

static int load_authorities(SSL_CTX *ctx, const char *dir, struct pf_err *err)
{
	auto_pem struct pem_file file = {.bio = NULL};
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509 *cert;
	int count = 0;

	if (pem_open(&file, dir, "ca-cert.pem", false, err))
		return -1;
	while ((cert = PEM_read_bio_X509(file.bio, NULL, NULL, NULL)) != NULL) {
		int added = X509_STORE_add_cert(store, cert);

		X509_free(cert);
		if (added != 1)
			return pf_ossl_err(err, PF_ERR_CONFIG, "using %s", file.path);
		count++;
	}
	return check_pem_end(file.path, "certificate", "CERTIFICATE", count, err);
}

static int load_revocations(SSL_CTX *ctx, const char *dir, struct pf_err *err)
{
	auto_pem struct pem_file file = {.bio = NULL};
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509_CRL *crl;
	int count = 0;

	if (pem_path(&file, dir, "ca-crl.pem", err))
		return -1;
	if (access(file.path, F_OK) != 0 && errno == ENOENT)
		return 0;
	if (pem_open(&file, dir, "ca-crl.pem", false, err))
		return -1;
	while ((crl = PEM_read_bio_X509_CRL(file.bio, NULL, NULL, NULL)) != NULL) {
		int added = X509_STORE_add_crl(store, crl);

		X509_CRL_free(crl);
		if (added != 1)
			return pf_ossl_err(err, PF_ERR_CONFIG, "using %s", file.path);
		count++;
	}
	if (check_pem_end(file.path, "revocation list", "X509 CRL", count, err))
		return -1;
	/* The whole chain: a revoked intermediate authority must not slip through. */
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

static int use_certificates(SSL_CTX *ctx, struct pem_file *file, struct pf_err *err)
{
	X509 *cert;
	int count = 0;

	while ((cert = PEM_read_bio_X509(file->bio, NULL, NULL, NULL)) != NULL) {
		int used = count == 0 ? SSL_CTX_use_certificate(ctx, cert)
				      : (int)SSL_CTX_add1_chain_cert(ctx, cert);

		X509_free(cert);
		if (used != 1)
			return pf_ossl_err(err, PF_ERR_CONFIG, "using the certificate %s",
					   file->path);
		count++;
	}
	return check_pem_end(file->path, "certificate", "CERTIFICATE", count, err);
}

/* OpenSSL's own callback would ask on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *asked)
{
	(void)buffer, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static int use_key(SSL_CTX *ctx, struct pem_file *file, struct pf_err *err)
{
	bool encrypted = false;
	EVP_PKEY *key = PEM_read_bio_PrivateKey(file->bio, NULL, no_passphrase, &encrypted);
	int used;

	if (!key && encrypted) {
		ERR_clear_error();
		pf_err_set(err, PF_ERR_CONFIG, "the key %s is encrypted", file->path);
		return pf_err_hint(err,
				   "nobody can be asked for a passphrase: store the key plain, "
				   "mode 0600");
	}
	if (!key) {
		pf_ossl_err(err, PF_ERR_CONFIG, "reading the key %s", file->path);
		return pf_err_hint(err, "a key in PEM is wanted: -----BEGIN PRIVATE KEY-----");
	}
	/* Compares with the certificate, which is there already. */
	used = SSL_CTX_use_PrivateKey(ctx, key);
	EVP_PKEY_free(key);
	if (used == 1 && SSL_CTX_check_private_key(ctx) == 1)
		return 0;
	pf_ossl_err(err, PF_ERR_CONFIG, "the key %s does not belong to the certificate beside it",
		    file->path);
	return pf_err_hint(err, "put the two there that were made together");
}

/* The peer would refuse us for the same reasons, but could tell us only a TLS alert's number. */
static int check_own(SSL_CTX *ctx, enum pf_side side, const char *path, struct pf_err *err)
{
	X509_STORE_CTX *verification = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;
	char why[256];
	int good;

	SSL_CTX_get0_chain_certs(ctx, &chain);
	if (!verification ||
	    X509_STORE_CTX_init(verification, SSL_CTX_get_cert_store(ctx),
				SSL_CTX_get0_certificate(ctx), chain) != 1 ||
	    X509_STORE_CTX_set_default(verification,
				       side == PF_DESTINATION ? "ssl_server" : "ssl_client") != 1) {
		X509_STORE_CTX_free(verification);
		return pf_ossl_err(err, PF_ERR_SYSTEM, "checking the certificate %s", path);
	}
	X509_STORE_CTX_set_depth(verification, CHAIN_DEPTH_MAX);
	good = X509_verify_cert(verification);
	pf_cert_reason(verification, why, sizeof(why));
	X509_STORE_CTX_free(verification);
	ERR_clear_error();
	if (good == 1)
		return 0;
	pf_err_set(err, PF_ERR_CONFIG, "our certificate %s is of no use: %s", path, why);
	return pf_err_hint(err,
			   "files are read again at every handshake: replace it and try again");
}

static int load_identity(SSL_CTX *ctx, const char *dir, enum pf_side side, struct pf_err *err)
{
	auto_pem struct pem_file cert = {.bio = NULL}, key = {.bio = NULL};
	bool server = side == PF_DESTINATION;

	if (pem_open(&cert, dir, server ? "server-cert.pem" : "client-cert.pem", false, err) ||
	    pem_open(&key, dir, server ? "server-key.pem" : "client-key.pem", true, err) ||
	    use_certificates(ctx, &cert, err) || use_key(ctx, &key, err))
		return -1;
	return check_own(ctx, side, cert.path, err);
}

static SSL_CTX *new_context(enum pf_side side)
{
	bool server = side == PF_DESTINATION;
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!ctx)
		return NULL;
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, CIPHERSUITES) != 1 ||
	    SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
	    SSL_CTX_set_purpose(ctx, server ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER) !=
		    1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_security_level(ctx, 2);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER_BYTES);
	return ctx;
}

int pf_credentials_load(const char *dir, enum pf_side side, SSL_CTX **out, struct pf_err *err)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = new_context(side);
	if (!ctx)
		return pf_ossl_err(err, PF_ERR_SYSTEM, "preparing TLS 1.3");
	if (load_authorities(ctx, dir, err) || load_revocations(ctx, dir, err) ||
	    load_identity(ctx, dir, side, err)) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return -1;
	}
	*out = ctx;
	return 0;
}

/* The address's bytes: 4, 16 or (it is a name) 0.  A zone is not part of it, RFC 4007. */
static size_t parse_ip(const char *name, unsigned char out[16])
{
	char bare[INET6_ADDRSTRLEN];
	size_t length = strcspn(name, "%");

	if (inet_pton(AF_INET, name, out) == 1)
		return 4;
	if (length >= sizeof(bare))
		return 0;
	memcpy(bare, name, length);
	bare[length] = '\0';
	return inet_pton(AF_INET6, bare, out) == 1 ? 16 : 0;
}

/* SPIFFE X509-SVID sections 2 to 5: exactly one URI, equal byte for byte, on no authority. */
static bool match_spiffe(X509 *cert, const char *name)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const ASN1_STRING *uri = NULL;
	int uris = 0;
	bool match;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(names, i);

		if (san->type != GEN_URI)
			continue;
		uri = san->d.uniformResourceIdentifier;
		uris++;
	}
	match = uris == 1 && (size_t)ASN1_STRING_length(uri) == strlen(name) &&
		memcmp(ASN1_STRING_get0_data(uri), name, strlen(name)) == 0 &&
		!(X509_get_extension_flags(cert) & EXFLAG_CA);
	GENERAL_NAMES_free(names);
	return match;
}

static bool match_name(X509 *cert, const char *name)
{
	unsigned char ip[16];
	size_t ip_length = parse_ip(name, ip);

	if (strncmp(name, SPIFFE_SCHEME, strlen(SPIFFE_SCHEME)) == 0)
		return match_spiffe(cert, name);
	if (ip_length > 0)
		return X509_check_ip(cert, ip, ip_length, 0) == 1;
	/* "" matches nothing, and ".example" would match whatever ends with it
	 * (X509_check_host(3)). */
	if (name[0] == '\0' || name[0] == '.')
		return false;
	return X509_check_host(cert, name, 0,
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
				       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
			       NULL) == 1;
}

int pf_peer_name_check(X509 *cert, const char *name, struct pf_err *err)
{
	char described[288];
	bool match = match_name(cert, name);

	ERR_clear_error();
	if (match)
		return 0;
	pf_cert_describe(cert, described, sizeof(described));
	pf_err_set(err, PF_ERR_PROTOCOL, "its certificate (%s) is not for the name \"%.64s\"",
		   described, name);
	return pf_err_hint(err, "is it the right host? if it is: a certificate with that SAN, or "
				"--peer-name with one that it has");
}
