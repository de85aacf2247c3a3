/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_connect.c - the thread that connects to the destination: TCP, TLS, HELLO.
 *
 * Urgent first, then the bulk connections with the epoch that WELCOME gave.  Ends with one mail to
 * main: PF_MAIL_CONNECTED with every channel, or PF_MAIL_GIVE_UP when --connect-timeout is over or
 * an identity was refused, which trying again would not mend.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/greet.h"
#include "migrate/source.h"
#include "net/tcp.h"

#define ATTEMPT_NS (5 * PF_NS_PER_S)
#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MAX_MS 1000u

struct attempt {
	const struct pf_options *options;
	const struct pf_endpoint *endpoint;
	struct pf_greet greet;
	struct pf_connected *out;
};

static int open_channel(const struct attempt *attempt, bool urgent, struct pf_channel **out,
			struct pf_err *err)
{
	const struct pf_options *options = attempt->options;
	struct pf_handshake how = {
		.tls_dir = options->tls_dir,
		.side = PF_SOURCE,
		.peer_name = options->peer_name ? options->peer_name : attempt->endpoint->host,
		.deadline_ns = attempt->greet.deadline_ns,
		.cancel_fd = attempt->greet.cancel_fd,
	};
	struct pf_conn *conn = NULL;
	int fd = -1;

	if (pf_tcp_connect(attempt->endpoint, how.deadline_ns, how.cancel_fd, &fd, err))
		return -1;
	pf_tcp_tune(fd, urgent);
	pf_fault(PF_FAULT_CONNECT);
	if (pf_conn_handshake(fd, &how, &conn, err))
		return -1;
	pf_fault(PF_FAULT_TLS);
	return pf_channel_new(conn, PF_SOURCE, urgent, out, err);
}

static int send_hello(const struct attempt *attempt, uint32_t number, struct pf_err *err)
{
	struct pf_channel *channel = attempt->out->channel[number];
	struct pf_msg_hello hello = {
		.protocol = PF_WIRE_PROTOCOL,
		.channel = number,
		.channels = attempt->options->channels,
		.epoch = number ? attempt->out->welcome.epoch : 0,
		.record = PF_RECORD_NONE,
		.has_proof = number > 0,
		.software = PACKAGE_STRING,
	};
	uint8_t body[PF_URGENT_BODY_MAX];
	size_t length;

	memcpy(hello.id, attempt->options->id, strnlen(attempt->options->id, PF_ID_MAX));
	if (number > 0 &&
	    pf_session_proof(pf_channel_conn(channel), attempt->out->secret, hello.epoch, number,
			     PF_SOURCE, hello.proof, err))
		return -1;
	length = pf_msg_pack_hello(&hello, body, sizeof(body));
	return pf_greet_send(channel, &attempt->greet, PF_FRAME_HELLO, body, length, err);
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

static int recv_welcome(const struct attempt *attempt, uint32_t number, struct pf_err *err)
{
	struct pf_channel *channel = attempt->out->channel[number];
	struct pf_conn *conn = pf_channel_conn(channel);
	struct pf_msg_welcome welcome;
	const uint8_t *body = NULL;
	struct pf_frame frame;

	if (pf_greet_recv(channel, &attempt->greet, &frame, &body, err))
		return -1;
	if (frame.type != PF_FRAME_WELCOME)
		return refused(&frame, body, err);
	if (pf_msg_unpack_welcome(body, frame.length, &welcome, err))
		return -1;
	if (welcome.protocol != PF_WIRE_PROTOCOL || welcome.features != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the destination (%s) speaks protocol %u with features 0x%llx; "
				  "this side speaks %u", welcome.software, welcome.protocol,
				  (unsigned long long)welcome.features, PF_WIRE_PROTOCOL);
	if (!welcome.has_proof)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a WELCOME without a proof");
	/* A destination that has decided already is not one to start with (DESIGN.md section 4.1). */
	if (pf_record_meet(PF_RECORD_NONE, welcome.record) != PF_MEET_FRESH)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the destination's record is %s; the one here is NONE",
				  pf_record_name(welcome.record));
	if (number == 0 && pf_session_secret(conn, attempt->out->secret, err))
		return -1;
	if (number == 0)
		attempt->out->welcome = welcome;
	if (welcome.epoch != attempt->out->welcome.epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL, "epoch %u on bulk %u, %u on urgent",
				  welcome.epoch, number, attempt->out->welcome.epoch);
	return pf_session_check(conn, attempt->out->secret, welcome.epoch, number, PF_DESTINATION,
				welcome.proof, err);
}

/* A destination that took the urgent connection and has no such session any more has just lost it:
 * that is mended by starting again. */
static int bulk_refused(uint32_t number, struct pf_err *err)
{
	if (number > 0 && err->class == PF_ERR_PROTOCOL)
		err->class = PF_ERR_UNREACHABLE;
	return -1;
}

