/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_engine.h - the destination's engine as its main thread sees it.
 *
 *   destination.c          beginning and end, the threads' mail, parameters
 *   destination_actions.c  what the state table's actions do
 *   destination_session.c  whose hello is accepted, and what a session is made of
 *   destination_resume.c   a session that is taken up again
 *   destination_frames.c   what the source says and is told
 *   destination_news.c     what its threads tell that belongs to no connection
 *   destination_vmm.c      what the VMM says
 *   destination_again.c    what a process before this one has left
 *   destination_status.c   what query-migrate shows
 */
#ifndef PF_MIGRATE_DESTINATION_ENGINE_H
#define PF_MIGRATE_DESTINATION_ENGINE_H

#include "migrate/destination.h"
#include "migrate/ration.h"
#include "migrate/repeats.h"

struct destination {
	struct pf_agent agent;
	struct pf_acceptor *acceptor;
	struct pf_mailbox door; /* from the accept and greet threads: no stranger fills main's box */
	struct pf_ration refusals, losses; /* of PEER_REFUSED and PAGE_LOST */
	struct pf_repeats refused;	   /* what PEER_REFUSED has said */
	uint64_t unexpected_ns; /* UNEXPECTED_PAGE is told once a second at most */
	uint64_t trouble_ns[2]; /* PAGE_STUCK, OUT_OF_MEMORY: likewise */
	struct pf_pager pager;
	struct pf_guest guest;
	bool armed;	     /* guest is described, trapped and the pager's */
	bool theirs_known;   /* theirs is the source's table */
	struct pf_region_table theirs;
	uint32_t channels;   /* bulk connections of this session */
	bool urgent_up, link_up;
	uint8_t secret[PF_SECRET_BYTES];
	bool session_known; /* secret is a session's */
	bool put_off;	    /* a first HELLO was, and might come again */
	uint64_t filled_then; /* pages, when the link was taken up */
	bool resuming;	    /* the session was taken up again: the regions are agreed on, and RECEIVED is due */
	bool held;	    /* `pause`: no session is taken up until `recover` */
	enum pf_record peer_record; /* of the source, when it was last met */
	bool conflict_told;
	struct pf_link bulk[PF_CHANNELS_MAX];
	struct pf_receiver *receiver[PF_CHANNELS_MAX];
	struct pf_assembly assembly[PF_CHANNELS_MAX + 1]; /* as channels are numbered, 0: urgent */
	uint64_t pushed_before, zero_before; /* of bulk threads that are gone */
	uint64_t sent_before, received_before;
	struct pf_mail_state state;
	_Atomic bool filled_told;
	bool resumed;
	uint32_t loads, readies; /* LOADs sent, READYs heard */
	uint64_t paused_ns, downtime_ns;
	char address[PF_ENDPOINT_TEXT_MAX], cipher[64];
};

/* ---- destination_actions.c: struct pf_agent_ops ---- */
void pf_destination_act(void *engine, uint8_t action);

/* ---- destination_frames.c ---- */

/* -1: it breaks the protocol. */
PF_MUST_USE int pf_destination_frame(struct destination *destination, const struct pf_mail *mail,
				     struct pf_err *err);
/* Dropped while there is no connection; a verdict names the record. */
void pf_destination_send(struct destination *destination, enum pf_frame_type type,
			 const void *body, size_t length);
void pf_destination_verdict(struct destination *destination, enum pf_frame_type type,
			    const char *reason);

/* ---- destination_news.c ---- */

/* false: the mail is from a connection's thread. */
bool pf_destination_news(struct destination *destination, struct pf_mail *mail);
/* If every page is FILLED, and the guest runs here. */
void pf_destination_maybe_filled(struct destination *destination);

/* ---- destination_vmm.c ---- */
extern const struct pf_vmm_callbacks pf_destination_vmm;
/* A VMM in which nothing was ever loaded has said REGIONS.  -1: as of pf_vmm_callbacks. */
PF_MUST_USE int pf_destination_describe(struct destination *destination,
					const struct pf_vmm_regions *regions, int *fds,
					struct pf_err *err);
