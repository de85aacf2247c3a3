/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/probing.h - which page of a memory file is there only to be looked at, in a file that outlives its writer.
 *
 * memory/proof.c has a page in the VMM's file for a moment.  A process that dies in that moment would leave a
 * page that nobody declared, and the next one would refuse the VMM's memory for it: so it is noted first, and
 * the next one takes exactly that page back.  Main thread, at arming; only open does I/O and can fail.
 */
#ifndef PF_MEMORY_PROBING_H
#define PF_MEMORY_PROBING_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

enum pf_probing_stage {
	PF_PROBING_NOTHING,
	PF_PROBING_ASKED, /* the file may have got the page, or not yet: blocks tells */
	PF_PROBING_THERE, /* it has: grown tells what came with it */
};

struct pf_probing_note {
	_Atomic uint64_t stage; /* stored last: what is below is whole */
	uint64_t dev, ino; /* of the file: st_dev, st_ino */
	uint64_t offset; /* of the page in it */
	uint64_t blocks; /* st_blocks before */
	uint64_t grown; /* bytes that it has more since, none if the page was reserved */
};

struct pf_probing {
	struct pf_probing_note *note; /* mapped from dirfd/probing; NULL: not open */
};

/* Opens the note that is there, or makes one that says nothing. */
PF_MUST_USE int pf_probing_open(struct pf_probing *probing, int dirfd, struct pf_err *err);
/* Unmaps; the file stays.  Takes a zeroed struct. */
void pf_probing_close(struct pf_probing *probing);

#endif
