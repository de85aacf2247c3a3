/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination.h - the destination's engine: its parts and who owns them.
 *
 *   main thread          destination_engine.h  state, record, VMM, orchestrator; judges every hello
 *   "accept" thread      destination_accept.c  listens; starts a short "greet" thread a connection
 *   "urgent" thread      destination_urgent.c  userfaultfds and the urgent channel: the way of a
 *                                              fault; lives longer than any connection
 *                        destination_pager.h   its parts: destination_faults.c, what userfaultfds say;
 *                                              destination_exits.c, what vCPUs of guest_memfd need;
 *                                              destination_answers.c, what the source is asked and says;
 *                                              destination_parked.c, what is tried again later;
 *                                              destination_blocked.c, who waits
 *   "bulk-N" threads     destination_bulk.c    a bulk channel each: device state and pushed pages
 */
#ifndef PF_MIGRATE_DESTINATION_H
#define PF_MIGRATE_DESTINATION_H

#include <stdatomic.h>

#include "base/hist.h"
#include "base/spin.h"
#include "core/credit.h"
#include "migrate/agent.h"
#include "migrate/arrival.h"
#include "migrate/link.h"
#include "migrate/requests.h"
#include "net/session.h"
#include "wire/msg.h"
#include "wire/received.h"

/* ---- destination_accept.c ---- */

struct pf_greeting {
	struct pf_channel *channel; /* the receiver's */
	struct pf_msg_hello hello;
	char address[PF_ENDPOINT_TEXT_MAX];
};

struct pf_stranger {
	char address[PF_ENDPOINT_TEXT_MAX];
	bool known; /* TLS stands: it has the source's name */
	struct pf_err why;
};

struct pf_acceptor;

/* Listens, on listen_fd if that is not -1 (taken over); *out_bound is the address with its real port.
 * Nobody is accepted yet.  The inbox outlives it, and lets go of greetings that nobody took. */
PF_MUST_USE int pf_acceptor_open(const struct pf_options *options, int listen_fd,
				 struct pf_mailbox *inbox, struct pf_acceptor **out, struct sockaddr_storage *out_bound,
				 struct pf_err *err);
/* The socket that it listens on; borrowed. */
int pf_acceptor_fd(const struct pf_acceptor *acceptor);
/* Main: whether it, or who greets for it, is not back when it meant to be. */
bool pf_acceptor_late(const struct pf_acceptor *acceptor, uint64_t now_ns);
/*
 * Starts the thread.  Every connection that passes TLS, names and HELLO within 5 s comes as PF_MAIL_GREETING, any other as
 * PF_MAIL_STRANGER; at most 8 are in their handshake at once, the others wait in the kernel.
 */
PF_MUST_USE int pf_acceptor_start(struct pf_acceptor *acceptor, struct pf_err *err);
void pf_acceptor_stop(struct pf_acceptor *acceptor);

/* ---- destination_urgent.c ---- */

struct pf_pager_vcpu {
	uint32_t tid, number; /* the place in the VMM's HELLO */
};

struct pf_pager_vcpus {
	uint32_t count;
	struct pf_pager_vcpu vcpu[PF_SLOTS]; /* by tid, ascending */
};

/* What a vCPU trapped on last, and when; since_ns 0: nothing yet. */
struct pf_blocked {
	_Atomic uint64_t since_ns, page; /* page: region << 48 | page */
};

