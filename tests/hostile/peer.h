/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/hostile/peer.h - a peer with a valid certificate that says whatever its script says.
 *
 *   peer.c         the script: a command a line on stdin, an answer a line on stdout
 *   connection.c   TLS connections, bytes in and out, with deadlines
 *   words.c        a command's words, and the frame that they describe
 *
 * The handshake, HELLO's proof and the bodies are made with the project's own net/ and wire/, so that
 * what is refused is refused for the lie alone.  One thread.
 */
#ifndef PF_TESTS_HOSTILE_PEER_H
#define PF_TESTS_HOSTILE_PEER_H

#include "net/session.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define PEER_CONNECTIONS 16u
#define PEER_WORDS_MAX 24u
#define PEER_PATIENCE_S 30u

/* ---- words.c ---- */

/* "frame 0 PAGES page=5 body=4096": what stands before the first '=' pair, then the pairs. */
struct words {
	unsigned count;
	char *word[PEER_WORDS_MAX];
};

void words_split(char *line, struct words *out);
/* The value of name=VALUE, or otherwise. */
const char *words_text(const struct words *words, const char *name, const char *otherwise);
uint64_t words_number(const struct words *words, const char *name, uint64_t otherwise);
/* A type by its name or number; 0: there is none. */
uint8_t words_type(const char *text);

struct raw_frame {
	size_t length; /* header and body */
	uint8_t bytes[PF_FRAME_HEADER_BYTES + (1u << 20)];
};
/* A header as told, and a body: hex=, body=LENGTH, regions=, paused=, verdict=, failure=.  false: the
 * words make no sense. */
bool words_frame(const struct words *words, uint32_t epoch, struct raw_frame *out);

/* ---- connection.c ---- */

struct connection {
	struct pf_conn *conn; /* NULL: not open */
	uint32_t epoch;
	size_t have; /* bytes in `in` */
	uint8_t in[PF_FRAME_HEADER_BYTES + PF_BULK_BODY_MAX];
};

struct seen_frame {
	struct pf_frame header; /* as it came, unjudged */
	const uint8_t *body;	/* until the next receive */
};

/* -1: the connection has ended, err says how. */
int connection_send(struct connection *connection, const uint8_t *bytes, size_t length,
		    struct pf_err *err);
int connection_recv(struct connection *connection, struct seen_frame *out, struct pf_err *err);
/* Throws away what comes for so long; -1: the connection has ended. */
int connection_wait(struct connection *connection, uint64_t ns, struct pf_err *err);
void connection_close(struct connection *connection);

#endif
