/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/pki.c - see migrate/demo/pki.h; X509_sign(3), X509V3_EXT_conf_nid(3). */
#include "migrate/demo/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/ossl.h"

struct authority {
	EVP_PKEY *key;
	X509 *cert;
};

/* Replaces: a reader has the old file or the new one, never half of one. */
static int save(const char *dir, const char *name, BIO *content, struct pf_err *err)
{
	char path[PATH_MAX], draft[PATH_MAX];
	pf_auto_fd int fd = -1;
	char *bytes;
	long length = BIO_get_mem_data(content, &bytes);

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
	    snprintf(draft, sizeof(draft), "%s/.%s.new", dir, name) >= (int)sizeof(draft))
		return pf_err_set(err, PF_ERR_CONFIG, "the path of %s is too long", name);
	if (unlink(draft) != 0 && errno != ENOENT)
		return pf_err_sys(err, "removing %s", draft);
	fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return pf_err_sys(err, "creating %s", draft);
	if (write(fd, bytes, (size_t)length) != length)
		return pf_err_sys(err, "writing %s", draft);
	if (rename(draft, path) != 0)
		return pf_err_sys(err, "creating %s", path);
	return 0;
}

static int save_cert(const char *dir, const char *name, X509 *cert, struct pf_err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int result;

	if (!bio || PEM_write_bio_X509(bio, cert) != 1)
		result = pf_ossl_err(err, PF_ERR_SYSTEM, "encoding %s", name);
	else
		result = save(dir, name, bio, err);
	BIO_free(bio);
	return result;
}

static int save_key(const char *dir, const char *name, EVP_PKEY *key, struct pf_err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int result;

	if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		result = pf_ossl_err(err, PF_ERR_SYSTEM, "encoding %s", name);
	else
		result = save(dir, name, bio, err);
	BIO_free(bio);
	return result;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool added;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	added = extension && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

static bool set_serial(X509 *cert)
{
	uint64_t serial;

	return RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1) == 1;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					  (const unsigned char *)common_name, -1, -1, 0) == 1;
}

/* Everything but the extensions and the signature. */
static X509 *new_cert(const char *common_name, EVP_PKEY *key, long from_s, long until_s)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	    set_name(X509_get_subject_name(cert), common_name) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), from_s) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), until_s) && X509_set_pubkey(cert, key) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool make_authority(struct authority *ca)
{
	ca->key = EVP_EC_gen("P-256");
	if (!ca->key)
		return false;
	ca->cert =
		new_cert("pageferry throw-away authority", ca->key, PF_PKI_FROM_S, PF_PKI_UNTIL_S);
	return ca->cert && X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert)) == 1 &&
	       add_extension(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE") &&
	       add_extension(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_extension(ca->cert, ca->cert, NID_subject_key_identifier, "hash") &&
	       X509_sign(ca->cert, ca->key, EVP_sha256()) > 0;
}

static X509 *make_cert(const struct authority *ca, const struct pf_pki_cert *how, bool server,
		       EVP_PKEY *key)
{
	bool dated = how->from_s != 0 || how->until_s != 0;
	X509 *cert = new_cert(how->common_name ? how->common_name : "pageferry", key,
			      dated ? how->from_s : PF_PKI_FROM_S,
			      dated ? how->until_s : PF_PKI_UNTIL_S);

	if (cert && X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
	    add_extension(cert, ca->cert, NID_basic_constraints,
			  how->authority ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
	    add_extension(cert, ca->cert, NID_key_usage,
			  how->authority ? "critical,digitalSignature,keyCertSign"
					 : "critical,digitalSignature") &&
	    add_extension(cert, ca->cert, NID_ext_key_usage,
			  server ? "serverAuth" : "clientAuth") &&
	    add_extension(cert, ca->cert, NID_authority_key_identifier, "keyid") &&
	    (!how->sans || add_extension(cert, ca->cert, NID_subject_alt_name, how->sans)) &&
	    X509_sign(cert, ca->key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool list_revoked(X509_CRL *crl, X509 *cert)
{
	X509_REVOKED *entry = X509_REVOKED_new();

	if (entry && X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(cert)) == 1 &&
	    X509_REVOKED_set_revocationDate(entry, X509_getm_notBefore(cert)) == 1 &&
	    X509_CRL_add0_revoked(crl, entry) == 1)
		return true;
	X509_REVOKED_free(entry);
	return false;
}

static int save_crl(const char *dir, const struct authority *ca, const struct pf_pki_names *names,
		    X509 *server, X509 *client, struct pf_err *err)
{
	X509_CRL *crl = X509_CRL_new();
	BIO *bio = BIO_new(BIO_s_mem());
	int result;

	if (crl && bio && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1 &&
	    X509_CRL_set1_lastUpdate(crl, X509_get0_notBefore(ca->cert)) == 1 &&
	    X509_CRL_set1_nextUpdate(crl, X509_get0_notAfter(ca->cert)) == 1 &&
	    (!names->server.revoked || list_revoked(crl, server)) &&
	    (!names->client.revoked || list_revoked(crl, client)) && X509_CRL_sort(crl) == 1 &&
	    X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(bio, crl) == 1)
		result = save(dir, "ca-crl.pem", bio, err);
	else
		result = pf_ossl_err(err, PF_ERR_SYSTEM, "making ca-crl.pem");
	X509_CRL_free(crl);
	BIO_free(bio);
	return result;
}

/* The certificate and key files of one side; the certificate, or NULL. */
static X509 *issue(const char *dir, const struct authority *ca, const struct pf_pki_cert *how,
		   bool server, struct pf_err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? make_cert(ca, how, server, key) : NULL;
	int failed;

	if (!cert)
		failed = pf_ossl_err(err, PF_ERR_CONFIG, "making a certificate for \"%s\"",
				     how->sans ? how->sans : "no names");
	else
		failed = save_key(dir, server ? "server-key.pem" : "client-key.pem", key, err) ||
			 save_cert(dir, server ? "server-cert.pem" : "client-cert.pem", cert, err);
	EVP_PKEY_free(key);
	if (!failed)
		return cert;
	X509_free(cert);
	return NULL;
}

static int make_all(const char *dir, const struct authority *ca, const struct pf_pki_names *names,
		    struct pf_err *err)
{
	X509 *server = issue(dir, ca, &names->server, true, err);
	X509 *client = server ? issue(dir, ca, &names->client, false, err) : NULL;
	int result = client ? save_cert(dir, "ca-cert.pem", ca->cert, err) : -1;

	if (result == 0 && (names->server.revoked || names->client.revoked))
		result = save_crl(dir, ca, names, server, client, err);
	X509_free(server);
	X509_free(client);
	return result;
}

int pf_pki_make(const char *dir, const struct pf_pki_names *names, struct pf_err *err)
{
	struct authority ca = {NULL, NULL};
	int result;

	if (make_authority(&ca))
		result = make_all(dir, &ca, names, err);
	else
		result = pf_ossl_err(err, PF_ERR_SYSTEM, "making a throw-away authority");
	EVP_PKEY_free(ca.key);
	X509_free(ca.cert);
	return result;
}
