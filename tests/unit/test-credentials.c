/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-credentials.c - what --tls-dir may hold, and which name a certificate is good
 * for. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "net/credentials.h"
#include "netkit.h"

static struct kit_dir dir, other;

static int make_dirs(void **state)
{
	(void)state;
	kit_dir_make(&dir, NULL);
	kit_dir_make(&other, NULL);
	return 0;
}

static int remove_dirs(void **state)
{
	(void)state;
	kit_dir_remove(&dir);
	kit_dir_remove(&other);
	return 0;
}

static void expect_good(enum pf_side side)
{
	struct pf_err err;
	SSL_CTX *ctx;

	ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR); /* somebody else's */
	if (pf_credentials_load(dir.path, side, &ctx, &err))
		fail_msg("%s", err.text);
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(SSL_CTX_get_min_proto_version(ctx), TLS1_3_VERSION);
	assert_int_equal(SSL_CTX_get_max_proto_version(ctx), TLS1_3_VERSION);
	assert_int_equal(SSL_CTX_get_verify_mode(ctx),
			 SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	assert_int_equal(SSL_CTX_get_num_tickets(ctx), 0);
	assert_int_equal(SSL_CTX_get_session_cache_mode(ctx), SSL_SESS_CACHE_OFF);
	assert_int_equal(SSL_CTX_get_max_early_data(ctx), 0);
	assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_TICKET);
	assert_false(SSL_CTX_get_options(ctx) & SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_free(ctx);
}

/* Refused as configuration; the message has both parts. */
static void expect_refused(enum pf_side side, const char *file, const char *reason)
{
	SSL_CTX *ctx = NULL;
	struct pf_err err;

	assert_int_equal(pf_credentials_load(dir.path, side, &ctx, &err), -1);
	assert_null(ctx);
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	if (!strstr(err.text, file) || !strstr(err.text, reason))
		fail_msg("\"%s\" should tell of %s: %s", err.text, file, reason);
}

static void good_files_load_on_both_sides(void **state)
{
	(void)state;
	expect_good(PF_SOURCE);
	expect_good(PF_DESTINATION);
}

static void each_side_needs_its_own_files_alone(void **state)
{
	char path[128];

	(void)state;
	kit_file(&dir, "client-key.pem", path);
	assert_int_equal(unlink(path), 0);
	kit_file(&dir, "client-cert.pem", path);
	assert_int_equal(unlink(path), 0);
	expect_good(PF_DESTINATION);
	expect_refused(PF_SOURCE, "client-cert.pem", "No such file");
}

static void an_absent_file_is_named(void **state)
{
	static const char *const files[] = {"ca-cert.pem", "server-cert.pem", "server-key.pem"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(files); i++) {
		kit_file(&dir, files[i], path);
		assert_int_equal(unlink(path), 0);
		expect_refused(PF_DESTINATION, files[i], "No such file");
		kit_copy(&other, files[i], &dir, files[i], false);
	}
}

static void what_is_no_pem_is_refused(void **state)
{
	static const char *const files[] = {"server-key.pem", "server-cert.pem", "ca-crl.pem",
					    "ca-cert.pem"};
	static const char broken[] =
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(files); i++) {
		char path[128];

		kit_write(&dir, files[i], "not a certificate\n");
		expect_refused(PF_DESTINATION, files[i], "");
		kit_write(&dir, files[i], "");
		expect_refused(PF_DESTINATION, files[i], "");
		kit_file(&dir, files[i], path);
		assert_int_equal(unlink(path), 0);
		if (strcmp(files[i], "ca-crl.pem") != 0)
			kit_copy(&other, files[i], &dir, files[i], false);
	}
	kit_write(&dir, "ca-cert.pem", broken);
	expect_refused(PF_DESTINATION, "ca-cert.pem", "");
}

static void a_fifo_in_place_of_a_file_does_not_block(void **state)
{
	char path[128];

	(void)state;
	kit_file(&dir, "ca-cert.pem", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refused(PF_SOURCE, "ca-cert.pem", "not a regular file");
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	static const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0644, 0666};
	char path[128];

	(void)state;
	kit_file(&dir, "server-key.pem", path);
	for (size_t i = 0; i < PF_ARRAY_LEN(open_modes); i++) {
		assert_int_equal(chmod(path, open_modes[i]), 0);
		expect_refused(PF_DESTINATION, "server-key.pem", "mode 06");
	}
	assert_int_equal(chmod(path, 0400), 0);
	expect_good(PF_DESTINATION);
}