static int connect_all(const struct attempt *attempt, struct pf_err *err)
{
	struct pf_connected *out = attempt->out;

	for (uint32_t i = 0; i <= attempt->options->channels; i++) {
		if (open_channel(attempt, i == 0, &out->channel[i], err) ||
		    send_hello(attempt, i, err) || recv_welcome(attempt, i, err)) {
			pf_endpoint_print(attempt->endpoint, out->address);
			pf_err_prefix(err, "%s, connection %u", out->address, i);
			return bulk_refused(i, err);
		}
		pf_channel_expect(out->channel[i], out->welcome.epoch, NULL, 0);
	}
	pf_endpoint_print(attempt->endpoint, out->address);
	return 0;
}

void pf_connected_free(struct pf_connected *connected)
{
	for (uint32_t i = 0; i <= PF_CHANNELS_MAX; i++) {
		pf_channel_free(connected->channel[i]);
		connected->channel[i] = NULL;
	}
	explicit_bzero(connected->secret, sizeof(connected->secret));
}

static bool cancelled(const struct pf_connector *connector, int wait_ms)
{
	struct pollfd pfd = {.fd = connector->cancel_fd, .events = POLLIN};

	return poll(&pfd, 1, wait_ms) > 0;
}

static int late(const struct pf_options *options, struct pf_err *err)
{
	if (err->hint[0])
		return -1;
	return pf_err_hint(err, "does the destination's agent listen there? --connect-timeout (%llu s) "
				"is over, and the guest runs on here",
			   (unsigned long long)options->connect_timeout_s);
}

/* 0: connected; -1: gave up, err says why. */
static int try_until_deadline(struct pf_connector *connector, struct pf_connected *out,
			      struct pf_err *err)
{
	unsigned backoff_ms = BACKOFF_FIRST_MS;

	if (connector->again && cancelled(connector, BACKOFF_FIRST_MS))
		return pf_err_set(err, PF_ERR_UNREACHABLE, "cancelled");
	for (uint32_t i = 0;; i++) {
		uint64_t now = pf_now_ns(), end = now + ATTEMPT_NS;
		struct pf_err failure;
		bool over;
		struct attempt attempt = {
			.options = connector->options,
			.endpoint = &connector->options->connect[i % connector->options->connects],
			.greet = {.deadline_ns = end < connector->deadline_ns ?
							 end : connector->deadline_ns,
				  .cancel_fd = connector->cancel_fd},
			.out = out,
		};

		memset(out, 0, sizeof(*out));
		if (connect_all(&attempt, &failure) == 0)
			return 0;
		pf_connected_free(out);
		over = pf_now_ns() >= connector->deadline_ns;
		/* An attempt that the deadline cut short knows less than the one before it. */
		if (i == 0 || !over || failure.class != PF_ERR_UNREACHABLE)
			*err = failure;
		if (err->class != PF_ERR_UNREACHABLE)
			return -1;
		if (over)
			return late(connector->options, err);
		if (cancelled(connector, (int)backoff_ms))
			return -1;
		backoff_ms = backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
	}
}

static void *connect_thread(void *opaque)
{
	struct pf_connector *connector = opaque;
	struct pf_connected connected = {0};
	struct pf_err err = {0};

	(void)pthread_setname_np(pthread_self(), "connect");
	if (try_until_deadline(connector, &connected, &err) == 0) {
		if (!pf_mail_post(connector->inbox, 0, PF_MAIL_CONNECTED, 0, &connected,
				  sizeof(connected)))
			pf_connected_free(&connected);
	} else if (!cancelled(connector, 0)) {
		(void)pf_mail_post(connector->inbox, 0, PF_MAIL_GIVE_UP, 0, &err, sizeof(err));
	}
	explicit_bzero(connected.secret, sizeof(connected.secret));
	return NULL;
}

/* The connections stood just as the agent ended. */
static void drop_connected(const struct pf_mail *mail)
{
	if (mail->kind == PF_MAIL_CONNECTED)
		pf_connected_free(mail->data);
}

int pf_connector_start(struct pf_connector *connector, const struct pf_options *options,
		       struct pf_mailbox *inbox, uint64_t deadline_ns, bool again,
		       struct pf_err *err)
{
	*connector = (struct pf_connector){.options = options,
					   .inbox = inbox,
					   .deadline_ns = deadline_ns,
					   .again = again};
	inbox->drop = drop_connected;
	connector->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (connector->cancel_fd < 0)
		return pf_err_sys(err, "creating an eventfd");
	errno = pthread_create(&connector->thread, NULL, connect_thread, connector);
	if (errno) {
		pf_err_sys(err, "starting the connecting thread");
		pf_close_fd(&connector->cancel_fd);
		return -1;
	}
	connector->started = true;
	return 0;
}

void pf_connector_stop(struct pf_connector *connector)
{
	if (!connector->started)
		return;
	(void)eventfd_write(connector->cancel_fd, 1);
	pthread_join(connector->thread, NULL);
	pf_close_fd(&connector->cancel_fd);
	connector->started = false;
}
