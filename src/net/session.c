/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/session.c - see net/session.h; EVP_Q_mac(3). */
#include "net/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "net/ossl.h"

#define EXPORTER_BYTES 32u
#define SECRET_LABEL "EXPORTER-pageferry-secret"
#define PROOF_LABEL "EXPORTER-pageferry-proof"

static void put_u32(uint8_t *out, uint32_t value)
{
	out[0] = (uint8_t)(value >> 24);
	out[1] = (uint8_t)(value >> 16);
	out[2] = (uint8_t)(value >> 8);
	out[3] = (uint8_t)value;
}

int pf_session_secret(struct pf_conn *conn, uint8_t out[PF_SECRET_BYTES], struct pf_err *err)
{
	return pf_conn_export(conn, SECRET_LABEL, out, PF_SECRET_BYTES, err);
}

int pf_session_proof(struct pf_conn *conn, const uint8_t secret[PF_SECRET_BYTES], uint32_t epoch,
		     uint32_t channel, enum pf_side side, uint8_t out[PF_SESSION_PROOF_BYTES],
		     struct pf_err *err)
{
	uint8_t message[EXPORTER_BYTES + 4 + 4 + 1];
	size_t length = 0;
	bool done;

	if (pf_conn_export(conn, PROOF_LABEL, message, EXPORTER_BYTES, err))
		return -1;
	put_u32(message + EXPORTER_BYTES, epoch);
	put_u32(message + EXPORTER_BYTES + 4, channel);
	message[EXPORTER_BYTES + 8] = (uint8_t)side;
	done = EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret, PF_SECRET_BYTES, message,
			 sizeof(message), out, PF_SESSION_PROOF_BYTES, &length) != NULL &&
	       length == PF_SESSION_PROOF_BYTES;
	OPENSSL_cleanse(message, sizeof(message));
	if (!done)
		return pf_ossl_err(err, PF_ERR_SYSTEM, "computing the proof of the session");
	return 0;
}

int pf_session_check(struct pf_conn *conn, const uint8_t secret[PF_SECRET_BYTES], uint32_t epoch,
		     uint32_t channel, enum pf_side side,
		     const uint8_t proof[PF_SESSION_PROOF_BYTES], struct pf_err *err)
{
	uint8_t expected[PF_SESSION_PROOF_BYTES];
	bool same;

	if (pf_session_proof(conn, secret, epoch, channel, side, expected, err))
		return -1;
	same = CRYPTO_memcmp(expected, proof, sizeof(expected)) == 0;
	OPENSSL_cleanse(expected, sizeof(expected));
	if (same)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "the %s does not prove that it belongs to this session (epoch %u, channel %u)",
		   side == PF_SOURCE ? "source" : "destination", epoch, channel);
	return pf_err_hint(err, "an agent with the right name but of another migration, or whose "
				"state directory is not the one it began with");
}
