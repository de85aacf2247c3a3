/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/peer.c - subject: the way to the destination of --connect, step by step.
 *
 * It goes as far as TLS and then leaves: a destination that listens there tells of it in an event
 * PEER_REFUSED and goes on listening.
 */
#include <poll.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/probe/subjects.h"
#include "net/conn.h"
#include "net/route.h"
#include "net/tcp.h"
#include "net/wait.h"

#define ADDRESSES_MAX 8u
#define CONNECT_NS (6 * PF_NS_PER_S)
#define HANDSHAKE_NS (6 * PF_NS_PER_S)
#define PARTING_NS (4 * PF_NS_PER_S)

struct way {
	struct sockaddr_storage address[ADDRESSES_MAX];
	uint32_t addresses;
	int fd; /* connected; -1: not */
};

static double ms_since(uint64_t from_ns)
{
	return (double)(pf_now_ns() - from_ns) / (double)PF_NS_PER_MS;
}

static int try_name(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct way *way = calloc(1, sizeof(*way));
	uint64_t begun = pf_now_ns();
	size_t used;

	if (!way)
		return pf_err_sys(err, "allocating memory");
	way->fd = -1;
	trial->state = way;
	if (pf_tcp_resolve(&trial->options->connect, way->address, ADDRESSES_MAX, &way->addresses,
			   err))
		return -1;
	pf_check_says(out, "%.1f ms:", ms_since(begun));
	for (uint32_t i = 0; i < way->addresses; i++) {
		char text[PF_ENDPOINT_TEXT_MAX];

		pf_sockaddr_print(&way->address[i], text);
		used = strlen(out->what);
		snprintf(out->what + used, sizeof(out->what) - used, " %s", text);
	}
	return 0;
}

static const struct way *resolved(const struct pf_trial *trial)
{
	const struct way *way = trial->state;

	return way && way->addresses > 0 ? way : NULL;
}

static int try_route(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	const struct way *way = resolved(trial);
	struct pf_interface interface;
	struct pf_route route;

	if (!way)
		return pf_check_untried(err, "it has no address");
	if (pf_route_to(&way->address[0], &route, &interface, err))
		return -1;
	pf_check_says(out, "interface %s, MTU %u, %s%s", interface.name, interface.mtu,
		      route.gateway[0] ? "gateway " : "on the link", route.gateway);
	return interface.carrier ? 0 : pf_check_no(err, "interface %s has no carrier",
						   interface.name);
}

static int try_tcp(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct way *way = trial->state;
	uint64_t begun = pf_now_ns();

	if (!resolved(trial))
		return pf_check_untried(err, "it has no address");
	if (pf_tcp_connect(&trial->options->connect, begun + CONNECT_NS, -1, &way->fd, err))
		return -1;
	pf_check_says(out, "%.1f ms, round trip %.2f ms", ms_since(begun),
		      (double)pf_tcp_min_rtt_ns(way->fd) / (double)PF_NS_PER_MS);
	return 0;
}

/*
 * A TLS 1.3 client is done before the server has judged its certificate: only the server's answer
 * to the goodbye tells.  An alert is the judgement; anything else is none.
 */
static int await_judgement(struct pf_conn *conn, struct pf_err *err)
{
	uint64_t deadline_ns = pf_now_ns() + PARTING_NS;
	struct pf_err end; /* of a connection that was to end is no error */
	char ignored[512];
	size_t got;

	pf_conn_goodbye(conn);
	for (;;) {
		enum pf_io io = pf_conn_read(conn, ignored, sizeof(ignored), &got, &end);

		if (io == PF_IO_ERROR && end.class == PF_ERR_PROTOCOL) {
			*err = end;
			return -1;
		}
		if (io == PF_IO_EOF || io == PF_IO_ERROR)
			return 0;
		if (io == PF_IO_AGAIN &&
		    pf_wait_fd(pf_conn_fd(conn), pf_conn_wants(conn), deadline_ns, -1) != 0)
			return 0;
	}
}

static int try_tls(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	const struct pf_probe_options *options = trial->options;
	struct way *way = trial->state;
	uint64_t begun = pf_now_ns();
	struct pf_handshake how = {
		.tls_dir = options->tls_dir,
		.side = PF_SOURCE,
		.peer_name = options->peer_name ? options->peer_name : options->connect.host,
		.deadline_ns = begun + HANDSHAKE_NS,
		.cancel_fd = -1,
	};
	struct pf_conn *conn = NULL;
	int failed;

	if (!options->tls_dir)
		return pf_check_untried(err, "it takes --tls-dir");
	if (!way || way->fd < 0)
		return pf_check_untried(err, "there is no connection");
	if (pf_conn_handshake(pf_steal_fd(&way->fd), &how, &conn, err))
		return -1;
	pf_check_says(out, "%s in %.1f ms; its certificate is good for \"%.64s\", ours for it",
		      pf_conn_cipher(conn), ms_since(begun), how.peer_name);
	failed = await_judgement(conn, err);
	if (failed)
		pf_check_says(out, "%s; its certificate is good for \"%.64s\"",
			      pf_conn_cipher(conn), how.peer_name);
	pf_conn_close(conn);
	return failed;
}

static bool wanted(const struct pf_probe_options *options)
{
	return options->connect.port != 0;
}

static const struct pf_check rows[] = {
	{"name", "name", try_name, NULL, NULL},
	{"route", "route to its first address", try_route,
	 "look at `ip route get`, and at the interface", NULL},
	{"tcp", "TCP", try_tcp, NULL, NULL},
	{"tls", "TLS, both certificates", try_tls, NULL, "read access to the key"},
};

const struct pf_subject pf_subject_peer = {
	.name = "peer",
	.title = "The way to --connect",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
	.wanted = wanted,
};
