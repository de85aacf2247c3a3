/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/requests.h - the pages that have been asked for and have not come: what is owed.
 *
 * A fixed table of the destination's urgent thread; no allocation, never blocks.  It knows when each
 * page was asked for, which gives the latency, and which were not sent yet or must be sent again on
 * a new connection.  A page that came and could not be placed or mapped is *parked*: somebody still
 * waits for it, and a little later it is tried again.  One that a bulk thread could not place is *handed
 * on*: nobody waits for it as far as is known, so it has no latency, and is tried less and less often.
 * The room that these can take is half of the window, and any thread reserves it.  One whose bytes are in
 * the file, and that cannot be mapped, is *unmapped* beside that, and holds the end of the migration.
 */
#ifndef PF_MIGRATE_REQUESTS_H
#define PF_MIGRATE_REQUESTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PF_REQUESTS_OPEN_MAX 4096u /* the window: the source refuses more (WIRE.md) */
#define PF_REQUESTS_HANDED_MAX (PF_REQUESTS_OPEN_MAX / 2)
#define PF_REQUESTS_SLOTS (PF_REQUESTS_OPEN_MAX * 2)
#define PF_REQUESTS_AGAIN_NS UINT64_C(100000000) /* the first time; doubled, six times at most */

struct pf_request {
	bool used : 1, sent : 1, parked : 1; /* parked: not sent, and not to be sent yet */
	bool unmapped : 1;		     /* FILLED, and mapping it did not work */
	uint8_t handed;		 /* handed on, and tried so often; 0: somebody waits */
	uint32_t region;
	uint64_t page;
	uint64_t since_ns; /* handed on and parked: until then */
};

struct pf_requests {
	uint32_t open, unsent, parked, handed; /* open: all; the other three are parts of it */
	_Atomic uint32_t reserved; /* handed ones, and those on their way here */
	_Atomic uint32_t unmapped; /* those that are, and pages on their way here to be mapped */
	bool mapped_all;	   /* the last of them is: told when the owner has looked at it */
	uint32_t scan; /* where the search for an unsent one begins: the one opened last */
	struct pf_request slot[PF_REQUESTS_SLOTS]; /* open addressing, linear probing */
};

static inline bool pf_requests_full(const struct pf_requests *requests)
{
	return requests->open >= PF_REQUESTS_OPEN_MAX;
}

/* Opens one that is not open yet, or is and was handed on: somebody waits now.  The table must not be
 * full. */
void pf_requests_open(struct pf_requests *requests, uint32_t region, uint64_t page,
		      uint64_t now_ns);
/* It was asked for on this connection and has not been closed. */
bool pf_requests_owed(const struct pf_requests *requests, uint32_t region, uint64_t page);
/* The page has come.  false: it was not open, or nobody waited; else *out_since_ns is since when. */
bool pf_requests_close(struct pf_requests *requests, uint32_t region, uint64_t page,
		       uint64_t *out_since_ns);
/*
 * One that has not been sent, or NULL, also while as many are sent as the source takes; the caller sends
 * it and calls pf_requests_sent().  Cheap for the one that was opened last; a search through the table
 * after a reconnect.
 */
struct pf_request *pf_requests_next(struct pf_requests *requests);
void pf_requests_sent(struct pf_requests *requests, struct pf_request *request);
/* Keeps one open, or opens it (the table must not be full then), and holds it back. */
void pf_requests_park(struct pf_requests *requests, uint32_t region, uint64_t page,
		      uint64_t now_ns);
/* Any thread: room for a page that is to be handed on.  false: there is none. */
PF_MUST_USE bool pf_requests_reserve(struct pf_requests *requests);
/* Any thread: room for pages that are FILLED already, whether or not there is any: the caller then waits while it is
 * overbooked, so that it is by a run of each bulk thread at most, for which the table has slots. */
void pf_requests_overbook(struct pf_requests *requests, uint32_t pages);
PF_MUST_USE bool pf_requests_overbooked(struct pf_requests *requests);
/* They need not be handed on after all. */
void pf_requests_release(struct pf_requests *requests, uint32_t pages);
/* Any thread: so many FILLED pages are on their way here to be mapped, or will not come after all. */
void pf_requests_map_begin(struct pf_requests *requests, uint32_t pages);
void pf_requests_map_forget(struct pf_requests *requests, uint32_t pages);
/* The owner: those have been dealt with. */
void pf_requests_map_end(struct pf_requests *requests, uint32_t pages);
/* The page is open, FILLED, and could not be mapped: until it is closed, or absent again. */
void pf_requests_unmapped(struct pf_requests *requests, uint32_t region, uint64_t page);
bool pf_requests_is_unmapped(const struct pf_requests *requests, uint32_t region, uint64_t page);
/* Any thread: every FILLED page is mapped, as far as is known. */
bool pf_requests_all_mapped(struct pf_requests *requests);
/* Parks a page that room was reserved for; that room is free again once somebody waits for the page, or
 * it is closed. */
void pf_requests_hand_on(struct pf_requests *requests, uint32_t region, uint64_t page,
			 uint64_t now_ns);
/* It is open, and nobody waits for it. */
bool pf_requests_handed(const struct pf_requests *requests, uint32_t region, uint64_t page);
enum pf_retry {
	PF_RETRY_SEND, /* to be asked for again */
	PF_RETRY_KEEP, /* no better yet */
	PF_RETRY_UNMAPPED, /* the same, and it is FILLED */
	PF_RETRY_DONE, /* its page is there: closed */
};
/* Has `judge` say what becomes of each parked one that is due; it must not call back. */
void pf_requests_retry(struct pf_requests *requests, uint64_t now_ns,
		       enum pf_retry (*judge)(void *opaque, const struct pf_request *request),
		       void *opaque);
/* Every open one is held back, to be judged by pf_requests_retry(). */
void pf_requests_park_all(struct pf_requests *requests, uint64_t now_ns);
/* A new connection: every open one must be sent again. */
void pf_requests_resend(struct pf_requests *requests);

#endif
