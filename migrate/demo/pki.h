/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/pki.h - a throw-away PKI: an authority that forgets its key, one certificate a side.
 *
 * For the demo and for tests; a real deployment has certificates of its own.  Any thread; blocks
 * only on files; PF_ERR_CONFIG or PF_ERR_SYSTEM name the file.
 */
#ifndef PF_DEMO_PKI_H
#define PF_DEMO_PKI_H

#include <stdbool.h>

#include "base/err.h"

#define PF_PKI_FROM_S (-3600)		   /* clocks of two hosts may differ */
#define PF_PKI_UNTIL_S (7L * 24 * 60 * 60) /* nobody should come to rely on it */

struct pf_pki_cert {
	const char *sans; /* as in x509v3_config(5): "DNS:a,IP:::1,URI:spiffe://b/c"; NULL: none */
	const char *common_name; /* NULL: "pageferry" */
	long from_s, until_s;	 /* validity in seconds from now; both 0: the two above */
	bool authority;		 /* CA:TRUE, which no end entity should have */
	bool revoked;		 /* listed in ca-crl.pem, which is written once one of them is */
};

struct pf_pki_names {
	struct pf_pki_cert server, client; /* destination, source */
};

/*
 * Writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem (EC
 * P-256; keys 0600) into dir, which exists.  Files that are there are replaced.
 */
PF_MUST_USE int pf_pki_make(const char *dir, const struct pf_pki_names *names, struct pf_err *err);

#endif
