/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/addr.h - "ADDR:PORT" as users type it, and as people read it.
 *
 * ADDR is an IPv4 address, an IPv6 address in brackets, or a host name.  Any thread.  Parsing does
 * no I/O; resolving a name may block.
 */
#ifndef PF_NET_ADDR_H
#define PF_NET_ADDR_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

#define PF_HOST_MAX 253u
#define PF_ENDPOINT_TEXT_MAX (PF_HOST_MAX + 9u) /* "[host]:65535" and its NUL */

struct pf_endpoint {
	char host[PF_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
};

PF_MUST_USE int pf_endpoint_parse(const char *text, struct pf_endpoint *out, struct pf_err *err);
/* The same for somebody else's address: not port 0, to which nobody can connect. */
PF_MUST_USE int pf_endpoint_parse_peer(const char *text, struct pf_endpoint *out,
				       struct pf_err *err);
/* Its host is an address already, and no name that must be looked up. */
bool pf_endpoint_is_number(const struct pf_endpoint *endpoint);
/* "host:port", with brackets where the host is an IPv6 address. */
void pf_endpoint_print(const struct pf_endpoint *endpoint, char out[PF_ENDPOINT_TEXT_MAX]);
/* The socket address as numbers, "192.0.2.1:4444" or "[2001:db8::1]:4444". */
void pf_sockaddr_print(const struct sockaddr_storage *addr, char out[PF_ENDPOINT_TEXT_MAX]);

#endif
