/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/hostile/peer.c - reads a command a line, does it, and answers with a line.
 *
 *   open N                 TCP and TLS: connects (source), or takes the next one (destination)
 *   hello N [channel= channels= epoch= id= record= protocol= features= proof=right|wrong|old|none]
 *   welcome N [epoch= record= protocol= features= proof=right|wrong|old]
 *   frame N TYPE [...]     words.c says what; times= and step= repeat it; drip=MS sends it by bytes
 *   expect N TYPE          reads until a frame of that type, and shows it
 *   wait N MS              reads and drops what comes for so long
 *   gone N                 reads until the agent closes
 *   close N
 *
 * Answers: "ok ...", "gone ..." (the connection has ended, and why), "error ..." (the script is
 * wrong, or the agent was too slow).  See peer.h.
 */
#include "tests/hostile/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/tcp.h"
#include "net/wait.h"

struct peer {
	enum pf_side side;
	const char *tls_dir, *peer_name, *id;
	struct pf_endpoint endpoint;
	int listen_fd;
	uint32_t epoch; /* of the session: the last WELCOME's */
	uint8_t secret[PF_SECRET_BYTES], old_secret[PF_SECRET_BYTES];
	struct connection connection[PEER_CONNECTIONS];
};

static void answer(const char *format, ...) PF_PRINTF(1, 2);
static void answer(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* How it ended; what took too long is the script's trouble, not an end. */
static void answer_end(const struct pf_err *err)
{
	if (err->class == PF_ERR_SYSTEM && err->sys == ETIMEDOUT)
		answer("error too late: %s", err->text);
	else
		answer("gone %s", err->text[0] ? err->text : "closed");
}

static int tcp_of(struct peer *peer, uint64_t deadline_ns, int *out_fd, struct pf_err *err)
{
	struct sockaddr_storage from;

	if (peer->side == PF_SOURCE)
		return pf_tcp_connect(&peer->endpoint, deadline_ns, -1, out_fd, err);
	errno = pf_wait_fd(peer->listen_fd, POLLIN, deadline_ns, -1);
	if (errno || pf_tcp_accept(peer->listen_fd, out_fd, &from))
		return pf_err_sys(err, "accepting");
	return 0;
}

static void do_open(struct peer *peer, struct connection *connection, const struct words *words)
{
	struct pf_handshake how = {
		.tls_dir = peer->tls_dir,
		.side = peer->side,
		.peer_name = peer->peer_name,
		.deadline_ns = pf_now_ns() + PEER_PATIENCE_S * PF_NS_PER_S,
		.cancel_fd = -1,
		.rekey_records = words_number(words, "rekey", 0),
	};
	struct pf_err err = {0};
	int fd = -1;

	connection_close(connection);
	if (tcp_of(peer, how.deadline_ns, &fd, &err) ||
	    pf_conn_handshake(fd, &how, &connection->conn, &err))
		answer_end(&err);
	else
		answer("ok open");
}

/* The secret is that of the last connection on channel 0; what it was before stays for lies. */
static int new_secret(struct peer *peer, struct connection *connection, struct pf_err *err)
{
	memcpy(peer->old_secret, peer->secret, sizeof(peer->secret));
	return pf_session_secret(connection->conn, peer->secret, err);
}

static int make_proof(struct peer *peer, struct connection *connection, const struct words *words,
		      uint32_t epoch, uint32_t channel, uint8_t out[PF_PROOF_BYTES],
		      struct pf_err *err)
{
	const char *kind = words_text(words, "proof", "right");
	const uint8_t *secret = strcmp(kind, "old") == 0 ? peer->old_secret : peer->secret;

	if (pf_session_proof(connection->conn, secret, epoch, channel, peer->side, out, err))
		return -1;
	if (strcmp(kind, "wrong") == 0)
		out[PF_PROOF_BYTES - 1] ^= 1;
	return 0;
}

static int send_body(struct connection *connection, enum pf_frame_type type, const uint8_t *body,
		     size_t length, struct pf_err *err)
{
	uint8_t bytes[PF_FRAME_HEADER_BYTES + 512];
	struct pf_frame frame = {.type = (uint8_t)type, .length = (uint32_t)length};

	pf_frame_encode(&frame, bytes);
	memcpy(bytes + PF_FRAME_HEADER_BYTES, body, length);
	return connection_send(connection, bytes, PF_FRAME_HEADER_BYTES + length, err);
}

static void do_hello(struct peer *peer, struct connection *connection, const struct words *words)
{
	uint32_t channel = (uint32_t)words_number(words, "channel", 0);
	struct pf_msg_hello hello = {
		.protocol = (uint32_t)words_number(words, "protocol", PF_WIRE_PROTOCOL),
		.channel = channel,
		.channels = (uint32_t)words_number(words, "channels", 1),
		.epoch = (uint32_t)words_number(words, "epoch", channel ? peer->epoch : 0),
		.record = pf_record_parse(words_text(words, "record", "NONE")),
		.has_proof = strcmp(words_text(words, "proof", ""), "none") != 0,
		.software = "pageferry-peer",
		.features = words_number(words, "features", 0),
	};
	struct pf_err err = {0};
	uint8_t body[512];

	hello.has_proof = hello.has_proof && hello.epoch > 0;
	snprintf(hello.id, sizeof(hello.id), "%s", words_text(words, "id", peer->id));
	if ((channel == 0 && hello.epoch == 0 && new_secret(peer, connection, &err)) ||
	    (hello.has_proof && make_proof(peer, connection, words, hello.epoch, channel,
					   hello.proof, &err)) ||
	    send_body(connection, PF_FRAME_HELLO, body,
		      pf_msg_pack_hello(&hello, body, sizeof(body)), &err))
		answer_end(&err);
	else
		answer("ok hello");
}

static void do_welcome(struct peer *peer, struct connection *connection, const struct words *words)
{
	uint32_t channel = (uint32_t)words_number(words, "channel", 0);
	struct pf_msg_welcome welcome = {
		.protocol = (uint32_t)words_number(words, "protocol", PF_WIRE_PROTOCOL),
		.epoch = (uint32_t)words_number(words, "epoch", peer->epoch + (channel == 0)),
		.record = pf_record_parse(words_text(words, "record", "NONE")),
		.has_proof = strcmp(words_text(words, "proof", ""), "none") != 0,
		.software = "pageferry-peer",
		.features = words_number(words, "features", 0),
	};
	struct pf_err err = {0};
	uint8_t body[512];

	peer->epoch = welcome.epoch;
	/* resume: as one that knows the session; without a secret of the source's that is the next best. */
	if ((channel == 0 && !words_number(words, "resume", 0) && new_secret(peer, connection, &err)) ||
	    make_proof(peer, connection, words, welcome.epoch, channel, welcome.proof, &err) ||
	    send_body(connection, PF_FRAME_WELCOME, body,
		      pf_msg_pack_welcome(&welcome, body, sizeof(body)), &err)) {
		answer_end(&err);
		return;
	}
	connection->epoch = welcome.epoch;
	answer("ok welcome");
}

static void note_welcome(struct peer *peer, struct connection *connection,
			 const struct seen_frame *frame)
{
	struct pf_msg_welcome welcome;
	struct pf_err err;

	if (pf_msg_unpack_welcome(frame->body, frame->header.length, &welcome, &err) == 0)
		peer->epoch = connection->epoch = welcome.epoch;
}

static void answer_frame(const struct pf_frame *frame)
{
	answer("ok %s region=%u page=%llu count=%u extra=%u length=%u epoch=%u",
	       pf_frame_name(frame->type), frame->region, (unsigned long long)frame->page,
	       frame->count, frame->extra, frame->length, frame->epoch);
}

static void do_expect(struct peer *peer, struct connection *connection, const struct words *words)
{
	uint8_t wanted = words->count > 2 ? words_type(words->word[2]) : 0;
	char failure[PF_REASON_MAX + 1];
	struct seen_frame frame;
	struct pf_err err = {0};

	for (;;) {
		if (connection_recv(connection, &frame, &err)) {
			answer_end(&err);
			return;
		}
		if (frame.header.type == PF_FRAME_WELCOME)
			note_welcome(peer, connection, &frame);
		if (frame.header.type == wanted) {
			answer_frame(&frame.header);
			return;
		}
		if (frame.header.type == PF_FRAME_FAILURE) {
			if (pf_msg_unpack_failure(frame.body, frame.header.length, failure, &err))
				failure[0] = '\0';
			answer("gone FAILURE: %s", failure);
			return;
		}
	}
}

/* One byte at a time: as slowly as that, unless the agent has enough of it before. */
static int drip(struct connection *connection, const struct raw_frame *frame, uint64_t ms,
		struct pf_err *err)
{
	for (size_t i = 0; i < frame->length; i++)
		if (connection_send(connection, frame->bytes + i, 1, err) ||
		    connection_wait(connection, ms * PF_NS_PER_MS, err))
			return -1;
	return 0;
}

static void do_frame(struct peer *peer, struct connection *connection, const struct words *words)
{
	static struct raw_frame frame;
	uint64_t times = words_number(words, "times", 1), step = words_number(words, "step", 0);
	uint64_t drip_ms = words_number(words, "drip", 0), page = words_number(words, "page", 0);
	struct pf_err err = {0};
	int failed = 0;

	(void)peer;
	if (!words_frame(words, connection->epoch, &frame)) {
		answer("error no such frame");
		return;
	}
	for (uint64_t i = 0; i < times && !failed; i++) {
		failed = drip_ms ? drip(connection, &frame, drip_ms, &err) :
				   connection_send(connection, frame.bytes, frame.length, &err);
		page += step;
		for (unsigned k = 0; step && k < 8; k++)
			frame.bytes[16 + k] = (uint8_t)(page >> (56 - 8 * k));
	}
	if (failed)
		answer_end(&err);
	else
		answer("ok sent");
}

static void do_wait(struct peer *peer, struct connection *connection, const struct words *words)
{
	uint64_t ms = words->count > 2 ? strtoull(words->word[2], NULL, 0) : 0;
	struct pf_err err = {0};

	(void)peer;
	if (connection_wait(connection, ms * PF_NS_PER_MS, &err))
		answer_end(&err);
	else
		answer("ok stands");
}

static void do_gone(struct peer *peer, struct connection *connection, const struct words *words)
{
	struct pf_err err = {0};

	(void)peer, (void)words;
	if (connection_wait(connection, PEER_PATIENCE_S * PF_NS_PER_S, &err) == 0)
		answer("error the connection still stands");
	else
		answer_end(&err);
}

static void do_close(struct peer *peer, struct connection *connection, const struct words *words)
{
	(void)peer, (void)words;
	connection_close(connection);
	answer("ok closed");
}

static const struct {
	const char *name;
	void (*run)(struct peer *peer, struct connection *connection, const struct words *words);
} commands[] = {
	{"open", do_open},   {"hello", do_hello}, {"welcome", do_welcome}, {"expect", do_expect},
	{"frame", do_frame}, {"wait", do_wait},	  {"gone", do_gone},	   {"close", do_close},
};

static void obey(struct peer *peer, char *line)
{
	struct connection *connection;
	struct words words;
	unsigned long number;

	words_split(line, &words);
	number = words.count > 1 ? strtoul(words.word[1], NULL, 10) : PEER_CONNECTIONS;
	if (number >= PEER_CONNECTIONS) {
		answer("error no such connection");
		return;
	}
	connection = &peer->connection[number];
	for (size_t i = 0; i < PF_ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, words.word[0]) != 0)
			continue;
		if (!connection->conn && i > 0)
			answer("gone not open");
		else
			commands[i].run(peer, connection, &words);
		return;
	}
	answer("error no such command");
}

