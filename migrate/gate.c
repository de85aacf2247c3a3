/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/gate.c - see migrate/gate.h. */
#include "migrate/gate.h"

#include <sys/eventfd.h>

void pf_gate_reset(struct pf_gate *gate)
{
	atomic_store(&gate->waiting, 0);
	atomic_store(&gate->asleep, 0);
}

void pf_gate_request(struct pf_gate *gate)
{
	atomic_fetch_add_explicit(&gate->waiting, 1, memory_order_relaxed);
}

void pf_gate_answered(struct pf_gate *gate)
{
	uint32_t asleep;

	if (atomic_load_explicit(&gate->waiting, memory_order_relaxed) == 0)
		return;
	/* Sequentially consistent, as in pf_gate_closed(): either its second look sees 0, or this
	 * one sees its bit. */
	atomic_store(&gate->waiting, 0);
	asleep = atomic_load(&gate->asleep);
	if (asleep == 0)
		return;
	for (asleep = atomic_exchange(&gate->asleep, 0); asleep; asleep &= asleep - 1)
		(void)eventfd_write(atomic_load(&gate->wake_fd[__builtin_ctz(asleep)]), 1);
}

bool pf_gate_closed(struct pf_gate *gate, uint32_t user, int wake_fd)
{
	if (atomic_load_explicit(&gate->waiting, memory_order_relaxed) == 0)
		return false;
	atomic_store(&gate->wake_fd[user], wake_fd);
	atomic_fetch_or(&gate->asleep, UINT32_C(1) << user);
	return atomic_load(&gate->waiting) > 0;
}
