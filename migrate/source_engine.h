/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_engine.h - the source's engine as its main thread sees it.
 *
 *   source.c          beginning and end, the threads' mail, parameters
 *   source_actions.c  what the state table's actions do
 *   source_session.c  the connections
 *   source_resume.c   the connections that are made again once the guest was offered
 *   source_names.c    where names have led
 *   source_frames.c   what the destination says and is told
 *   source_vmm.c      what the VMM says
 *   source_again.c    what a process before this one has left
 *   source_status.c   what query-migrate shows
 */
#ifndef PF_MIGRATE_SOURCE_ENGINE_H
#define PF_MIGRATE_SOURCE_ENGINE_H

#include "migrate/ration.h"
#include "migrate/source.h"
#include "migrate/source_race.h"

struct source {
	struct pf_agent agent;
	struct pf_service service;
	bool vmm_described; /* service.reader is filled */
	struct pf_connector connector;
	struct pf_racer *racer; /* connects again after OFFERED; NULL: not now */
	uint32_t races;		/* so far: the origin of the racer's mails */
	bool met;		/* its WELCOME has led to the link that stands: it makes the bulk connections */
	uint32_t suspected;	/* a bit for each link that does not speak, 0: urgent */
	bool held;		/* `pause`: nothing is connected until `recover` */
	uint32_t connects;	/* where to connect to: --connect, or what `recover` said */
	struct pf_endpoint connect[PF_CONNECTS_MAX];
	json_t *names;		/* of --connect, and where they have led; NULL: there are none */
	uint8_t secret[PF_SECRET_BYTES];
	bool map_known; /* what the destination has: all may be pushed but that */
	unsigned in_vain; /* links in a row that were of no use: see judge_link() */
	uint64_t answered_before; /* pages, when this one was taken up */
	char tried[sizeof(((struct pf_err *)0)->text)]; /* why the last attempt failed */
	char refused[sizeof(((struct pf_err *)0)->text)]; /* what PEER_REFUSED has said last */
	struct pf_ration refusals;
	uint64_t trouble_ns; /* OUT_OF_MEMORY is told then at the earliest: once a second at most */
	enum pf_record peer_record; /* at the last meeting; NONE: of nobody who knows the session */
	bool stranger; /* whom it met last does not know the session */
	uint8_t told; /* which meeting without a link the orchestrator has been told of: action + 1 */
	struct pf_link urgent, bulk[PF_CHANNELS_MAX];
	struct pf_answers answers;
	struct pf_pusher *pusher[PF_CHANNELS_MAX];
	bool link_up;
	uint64_t connected_ns; /* when the link last came up */
	uint64_t deadline_ns;  /* of --connect-timeout */
	uint32_t pauses_asked, pauses_answered;
	bool guest_paused; /* PAUSE was sent, CONTINUE_SOURCE was not; or a process before may have */
	bool vmm_here;	   /* the VMM has come to this process, or was kept for it */
	bool vmm_known;	   /* and has said how its guest is */
	bool stood_vmm_gone; /* it was lost while guest_paused, and nothing gave up for that */
	struct pf_mail_state state;
	bool resumed; /* the destination said so: the guest has run there */
	uint64_t paused_ns, downtime_ns;
	uint64_t sent_before, received_before; /* bytes of connections that are gone */
	char address[PF_ENDPOINT_TEXT_MAX];
	char cipher[64];
};

/* ---- source_actions.c: struct pf_agent_ops ---- */
void pf_source_act(void *engine, uint8_t action);
/* What the bulk threads waited for may be otherwise now: they push, if that may be. */
void pf_source_wake_pushers(struct source *source);

/* false: its guest stands, and there is nobody to be told that it may run. */
bool pf_source_continue_guest(struct source *source);

/* ---- source_again.c ---- */

