/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/cert.h - what a certificate says, in words that may be shown to people.
 *
 * Certificates come from outside: whatever is not printable ASCII appears as '?' or escaped, and
 * all texts are cut to the caller's buffer.  Any thread; never blocks; cannot fail.
 */
#ifndef PF_NET_CERT_H
#define PF_NET_CERT_H

#include <openssl/x509.h>
#include <stddef.h>

/* "DNS:a.example, IP:192.0.2.1, URI:spiffe://b/c", or "no names". */
void pf_cert_names(X509 *cert, char *out, size_t size);
/* "CN = server; DNS:a.example". */
void pf_cert_describe(X509 *cert, char *out, size_t size);
/* Why a verification ended as it did, with the date where it is about one. */
void pf_cert_reason(X509_STORE_CTX *verification, char *out, size_t size);

#endif
