/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-session.c - a proof is good for one session, connection, epoch, channel and side.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/session.h"
#include "netkit.h"

static struct kit_dir dir;
static struct pf_conn *source, *destination;
static uint8_t secret[PF_SECRET_BYTES];

static int connect_both(void **state)
{
	struct pf_err err;

	(void)state;
	kit_dir_make(&dir, NULL);
	kit_pair(&dir, &source, &destination);
	return pf_session_secret(source, secret, &err);
}

static int close_both(void **state)
{
	(void)state;
	pf_conn_close(source);
	pf_conn_close(destination);
	kit_dir_remove(&dir);
	return 0;
}

static void prove(uint32_t epoch, uint32_t channel, enum pf_side side,
		  uint8_t proof[PF_SESSION_PROOF_BYTES])
{
	struct pf_err err;

	assert_int_equal(pf_session_proof(source, secret, epoch, channel, side, proof, &err), 0);
	assert_int_equal(ERR_peek_error(), 0);
}

static void expect(struct pf_conn *at, uint32_t epoch, uint32_t channel, enum pf_side side,
		   const uint8_t proof[PF_SESSION_PROOF_BYTES], int result)
{
	struct pf_err err = {.class = PF_ERR_NONE};

	assert_int_equal(pf_session_check(at, secret, epoch, channel, side, proof, &err), result);
	assert_int_equal(err.class, result ? PF_ERR_PROTOCOL : PF_ERR_NONE);
	assert_int_equal(ERR_peek_error(), 0);
}

static void both_ends_have_the_same_secret_and_no_two_sessions(void **state)
{
	struct pf_conn *other_source, *other_destination;
	uint8_t theirs[PF_SECRET_BYTES], another[PF_SECRET_BYTES];
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_session_secret(destination, theirs, &err), 0);
	assert_memory_equal(secret, theirs, sizeof(secret));
	kit_pair(&dir, &other_source, &other_destination);
	assert_int_equal(pf_session_secret(other_source, another, &err), 0);
	assert_memory_not_equal(secret, another, sizeof(secret));
	pf_conn_close(other_source);
	pf_conn_close(other_destination);
}

static void a_proof_is_good_at_the_other_end(void **state)
{
	uint8_t proof[PF_SESSION_PROOF_BYTES];

	(void)state;
	prove(7, 2, PF_SOURCE, proof);
	expect(destination, 7, 2, PF_SOURCE, proof, 0);
	prove(7, 2, PF_DESTINATION, proof);
	expect(destination, 7, 2, PF_DESTINATION, proof, 0);
	prove(UINT32_MAX, UINT32_MAX, PF_SOURCE, proof);
	expect(destination, UINT32_MAX, UINT32_MAX, PF_SOURCE, proof, 0);
}

static void a_proof_is_good_for_nothing_else(void **state)
{
	uint8_t proof[PF_SESSION_PROOF_BYTES];

	(void)state;
	prove(7, 2, PF_SOURCE, proof);
	expect(destination, 8, 2, PF_SOURCE, proof, -1);
	expect(destination, 7, 1, PF_SOURCE, proof, -1);
	expect(destination, 2, 7, PF_SOURCE, proof, -1);
	expect(destination, 7 << 8, 2, PF_SOURCE, proof, -1);
	expect(destination, 7, 2, PF_DESTINATION, proof, -1); /* sent back to whom it came from */
	for (size_t bit = 0; bit < sizeof(proof) * 8; bit++) {
		proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
		expect(destination, 7, 2, PF_SOURCE, proof, -1);
		proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	expect(destination, 7, 2, PF_SOURCE, proof, 0);
}

static void a_proof_is_bound_to_its_connection(void **state)
{
	struct pf_conn *other_source, *other_destination;
	uint8_t proof[PF_SESSION_PROOF_BYTES];

	(void)state;
	kit_pair(&dir, &other_source, &other_destination);
	prove(7, 2, PF_SOURCE, proof);
	expect(other_destination, 7, 2, PF_SOURCE, proof, -1);
	pf_conn_close(other_source);
	pf_conn_close(other_destination);
}

static void a_proof_needs_the_secret(void **state)
{
	uint8_t proof[PF_SESSION_PROOF_BYTES];
	struct pf_err err;

	(void)state;
	prove(7, 2, PF_SOURCE, proof);
	secret[31] ^= 1;
	expect(destination, 7, 2, PF_SOURCE, proof, -1);
	secret[31] ^= 1;
	assert_int_equal(pf_session_check(destination, secret, 7, 2, PF_SOURCE, proof, &err), 0);
}

/* Written out, as another implementation of proto/WIRE.md would. */
static void a_proof_is_what_the_specification_says(void **state)
{
	uint8_t proof[PF_SESSION_PROOF_BYTES], expected[PF_SESSION_PROOF_BYTES];
	uint8_t message[32 + 4 + 4 + 1];
	uint32_t epoch = htonl(0x01020304), channel = htonl(5);
	unsigned length = 0;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_conn_export(destination, "EXPORTER-pageferry-proof", message, 32, &err),
			 0);
	memcpy(message + 32, &epoch, 4);
	memcpy(message + 36, &channel, 4);
	message[40] = 1; /* source */
	assert_non_null(HMAC(EVP_sha256(), secret, PF_SECRET_BYTES, message, sizeof(message),
			     expected, &length));
	assert_int_equal(length, sizeof(expected));
	prove(0x01020304, 5, PF_SOURCE, proof);
	assert_memory_equal(proof, expected, sizeof(proof));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_have_the_same_secret_and_no_two_sessions),
		cmocka_unit_test(a_proof_is_good_at_the_other_end),
		cmocka_unit_test(a_proof_is_good_for_nothing_else),
		cmocka_unit_test(a_proof_is_bound_to_its_connection),
		cmocka_unit_test(a_proof_needs_the_secret),
		cmocka_unit_test(a_proof_is_what_the_specification_says),
	};

	return cmocka_run_group_tests_name("session", tests, connect_both, close_both);
}
