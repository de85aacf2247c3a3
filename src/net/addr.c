/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/addr.c - see net/addr.h; inet_pton(3). */
#include "net/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

static bool is_ipv6(const char *host)
{
	char bare[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	size_t length = strcspn(host, "%"); /* a zone is not part of the address, RFC 4007 */

	if (length >= sizeof(bare))
		return false;
	memcpy(bare, host, length);
	bare[length] = '\0';
	return inet_pton(AF_INET6, bare, &addr) == 1;
}

/* Names and IPv4 addresses; what a resolver would make of anything else is nobody's intention. */
static bool is_name(const char *host)
{
	return host[0] != '\0' && host[0] != '-' && host[0] != '.' &&
	       host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789.-_")] == '\0';
}

static int refuse(struct pf_err *err, const char *text, const char *why)
{
	pf_err_set(err, PF_ERR_USAGE, "the address \"%.300s\" %s", text, why);
	return pf_err_hint(err, "write HOST:PORT, 192.0.2.1:PORT or [2001:db8::1]:PORT; for every "
				"address of this host, 0.0.0.0:PORT or [::]:PORT");
}

static int take_host(const char *text, const char *from, size_t length, bool bracketed,
		     struct pf_endpoint *out, struct pf_err *err)
{
	if (length == 0)
		return refuse(err, text, "has no host");
	if (length > PF_HOST_MAX)
		return refuse(err, text, "has a host of more than 253 bytes");
	memcpy(out->host, from, length);
	out->host[length] = '\0';
	if (bracketed && !is_ipv6(out->host))
		return refuse(err, text, "has brackets around something that is not IPv6");
	if (!bracketed && memchr(from, ':', length))
		return refuse(err, text, "has too many colons; IPv6 needs brackets");
	if (!bracketed && !is_name(out->host))
		return refuse(err, text, "has a host that is neither a name nor an address");
	return 0;
}

int pf_endpoint_parse(const char *text, struct pf_endpoint *out, struct pf_err *err)
{
	bool bracketed = text[0] == '[';
	const char *host = text + (bracketed ? 1 : 0);
	const char *end = bracketed ? strchr(text, ']') : strrchr(text, ':');
	const char *port;
	struct pf_endpoint found = {0};
	uint64_t number;

	if (!end || (bracketed && end[1] != ':'))
		return refuse(err, text, bracketed ? "has no \"]:PORT\"" : "has no \":PORT\"");
	port = end + (bracketed ? 2 : 1);
	if (take_host(text, host, (size_t)(end - host), bracketed, &found, err))
		return -1;
	if (pf_number_parse(port, 0, UINT16_MAX, &number, err))
		return pf_err_prefix(err, "the port of \"%.300s\"", text);
	found.port = (uint16_t)number;
	*out = found;
	return 0;
}

int pf_endpoint_parse_peer(const char *text, struct pf_endpoint *out, struct pf_err *err)
{
	struct pf_endpoint found;

	if (pf_endpoint_parse(text, &found, err))
		return -1;
	if (found.port == 0)
		return pf_err_set(err, PF_ERR_USAGE, "'%s': nobody can connect to port 0", text);
	*out = found;
	return 0;
}

bool pf_endpoint_is_number(const struct pf_endpoint *endpoint)
{
	struct in6_addr addr;

	return inet_pton(AF_INET, endpoint->host, &addr) == 1 ||
	       inet_pton(AF_INET6, endpoint->host, &addr) == 1;
}

void pf_endpoint_print(const struct pf_endpoint *endpoint, char out[PF_ENDPOINT_TEXT_MAX])
{
	bool brackets = strchr(endpoint->host, ':') != NULL;

	snprintf(out, PF_ENDPOINT_TEXT_MAX, "%s%s%s:%u", brackets ? "[" : "", endpoint->host,
		 brackets ? "]" : "", endpoint->port);
}

void pf_sockaddr_print(const struct sockaddr_storage *addr, char out[PF_ENDPOINT_TEXT_MAX])
{
	struct pf_endpoint endpoint = {0};

	if (addr->ss_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, addr, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, endpoint.host, sizeof(endpoint.host));
		endpoint.port = ntohs(in.sin_port);
	} else if (addr->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, addr, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, endpoint.host, sizeof(endpoint.host));
		endpoint.port = ntohs(in6.sin6_port);
	} else {
		snprintf(out, PF_ENDPOINT_TEXT_MAX, "a local socket");
		return;
	}
	pf_endpoint_print(&endpoint, out);
}
