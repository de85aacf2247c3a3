/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/greet.c - see migrate/greet.h. */
#include "migrate/greet.h"

#include <poll.h>

#include "base/clock.h"
#include "base/fault.h"
#include "wire/msg.h"

#define PARTING_NS (2 * PF_NS_PER_S)

static int wait_for(struct pf_channel *channel, const struct pf_greet *how, struct pf_err *err)
{
	uint64_t now = pf_now_ns();
	struct pollfd pfd[2] = {
		{.fd = pf_conn_fd(pf_channel_conn(channel)), .events = pf_channel_wants(channel)},
		{.fd = how->cancel_fd, .events = POLLIN},
	};

	if (now >= how->deadline_ns)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "the peer did not answer in time");
	(void)poll(pfd, 2, (int)((how->deadline_ns - now) / PF_NS_PER_MS) + 1);
	if (pfd[1].revents)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "cancelled");
	return 0;
}

/* 0: done; 1: waited for, to be tried again. */
static int judge(enum pf_io io, struct pf_channel *channel, const struct pf_greet *how, struct pf_err *err)
{
	if (io == PF_IO_OK)
		return 0;
	return io == PF_IO_AGAIN && wait_for(channel, how, err) == 0 ? 1 : -1;
}

int pf_greet_recv(struct pf_channel *channel, const struct pf_greet *how, struct pf_frame *out,
		  const uint8_t **out_body, struct pf_err *err)
{
	int more;

	do
		more = judge(pf_channel_recv(channel, out, out_body, err), channel, how, err);
	while (more > 0);
	return more;
}

int pf_greet_flush(struct pf_channel *channel, const struct pf_greet *how, struct pf_err *err)
{
	int more;

	do
		more = judge(pf_channel_flush(channel, err), channel, how, err);
	while (more > 0);
	return more;
}

int pf_greet_send(struct pf_channel *channel, const struct pf_greet *how, enum pf_frame_type type,
		  const void *body, size_t length, struct pf_err *err)
{
	struct pf_frame frame = {.type = (uint8_t)type, .length = (uint32_t)length};

	if (!pf_channel_put(channel, &frame, body))
		return pf_err_set(err, PF_ERR_PROTOCOL, "a first frame of %zu bytes", length);
	return pf_greet_flush(channel, how, err);
}

void pf_greet_refuse(struct pf_channel *channel, const struct pf_err *why)
{
	struct pf_frame frame = {.type = PF_FRAME_FAILURE};
	struct pf_err ignored;
	char reason[PF_REASON_MAX + 1];
	uint8_t body[512];

	pf_err_print(why, reason, sizeof(reason));
	frame.length = (uint32_t)pf_msg_pack_failure(reason, body, sizeof(body));
	if (pf_channel_put(channel, &frame, body))
		(void)pf_channel_flush(channel, &ignored);
}

void pf_greet_part(struct pf_channel *channel)
{
	struct pf_greet how = {.deadline_ns = pf_now_ns() + PARTING_NS, .cancel_fd = -1};
	struct pf_frame frame;
	const uint8_t *body;
	struct pf_err err;

	if (pf_greet_flush(channel, &how, &err))
		return;
	pf_fault(PF_FAULT_GOODBYE);
	pf_conn_goodbye(pf_channel_conn(channel));
	/* Nothing that is said now changes anything; a peer that never pauses must not be heard for ever. */
	while (pf_now_ns() < how.deadline_ns &&
	       pf_greet_recv(channel, &how, &frame, &body, &err) == 0)
		;
}
