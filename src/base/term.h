/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/term.h - until when a thread means to have done what it is about; for who must know that it stands.
 *
 * Of a thread that takes no mail, and never waits without a deadline but for events.  The thread sets it, any other
 * reads it; never blocks.  All zero is a term of nothing.
 */
#ifndef PF_BASE_TERM_H
#define PF_BASE_TERM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pf_term {
	_Atomic uint64_t by_ns; /* 0: there is nothing to be done, or it waits for an event */
};

static inline void pf_term_set(struct pf_term *term, uint64_t by_ns)
{
	atomic_store_explicit(&term->by_ns, by_ns, memory_order_relaxed);
}

static inline bool pf_term_is_over(const struct pf_term *term, uint64_t now_ns)
{
	uint64_t by = atomic_load_explicit(&term->by_ns, memory_order_relaxed);

	return by != 0 && now_ns > by;
}

#endif
