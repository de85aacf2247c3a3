/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source.h - the source's engine: its parts and who owns them.
 *
 *   main thread           source_engine.h   state, record, VMM, orchestrator
 *   "connect" thread      source_connect.c  connecting and shaking hands, in set-up only
 *   "race" thread         source_race.c     the same for a session that is taken up again, with a short
 *                                           "attempt" thread for each attempt
 *   "urgent" thread       source_urgent.c   the urgent channel: answers requests
 *   "bulk-N" threads      source_push.c     a bulk channel each: device state, then push
 *                         source_pages.c    reading pages, for the last two
 *                         source_parts.c    the same for pages that go in parts
 */
#ifndef PF_MIGRATE_SOURCE_H
#define PF_MIGRATE_SOURCE_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/term.h"
#include "core/credit.h"
#include "core/pace.h"
#include "core/push.h"
#include "memory/reader.h"
#include "migrate/agent.h"
#include "migrate/gate.h"
#include "migrate/link.h"
#include "net/session.h"
#include "wire/msg.h"
#include "wire/received.h"

#define PF_REQUESTS_MAX 4096u /* requests that wait for an answer; more is a flood (WIRE.md) */
#define PF_READ_AGAIN_NS (100 * PF_NS_PER_MS) /* somebody raises a limit or frees something meanwhile */

/* What the threads that read guest memory share. */
struct pf_service {
	struct pf_reader reader;
	struct pf_push push;
	struct pf_pace pace;	/* of push, all bulk threads together */
	struct pf_gate gate;	/* requests go before push */
	_Atomic bool push_held; /* parameter `push` is off */
	struct {
		_Atomic uint64_t requests; /* frames received */
		_Atomic uint64_t answered; /* pages sent on urgent */
		_Atomic uint64_t pushed;   /* pages sent on bulk */
		_Atomic uint64_t zero;	   /* pages that went as zero runs, either way */
		_Atomic uint64_t lost;	   /* PAGE_ERROR was said for a page, each time */
		_Atomic uint64_t resent;   /* pages sent although they had been received */
	} count;
};

struct pf_request_queue {
	struct pf_run run[PF_REQUESTS_MAX];
	uint32_t head, count;
};

/* The urgent thread's own. */
struct pf_answers {
	struct pf_service *service;
	bool serving; /* the guest stands: its memory may be read */
	struct pf_request_queue whole, parts; /* by how their pages travel */
	uint32_t offset; /* how far the first page of `parts` has gone */
	struct pf_run zeros; /* answers that are not in the channel yet */
	/* The last of `whole`, which take memory to be read that is not there: not before again_ns. */
	uint32_t stuck;
	uint64_t again_ns;
	uint64_t trouble_ns; /* main is told of that then at the earliest */
};
extern const struct pf_link_user pf_answers_user;

/* A bulk thread's own. */
struct pf_pusher {
	struct pf_service *service;
	bool pushing;
	int state_fd; /* device state that is being sent, main's, or -1 */
	uint64_t state_size, state_sent;
	struct pf_run left; /* taken from push, not put yet */
	uint32_t offset;    /* how far the first page of left has gone, if it goes in parts */
	struct pf_run zeros; /* taken and found to be zero, not put yet: more may join them */
	bool resumed;	     /* the session was taken up: bulk 1 hears what was received */
	struct pf_received_cursor received;
	struct pf_credit credit;
	uint64_t trouble_ns; /* as of pf_answers */
	uint8_t scratch[PF_RUN_BYTES_MAX];
};
extern const struct pf_link_user pf_pusher_user;

/*
 * source_pages.c: reads pages of a run and puts them into the channel, PAGES where there is content,
 * PAGE_ERROR where they cannot be read; pages of zeros are kept in *zeros, so that neighbours can
 * join them.  1: all of it; 0: the channel's buffer is full, and *run is what is left; -1: this host has no
 * memory to read the page with which *run begins now (it is swapped out; errno), which says nothing about the
 * page: to be tried again a little later, and told.  scratch: as large as the run.
 */
PF_MUST_USE int pf_service_put(struct pf_service *service, struct pf_channel *channel,
			       struct pf_run *run, struct pf_run *zeros, uint8_t *scratch);
/* Main is told of such a page, once a second at most. */
void pf_service_tell_trouble(const struct pf_link *link, const struct pf_run *run, int sys,
			     uint64_t *trouble_ns);
/* Puts what was kept as one ZERO frame.  false: the channel's buffer is full. */
PF_MUST_USE bool pf_service_put_zeros(struct pf_service *service, struct pf_channel *channel,
				      struct pf_run *zeros);
/* Moves the first `count` pages of the run, which are zero, to *zeros.  false: it is full. */
PF_MUST_USE bool pf_service_keep_zeros(struct pf_service *service, struct pf_channel *channel,
				       struct pf_run *run, uint32_t count, struct pf_run *zeros);

/*
 * source_parts.c: the next part, of at most `most` bytes, of the run's first page, which is too large
 * for a frame; the page itself where it is zero or cannot be read.  *offset: how far it has gone.  1:
 * put, and *run and *offset are what is left; 0: the channel's buffer is full.  scratch: `most` bytes.
 */
PF_MUST_USE int pf_parts_put(struct pf_service *service, struct pf_channel *channel,
			     struct pf_run *run, uint32_t *offset, struct pf_run *zeros,
			     uint8_t *scratch, uint32_t most);
static inline bool pf_parts_needed(const struct pf_service *service, uint32_t region)
{
	return service->reader.table.region[region].page_size > PF_RUN_BYTES_MAX;
}

/* source_connect.c */
struct pf_connected {
	struct pf_channel *channel[PF_CHANNELS_MAX + 1]; /* [0]: urgent; the receiver's */
	struct pf_msg_welcome welcome;
	uint8_t secret[PF_SECRET_BYTES];
	char address[PF_ENDPOINT_TEXT_MAX];
};

struct pf_connector {
	const struct pf_options *options;
	struct pf_mailbox *inbox;
	uint64_t deadline_ns;
	bool again; /* a connection was lost: wait a moment before the first attempt */
	int cancel_fd;
	pthread_t thread;
	bool started;
	struct pf_term term;
};

/* The inbox outlives it, and lets go of connections that nobody took. */
PF_MUST_USE int pf_connector_start(struct pf_connector *connector,
				   const struct pf_options *options, struct pf_mailbox *inbox,
				   uint64_t deadline_ns, bool again, struct pf_err *err);
/* Cancels and joins; takes one that never started. */
void pf_connector_stop(struct pf_connector *connector);
/* For the inbox's owner: closes what a mail of a connect thread or of a race holds. */
void pf_connector_drop(const struct pf_mail *mail);
/* Closes them, and wipes the secret; not the struct itself. */
void pf_connected_free(struct pf_connected *connected);

#endif
