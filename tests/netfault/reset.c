/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/reset.c - TCP connections destroyed: see tests/netfault/network.h; sock_diag(7).
 *
 * Both ends are told: the peer gets a reset, the owner ECONNABORTED.  Listening sockets stay.
 */
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "tests/netfault/network.h"

#define STATES                                                                                     \
	(1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_SYN_RECV | 1u << TCP_FIN_WAIT1 |   \
	 1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING)
#define SOCKETS_MAX 1024u

struct found {
	uint16_t port; /* 0: any */
	unsigned count;
	struct inet_diag_req_v2 socket[SOCKETS_MAX];
};

static int take(struct nl_msg *message, void *context)
{
	struct found *found = context;
	const struct nlmsghdr *header = nlmsg_hdr(message);
	const struct inet_diag_msg *socket = nlmsg_data(header);
	uint16_t port = htons(found->port);

	if ((size_t)nlmsg_datalen(header) < sizeof(*socket) || found->count == SOCKETS_MAX)
		return NL_OK;
	if (port && port != socket->id.idiag_sport && port != socket->id.idiag_dport)
		return NL_OK;
	found->socket[found->count++] = (struct inet_diag_req_v2){
		.sdiag_family = socket->idiag_family,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = 1u << socket->idiag_state,
		.id = socket->id,
	};
	return NL_OK;
}

static int list(struct nl_sock *diag, uint8_t family, struct found *found)
{
	struct inet_diag_req_v2 request = {
		.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = STATES};
	int code = nl_socket_modify_cb(diag, NL_CB_VALID, NL_CB_CUSTOM, take, found);

	if (code >= 0)
		code = nl_send_simple(diag, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request,
				      sizeof(request));
	return code < 0 ? code : nl_recvmsgs_default(diag);
}

static int destroy(struct nl_sock *diag, struct found *found, unsigned *out_count)
{
	for (unsigned i = 0; i < found->count; i++) {
		struct nl_msg *message = nlmsg_alloc_simple(SOCK_DESTROY, 0);
		int code = -NLE_NOMEM;

		if (message &&
		    nlmsg_append(message, &found->socket[i], sizeof(found->socket[i]), 0) == 0)
			code = nl_send_sync(diag, message); /* frees it */
		if (code < 0 && code != -NLE_OBJ_NOTFOUND)  /* ended by itself meanwhile */
			return code;
		*out_count += code >= 0;
	}
	return 0;
}

static int reset_all(struct nl_sock *diag, uint16_t port, unsigned *out_count)
{
	struct found found = {.port = port};
	int code = list(diag, AF_INET, &found);

	if (code >= 0)
		code = list(diag, AF_INET6, &found);
	return code < 0 ? code : destroy(diag, &found, out_count);
}

int nf_reset(const struct pf_room *room, uint16_t port, unsigned *out_count, struct pf_err *err)
{
	struct nl_sock *diag = nl_socket_alloc();
	int home, code = -NLE_NOMEM;

	*out_count = 0;
	if (pf_room_visit(room, &home, err)) {
		nl_socket_free(diag);
		return -1;
	}
	if (diag)
		code = nl_connect(diag, NETLINK_SOCK_DIAG);
	if (pf_room_leave(&home, err)) {
		nl_socket_free(diag);
		return -1;
	}
	if (code >= 0)
		code = reset_all(diag, port, out_count);
	nl_socket_free(diag);
	if (code >= 0)
		return 0;
	pf_room_fail(room, code, "destroying TCP connections", err);
	return pf_err_hint(err, "the kernel needs CONFIG_INET_DIAG_DESTROY");
}
