/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/mailbox.h - a bounded queue of small messages from any thread to one, with an fd to wait on.
 *
 * Carries control, never pages: its lock is never on the way of a fault.  Posting never blocks; a
 * full box is the sender's error (a peer that floods control frames loses its connection).
 */
#ifndef PF_BASE_MAILBOX_H
#define PF_BASE_MAILBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PF_MAILBOX_SLOTS 256

struct pf_mail {
	uint32_t kind;	 /* the two ends agree on an enum */
	uint32_t number; /* free for the kind */
	uint32_t origin; /* who sent it, where the receiver must tell old senders from new ones */
	size_t length;	 /* bytes of data */
	void *data;	 /* heap or NULL; whoever takes the mail owns it and calls free() */
};

struct pf_mailbox {
	pthread_mutex_t lock;
	int event_fd; /* readable while mail is waiting */
	unsigned head, count;
	_Atomic bool missed; /* somebody had to say something, and was stopped before there was room */
	uint64_t taken; /* mails, ever */
	/* For who owns the box to set: lets go of what a mail that nobody took holds beside its bytes;
	 * NULL: there is no such mail. */
	void (*drop)(const struct pf_mail *mail);
	struct pf_mail slot[PF_MAILBOX_SLOTS];
};

PF_MUST_USE int pf_mailbox_init(struct pf_mailbox *box, struct pf_err *err);
/* Drops and frees what was never taken.  Takes a box that was zeroed and never initialised. */
void pf_mailbox_done(struct pf_mailbox *box);
/* Takes over mail->data, also when it fails (then it is freed).  false: the box is full. */
PF_MUST_USE bool pf_mailbox_post(struct pf_mailbox *box, const struct pf_mail *mail);
/* Asked before posting by those who can wait, so that the rest is left to those who cannot. */
bool pf_mailbox_half_full(struct pf_mailbox *box);
/* What was posted until now has been taken once pf_mailbox_taken() has reached it. */
uint64_t pf_mailbox_due(struct pf_mailbox *box);
uint64_t pf_mailbox_taken(struct pf_mailbox *box);
/* false: nothing is waiting.  The fd becomes unreadable with the last mail. */
PF_MUST_USE bool pf_mailbox_take(struct pf_mailbox *box, struct pf_mail *out_mail);

#endif
