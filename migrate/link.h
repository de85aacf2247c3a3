/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/link.h - a thread that owns one channel, and the mail between it and the main thread.
 *
 * The thread polls its connection and its outbox, and looks into either only when poll(2) says so, since a
 * system call is what costs: it sends the control frames that main posts, hands received frames to its
 * user, and lets the user produce frames (answers, push) whenever the connection can take them.  It ends when it is told to, or when the connection does; then main gets
 * one PF_MAIL_DOWN.  Nobody else touches the channel meanwhile.
 */
#ifndef PF_MIGRATE_LINK_H
#define PF_MIGRATE_LINK_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mailbox.h"
#include "base/spin.h"
#include "core/pulse.h"
#include "core/stall.h"
#include "net/channel.h"

#define PF_FRAMES_AT_ONCE 32u	/* taken from a connection before something else gets its turn */
#define PF_LAST_WORD_TURNS 64u	/* of these: what a socket buffer can hold */

enum pf_mail_kind {
	/* main -> a thread */
	PF_MAIL_SEND = 1, /* number: frame type; data: body */
	PF_MAIL_STOP,	  /* number: 1 to flush what is there first; then end */
	PF_MAIL_GO_ON,	  /* destination, the session was taken up: urgent: ask again, data as EXPECT's; bulk 1:
			     say what was received */
	PF_MAIL_EXPECT,	  /* destination urgent: say REGIONS_OK; data: const struct pf_region_table *[1] */
	PF_MAIL_WATCH,	  /* judge the peer's silence; data: const _Atomic uint64_t *[1] */
	PF_MAIL_SERVE,	  /* source urgent: answer requests from now on */
	PF_MAIL_STATE,	  /* source bulk 1: send the device state; data: struct pf_mail_state */
	PF_MAIL_PUSH,	  /* source bulk: push pages from now on */
	PF_MAIL_CHANNEL,  /* destination urgent: data: struct pf_channel *[1], now its own */
	PF_MAIL_DETACH,	  /* urgent: hear the connection out, then PF_MAIL_DOWN;
			     data: struct pf_err, the reason; at the destination, or none */
	PF_MAIL_GUEST,	  /* destination urgent: data: struct pf_guest *[1], armed */
	PF_MAIL_RESET,	  /* destination urgent: drop the connection and every page */
	PF_MAIL_MAP,	  /* a bulk thread -> destination urgent: data: struct pf_run, FILLED */
	PF_MAIL_ANSWER,	  /* the same, and mapped: a vCPU may wait for it */
	PF_MAIL_NOTHING,  /* asks for nothing but to be taken: migrate/watchdog.h */
	PF_MAIL_STUCK,	  /* the same way: data: struct pf_run of one page, ABSENT: cannot be placed now */
	/* a thread -> main */
	PF_MAIL_FRAME = 64, /* number: frame type; data: body */
	PF_MAIL_DOWN,	    /* data: struct pf_err; the thread ends */
	PF_MAIL_SUSPECT,    /* number: of a link; nothing was heard for a while */
	PF_MAIL_TRUST,	    /* number: of that link; now it was */
	PF_MAIL_CONNECTED,  /* source connect thread: data: struct pf_connected */
	PF_MAIL_MET,	    /* source race thread: data: struct pf_met (migrate/source_race.h) */
	PF_MAIL_BULK,	    /* source race thread: data: struct pf_met_bulk */
	PF_MAIL_BULK_LOST,  /* source race thread: data: struct pf_err; no such connection can be made */
	PF_MAIL_TRIED,	    /* source race thread: data: struct pf_tried */
	PF_MAIL_MISSED,	    /* source connect thread: data: struct pf_err; it tries again */
	PF_MAIL_RECEIVED,   /* source bulk 1: the received bitmap is complete */
	PF_MAIL_GIVE_UP,    /* source connect thread: data: struct pf_err */
	PF_MAIL_GREETING,   /* destination accept thread: data: struct pf_greeting */
	PF_MAIL_STRANGER,   /* destination accept thread: data: struct pf_stranger */
	PF_MAIL_STATE_HERE, /* destination bulk 1: data: struct pf_mail_state */
	PF_MAIL_FILLED,	    /* destination: the last page was filled */
	PF_MAIL_VMM_GONE,   /* destination: the VMM's address space is gone */
	PF_MAIL_TROUBLE,    /* data: struct pf_mail_page; destination: it could not be placed; source: not read now */
	PF_MAIL_PAGE_LOST,  /* destination: data: struct pf_mail_page; the source cannot read it */
	PF_MAIL_RESET_FAILED, /* destination: data: struct pf_err; the pages could not be dropped */
	PF_MAIL_UNEXPECTED, /* destination: data: struct pf_mail_page; it was there before it came */
	PF_MAIL_VMM_WRONG,  /* destination: data: struct pf_err, what the VMM broke on the fault socket */
	PF_MAIL_OUTSIDE,    /* destination: data: uint64_t[1], a fault outside every region */
};

