/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/tcp.c - see net/tcp.h; tcp(7), socket(7), ip(7), ipv6(7). */
#include "net/tcp.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h> /* netinet/tcp.h of glibc 2.36 knows no tcpi_min_rtt */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/connect.h"
#include "net/names.h"

#define BACKLOG 16
/* 6 is the highest that needs no CAP_NET_ADMIN, socket(7). */
#define PRIORITY_URGENT 6
#define PRIORITY_BULK 0
#define DSCP_EF (46 << 2)
#define DSCP_CS1 (8 << 2)
#define BULK_UNSENT_BYTES (128u * 1024) /* two frames: one goes out while one is made */

static void free_addresses(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int resolve(const struct pf_endpoint *endpoint, int flags, struct addrinfo **out,
		   struct pf_err *err)
{
	struct addrinfo want = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags | AI_NUMERICSERV,
	};
	char port[8];
	int failure;

	snprintf(port, sizeof(port), "%u", endpoint->port);
	failure = getaddrinfo(endpoint->host, port, &want, out);
	if (failure == 0)
		return 0;
	pf_err_set(err, PF_ERR_UNREACHABLE, "resolving the name %s: %s", endpoint->host,
		   gai_strerror(failure));
	return pf_err_hint(err, "check the name, or give the address as a number");
}

int pf_tcp_resolve(const struct pf_endpoint *endpoint, struct sockaddr_storage *out, uint32_t size,
		   uint32_t *out_count, struct pf_err *err)
{
	__attribute__((cleanup(free_addresses))) struct addrinfo *list = NULL;

	if (resolve(endpoint, 0, &list, err))
		return -1;
	*out_count = 0;
	for (const struct addrinfo *at = list; at && *out_count < size; at = at->ai_next) {
		memset(&out[*out_count], 0, sizeof(out[0]));
		memcpy(&out[(*out_count)++], at->ai_addr, at->ai_addrlen);
	}
	return 0;
}

static int listen_on(const struct addrinfo *at, int *out_fd, struct sockaddr_storage *out_bound)
{
	pf_auto_fd int fd = -1;
	socklen_t length = sizeof(*out_bound);
	int on = 1;

	fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* A listener that is started again must not wait for its connections' TIME_WAIT. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
		return -1;
	memset(out_bound, 0, sizeof(*out_bound));
	if (getsockname(fd, (struct sockaddr *)out_bound, &length) != 0)
		return -1;
	*out_fd = pf_steal_fd(&fd);
	return 0;
}

int pf_tcp_listen(const struct pf_endpoint *endpoint, int *out_fd,
		  struct sockaddr_storage *out_bound, struct pf_err *err)
{
	__attribute__((cleanup(free_addresses))) struct addrinfo *list = NULL;
	char text[PF_ENDPOINT_TEXT_MAX];

	pf_endpoint_print(endpoint, text);
	if (resolve(endpoint, AI_PASSIVE, &list, err)) {
		err->class = PF_ERR_CONFIG; /* our own address: nobody else can mend it */
		return pf_err_prefix(err, "listening on %s", text);
	}
	for (const struct addrinfo *at = list; at; at = at->ai_next)
		if (listen_on(at, out_fd, out_bound) == 0)
			return 0;
	pf_err_sys(err, "listening on %s", text);
	if (err->sys == EADDRINUSE || err->sys == EADDRNOTAVAIL)
		err->class = PF_ERR_CONFIG;
	if (err->sys == EADDRINUSE)
		pf_err_hint(err, "another program listens there; choose another port, or port 0");
	if (err->sys == EADDRNOTAVAIL)
		pf_err_hint(err, "this host does not have that address");
	return -1;
}