static void a_key_of_another_certificate_is_refused(void **state)
{
	(void)state;
	kit_copy(&other, "server-key.pem", &dir, "server-key.pem", false);
	expect_refused(PF_DESTINATION, "server-key.pem", "does not belong");
}

static void an_encrypted_key_is_refused_without_asking(void **state)
{
	char path[128];
	EVP_PKEY *key;
	FILE *file;

	(void)state;
	kit_file(&dir, "client-key.pem", path);
	file = fopen(path, "r+e");
	assert_non_null(file);
	key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	assert_non_null(key);
	rewind(file);
	assert_int_equal(
		PEM_write_PKCS8PrivateKey(file, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
		1);
	EVP_PKEY_free(key);
	fclose(file);
	expect_refused(PF_SOURCE, "client-key.pem", "encrypted");
}

static void our_own_certificate_is_judged_as_the_peer_would(void **state)
{
	const struct pf_pki_names expired = {.server = {.from_s = -7200, .until_s = -3600}};
	const struct pf_pki_names early = {.server = {.from_s = 3600, .until_s = 7200}};
	const struct pf_pki_names revoked = {.server = {.revoked = true}};
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_pki_make(dir.path, &expired, &err), 0);
	expect_refused(PF_DESTINATION, "server-cert.pem", "expired on 20");
	assert_int_equal(pf_pki_make(dir.path, &early, &err), 0);
	expect_refused(PF_DESTINATION, "server-cert.pem", "not valid before 20");
	assert_int_equal(pf_pki_make(dir.path, &revoked, &err), 0);
	expect_refused(PF_DESTINATION, "server-cert.pem", "revoked");
	expect_good(PF_SOURCE);
}

static void a_certificate_of_another_authority_is_refused(void **state)
{
	(void)state;
	/* Among others its own is found. */
	kit_copy(&other, "ca-cert.pem", &dir, "ca-cert.pem", true);
	expect_good(PF_SOURCE);
	kit_copy(&other, "ca-cert.pem", &dir, "ca-cert.pem", false);
	expect_refused(PF_SOURCE, "client-cert.pem", "not signed by ca-cert.pem");
}

static void a_revocation_list_of_another_authority_covers_nothing(void **state)
{
	const struct pf_pki_names revoked = {.server = {.revoked = true}};
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_pki_make(other.path, &revoked, &err), 0);
	kit_copy(&other, "ca-crl.pem", &dir, "ca-crl.pem", false);
	expect_refused(PF_DESTINATION, "server-cert.pem", "ca-crl.pem");
}

static void a_certificate_for_the_other_role_is_refused(void **state)
{
	(void)state;
	kit_copy(&dir, "client-cert.pem", &dir, "server-cert.pem", false);
	kit_copy(&dir, "client-key.pem", &dir, "server-key.pem", false);
	expect_refused(PF_DESTINATION, "server-cert.pem", "purpose");
}

static X509 *server_cert(const struct pf_pki_cert *how)
{
	const struct pf_pki_names names = {.server = *how};
	struct pf_err err;
	char path[128];
	X509 *cert;
	FILE *file;

	if (pf_pki_make(dir.path, &names, &err))
		fail_msg("%s", err.text);
	kit_file(&dir, "server-cert.pem", path);
	file = fopen(path, "re");
	assert_non_null(file);
	cert = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	assert_non_null(cert);
	return cert;
}

static const struct {
	const char *sans, *name;
	bool match;
} name_cases[] = {
	{"DNS:a.example", "a.example", true},
	{"DNS:a.example", "A.EXAMPLE", true},
	{"DNS:b.example,DNS:a.example", "a.example", true},
	{"DNS:*.example.org", "a.example.org", true},
	{"DNS:*.example.org", "a.b.example.org", false},
	{"DNS:*.example.org", "example.org", false},
	{"DNS:a*.example.org", "ab.example.org", false},
	{"DNS:a.example", "b.a.example", false},
	{"DNS:a.example", ".example", false},
	{"DNS:a.example", "", false},
	{"DNS:a.example.evil", "a.example", false},
	{"IP:192.0.2.1", "192.0.2.1", true},
	{"IP:192.0.2.1", "192.0.2.2", false},
	{"DNS:192.0.2.1", "192.0.2.1", false},
	{"IP:2001:db8::1", "2001:db8:0::1", true},
	{"IP:2001:db8::1", "2001:db8::2", false},
	{"IP:fe80::1", "fe80::1%eth0", true},
	{"URI:spiffe://org/source", "spiffe://org/source", true},
	{"URI:spiffe://org/source", "spiffe://org/sourc", false},
	{"URI:spiffe://org/source", "spiffe://org/source/x", false},
	{"URI:spiffe://org/source", "spiffe://org/Source", false},
	{"URI:spiffe://org/source,URI:spiffe://org/b", "spiffe://org/source", false},
	{"URI:spiffe://org/source,DNS:a.example", "spiffe://org/source", true},
	{"DNS:a.example", "spiffe://org/source", false},
	{"URI:spiffe://org/source", "org", false},
	{NULL, "a.example", false},
};