struct pf_mail_state {
	int fd; /* at the destination the receiver's; at the source it stays main's */
	uint64_t size;
};

struct pf_mail_page {
	uint32_t region, sys; /* sys: errno */
	uint64_t page;
};

struct pf_link;

/* What makes one kind of link differ from another; all run in the link's thread. */
struct pf_link_user {
	/* A frame arrived.  -1 ends the connection, with err as the reason. */
	int (*frame)(void *opaque, struct pf_link *link, const struct pf_frame *frame,
		     const uint8_t *body, struct pf_err *err);
	/* Mail other than SEND and STOP; the caller frees its data.  NULL: there is none. */
	void (*mail)(void *opaque, struct pf_link *link, struct pf_mail *mail);
	/*
	 * Put frames into the channel; called when its buffer is empty.  1: some were put, or more
	 * are to come; 0: nothing to send; -1 ends the connection.
	 */
	int (*produce)(void *opaque, struct pf_link *link, struct pf_err *err);
};

struct pf_link {
	struct pf_channel *channel; /* the thread's while it runs */
	struct pf_mailbox outbox;   /* main -> thread */
	struct pf_mailbox *inbox;   /* thread -> main */
	uint32_t number;	    /* 0: urgent, 1..: bulk */
	uint32_t origin;	    /* put into every mail, so that main knows old ones */
	const struct pf_link_user *user;
	void *opaque;
	struct pf_spin spin; /* main may set its limit, which is 0 at first */
	struct pf_pulse pulse; /* urgent; off until PF_MAIL_WATCH */
	struct pf_stall stall; /* bulk; likewise */
	bool mail_here, frames_here; /* as far as is known: there may be */
	uint64_t wake_ns; /* produce() has nothing to send before then; 0: ask when woken */
	/* Agreed with the peer; NULL before.  Set by main before the peer can learn of it, and read when a frame has
	 * come (pf_channel_follow()), so that none can overtake it. */
	_Atomic(const struct pf_region_table *) agreed;
	char name[16]; /* of the thread, pthread_setname_np(3) */
	pthread_t thread;
	bool started, stopping, goodbye;
	bool refuses; /* what ends it: the peer is told why, by FAILURE, once main knows */
	bool joined; /* main's */
	_Atomic bool stop; /* set before the STOP mail, for a thread that waits elsewhere */
};

/* Takes over the channel (freed on failure too) and starts the thread, named `name`. */
PF_MUST_USE int pf_link_start(struct pf_link *link, struct pf_channel *channel,
			      struct pf_mailbox *inbox, uint32_t number, uint32_t origin,
			      const struct pf_link_user *user, void *opaque, const char *name,
			      struct pf_err *err);
/* Main: tells it to end, and does not wait: of several, each is told before the first is joined. */
void pf_link_end(struct pf_link *link, bool goodbye);
/* Main: ends it and waits: what it has counted is final then, and its channel still there.  Takes a link
 * that never started, or is joined already. */
void pf_link_join(struct pf_link *link, bool goodbye);
/* Main: as pf_link_join(), and frees the channel.  goodbye: what was posted is sent first,
 * within 2 s; else the connection is taken for dead. */
void pf_link_stop(struct pf_link *link, bool goodbye);

/* Main: takes the peer's silence for the end of the connection.  Urgent sends signs of life for that, bulk looks
 * whether what it sends is acknowledged; *timeout_ns outlives the thread. */
void pf_link_watch(struct pf_link *link, const _Atomic uint64_t *timeout_ns);
/* Main: frames that name pages of this table may come from here on; it outlives the thread. */
void pf_link_agree(struct pf_link *link, const struct pf_region_table *table);
/* Main: posts a control frame; nothing happens on a link that does not run. */
void pf_link_send(struct pf_link *link, enum pf_frame_type type, const void *body, size_t length);
/* Main: posts mail with a copy of data. */
void pf_link_tell(struct pf_link *link, enum pf_mail_kind kind, const void *data, size_t length);
/* Any thread: posts mail with a copy of data.  false: the box is full, or there is no memory. */
bool pf_mail_post(struct pf_mailbox *box, uint32_t origin, enum pf_mail_kind kind, uint32_t number,
		  const void *data, size_t length);
/* The same for mail that must not get lost: waits while the box is half full.  false: *stop was set, and box->missed
 * is. */
bool pf_mail_post_surely(struct pf_mailbox *box, uint32_t origin, enum pf_mail_kind kind,
			 uint32_t number, const void *data, size_t length,
			 const _Atomic bool *stop);
/* A thread, each time around and behind what has come: -1: the peer is silent, and the connection of no
 * more use. */
PF_MUST_USE int pf_pulse_judge(struct pf_pulse *pulse, struct pf_channel *channel,
			       struct pf_mailbox *inbox, uint32_t origin, struct pf_err *err);
/* A thread: passes a control frame on to main.  -1: main does not keep up with the peer's flood. */
PF_MUST_USE int pf_link_pass_on(struct pf_link *link, const struct pf_frame *frame,
				const uint8_t *body, struct pf_err *err);

#endif
