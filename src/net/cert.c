/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/cert.c - see net/cert.h; X509_NAME_print_ex(3), X509_STORE_CTX_get_error(3). */
#include "net/cert.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TIME_TEXT 32

/* Appends what fits; returns false once nothing more does. */
static bool append(char *out, size_t size, const char *label, const unsigned char *bytes,
		   size_t length)
{
	size_t used = strlen(out);

	used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", label);
	for (size_t i = 0; i < length && used + 1 < size; i++)
		out[used++] = (char)(bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : '?');
	if (used + 1 >= size) {
		out[size - 1] = '\0';
		return false;
	}
	out[used] = '\0';
	return true;
}

static bool append_name(char *out, size_t size, const GENERAL_NAME *name)
{
	char ip[INET6_ADDRSTRLEN] = "malformed";
	const ASN1_STRING *text = name->d.ia5;

	switch (name->type) {
	case GEN_DNS:
	case GEN_URI:
		return append(out, size,
			      name->type == GEN_DNS ? "DNS:" : "URI:", ASN1_STRING_get0_data(text),
			      (size_t)ASN1_STRING_length(text));
	case GEN_IPADD:
		text = name->d.iPAddress;
		if (ASN1_STRING_length(text) == 4)
			inet_ntop(AF_INET, ASN1_STRING_get0_data(text), ip, sizeof(ip));
		else if (ASN1_STRING_length(text) == 16)
			inet_ntop(AF_INET6, ASN1_STRING_get0_data(text), ip, sizeof(ip));
		return append(out, size, "IP:", (const unsigned char *)ip, strlen(ip));
	default:
		return append(out, size, "a name of another kind", NULL, 0);
	}
}

void pf_cert_names(X509 *cert, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	out[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		if (!append_name(out, size, sk_GENERAL_NAME_value(names, i)))
			break;
	if (out[0] == '\0')
		snprintf(out, size, "no names");
	GENERAL_NAMES_free(names);
	ERR_clear_error(); /* a malformed extension */
}

static void print_subject(X509 *cert, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int length = 0;

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_ONELINE) >= 0)
		length = BIO_read(bio, out, (int)size - 1);
	out[length > 0 ? length : 0] = '\0';
	BIO_free(bio);
	ERR_clear_error();
}

void pf_cert_describe(X509 *cert, char *out, size_t size)
{
	char subject[96];
	char names[192];

	print_subject(cert, subject, sizeof(subject));
	pf_cert_names(cert, names, sizeof(names));
	snprintf(out, size, "%s; %s", subject[0] ? subject : "no subject", names);
}

static void print_time(const ASN1_TIME *when, char out[TIME_TEXT])
{
	struct tm tm;

	if (!when || ASN1_TIME_to_tm(when, &tm) != 1 ||
	    strftime(out, TIME_TEXT, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(out, TIME_TEXT, "an unreadable date");
	ERR_clear_error();
}

static void explain(X509_STORE_CTX *verification, X509 *cert, char *out, size_t size)
{
	int code = X509_STORE_CTX_get_error(verification);
	const char *words = X509_verify_cert_error_string(code);
	char when[TIME_TEXT];

	switch (code) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		print_time(cert ? X509_get0_notAfter(cert) : NULL, when);
		snprintf(out, size, "it expired on %s", when);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		print_time(cert ? X509_get0_notBefore(cert) : NULL, when);
		snprintf(out, size, "it is not valid before %s", when);
		return;
	case X509_V_ERR_CERT_REVOKED:
		snprintf(out, size, "it is revoked by ca-crl.pem");
		return;
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
		snprintf(out, size, "ca-crl.pem does not cover it now (%s)", words);
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		snprintf(out, size, "it is not signed by ca-cert.pem (%s)", words);
		return;
	default:
		snprintf(out, size, "%s", words);
	}
}

void pf_cert_reason(X509_STORE_CTX *verification, char *out, size_t size)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(verification);
	char subject[96] = "";
	char why[160];

	explain(verification, cert, why, sizeof(why));
	if (cert && X509_STORE_CTX_get_error_depth(verification) > 0)
		print_subject(cert, subject, sizeof(subject));
	if (subject[0])
		snprintf(out, size, "its issuer (%s): %s", subject, why);
	else
		snprintf(out, size, "%s", why);
}
