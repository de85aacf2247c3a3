/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/stock.h - what is in the memory already when it is handed over, against what was declared.
 *
 * A page that is mapped does not trap, and nobody would learn of it: so what is there must have been
 * declared, and in a way that leaves nothing mapped.  Main thread, at arming, after registration (what
 * touches a page from then on traps); looks at every page that holds data, and so can take long.
 */
#ifndef PF_MEMORY_STOCK_H
#define PF_MEMORY_STOCK_H

#include "memory/guest.h"

/* A declaration that the row cannot keep is refused (PF_ERR_PROTOCOL); before anything is touched. */
PF_MUST_USE int pf_stock_declared(const struct pf_guest *guest, uint32_t region,
				  struct pf_err *err);
/*
 * none, list: pages that hold data outside of the list are refused.  preallocated: pages that hold
 * data and are mapped by somebody are.  Changes nothing.
 */
PF_MUST_USE int pf_stock_check(const struct pf_guest *guest, uint32_t region, struct pf_err *err);
/*
 * A page that is absent by the journal, and there (it has trapped MINOR): is that somebody else's
 * doing?  No where everything was preallocated, and where it can be our own, or a dead process's: it was
 * TRIED; and on tmpfs with huge=always a write makes the neighbours present, in other regions of the
 * file too.  So there it is said of a page in whose whole neighbourhood nothing was written.
 */
bool pf_stock_unexpected(const struct pf_guest *guest, uint32_t region, uint64_t page);
/* Drops the pages that were listed, from all mappings. */
PF_MUST_USE int pf_stock_clear(const struct pf_guest *guest, uint32_t region, struct pf_err *err);

#endif