/* Takes up what there is, before anything else is heard. */
PF_MUST_USE int pf_source_again(struct source *source, struct pf_err *err);
/* From the VMM's description to its memory; fds as in pf_vmm_callbacks. */
PF_MUST_USE int pf_source_describe(struct source *source, const struct pf_vmm_regions *regions,
				   int *fds, struct pf_err *err);
/* REGIONS of a VMM that has been paused before, and says so in its HELLO. */
PF_MUST_USE int pf_source_regions_again(struct source *source, const struct pf_vmm_regions *regions,
					int *fds, struct pf_err *err);
/* PF_ERR_PROTOCOL: what it says of its guest cannot be, by the record. */
PF_MUST_USE int pf_source_check_stage(const struct source *source, const struct pf_vmm_hello *hello,
				      struct pf_err *err);
/* pf_vmm_callbacks.back */
int pf_source_vmm_attached(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err);

/* ---- source_session.c ---- */

/* Connects until --connect-timeout has passed since the deadline was set; again: a moment later. */
void pf_source_connect(struct source *source, bool again);
/* The connection was lost in set-up. */
void pf_source_connect_again(struct source *source);
void pf_source_give_up(struct source *source, const struct pf_err *err);
/* From the connect thread: every connection stands and is greeted. */
void pf_source_connected(struct source *source, struct pf_connected *connected);
/* Joins the threads of the connections; goodbye: what was posted is sent first. */
void pf_source_part(struct source *source, bool goodbye);
/* The threads end, what they have counted is final, and the connections are there still to be counted. */
void pf_source_settle(struct source *source, bool goodbye);
/* A connection is gone, or has to go: the session ends, the migration may not. */
void pf_source_drop_link(struct source *source, const struct pf_err *err);
/* The same, and the race that was making its other connections ends too. */
void pf_source_down(struct source *source, const struct pf_err *err);

/* A session begins, with the threads of its connections; each takes over its channel, also on -1. */
PF_MUST_USE int pf_source_start_urgent(struct source *source, struct pf_channel *channel,
				       bool resumed, struct pf_err *err);
PF_MUST_USE int pf_source_start_bulk(struct source *source, uint32_t i, struct pf_channel *channel,
				     bool resumed, struct pf_err *err);

/* ---- source_resume.c ---- */

/* Connects again, for ever, unless that is under way, or held, or the memory that would be asked for is not
 * here yet. */
void pf_source_race(struct source *source);
/* Offered, and no link: it has to be made. */
bool pf_source_is_cut(const struct source *source);
/* Why the last attempt failed, for query-migrate. */
void pf_source_tried(struct source *source, const char *why);
void pf_source_stop_race(struct source *source);
/* From the race thread, and from a link's (PF_MAIL_SUSPECT, PF_MAIL_TRUST). */
void pf_source_race_mail(struct source *source, struct pf_mail *mail);
void pf_source_suspect(struct source *source, uint32_t link, bool suspected);
/* struct pf_agent_ops */
void pf_source_path(void *engine, unsigned news, const struct pf_path *path);
int pf_source_pause(void *engine, struct pf_err *err);
int pf_source_recover(void *engine, const json_t *connect, struct pf_err *err);
int pf_source_restore(void *engine, bool held, const json_t *connect, struct pf_err *err);

/* ---- source_names.c ---- */

/* Before anything is looked up. */
void pf_source_recall_names(struct source *source);
/* source->address has led to this connection's peer. */
void pf_source_note_name(struct source *source, int fd);

/* ---- source_frames.c ---- */
void pf_source_frame(struct source *source, const struct pf_mail *mail);
/* A frame that names the record; dropped while there is no connection. */
void pf_source_verdict(struct source *source, enum pf_frame_type type, const char *reason);

/* ---- source_vmm.c ---- */
extern const struct pf_vmm_callbacks pf_source_vmm;

/* ---- source_status.c ---- */
/* Adds the source's members to the object that query-migrate returns. */
void pf_source_status(void *engine, json_t *status);

#endif