/* Traps the memory that was saved, and serves it.  -1: likewise. */
PF_MUST_USE int pf_destination_arm(struct destination *destination, const struct pf_vmm_regions *regions,
				   int *fds, struct pf_err *err);
void pf_destination_vmm_refused(void *engine, const char *reason);
void pf_destination_vmm_lost(void *engine, const struct pf_err *why);

/* ---- destination_again.c ---- */

/* Before the first thread that hears a source, and with the pager: takes up what there is. */
PF_MUST_USE int pf_destination_again(struct destination *destination, struct pf_err *err);
/* The guest is described and trapped: from here on it is the pager's. */
void pf_destination_serve_guest(struct destination *destination);
/* REGIONS of a VMM that has been served before, and says so in its HELLO.  -1: as of pf_vmm_callbacks. */
PF_MUST_USE int pf_destination_regions_again(struct destination *destination,
					     const struct pf_vmm_regions *regions, int *fds,
					     struct pf_err *err);
/* pf_vmm_callbacks.back */
int pf_destination_vmm_attached(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err);

/* ---- destination_session.c ---- */

/* Judges a hello and either makes its connection part of the session or refuses it. */
void pf_session_greeting(struct destination *destination, struct pf_greeting *greeting);
/* A connection is gone, or has to go: the session ends, the migration may not. */
void pf_session_down(struct destination *destination, const struct pf_err *err);
/* A connection ended before its HELLO: PEER_REFUSED, unless it has lost a race. */
void pf_session_left(struct destination *destination, const struct pf_stranger *stranger);
/* PEER_REFUSED; of_session: it is a peer that comes back, and that tries again until it is let in. */
void pf_session_stranger(struct destination *destination, const char *address, bool of_session,
			 const struct pf_err *why);
/* Puts WELCOME into the channel; the thread that gets the channel flushes it.  proven: with the proof, and
 * the epoch that it is of. */
PF_MUST_USE int pf_session_welcome(struct destination *destination, struct pf_greeting *greeting,
				   bool proven, struct pf_err *err);
/* FAILURE, and PEER_REFUSED; the connection is closed. */
void pf_session_refuse(struct destination *destination, struct pf_greeting *greeting,
		       const struct pf_err *why);
/* Joins the bulk threads; goodbye: what was posted is sent first. */
void pf_session_stop_bulk(struct destination *destination, bool goodbye);
/* The threads end, what they have counted is final, and the connections are there still to be counted. */
void pf_session_settle(struct destination *destination);
/* The connection of the epoch that was just written becomes the urgent one, and its source is welcomed. */
PF_MUST_USE int pf_session_attach(struct destination *destination, struct pf_greeting *greeting,
				  struct pf_err *err);

/* ---- destination_resume.c ---- */

/* A hello on channel 0 with an epoch: a session is to be taken up again. */
void pf_resume_hello(struct destination *destination, struct pf_greeting *greeting);
/* struct pf_agent_ops */
void pf_destination_path(void *engine, unsigned news, const struct pf_path *path);
/* In a session that was taken up, once the guest is armed and the connection stands, whichever comes last:
 * what is owed is asked for; the source is told what was received.  Else nothing. */
void pf_resume_urgent(struct destination *destination);
void pf_resume_bulk(struct destination *destination, uint32_t i);
/* struct pf_agent_ops */
int pf_destination_pause(void *engine, struct pf_err *err);
int pf_destination_recover(void *engine, const json_t *connect, struct pf_err *err);
int pf_destination_restore(void *engine, bool held, const json_t *connect, struct pf_err *err);

/* ---- destination_status.c ---- */
/* Which vCPUs wait for a page, and for how long. */
json_t *pf_destination_blocked(struct destination *destination);
/* For query-migrate: struct pf_agent_ops. */
void pf_destination_status(void *engine, json_t *status);

#endif
