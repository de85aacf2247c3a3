/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm_outbox.h - messages to a VMM that the kernel had no memory for: kept, and sent in order later.
 *
 * At the limit of its control group an agent cannot send (sendmsg(2): ENOBUFS), and a VMM that hears nothing
 * of RESUME or COMPLETE would be taken for one that is gone.  Nothing is allocated here.  One thread; never
 * blocks; the caller's timer says when it is tried again.
 */
#ifndef PF_MIGRATE_VMM_OUTBOX_H
#define PF_MIGRATE_VMM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PF_VMM_OUTBOX_MESSAGES 8u   /* a VMM is never told more behind each other */
#define PF_VMM_OUTBOX_BYTES 512u    /* of the longest that an agent says, ERROR */

enum pf_vmm_sent {
	PF_VMM_SENT,
	PF_VMM_WAITS, /* for memory */
	PF_VMM_UNSENT, /* the VMM is gone, or does not read */
};

struct pf_vmm_outbox {
	size_t count;
	struct {
		size_t length;
		int fd; /* the outbox's own; -1: none goes with it */
		uint8_t bytes[PF_VMM_OUTBOX_BYTES];
	} message[PF_VMM_OUTBOX_MESSAGES];
};

/* fd: goes with the message, borrowed; -1: none.  Behind what waits it waits too. */
enum pf_vmm_sent pf_vmm_outbox_send(struct pf_vmm_outbox *outbox, int socket, const void *bytes,
				    size_t length, int fd);
/* As much of what waits as there is memory for. */
enum pf_vmm_sent pf_vmm_outbox_flush(struct pf_vmm_outbox *outbox, int socket);
/* Whoever it was for is gone. */
void pf_vmm_outbox_clear(struct pf_vmm_outbox *outbox);

#endif
