/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/source_hello.c - see migrate/source_hello.h. */
#include "config.h"

#include "migrate/source_hello.h"

#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "net/tcp.h"

int pf_call_connect(const struct pf_call *call, bool urgent, int *out_fd, struct pf_err *err)
{
	if (pf_tcp_connect(call->endpoint, call->greet.deadline_ns, call->greet.cancel_fd, out_fd,
			   err))
		return -1;
	pf_tcp_tune(*out_fd, urgent);
	pf_fault(PF_FAULT_CONNECT);
	return 0;
}

int pf_call_secure(const struct pf_call *call, bool urgent, int fd, struct pf_channel **out,
		   struct pf_err *err)
{
	const struct pf_options *options = call->options;
	struct pf_handshake how = {
		.tls_dir = options->tls_dir,
		.side = PF_SOURCE,
		.peer_name = options->peer_name ? options->peer_name : call->endpoint->host,
		.deadline_ns = call->greet.deadline_ns,
		.cancel_fd = call->greet.cancel_fd,
	};
	struct pf_conn *conn = NULL;

	if (pf_conn_handshake(fd, &how, &conn, err))
		return -1;
	pf_fault(PF_FAULT_TLS);
	return pf_channel_new(conn, PF_SOURCE, urgent, out, err);
}

int pf_call_open(const struct pf_call *call, bool urgent, struct pf_channel **out,
		 struct pf_err *err)
{
	int fd = -1;

	return pf_call_connect(call, urgent, &fd, err) || pf_call_secure(call, urgent, fd, out, err)
		       ? -1
		       : 0;
}

int pf_call_hello(const struct pf_call *call, struct pf_channel *channel,
		  struct pf_msg_hello *hello, const uint8_t secret[PF_SECRET_BYTES],
		  struct pf_err *err)
{
	uint8_t body[PF_URGENT_BODY_MAX];
	size_t length;

	hello->protocol = PF_WIRE_PROTOCOL;
	hello->channels = call->options->channels;
	snprintf(hello->id, sizeof(hello->id), "%s", call->options->id);
	snprintf(hello->software, sizeof(hello->software), "%s", PACKAGE_STRING);
	hello->has_proof = hello->epoch > 0;
	if (hello->has_proof &&
	    pf_session_proof(pf_channel_conn(channel), secret, hello->epoch, hello->channel,
			     PF_SOURCE, hello->proof, err))
		return -1;
	length = pf_msg_pack_hello(hello, body, sizeof(body));
	return pf_greet_send(channel, &call->greet, PF_FRAME_HELLO, body, length, err);
}

static int refused(const struct pf_frame *frame, const uint8_t *body, struct pf_err *err)
{
	char reason[PF_REASON_MAX + 1];

	if (frame->type != PF_FRAME_FAILURE)
		return pf_err_set(err, PF_ERR_PROTOCOL, "%s instead of WELCOME",
				  pf_frame_name(frame->type));
	if (pf_msg_unpack_failure(body, frame->length, reason, err))
		return -1;
	return pf_err_set(err, PF_ERR_PROTOCOL, "the destination refused: %s", reason);
}

int pf_call_welcome(const struct pf_call *call, struct pf_channel *channel,
		    struct pf_msg_welcome *out, struct pf_err *err)
{
	const uint8_t *body = NULL;
	struct pf_frame frame;

	if (pf_greet_recv(channel, &call->greet, &frame, &body, err))
		return -1;
	if (frame.type != PF_FRAME_WELCOME)
		return refused(&frame, body, err);
	if (pf_msg_unpack_welcome(body, frame.length, out, err))
		return -1;
	if (out->protocol == PF_WIRE_PROTOCOL && out->features == 0)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "the destination (%s) speaks protocol %u with features 0x%llx; "
			  "this side speaks %u", out->software, out->protocol,
			  (unsigned long long)out->features, PF_WIRE_PROTOCOL);
}
