/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_exits.h - stage-2 exits: vCPUs that left KVM_RUN for a page, and their answers.
 *
 * The urgent thread's, on the fault socket that came with the regions (proto/WIRE.md section 8.4), but for
 * pf_exits_answer_all().  Never blocks, allocates nothing.
 */
#ifndef PF_MIGRATE_DESTINATION_EXITS_H
#define PF_MIGRATE_DESTINATION_EXITS_H

#include <poll.h>

#include "migrate/destination.h"

/* Takes what has come, as pager->here says, and does what could not be done before. */
void pf_exits_serve(struct pf_pager *pager);
/* Whoever waits for a page of this run that is FILLED is answered; false: somebody could not be let in. */
bool pf_exits_answer(struct pf_pager *pager, const struct pf_run *run);
/* The same, of a run that a bulk thread has filled and mapped. */
void pf_exits_answer_pushed(struct pf_pager *pager, const struct pf_run *run);
/* The pages of this run have to be asked for after all: whoever had met one that was being filled waits for the source. */
void pf_exits_ask(struct pf_pager *pager, const struct pf_run *run);
/* Whoever waits is asked for again: a process before this one, or the journal, has forgotten it. */
void pf_exits_repeat(struct pf_pager *pager);
/* Not all could be asked for, and the window may have room by now. */
bool pf_exits_left(const struct pf_pager *pager);
/* What to poll for; false: nothing now. */
bool pf_exits_poll(const struct pf_pager *pager, struct pollfd *out);
/* Main, once every page is FILLED: answers everybody who waits. */
void pf_exits_answer_all(struct pf_guest *guest);

#endif
