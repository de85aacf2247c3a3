/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/credentials.h - certificates and names: who this side is and whom it will talk to.
 *
 * --tls-dir holds QEMU's file names: ca-cert.pem, server-cert.pem, server-key.pem (destination),
 * client-cert.pem, client-key.pem (source), optional ca-crl.pem.  Files are read again for every
 * handshake, so that a certificate replaced meanwhile works.  TLS 1.3 only, both sides present a
 * certificate, no tickets, no 0-RTT.  The peer's name is matched against its SANs only (DNS, IP or
 * a spiffe:// URI), never its CN; there is no switch that turns this off.  Any thread.
 */
#ifndef PF_NET_CREDENTIALS_H
#define PF_NET_CREDENTIALS_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "base/side.h"

/*
 * PF_ERR_CONFIG names the file and what is wrong with it: absent, unparsable, key readable by
 * group or others, key not of this certificate, certificate expired or not yet valid (with the
 * date), not signed by ca-cert.pem.
 */
PF_MUST_USE int pf_credentials_load(const char *dir, enum pf_side side, SSL_CTX **out,
				    struct pf_err *err);
/*
 * After the handshake: the peer's certificate must carry `name` as a SAN.  An IP address matches IP
 * SANs, "spiffe://..." a single URI SAN exactly, anything else DNS SANs by RFC 6125.
 * PF_ERR_PROTOCOL says which names the certificate has instead.
 */
PF_MUST_USE int pf_peer_name_check(X509 *cert, const char *name, struct pf_err *err);

#endif
