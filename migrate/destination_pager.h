/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_pager.h - the parts of the urgent thread, for one another.
 *
 * All of it runs in that thread; what main may call is in migrate/destination.h.
 */
#ifndef PF_MIGRATE_DESTINATION_PAGER_H
#define PF_MIGRATE_DESTINATION_PAGER_H

#include "migrate/destination.h"

static inline void pf_pager_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- destination_faults.c ---- */

/* Reads what is waiting into the rings, and handles none of it; false: a ring is full, perhaps the
 * one where the event would go that is in the way. */
bool pf_pager_drain(void *pager);
/* Reads and handles what has come, as pager->here says, stage-2 exits too. */
void pf_pager_read(struct pf_pager *pager);
/* Some was read and not handled: the window was full, or it was read because it was in a mapping's way. */
bool pf_pager_left(const struct pf_pager *pager);
/*
 * Maps FILLED pages.  While an event that only this thread reads is in the way (EAGAIN), it is read.
 * Where that does not help (a full ring; whoever discards does not get on) the
 * waiters are woken, and trap again: later, and behind the others.  false: it did not work, and
 * woken at once it would be tried again at once; main has been told.
 */
bool pf_pager_map(struct pf_pager *pager, const struct pf_run *run);
void pf_pager_wake(struct pf_pager *pager, const struct pf_run *run);
/* A fault where nothing is. */
void pf_pager_outside(struct pf_pager *pager, uint64_t address);

/* ---- destination_blocked.c ---- */

/* This vCPU waits for the page. */
void pf_blocked_note(struct pf_pager *pager, uint32_t vcpu, uint32_t region, uint64_t page);
/* The same of whoever trapped, if that is known; counts: and is counted by what it is. */
void pf_blocked_by_uffd(struct pf_pager *pager, uint32_t uffd, const struct pf_run *page,
			const struct uffd_msg *event, bool counts);

/* ---- destination_parked.c ---- */

/* Somebody waits for the page, and it can neither be placed nor mapped now.  The window has room. */
void pf_pager_park(struct pf_pager *pager, uint32_t region, uint64_t page);
/* The same of a page that is owed, whether somebody waits or not. */
void pf_pager_keep(struct pf_pager *pager, uint32_t region, uint64_t page);
/* A bulk thread could not place it, and has reserved room for it. */
void pf_pager_take_stuck(struct pf_pager *pager, const struct pf_run *page);
/* A bulk thread has filled these, could not map them, and has reserved room for them. */
void pf_pager_take_map(struct pf_pager *pager, const struct pf_run *run);
/* The last FILLED page that could not be mapped is: main hears that all are here. */
void pf_pager_tell_mapped(struct pf_pager *pager);
/* Tries them again, if it is time. */
void pf_pager_retry(struct pf_pager *pager);
/* The session was taken up: of what is owed, asks again for what is absent. */
void pf_pager_sort_out(struct pf_pager *pager);

/* ---- destination_answers.c ---- */

/* What main shows: what is owed now, and the bytes of all urgent connections so far. */
void pf_pager_publish(struct pf_pager *pager);
/* The connection goes, and main is told only by the second. */
void pf_pager_drop(struct pf_pager *pager);
void pf_pager_lose(struct pf_pager *pager, const struct pf_err *err);
/* Puts REQUEST frames.  true: there are more than the buffer holds. */
bool pf_pager_ask(struct pf_pager *pager);
/* true: there may be more; false: there is none until poll(2) says so. */
bool pf_pager_hear(struct pf_pager *pager);
/* The connection is of no more use, but what the source has said on it still counts: COMPLETE_ACK may
 * stand unread behind a REQUEST or a CREDIT that it did not wait for. */
void pf_pager_hear_out(struct pf_pager *pager, const struct pf_err *err);
void pf_pager_flush(struct pf_pager *pager);
/* Puts a sign of life when it is due; the peer's silence loses the connection. */
void pf_pager_beat(struct pf_pager *pager);

#endif