struct pf_pager {
	struct pf_mailbox outbox; /* main -> this thread */
	struct pf_mailbox maps;	  /* bulk threads -> this thread: PF_MAIL_MAP only */
	struct pf_mailbox *inbox; /* this thread -> main */
	pthread_t thread;
	bool started;
	_Atomic bool stop;
	_Atomic bool *filled_told;
	/* The thread's own: */
	bool stopping, goodbye;
	struct pf_channel *channel; /* NULL while there is no connection */
	uint32_t origin;	    /* epoch of the channel */
	struct pf_pulse pulse; /* of the channel; its time-out is set before the thread starts */
	uint64_t sent_before, received_before; /* bytes of the channels before */
	struct pf_spin spin; /* main may set its limit */
	/* What there is to do, as far as poll(2) has said: what it does not name is not looked into. */
	struct {
		bool mail, maps, frames, exits;
		uint64_t uffds; /* bit i: guest->uffd[i] */
	} here;
	bool may_ask;		    /* the regions are agreed on this connection */
	struct pf_guest *guest;	    /* NULL until it is armed */
	struct pf_arrival arrival;
	struct pf_requests requests;
	uint64_t retry_ns;   /* when the parked ones are tried again; 0: there are none */
	struct {
		bool over;	 /* the VMM has hung up its fault socket, or broken its rules */
		bool unanswered; /* an answer found no room */
		bool repeat;	 /* who waits must be asked for once more */
	} exits;
	struct pf_pager_vcpus vcpus; /* set before the guest is */
	struct pf_blocked blocked[PF_SLOTS]; /* by vCPU; for main to ask */
	uint64_t outside_ns; /* FAULT_OUTSIDE is told as if the last one had been then */
	/* For any thread: */
	struct {
		_Atomic uint64_t faults;    /* accesses that asked for a page */
		_Atomic uint64_t vcpu, kvm, vmm; /* of these, by whom, as far as it is known */
		_Atomic uint64_t requested; /* pages placed that came on urgent */
		_Atomic uint64_t zero;
		_Atomic uint64_t open;
		_Atomic uint64_t sent, received; /* bytes */
	} count;
	struct pf_hist latency_ns; /* a fault is read from the uffd -> its page is mapped */
};

PF_MUST_USE int pf_pager_start(struct pf_pager *pager, struct pf_mailbox *inbox,
			       _Atomic bool *filled_told, struct pf_assembly *assembly,
			       struct pf_err *err);
/* Ends and joins the thread; goodbye: what was posted is heard by the peer first, within 2 s. */
void pf_pager_stop(struct pf_pager *pager, bool goodbye);
/* Once no bulk thread can post to it any more; takes one that was never started. */
void pf_pager_done(struct pf_pager *pager);
/* Main: hands the thread a channel, which becomes its own. */
void pf_pager_attach(struct pf_pager *pager, struct pf_channel *channel, uint32_t epoch);
/* Main: posts a control frame for the connection of this epoch; dropped if it is gone. */
void pf_pager_send(struct pf_pager *pager, uint32_t epoch, enum pf_frame_type type,
		   const void *body, size_t length);
/* Main: the regions of this epoch's connection are agreed: REGIONS_OK is said, and pages may be asked
 * for; the table outlives the thread. */
void pf_pager_agree(struct pf_pager *pager, uint32_t epoch, const struct pf_region_table *table);
/* Main, before PF_MAIL_GUEST: the threads of the VMM's vCPUs. */
void pf_pager_know_vcpus(struct pf_pager *pager, const uint32_t *tids, uint32_t count);
/* Main: since when this vCPU waits for a page; 0: it does not, as far as is known. */
uint64_t pf_pager_blocked(const struct pf_pager *pager, const struct pf_guest *guest, uint32_t vcpu);
/* Main: the session was taken up with this epoch's connection: what is owed is asked for again, and at once. */
void pf_pager_go_on(struct pf_pager *pager, uint32_t epoch, const struct pf_region_table *table);
void pf_pager_tell(struct pf_pager *pager, enum pf_mail_kind kind, const void *data,
		   size_t length);

/* ---- destination_bulk.c ---- */

struct pf_receiver {
	struct pf_arrival arrival;
	_Atomic bool may_push;	 /* set by main before the source can learn of RUN */
	uint64_t max_device_state;
	bool tells; /* what was received is to be said here, first of all */
	bool taken; /* the snapshot of it */
	struct pf_received_cursor told;
	bool paused;  /* PAUSED has come on this connection */
	int state_fd; /* device state that is arriving, or -1 */
	uint64_t state_size, state_got;
	struct pf_grant grant;
	uint64_t rtt_ns, rtt_known_ns; /* the connection's shortest round trip, and when it was read */
	struct {
		_Atomic uint64_t pushed, zero; /* pages placed */
	} count;
};
extern const struct pf_link_user pf_receiver_user;

#endif
