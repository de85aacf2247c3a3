/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/layout.h - where things are in guest memory, and the ports the guest talks through.
 *
 * Included by the VMM, by the guest's C and by its assembly: macros only.
 *
 *   0x0000  nothing (zeros)              0x8000  stacks, one page for each vCPU
 *   0x1000  struct pf_walk of each vCPU  0xc000  nothing (zeros)
 *   0x2000  the guest's image            0x10000 pages that the vCPUs walk, up to the end
 */
#ifndef PF_GUEST_LAYOUT_H
#define PF_GUEST_LAYOUT_H

#define PF_GUEST_PAGE 0x1000
#define PF_GUEST_WALKS 0x1000
#define PF_GUEST_WALK_SPACING 64
#define PF_GUEST_IMAGE 0x2000 /* guest.ld says it again */
#define PF_GUEST_IMAGE_MAX 0x6000
#define PF_GUEST_STACKS 0x8000
#define PF_GUEST_LOW_END 0x10000

#define PF_GUEST_VCPUS_MAX 4
#define PF_GUEST_VISITS_PER_BEAT 4 /* under a millisecond of guest work on a software KVM */

/* All accesses are 32 bits wide. */
#define PF_PORT_HEARTBEAT 0x500 /* out: low half of the visit count */
#define PF_PORT_COMMAND 0x504	/* in: one of the commands below, asked after every heartbeat */
#define PF_PORT_ADDRESS 0x508	/* out: of the wrong word */
#define PF_PORT_EXPECTED 0x50c	/* out: what it should have been */
#define PF_PORT_FOUND 0x510	/* out: what it was; completes the report */
#define PF_PORT_DONE 0x514	/* out: this vCPU will touch nothing more */
#define PF_PORT_ECHO 0x518	/* string I/O: out, kept in order for this vCPU; in, given back */
#define PF_PORT_DEVICE 0x51c	/* out: address of PF_GUEST_ECHO_WORDS that the device rewrites */

#define PF_GUEST_ECHO_WORDS 2 /* what the echo holds */
/* So many visits apart somebody else than the vCPU is the first to touch a page. */
#define PF_GUEST_VISITS_PER_OTHER 8

#define PF_COMMAND_GO_ON 0
#define PF_COMMAND_FINISH 1

#endif
