/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/network.h - the namespaces and interfaces of a scenario, and their faults.
 *
 *   network.c   namespaces, veth pairs, bridges, addresses, MTU, links up and down
 *   shape.c     cut, rate and netem: the qdiscs at an interface's root
 *   drop.c      a percentage lost: a classifier beside them
 *   reset.c     TCP connections destroyed
 *
 * All of it ends with the descriptors of the namespaces, so that a SIGKILL of this process removes
 * it too.  One thread; blocks only for the kernel's answers.  Errors are PF_ERR_SYSTEM.
 */
#ifndef PF_TESTS_NETFAULT_NETWORK_H
#define PF_TESTS_NETFAULT_NETWORK_H

#include "net/room.h"
#include "tests/netfault/plan.h"

struct nf_netem {
	bool on;
	uint64_t option[NF_OPTIONS_]; /* NF_DELAY to NF_CORRUPT; 0: not */
};

/* What is wrong with what an interface sends. */
struct nf_shape {
	bool cut;
	uint64_t bits; /* a second; 0: no limit */
	uint64_t burst, queue_ns;
	struct nf_netem netem;
};

struct nf_interface {
	int index; /* in its namespace */
	struct nf_shape shape;
	bool drops;
};

struct nf_network {
	struct nf_plan plan;
	struct pf_room room[NF_SPACES_MAX];
	struct nf_interface interface[NF_INTERFACES_MAX];
	uint64_t seed;
};

void nf_network_open(struct nf_network *network, uint64_t seed);
/*
 * Does what a statement says of namespaces, links and resets, or its plan alone if it is about
 * something else; *out_target says what its names mean.  *detail: what there is to say beside "ok".
 */
#define NF_DETAIL_MAX 128u
PF_MUST_USE int nf_network_do(struct nf_network *network, const struct nf_statement *statement,
			      struct nf_target *out_target, char detail[NF_DETAIL_MAX],
			      struct pf_err *err);
void nf_network_close(struct nf_network *network);

/* ---- shape.c ---- */

struct nl_msg;
struct tcmsg;
/* The beginning of a message to rtnetlink(7); NULL: out of memory. */
struct nl_msg *nf_tc_message(int type, const struct tcmsg *tc, const char *kind);
/* Replaces the qdiscs at the root; on -1 nothing is left there. */
PF_MUST_USE int nf_shape_set(struct pf_room *room, int index, const struct nf_shape *shape,
			     struct pf_err *err);

/* ---- drop.c ---- */

/* Loses ppm in a million of the packets sent by it, chosen by the seed and their order; 0: none. */
PF_MUST_USE int nf_drop_set(struct pf_room *room, int index, uint64_t ppm, uint64_t seed,
			    struct pf_err *err);

/* ---- reset.c ---- */

/* Destroys the TCP connections of the namespace; port 0: of any port, else local or remote. */
PF_MUST_USE int nf_reset(const struct pf_room *room, uint16_t port, unsigned *out_count,
			 struct pf_err *err);

#endif
