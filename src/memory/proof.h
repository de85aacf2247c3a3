/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/proof.h - does each mapping show the region's memory file, there where the region is in it?
 *
 * A VMM that names the address of another file, or of another part of it, would be found out page by page
 * after the commit, when nothing can be done for its guest any more.  Main thread, at arming, after stock
 * was taken, while the VMM does not touch the memory (WIRE.md); blocks in fallocate(2).
 */
#ifndef PF_MEMORY_PROOF_H
#define PF_MEMORY_PROOF_H

#include "memory/guest.h"

/*
 * Has a page in the file for a moment, the first of the region and then the last, and asks UFFDIO_CONTINUE
 * in every mapping: what shows that page shows the file.  A mapping that does not is refused
 * (PF_ERR_PROTOCOL).  Whatever the end, the pages are as they were: absent, or reserved, and unmapped.
 * (guest_memfd does not tell which: absent, but of a region that is preallocated.)  Private memory has no
 * file, and nothing to be proved.
 */
PF_MUST_USE int pf_proof_check(struct pf_guest *guest, uint32_t region, struct pf_err *err);
/*
 * Takes back the page that a process that died had there, if the memory is the same; before stock is taken.
 * pf_proof_check() notes each page (memory/probing.h) before the file gets it.
 */
PF_MUST_USE int pf_proof_recover(struct pf_guest *guest, struct pf_err *err);

#endif
