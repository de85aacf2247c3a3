/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/pace.c - see core/pace.h. */
#include "core/pace.h"

#define BURST_NS UINT64_C(10000000)
#define NS_PER_S UINT64_C(1000000000)

void pf_pace_set(struct pf_pace *pace, uint64_t bytes_per_s, uint64_t now_ns)
{
	atomic_store_explicit(&pace->bytes_per_s, bytes_per_s, memory_order_relaxed);
	atomic_store_explicit(&pace->next_ns, now_ns, memory_order_relaxed);
}

bool pf_pace_open(const struct pf_pace *pace, uint64_t now_ns, uint64_t *out_when_ns)
{
	uint64_t next = atomic_load_explicit(&pace->next_ns, memory_order_relaxed);

	if (atomic_load_explicit(&pace->bytes_per_s, memory_order_relaxed) == 0 || next <= now_ns)
		return true;
	*out_when_ns = next;
	return false;
}

void pf_pace_pay(struct pf_pace *pace, uint64_t bytes, uint64_t now_ns)
{
	uint64_t rate = atomic_load_explicit(&pace->bytes_per_s, memory_order_relaxed);
	uint64_t next = atomic_load_explicit(&pace->next_ns, memory_order_relaxed), begin;

	if (rate == 0)
		return;
	do
		begin = next + BURST_NS < now_ns ? now_ns - BURST_NS : next;
	while (!atomic_compare_exchange_weak_explicit(&pace->next_ns, &next,
						      begin + bytes * NS_PER_S / rate,
						      memory_order_relaxed, memory_order_relaxed));
}
