/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm.h - the VMM as the engines see it: a dialect's switch-over gate (DESIGN.md section 5).
 *
 * The agent listens on --vmm-socket; one client, checked by SO_PEERCRED.  Runs on the main thread's
 * event loop and never blocks.  Sending to a VMM that is gone needs no care: `lost` has been or will
 * be called.
 */
#ifndef PF_MIGRATE_VMM_H
#define PF_MIGRATE_VMM_H

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/side.h"
#include "memory/guest.h"
#include "memory/reader.h"
#include "migrate/kept.h"
#include "migrate/statedir.h"
#include "wire/vmm_msg.h"

/*
 * What the VMM says, in the main thread.  Descriptors handed over are the callee's.  -1: the VMM has
 * broken the protocol; it is told by ERROR, its connection ends, and `lost` is called.
 */
struct pf_vmm_callbacks {
	/* fds: those that the message names by index (checked); what the callee wants to keep it
	 * takes out, putting -1 in its place. */
	int (*regions)(void *engine, const struct pf_vmm_regions *regions, int *fds,
		       struct pf_err *err);
	int (*paused)(void *engine, int state_fd, uint64_t size, struct pf_err *err); /* source */
	int (*ready)(void *engine, struct pf_err *err); /* destination */
	void (*resumed)(void *engine);			/* destination */
	void (*refused)(void *engine, const char *reason); /* destination */
	void (*lost)(void *engine, const struct pf_err *why);
	/* After pf_vmm_adopt(): it has said how it is.  What it had said before that is dropped, but for
	 * REGIONS and a refusal. */
	int (*back)(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err);
};

struct pf_vmm;

/* listen_fd: on path, taken over.  kept and dir are borrowed: a client that has said HELLO is kept. */
PF_MUST_USE int pf_vmm_open(sd_event *loop, int listen_fd, const char *path, enum pf_side side,
			    const struct pf_vmm_callbacks *callbacks, void *engine,
			    struct pf_kept *kept, struct pf_statedir *dir, struct pf_vmm **out,
			    struct pf_err *err);
/*
 * The client of a process before this one; fd is taken over.  It is asked by ATTACH how it is, and `back`
 * is called; its HELLO of then is known at once.
 */
PF_MUST_USE int pf_vmm_adopt(struct pf_vmm *vmm, int fd, struct pf_err *err);
/* Hangs up without a word; `lost` is not called.  Who wants to comes again. */
void pf_vmm_drop(struct pf_vmm *vmm);
/* leave: the socket's path stays, for a process that is to follow. */
void pf_vmm_close(struct pf_vmm *vmm, bool leave);
/* Says ERROR with the reason and what to do, if it can: the last word, so only the first one is said. */
void pf_vmm_say_why(struct pf_vmm *vmm, const struct pf_err *why);
/* The same, and hangs up; `lost` is not called. */
void pf_vmm_hang_up(struct pf_vmm *vmm, const struct pf_err *why);
/* The client broke the protocol elsewhere, on its fault socket: as if it had on this one. */
void pf_vmm_broke(struct pf_vmm *vmm, struct pf_err *why);
/* What the client has said of itself. */
const struct pf_vmm_hello *pf_vmm_hello(const struct pf_vmm *vmm);
/* It was adopted, and has not said yet how it is. */
bool pf_vmm_is_asked(const struct pf_vmm *vmm);
/* It greeted this process, and as one that nobody has served before. */
bool pf_vmm_is_new(const struct pf_vmm *vmm);
/* A message without a body: PAUSE, RESUME, CONTINUE_SOURCE, COMPLETE, RELEASE, REGIONS_ACCEPTED.
 * false: it was not sent, and never will be; the VMM cannot have seen it.  true: it is sent, or will be once
 * there is memory for it, in its turn. */
bool pf_vmm_say(struct pf_vmm *vmm, enum pf_vmm_type type);
/* Calls that as soon as nothing waits to be sent, or the VMM is gone (all: false); at once if nothing does.
 * One at a time: the last call counts. */
void pf_vmm_when_sent(struct pf_vmm *vmm, void (*sent)(void *opaque, bool all), void *opaque);
/* LOAD; the descriptor stays the caller's. */
void pf_vmm_load(struct pf_vmm *vmm, int state_fd, uint64_t size);

/* The device state that came with PAUSED: a sealed memfd of at least that size.  PF_ERR_PROTOCOL. */
PF_MUST_USE int pf_vmm_check_state(int fd, uint64_t size, struct pf_err *err);

/*
 * The described memory as the layer below wants it: sorted by GPA, checked (pf_table_check), each
 * userfaultfd moved out of fds (its place becomes -1), memory files duplicated.  PF_ERR_PROTOCOL;
 * *out then holds what was taken so far, for pf_guest_done() or pf_reader_done().
 */
PF_MUST_USE int pf_vmm_guest(const struct pf_vmm_regions *regions, int *fds, struct pf_guest *out,
			     struct pf_err *err);
PF_MUST_USE int pf_vmm_reader(const struct pf_vmm_regions *regions, int *fds,
			      struct pf_reader *out, struct pf_err *err);

#endif
