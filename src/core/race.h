/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/race.h - attempts to connect that run beside each other: when one is due, who may speak.
 *
 * A new attempt at each address every 100 ms, or with back-off to 1 s where nobody waits for a page; at
 * most 8 are open.  A SYN that was dropped is sent again after a second and then three (RFC 6298), so that
 * what helps when a network heals is a fresh attempt: while all 8 are open the oldest makes room, once it
 * has had its time.  For an address that has none a place is made at once where another one has two; the SYN
 * that has waited longest there is not the one that goes.
 *
 * Where TCP stands a fresh attempt helps little: TLS takes what it takes, and on a host without processor
 * time eight beside each other would each take eight times as long and none end.  So the others that still
 * wait for TCP there must leave, and the next is begun after 250 ms, which are doubled, up to 2 s, each time
 * that another one is still at its TLS then.  It may be begun all the same, for a packet that was lost is
 * sent again later and later.  A handshake keeps its place, unless its address has two attempts and another
 * address none.  Where one is ready no further one is begun.
 *
 * One says HELLO at a time, since each that the destination hears takes the session from the one before;
 * the next may when that one has been silent for a second.  Pure; time is the caller's.
 */
#ifndef PF_CORE_RACE_H
#define PF_CORE_RACE_H

#include <stdbool.h>
#include <stdint.h>

#define PF_RACE_TRIES 8u     /* open at once */
#define PF_RACE_ADDRESSES 8u
#define PF_RACE_EVERY_NS UINT64_C(100000000)
#define PF_RACE_BACKOFF_NS UINT64_C(1000000000)
#define PF_RACE_LIFE_NS UINT64_C(5000000000)   /* of an attempt */
#define PF_RACE_TIME_NS UINT64_C(1500000000)   /* that it has for TCP before another may want its place */
#define PF_RACE_TLS_NS UINT64_C(250000000)     /* and for TLS before another is begun beside it */
#define PF_RACE_TLS_MAX_NS UINT64_C(2000000000)
#define PF_RACE_SPEECH_NS UINT64_C(1000000000) /* from HELLO to WELCOME, before another may try */

enum pf_race_state {
	PF_RACE_FREE,
	PF_RACE_CONNECTING, /* a name is looked up, or a SYN is under way */
	PF_RACE_SECURING,   /* TCP stands, TLS does not yet */
	PF_RACE_READY,	    /* TLS stands: it could say HELLO */
	PF_RACE_SPEAKING,
	PF_RACE_LEAVING, /* was told to end */
};

/* How an attempt ended that did not win. */
enum pf_race_end {
	PF_RACE_BROKE,	 /* no connection came about, or it is gone */
	PF_RACE_LATE,	 /* its life is over */
	PF_RACE_REFUSED, /* the address answered, and would say the same again at once */
};

struct pf_race {
	uint32_t addresses;
	bool eager; /* no back-off */
	struct {
		uint64_t next_ns; /* not before that another attempt */
		uint64_t soon_ns; /* nor before that where the latest one's connection breaks */
		uint64_t every_ns, tls_ns;
	} at[PF_RACE_ADDRESSES];
	struct {
		enum pf_race_state state;
		uint32_t address;
		uint64_t since_ns, spoke_ns;
	} attempt[PF_RACE_TRIES];
};

/* The first attempts are due at once. */
void pf_race_begin(struct pf_race *race, uint32_t addresses, bool eager, uint64_t now_ns);
/* An attempt is due, and there is room: it is CONNECTING in *out_slot from now on. */
bool pf_race_start(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot, uint32_t *out_address);
/* One is due and there is no room: who must leave, LEAVING from now on. */
bool pf_race_evict(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot);
/* Who may say HELLO now: SPEAKING from now on. */
bool pf_race_speaker(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot);
/* TCP stands.  A bit for each slot that must leave, LEAVING from now on.  Said again, or of one that is
 * LEAVING: nothing. */
uint32_t pf_race_connected(struct pf_race *race, uint32_t slot, uint64_t now_ns);
/* TLS stands.  Likewise. */
void pf_race_ready(struct pf_race *race, uint32_t slot);
void pf_race_over(struct pf_race *race, uint32_t slot, enum pf_race_end how, uint64_t now_ns);
/* When to ask again at the latest, if nothing ends before. */
uint64_t pf_race_wake_ns(const struct pf_race *race, uint64_t now_ns);

#endif
