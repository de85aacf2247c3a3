/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/relay.h - a TCP relay inside a namespace, which can stall and change bytes.
 *
 * What no qdisc does: TCP's checksum finds every byte that is changed below it, so that what is
 * to be found by the layers above has to be changed above it.  A relay that stalls reads no more,
 * and says nothing of ends and errors either until it flows again.
 *
 * One thread owns a relay and never blocks in it: it asks which descriptors to poll(2), and tells
 * what came of it.  An error of one connection ends that connection, by a reset to both.
 */
#ifndef PF_TESTS_NETFAULT_RELAY_H
#define PF_TESTS_NETFAULT_RELAY_H

#include <poll.h>

#include "net/room.h"
#include "tests/netfault/scenario.h"

#define NF_RELAY_PAIRS_MAX 32u
#define NF_RELAY_POLLS_MAX (1 + 2 * NF_RELAY_PAIRS_MAX)

struct nf_relay_pair;

struct nf_relay {
	int listener; /* -1: closed */
	const struct pf_room *room;
	struct sockaddr_storage target;
	bool stalled[2];      /* forward, back */
	uint64_t seed, taken; /* connections so far */
	unsigned pairs;
	struct nf_relay_pair *pair[NF_RELAY_PAIRS_MAX];
};

#define NF_RELAY_CLOSED ((struct nf_relay){.listener = -1})

/* The room is borrowed, and stays. */
PF_MUST_USE int nf_relay_open(struct nf_relay *relay, const struct pf_room *room,
			      const struct pf_endpoint *listen_on, const struct pf_endpoint *target,
			      uint64_t seed, struct pf_err *err);
void nf_relay_stall(struct nf_relay *relay, enum nf_way way);
/* One bit in about `period` bytes, of the connections that stand: later ones are not touched. */
void nf_relay_garble(struct nf_relay *relay, enum nf_way way, uint64_t period);
void nf_relay_flow(struct nf_relay *relay);

/* What to wait for: their number.  The array stands until nf_relay_turn(), which takes the results.
 */
unsigned nf_relay_polls(const struct nf_relay *relay, struct pollfd out[NF_RELAY_POLLS_MAX]);
void nf_relay_turn(struct nf_relay *relay, const struct pollfd polls[NF_RELAY_POLLS_MAX]);
void nf_relay_close(struct nf_relay *relay);

#endif
