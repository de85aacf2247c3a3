/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_blocked.c - who faulted, as far as that is known, and who waits for what.
 *
 * The urgent thread notes what each vCPU trapped on; main asks which of them still wait: a vCPU waits for
 * one page, until that is FILLED, so that nothing has to be taken back on the way of a fault.  Atomics, no
 * lock; does not block.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "migrate/destination_pager.h"

#define PAGE_BITS 48

static int compare_tids(const void *a, const void *b)
{
	const struct pf_pager_vcpu *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

void pf_pager_know_vcpus(struct pf_pager *pager, const uint32_t *tids, uint32_t count)
{
	pager->vcpus.count = count < PF_SLOTS ? count : PF_SLOTS;
	for (uint32_t i = 0; i < pager->vcpus.count; i++)
		pager->vcpus.vcpu[i] = (struct pf_pager_vcpu){.tid = tids[i], .number = i};
	qsort(pager->vcpus.vcpu, pager->vcpus.count, sizeof(pager->vcpus.vcpu[0]), compare_tids);
}

void pf_blocked_note(struct pf_pager *pager, uint32_t vcpu, uint32_t region, uint64_t page)
{
	uint64_t key = (uint64_t)region << PAGE_BITS | page;
	struct pf_blocked *blocked = &pager->blocked[vcpu % PF_SLOTS];

	/* Woken, it traps on the same page again, and has waited since the first time. */
	if (atomic_load_explicit(&blocked->since_ns, memory_order_relaxed) != 0 &&
	    atomic_load_explicit(&blocked->page, memory_order_relaxed) == key)
		return;
	/* Nobody sees the new page with the old page's time. */
	atomic_store_explicit(&blocked->since_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&blocked->page, key, memory_order_release);
	atomic_store_explicit(&blocked->since_ns, pf_now_ns(), memory_order_release);
}

void pf_blocked_by_uffd(struct pf_pager *pager, uint32_t uffd, const struct pf_run *page,
			const struct uffd_msg *event, bool counts)
{
	const struct pf_pager_vcpus *vcpus = &pager->vcpus;
	struct pf_pager_vcpu key = {.tid = event->arg.pagefault.feat.ptid};
	const struct pf_pager_vcpu *vcpu;

	if (!(pager->guest->uffd[uffd].features & UFFD_FEATURE_THREAD_ID))
		return; /* nobody knows */
	vcpu = bsearch(&key, vcpus->vcpu, vcpus->count, sizeof(key), compare_tids);
	if (vcpu)
		pf_blocked_note(pager, vcpu->number, page->region, page->first);
	if (!counts)
		return;
	if (!vcpu)
		pf_pager_add(&pager->count.vmm, 1);
	else if (pager->guest->region[page->region].has_bitmap)
		pf_pager_add(&pager->count.kvm, 1); /* its own accesses do not come this way */
	else
		pf_pager_add(&pager->count.vcpu, 1);
}

uint64_t pf_pager_blocked(const struct pf_pager *pager, const struct pf_guest *guest, uint32_t vcpu)
{
	const struct pf_blocked *blocked = &pager->blocked[vcpu];
	uint64_t since = atomic_load_explicit(&blocked->since_ns, memory_order_acquire);
	uint64_t key = atomic_load_explicit(&blocked->page, memory_order_acquire);
	uint64_t page = key & ((UINT64_C(1) << PAGE_BITS) - 1);
	uint32_t region = (uint32_t)(key >> PAGE_BITS);

	if (since == 0 || atomic_load_explicit(&blocked->since_ns, memory_order_relaxed) != since ||
	    pf_journal_state(&guest->journal, region, page) == PF_PAGE_FILLED)
		return 0;
	return since;
}
