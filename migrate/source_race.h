/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_race.h - connecting again, for ever: attempts that run beside each other.
 *
 * One thread keeps up to 8 attempts going (core/race.h), a short thread each.  The first WELCOME goes to
 * main as PF_MAIL_MET, at once: requests wait for nothing else; then come the bulk connections, one
 * PF_MAIL_BULK each.  What was tried in vain is PF_MAIL_TRIED.  Every mail's origin is the race's number.
 */
#ifndef PF_MIGRATE_SOURCE_RACE_H
#define PF_MIGRATE_SOURCE_RACE_H

#include "base/mailbox.h"
#include "base/record.h"
#include "migrate/source_hello.h"

struct pf_race_how {
	const struct pf_options *options;
	uint32_t connects;
	struct pf_endpoint connect[PF_CONNECTS_MAX];
	struct pf_mailbox *inbox; /* outlives it, and lets go of what nobody took: pf_racer_drop() */
	uint32_t number;	  /* origin of its mails */
	uint32_t epoch;		  /* the last one */
	enum pf_record record;
	uint8_t secret[PF_SECRET_BYTES];
	bool eager; /* somebody may wait for a page */
	uint64_t after_ns; /* before its first attempts */
};

/* Data of PF_MAIL_MET. */
struct pf_met {
	struct pf_channel *channel; /* the receiver's; NULL: what the records say leaves no link */
	bool proven;		    /* the destination knows the session */
	struct pf_msg_welcome welcome;
	char address[PF_ENDPOINT_TEXT_MAX];
	uint64_t began_ns; /* when this attempt did */
};

/* Data of PF_MAIL_BULK. */
struct pf_met_bulk {
	struct pf_channel *channel; /* the receiver's */
	uint32_t number;	    /* 1.. */
};

/* Data of PF_MAIL_TRIED. */
struct pf_tried {
	char address[PF_ENDPOINT_TEXT_MAX];
	struct pf_err why;
};

struct pf_racer;

/* Main: whether it, or an attempt of its, is not back when it meant to be; NULL is never late. */
bool pf_racer_late(const struct pf_racer *racer, uint64_t now_ns);

/* *out: the race, for pf_racer_stop(). */
PF_MUST_USE int pf_racer_start(const struct pf_race_how *how, struct pf_racer **out,
			       struct pf_err *err);
/* Cancels, joins, frees; takes NULL. */
void pf_racer_stop(struct pf_racer *racer);
/* For the inbox's owner: closes what a mail of a race holds. */
void pf_racer_drop(const struct pf_mail *mail);

#endif
