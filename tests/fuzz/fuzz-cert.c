/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-cert.c - any certificate's names, shown to people and matched against one.
 *
 * Input: a byte (bit 0: the rest is a whole certificate; else it becomes the subject alternative
 * names of one that bears the wanted name as its CN), a byte with the length of the wanted name, the
 * name, the rest.  What is shown must be printable and within its buffer; a name that matches must
 * stand in the names, and never only in the CN.
 */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "net/cert.h"
#include "net/credentials.h"
#include "tests/fuzz/fuzz.h"

#define NAME_MAX_BYTES 64u

static X509 *whole_certificate(const uint8_t *data, size_t size)
{
	return d2i_X509(NULL, &data, (long)size);
}

/* The extension's bytes are not looked at before somebody asks for the names. */
static X509 *certificate_with(const char *name, const uint8_t *sans, size_t size)
{
	X509 *cert = X509_new();
	ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension = NULL;

	FUZZ_ASSERT(cert && bytes && ASN1_OCTET_STRING_set(bytes, sans, (int)size) == 1);
	extension = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, bytes);
	FUZZ_ASSERT(extension && X509_add_ext(cert, extension, -1) == 1);
	(void)X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
					 (const unsigned char *)name, -1, -1, 0);
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(bytes);
	return cert;
}

static void check_shown(const char *text, size_t size)
{
	FUZZ_ASSERT(strnlen(text, size) < size);
	for (; *text; text++)
		FUZZ_ASSERT(*text >= ' ' && *text <= '~');
}

static void show(X509 *cert)
{
	char text[300];

	for (size_t size = 1; size <= sizeof(text); size += 23) {
		memset(text, 0x7f, sizeof(text));
		pf_cert_names(cert, text, size);
		check_shown(text, size);
		memset(text, 0x7f, sizeof(text));
		pf_cert_describe(cert, text, size);
		check_shown(text, size);
	}
}

/* A certificate without one name of the kind that is asked for cannot match. */
static bool has_kind(X509 *cert, const char *name)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	unsigned char ip[16];
	bool is_ip = inet_pton(AF_INET, name, ip) == 1 || strchr(name, ':');
	bool is_spiffe = strncmp(name, "spiffe://", 9) == 0, found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type = sk_GENERAL_NAME_value(names, i)->type;

		found |= is_spiffe ? type == GEN_URI : type == GEN_DNS || (is_ip && type == GEN_IPADD);
	}
	GENERAL_NAMES_free(names);
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[NAME_MAX_BYTES + 1] = "";
	struct pf_err err = {0};
	size_t length;
	X509 *cert;

	if (size < 2)
		return 0;
	length = data[1] % NAME_MAX_BYTES;
	if (size - 2 < length)
		return 0;
	memcpy(name, data + 2, length);
	if (data[0] & 1)
		cert = whole_certificate(data + 2 + length, size - 2 - length);
	else
		cert = certificate_with(name, data + 2 + length, size - 2 - length);
	if (!cert)
		return 0;
	show(cert);
	if (pf_peer_name_check(cert, name, &err) == 0)
		FUZZ_ASSERT(has_kind(cert, name));
	else
		FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0]);
	X509_free(cert);
	return 0;
}