static int set_up(struct peer *peer, char **argv, struct pf_err *err)
{
	struct sockaddr_storage bound;
	char address[PF_ENDPOINT_TEXT_MAX];

	peer->side = strcmp(argv[1], "source") == 0 ? PF_SOURCE : PF_DESTINATION;
	peer->tls_dir = argv[3];
	peer->peer_name = argv[4];
	peer->id = argv[5];
	peer->listen_fd = -1;
	if (pf_endpoint_parse(argv[2], &peer->endpoint, err))
		return -1;
	if (peer->side == PF_SOURCE)
		return 0;
	if (pf_tcp_listen(&peer->endpoint, &peer->listen_fd, &bound, err))
		return -1;
	pf_sockaddr_print(&bound, address);
	answer("ok %s", address);
	return 0;
}

int main(int argc, char **argv)
{
	static struct peer peer;
	static char line[4096];
	struct pf_err err;

	if (argc != 6) {
		fprintf(stderr, "usage: %s source|destination ADDR:PORT TLS-DIR PEER-NAME ID\n",
			argv[0]);
		return 64;
	}
	if (set_up(&peer, argv, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return 71;
	}
	while (fgets(line, sizeof(line), stdin))
		obey(&peer, line);
	for (unsigned i = 0; i < PEER_CONNECTIONS; i++)
		connection_close(&peer.connection[i]);
	pf_close_fd(&peer.listen_fd);
	return 0;
}
