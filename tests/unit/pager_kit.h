/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/pager_kit.h - the destination's real urgent and bulk threads between a VMM process and a
 * source that the test plays.
 *
 * Memory, userfaultfds, journal, rings, TLS and the threads are the real ones; the test is the main
 * thread (it reads the inbox) and the source (it reads requests and answers them).  Every call fails
 * the test when its deadline passes or a connection is lost.  For the main thread.
 */
#ifndef PF_TESTS_PAGER_KIT_H
#define PF_TESTS_PAGER_KIT_H

#include "memhelp.h"
#include "migrate/destination.h"
#include "netkit.h"
#include "rows.h"

#define PK_EPOCH 1u
#define PK_BULKS 2u

struct pk_how {
	const struct memory_row *row; /* whose file memfd is; NULL: memfd */
	uint64_t pages;	    /* of the one region, in the row's size */
	uint64_t beyond;    /* pages of the mapping that are in no region */
	uint32_t mappings;  /* 0: one */
	uint64_t features;  /* UFFDIO_API's */
	int memfd;	    /* 0: a new one; VMM_PRIVATE */
	bool hold;	    /* the guest is not the thread's until pk_give() */
	bool offline;	    /* no connection until pk_connect() */
};

struct pager_kit {
	int dirfd;
	struct vmm vmm;
	struct pf_guest guest;
	struct pf_mailbox inbox; /* main's */
	_Atomic bool filled_told;
	struct pf_pager pager;
	struct pf_assembly assembly[PK_BULKS + 1];
	struct pf_channel *urgent; /* the source's end */
	struct pf_link bulk[PK_BULKS];
	struct pf_receiver receiver[PK_BULKS];
	struct pf_channel *push[PK_BULKS]; /* the source's ends */
};

/* In a group of tests with kit_make_tls(). */
void pk_open(struct pager_kit *kit, const struct pk_how *how);
void pk_close(struct pager_kit *kit);
void pk_give(struct pager_kit *kit);
/* The urgent connection; the regions are agreed on. */
void pk_connect(struct pager_kit *kit);
/* Another urgent connection takes its place, with which the session is taken up. */
void pk_resume(struct pager_kit *kit);
/* Bulk connection i + 1.  may_push: RUN was said. */
void pk_connect_bulk(struct pager_kit *kit, uint32_t i, bool may_push);

/* Asked by a placer's step: is this bulk thread 1? */
bool pk_is_bulk_thread(void);
/* The next REQUEST's page; it must be for one page. */
uint64_t pk_request(struct pager_kit *kit);
/* The same, if there is one already. */
bool pk_try_request(struct pager_kit *kit, uint64_t *out_page);
/* Sends one frame on a channel, to its last byte. */
void pk_send(struct pf_channel *channel, struct pf_frame frame, const void *body);
/* The same for any thread: false if the connection is gone, or nobody reads. */
bool pk_try_send(struct pf_channel *channel, struct pf_frame frame, const void *body);
/* Pages with their own content (page_word()), on urgent or push. */
void pk_pages(struct pf_channel *channel, uint64_t first, uint32_t count);
void pk_page_error(struct pf_channel *channel, uint64_t page, int sys);

/* The next mail of a kind; others are dropped, but PF_MAIL_DOWN fails the test.  Freed by the caller. */
struct pf_mail pk_mail(struct pager_kit *kit, enum pf_mail_kind kind);
/* Waits until a page is in a state. */
void pk_await_state(struct pager_kit *kit, uint64_t page, enum pf_page_state state);
/* Waits until so many pages are counted as FILLED, which a thread does after the page is, and no more are. */
void pk_await_filled(struct pager_kit *kit, uint64_t pages);
/* The next reply of a VMM's thread, which must be a whole page of this word. */
void pk_reply_word(struct pager_kit *kit, uint64_t page, uint64_t word);
/* Has a thread read a page that only the source has, and answers it: whatever was posted, sent or
 * trapped before has been dealt with then. */
void pk_barrier(struct pager_kit *kit, uint64_t page);

#endif
