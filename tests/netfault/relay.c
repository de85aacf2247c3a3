/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/relay.c - see tests/netfault/relay.h; poll(2), tcp(7). */
#include "tests/netfault/relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/tcp.h"

#define LANE_BYTES (64u << 10)

/* What came from one end and is for the other. */
struct lane {
	size_t have, sent;
	bool ended;	 /* that end says no more */
	bool passed;	 /* and the other one knows */
	uint64_t period; /* one bit is changed in about so many bytes; 0: none */
	uint64_t random, until_change;
	uint8_t bytes[LANE_BYTES];
};

struct nf_relay_pair {
	int end[2];	     /* who connected, the target */
	bool connecting;     /* the target's */
	struct lane lane[2]; /* from end[0], from end[1] */
};

/* xorshift64*: any seed but 0. */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static void next_change(struct lane *lane)
{
	lane->until_change = draw(&lane->random) % (2 * lane->period);
}

static int new_socket(const struct nf_relay *relay)
{
	struct pf_err err;
	int home, fd;

	if (pf_room_visit(relay->room, &home, &err))
		return -1;
	fd = socket(relay->target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (pf_room_leave(&home, &err))
		pf_close_fd(&fd);
	return fd;
}

int nf_relay_open(struct nf_relay *relay, const struct pf_room *room,
		  const struct pf_endpoint *listen_on, const struct pf_endpoint *target,
		  uint64_t seed, struct pf_err *err)
{
	struct sockaddr_storage bound;
	uint32_t found;
	int home, failed;

	*relay = NF_RELAY_CLOSED;
	relay->room = room;
	relay->seed = seed;
	if (pf_tcp_resolve(target, &relay->target, 1, &found, err) ||
	    pf_room_visit(room, &home, err))
		return -1;
	failed = pf_tcp_listen(listen_on, &relay->listener, &bound, err);
	if (pf_room_leave(&home, err))
		failed = -1;
	if (failed)
		pf_close_fd(&relay->listener);
	return failed;
}

static bool concerns(enum nf_way way, unsigned lane)
{
	return way == NF_BOTH || way == (lane == 0 ? NF_FORWARD : NF_BACK);
}

void nf_relay_stall(struct nf_relay *relay, enum nf_way way)
{
	for (unsigned i = 0; i < 2; i++)
		if (concerns(way, i))
			relay->stalled[i] = true;
}

static void garble_pair(struct nf_relay_pair *pair, enum nf_way way, uint64_t period)
{
	for (unsigned i = 0; i < 2; i++) {
		if (!concerns(way, i))
			continue;
		pair->lane[i].period = period;
		if (period)
			next_change(&pair->lane[i]);
	}
}

void nf_relay_garble(struct nf_relay *relay, enum nf_way way, uint64_t period)
{
	for (unsigned i = 0; i < relay->pairs; i++)
		garble_pair(relay->pair[i], way, period);
}

void nf_relay_flow(struct nf_relay *relay)
{
	relay->stalled[0] = relay->stalled[1] = false;
	nf_relay_garble(relay, NF_BOTH, 0);
}

static void close_pair(struct nf_relay_pair *pair, bool by_reset)
{
	const struct linger none = {.l_onoff = 1, .l_linger = 0};

	for (unsigned i = 0; i < 2; i++) {
		if (by_reset)
			setsockopt(pair->end[i], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		pf_close_fd(&pair->end[i]);
	}
	free(pair);
}

void nf_relay_close(struct nf_relay *relay)
{
	while (relay->pairs)
		close_pair(relay->pair[--relay->pairs], true);
	pf_close_fd(&relay->listener);
}

/* What is forwarded goes at once, as it came. */
static void tune(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* One connection; who cannot have a target is reset. */
static void take_connection(struct nf_relay *relay)
{
	struct nf_relay_pair *pair = calloc(1, sizeof(*pair));
	struct sockaddr_storage peer;
	int here = -1;

	if (!pair || pf_tcp_accept(relay->listener, &here, &peer)) {
		free(pair);
		return;
	}
	pair->end[0] = here;
	pair->end[1] = relay->pairs < NF_RELAY_PAIRS_MAX ? new_socket(relay) : -1;
	pair->connecting = true;
	if (pair->end[1] < 0 ||
	    (connect(pair->end[1], (struct sockaddr *)&relay->target, sizeof(relay->target)) != 0 &&
	     errno != EINPROGRESS)) {
		close_pair(pair, true);
		return;
	}
	tune(pair->end[0]);
	tune(pair->end[1]);
	relay->taken++;
	/* Never 0: the seed and the number of the connection, and the direction below them. */
	for (unsigned i = 0; i < 2; i++)
		pair->lane[i].random = ((relay->seed + relay->taken * 1000003) << 2) + 2 + i;
	relay->pair[relay->pairs++] = pair;
}

static void change_bits(struct lane *lane)
{
	size_t at = 0;

	while (lane->until_change < lane->have - at) {
		at += lane->until_change;
		lane->bytes[at++] ^= (uint8_t)(1u << draw(&lane->random) % 8);
		next_change(lane);
	}
	lane->until_change -= lane->have - at;
}

/* 0, or -1: the end is broken. */
static int receive(struct lane *lane, int fd)
{
	ssize_t got = recv(fd, lane->bytes, LANE_BYTES, 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	lane->ended = got == 0;
	lane->have = (size_t)got;
	lane->sent = 0;
	if (lane->period)
		change_bits(lane);
	return 0;
}

static int pass_on(struct lane *lane, int fd)
{
	while (lane->sent < lane->have) {
		ssize_t put =
			send(fd, lane->bytes + lane->sent, lane->have - lane->sent, MSG_NOSIGNAL);

		if (put < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		lane->sent += (size_t)put;
	}
	if (lane->ended && !lane->passed) {
		shutdown(fd, SHUT_WR);
		lane->passed = true;
	}
	return 0;
}

static int finish_connect(struct nf_relay_pair *pair)
{
	int error = 0;
	socklen_t length = sizeof(error);

	pair->connecting = false;
	getsockopt(pair->end[1], SOL_SOCKET, SO_ERROR, &error, &length);
	return error ? -1 : 0;
}

static short wanted(const struct nf_relay *relay, const struct nf_relay_pair *pair, unsigned end)
{
	const struct lane *from = &pair->lane[end], *to = &pair->lane[1 - end];
	short events = 0;

	if (end == 1 && pair->connecting)
		return relay->stalled[0] ? 0 : POLLOUT;
	if (!relay->stalled[end] && !from->ended && from->sent == from->have && !pair->connecting)
		events |= POLLIN;
	if (!relay->stalled[1 - end] && to->sent < to->have)
		events |= POLLOUT;
	return events;
}

unsigned nf_relay_polls(const struct nf_relay *relay, struct pollfd out[NF_RELAY_POLLS_MAX])
{
	unsigned count = 0;

	out[count++] = (struct pollfd){.fd = relay->listener, .events = POLLIN};
	for (unsigned i = 0; i < relay->pairs; i++) {
		const struct nf_relay_pair *pair = relay->pair[i];

		for (unsigned end = 0; end < 2; end++) {
			short events = wanted(relay, pair, end);

			/* Else poll(2) would tell of an error that nobody may hear of yet. */
			out[count++] = (struct pollfd){.fd = events ? pair->end[end] : -1,
						       .events = events};
		}
	}
	return count;
}

/* What one end has: 0, or -1: the connection is over. */
static int turn_end(struct nf_relay_pair *pair, unsigned end, short events)
{
	struct lane *from = &pair->lane[end], *to = &pair->lane[1 - end];

	if (events & POLLERR)
		return -1;
	if (end == 1 && pair->connecting)
		return events & POLLOUT ? finish_connect(pair) : 0;
	if (events & POLLIN) {
		if (receive(from, pair->end[end]) || pass_on(from, pair->end[1 - end]))
			return -1;
	}
	return events & POLLOUT && pass_on(to, pair->end[end]) ? -1 : 0;
}

void nf_relay_turn(struct nf_relay *relay, const struct pollfd polls[NF_RELAY_POLLS_MAX])
{
	unsigned kept = 0, before = relay->pairs;

	for (unsigned i = 0; i < before; i++) {
		struct nf_relay_pair *pair = relay->pair[i];
		const struct pollfd *poll = &polls[1 + 2 * i];
		bool broken =
			turn_end(pair, 0, poll[0].revents) || turn_end(pair, 1, poll[1].revents);

		if (broken || (pair->lane[0].passed && pair->lane[1].passed))
			close_pair(pair, broken);
		else
			relay->pair[kept++] = pair;
	}
	relay->pairs = kept;
	if (polls[0].revents & POLLIN)
		take_connection(relay);
}