static void names_match_by_their_kind(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(name_cases); i++) {
		struct pf_pki_cert how = {.sans = name_cases[i].sans, .common_name = "a.example"};
		X509 *cert = server_cert(&how);
		struct pf_err err = {.class = PF_ERR_NONE};
		bool match = pf_peer_name_check(cert, name_cases[i].name, &err) == 0;

		X509_free(cert);
		assert_int_equal(ERR_peek_error(), 0);
		if (match != name_cases[i].match)
			fail_msg("\"%s\" against %s", name_cases[i].name,
				 name_cases[i].sans ? name_cases[i].sans : "no names");
		assert_int_equal(err.class, match ? PF_ERR_NONE : PF_ERR_PROTOCOL);
	}
}

static void a_refused_name_tells_which_names_there_are(void **state)
{
	struct pf_pki_cert how = {
		.sans = "DNS:a.example,IP:192.0.2.1,IP:2001:db8::1,URI:spiffe://org/x",
		.common_name = "machine",
	};
	X509 *cert = server_cert(&how);
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_peer_name_check(cert, "b.example", &err), -1);
	assert_non_null(strstr(err.text, "b.example"));
	assert_non_null(strstr(err.text, "machine"));
	assert_non_null(strstr(err.text, "DNS:a.example, IP:192.0.2.1, IP:2001:db8::1, "
					 "URI:spiffe://org/x"));
	X509_free(cert);
}

static void a_certificate_cannot_forge_lines_or_overflow_the_message(void **state)
{
	char sans[2048] = "DNS:first.example";
	struct pf_pki_cert how = {.sans = sans, .common_name = "one\ntwo\x1b[31m"};
	struct pf_err err;
	X509 *cert;

	(void)state;
	for (int i = 0; i < 60; i++) {
		size_t used = strlen(sans);

		snprintf(sans + used, sizeof(sans) - used, ",DNS:host-%d.example", i);
	}
	cert = server_cert(&how);
	assert_int_equal(pf_peer_name_check(cert, "b.example", &err), -1);
	X509_free(cert);
	for (const char *c = err.text; *c; c++)
		assert_in_range((unsigned char)*c, ' ', '~');
	assert_non_null(strstr(err.text, "first.example"));
	assert_non_null(strstr(err.text, "b.example"));
}

static void a_spiffe_name_of_an_authority_is_refused(void **state)
{
	struct pf_pki_cert how = {.sans = "URI:spiffe://org/source", .authority = true};
	X509 *cert = server_cert(&how);
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_peer_name_check(cert, "spiffe://org/source", &err), -1);
	X509_free(cert);
}

#define in_dirs(test) cmocka_unit_test_setup_teardown(test, make_dirs, remove_dirs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dirs(good_files_load_on_both_sides),
		in_dirs(each_side_needs_its_own_files_alone),
		in_dirs(an_absent_file_is_named),
		in_dirs(what_is_no_pem_is_refused),
		in_dirs(a_fifo_in_place_of_a_file_does_not_block),
		in_dirs(a_key_that_others_may_read_is_refused),
		in_dirs(a_key_of_another_certificate_is_refused),
		in_dirs(an_encrypted_key_is_refused_without_asking),
		in_dirs(our_own_certificate_is_judged_as_the_peer_would),
		in_dirs(a_certificate_of_another_authority_is_refused),
		in_dirs(a_revocation_list_of_another_authority_covers_nothing),
		in_dirs(a_certificate_for_the_other_role_is_refused),
		in_dirs(names_match_by_their_kind),
		in_dirs(a_refused_name_tells_which_names_there_are),
		in_dirs(a_certificate_cannot_forge_lines_or_overflow_the_message),
		in_dirs(a_spiffe_name_of_an_authority_is_refused),
	};

	return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
