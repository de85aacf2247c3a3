/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/hostile/connection.c - bytes on a TLS connection; see peer.h.  Blocks until a deadline. */
#include "tests/hostile/peer.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "net/wait.h"

static int wait_until(const struct connection *connection, uint64_t deadline_ns, struct pf_err *err)
{
	int failure = pf_wait_fd(pf_conn_fd(connection->conn), pf_conn_wants(connection->conn),
				 deadline_ns, -1);

	if (failure == 0)
		return 0;
	errno = failure;
	return pf_err_sys(err, "waiting for the agent");
}

/* What the agent says meanwhile is not read: a peer that floods does not listen. */
int connection_send(struct connection *connection, const uint8_t *bytes, size_t length,
		    struct pf_err *err)
{
	uint64_t deadline = pf_now_ns() + PEER_PATIENCE_S * PF_NS_PER_S;

	while (length > 0) {
		size_t done = 0;

		switch (pf_conn_write(connection->conn, bytes, length, &done, err)) {
		case PF_IO_OK:
			bytes += done;
			length -= done;
			break;
		case PF_IO_AGAIN:
			if (wait_until(connection, deadline, err))
				return -1;
			break;
		default:
			return -1;
		}
	}
	return 0;
}

static int read_some(struct connection *connection, uint64_t deadline_ns, struct pf_err *err)
{
	size_t done = 0;

	for (;;) {
		switch (pf_conn_read(connection->conn, connection->in + connection->have,
				     sizeof(connection->in) - connection->have, &done, err)) {
		case PF_IO_OK:
			connection->have += done;
			return 0;
		case PF_IO_AGAIN:
			if (wait_until(connection, deadline_ns, err))
				return -1;
			break;
		default:
			return -1;
		}
	}
}

static uint64_t big_endian(const uint8_t *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | in[i];
	return value;
}

static size_t whole_frame(const struct connection *connection)
{
	if (connection->have < PF_FRAME_HEADER_BYTES)
		return PF_FRAME_HEADER_BYTES;
	return PF_FRAME_HEADER_BYTES + (size_t)big_endian(connection->in + 12, 4);
}

int connection_recv(struct connection *connection, struct seen_frame *out, struct pf_err *err)
{
	static uint8_t frame[sizeof(connection->in)];
	uint64_t deadline = pf_now_ns() + PEER_PATIENCE_S * PF_NS_PER_S;
	size_t whole;

	while (connection->have < (whole = whole_frame(connection))) {
		if (whole > sizeof(connection->in))
			return pf_err_set(err, PF_ERR_PROTOCOL, "the agent sent %zu bytes", whole);
		if (read_some(connection, deadline, err))
			return -1;
	}
	memcpy(frame, connection->in, whole);
	connection->have -= whole;
	memmove(connection->in, connection->in + whole, connection->have);
	out->header = (struct pf_frame){
		.type = frame[3],
		.region = (uint16_t)big_endian(frame + 4, 2),
		.epoch = (uint32_t)big_endian(frame + 8, 4),
		.length = (uint32_t)big_endian(frame + 12, 4),
		.page = big_endian(frame + 16, 8),
		.count = (uint32_t)big_endian(frame + 24, 4),
		.extra = (uint32_t)big_endian(frame + 28, 4),
	};
	out->body = frame + PF_FRAME_HEADER_BYTES;
	return 0;
}

int connection_wait(struct connection *connection, uint64_t ns, struct pf_err *err)
{
	uint64_t deadline = pf_now_ns() + ns;

	for (;;) {
		connection->have = 0;
		if (read_some(connection, deadline, err) == 0)
			continue;
		return err->class == PF_ERR_SYSTEM && err->sys == ETIMEDOUT ? 0 : -1;
	}
}

void connection_close(struct connection *connection)
{
	pf_conn_close(connection->conn);
	memset(connection, 0, sizeof(*connection));
}
