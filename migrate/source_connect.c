/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_connect.c - the thread that connects to the destination: TCP, TLS, HELLO.
 *
 * Urgent first, then the bulk connections with the epoch that WELCOME gave.  An attempt that failed is
 * PF_MAIL_MISSED.  Ends with one mail to main: PF_MAIL_CONNECTED with every channel, or PF_MAIL_GIVE_UP when --connect-timeout is over or
 * an identity was refused, which trying again would not mend.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "core/switchover.h"
#include "migrate/source.h"
#include "migrate/source_race.h"
#include "migrate/watchdog.h"

#define ATTEMPT_NS (5 * PF_NS_PER_S)
#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MAX_MS 1000u

struct attempt {
	struct pf_call call;
	struct pf_connected *out;
};

static int send_hello(const struct attempt *attempt, uint32_t number, struct pf_err *err)
{
	struct pf_msg_hello hello = {
		.channel = number,
		.epoch = number ? attempt->out->welcome.epoch : 0,
		.record = PF_RECORD_NONE,
	};

	return pf_call_hello(&attempt->call, attempt->out->channel[number], &hello,
			     attempt->out->secret, err);
}

static int recv_welcome(const struct attempt *attempt, uint32_t number, struct pf_err *err)
{
	struct pf_channel *channel = attempt->out->channel[number];
	struct pf_conn *conn = pf_channel_conn(channel);
	struct pf_msg_welcome welcome;

	if (pf_call_welcome(&attempt->call, channel, &welcome, err))
		return -1;
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

	for (uint32_t i = 0; i <= attempt->call.options->channels; i++) {
		if (pf_call_open(&attempt->call, i == 0, &out->channel[i], err) ||
		    send_hello(attempt, i, err) || recv_welcome(attempt, i, err)) {
			pf_endpoint_print(attempt->call.endpoint, out->address);
			pf_err_prefix(err, "%s, connection %u", out->address, i);
			return bulk_refused(i, err);
		}
		pf_channel_expect(out->channel[i], out->welcome.epoch, NULL, 0);
	}
	pf_endpoint_print(attempt->call.endpoint, out->address);
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
			.call = {.options = connector->options,
				 .endpoint = &connector->options
						      ->connect[i % connector->options->connects],
				 .greet = {.deadline_ns = end < connector->deadline_ns ?
								  end : connector->deadline_ns,
					   .cancel_fd = connector->cancel_fd}},
			.out = out,
		};

		memset(out, 0, sizeof(*out));
		pf_term_set(&connector->term, attempt.call.greet.deadline_ns + PF_TERM_GRACE_NS);
		if (connect_all(&attempt, &failure) == 0)
			return 0;
		pf_connected_free(out);
		pf_term_set(&connector->term, 0);
		over = pf_now_ns() >= connector->deadline_ns;
		/* An attempt that the deadline cut short knows less than the one before it. */
		if (i == 0 || !over || failure.class != PF_ERR_UNREACHABLE)
			*err = failure;
		if (err->class != PF_ERR_UNREACHABLE)
			return -1;
		if (over)
			return late(connector->options, err);
		(void)pf_mail_post(connector->inbox, 0, PF_MAIL_MISSED, 0, err, sizeof(*err));
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
	pf_term_set(&connector->term, 0);
	return NULL;
}

/* The connections stood just as the agent ended, or the link that they replace was lost. */
void pf_connector_drop(const struct pf_mail *mail)
{
	if (mail->kind == PF_MAIL_CONNECTED)
		pf_connected_free(mail->data);
	pf_racer_drop(mail);
}

int pf_connector_start(struct pf_connector *connector, const struct pf_options *options,
		       struct pf_mailbox *inbox, uint64_t deadline_ns, bool again,
		       struct pf_err *err)
{
	*connector = (struct pf_connector){.options = options,
					   .inbox = inbox,
					   .deadline_ns = deadline_ns,
					   .again = again};
	inbox->drop = pf_connector_drop;
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