static int unreachable(struct pf_err *err, const char *text, const struct sockaddr_storage *tried, int failure)
{
	char number[PF_ENDPOINT_TEXT_MAX];

	pf_sockaddr_print(tried, number);
	errno = failure;
	if (strcmp(number, text) == 0)
		pf_err_sys(err, "connecting to %s", text);
	else
		pf_err_sys(err, "connecting to %s (%s)", text, number);
	err->class = PF_ERR_UNREACHABLE;
	if (failure == ECONNREFUSED)
		pf_err_hint(err, "nothing listens there: is the destination started, is the port "
				 "right?");
	if (failure == ETIMEDOUT)
		pf_err_hint(err, "nobody answered: is the address right, is there a firewall in "
				 "between?");
	return -1;
}

int pf_tcp_connect(const struct pf_endpoint *endpoint, uint64_t deadline_ns, int cancel_fd,
		   int *out_fd, struct pf_err *err)
{
	char text[PF_ENDPOINT_TEXT_MAX];
	struct pf_addresses found;
	uint32_t which = 0;
	int failure;

	pf_endpoint_print(endpoint, text);
	if (pf_names_find(endpoint, deadline_ns, cancel_fd, &found, err))
		return pf_err_prefix(err, "connecting to %s", text);
	failure = pf_connect_first(&found, deadline_ns, cancel_fd, out_fd, &which);
	return failure ? unreachable(err, text, &found.address[which], failure) : 0;
}

int pf_tcp_accept(int listen_fd, int *out_fd, struct sockaddr_storage *out_peer)
{
	socklen_t length;
	int fd;

	do {
		length = sizeof(*out_peer);
		memset(out_peer, 0, sizeof(*out_peer));
		fd = accept4(listen_fd, (struct sockaddr *)out_peer, &length,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		/* Whoever gave up while he was waiting leaves the others' turn as it was. */
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		return -1;
	*out_fd = fd;
	return 0;
}

void pf_tcp_tune(int fd, bool urgent)
{
	int on = 1;
	int dscp = urgent ? DSCP_EF : DSCP_CS1;
	int priority = urgent ? PRIORITY_URGENT : PRIORITY_BULK;
	unsigned unsent = urgent ? UINT_MAX : BULK_UNSENT_BYTES;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* A connection is bulk until its HELLO says otherwise: what was set is taken back, tcp(7). */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	/* A socket of either family: the option of the other one is refused, which does no harm. */
	(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &dscp, sizeof(dscp));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &dscp, sizeof(dscp));
	/* After IP_TOS, which sets the priority too (net/ipv4/ip_sockglue.c). */
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
}

uint64_t pf_tcp_waiting(int fd)
{
	int waiting = 0;

	return ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0 ? (uint64_t)waiting : 0;
}

bool pf_tcp_left(int fd)
{
	struct pollfd look = {.fd = fd, .events = POLLRDHUP};

	return poll(&look, 1, 0) > 0;
}

/* How much of *out there is: an older kernel knows less. */
static socklen_t get_info(int fd, struct tcp_info *out)
{
	socklen_t length = sizeof(*out);

	memset(out, 0, sizeof(*out));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, out, &length) == 0 ? length : 0;
}

bool pf_tcp_waits(int fd, uint64_t *out_age_ns, uint64_t *out_rtt_ns)
{
	struct tcp_info info;

	(void)get_info(fd, &info);
	*out_age_ns = (uint64_t)info.tcpi_last_ack_recv * PF_NS_PER_MS;
	*out_rtt_ns = ((uint64_t)info.tcpi_rtt + UINT64_C(4) * info.tcpi_rttvar) * PF_NS_PER_US;
	return info.tcpi_unacked > 0 || info.tcpi_probes > 0;
}

uint64_t pf_tcp_min_rtt_ns(int fd)
{
	struct tcp_info info;
	socklen_t length = get_info(fd, &info);

	if (length < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof(info.tcpi_min_rtt) ||
	    info.tcpi_min_rtt == UINT32_MAX)
		return 0;
	return (uint64_t)info.tcpi_min_rtt * PF_NS_PER_US;
}
