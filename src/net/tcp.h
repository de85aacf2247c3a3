/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/tcp.h - TCP sockets under the TLS: listen, connect with a deadline, priorities.
 *
 * Any thread.  pf_tcp_connect() waits until the deadline at most, and ends at once when cancel_fd
 * becomes readable, also while a name is looked up (net/names.h).  tcp(7), socket(7), ip(7).
 */
#ifndef PF_NET_TCP_H
#define PF_NET_TCP_H

#include "net/addr.h"

/* The addresses that a host's name has, up to `size` of them; resolving may block. */
PF_MUST_USE int pf_tcp_resolve(const struct pf_endpoint *endpoint, struct sockaddr_storage *out,
			       uint32_t size, uint32_t *out_count, struct pf_err *err);
/* Non-blocking, close-on-exec; *out_bound is the real address (port 0 asks the kernel to choose).
 */
PF_MUST_USE int pf_tcp_listen(const struct pf_endpoint *endpoint, int *out_fd,
			      struct sockaddr_storage *out_bound, struct pf_err *err);
/* Non-blocking connected socket.  PF_ERR_UNREACHABLE names the address and why. */
PF_MUST_USE int pf_tcp_connect(const struct pf_endpoint *endpoint, uint64_t deadline_ns,
			       int cancel_fd, int *out_fd, struct pf_err *err);
/* Accepts one connection: 0, or -1 with errno (EAGAIN: none waiting). */
PF_MUST_USE int pf_tcp_accept(int listen_fd, int *out_fd, struct sockaddr_storage *out_peer);
/*
 * TCP_NODELAY on both; the urgent one also gets a higher SO_PRIORITY and DSCP 46 (EF, RFC 3246), the
 * bulk one DSCP 8 (CS1, RFC 8622's predecessor class), and a send buffer that takes no more while
 * 128 KiB in it have not gone out yet.  (SO_SNDBUF would end the kernel's own tuning of what is on
 * its way, and with it the throughput of long links.)  A mark that is refused is no error.
 */
void pf_tcp_tune(int fd, bool urgent);
/* Bytes that have come and were not read. */
uint64_t pf_tcp_waiting(int fd);
/* The other side has closed the connection, or broken it, whatever of what it said before is not read yet. */
bool pf_tcp_left(int fd);
/*
 * true: something was sent and is not acknowledged, be it a probe of a window that is closed.  *out_age_ns: since
 * any acknowledgement came; *out_rtt_ns: what one may take (smoothed, and four deviations: RFC 6298).
 */
PF_MUST_USE bool pf_tcp_waits(int fd, uint64_t *out_age_ns, uint64_t *out_rtt_ns);
/* The shortest round trip that the kernel has seen lately; 0: none yet, or not known. */
uint64_t pf_tcp_min_rtt_ns(int fd);

#endif
