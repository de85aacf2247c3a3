/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/slots.c - see memory/slots.h. */
#include "memory/slots.h"

#include <sys/mman.h>

#include "memory/statefile.h"

#define SLOTS_NAME "vcpu.slots"
#define SLOTS_BYTES (PF_SLOTS * sizeof(uint64_t))
#define WAITS UINT64_C(1)
#define COUNTED UINT64_C(2)
#define PAGE_MASK (~UINT64_C(4095))

static int map_slots(struct pf_slots *slots, int dirfd, enum pf_statefile_mode mode,
		     struct pf_err *err)
{
	*slots = (struct pf_slots){
		.slot = pf_statefile_map(dirfd, SLOTS_NAME, mode, SLOTS_BYTES, err)};
	return slots->slot ? 0 : pf_err_prefix(err, "what vCPUs wait for");
}

int pf_slots_create(struct pf_slots *slots, int dirfd, struct pf_err *err)
{
	return map_slots(slots, dirfd, PF_STATEFILE_NEW, err);
}

int pf_slots_open(struct pf_slots *slots, int dirfd, struct pf_err *err)
{
	if (map_slots(slots, dirfd, PF_STATEFILE_EITHER, err))
		return -1;
	for (uint32_t i = 0; i < PF_SLOTS; i++) {
		uint64_t word = atomic_load(&slots->slot[i]);

		if (word & ~(PAGE_MASK | WAITS | COUNTED) || (word && !(word & WAITS))) {
			pf_slots_close(slots);
			return pf_err_set(err, PF_ERR_CONFIG,
					  SLOTS_NAME " in the state directory is damaged at vCPU %u: "
					  "0x%016llx", i, (unsigned long long)word);
		}
	}
	atomic_store(&slots->used, PF_SLOTS);
	return 0;
}

void pf_slots_close(struct pf_slots *slots)
{
	if (slots->slot)
		munmap((void *)slots->slot, SLOTS_BYTES);
	*slots = (struct pf_slots){.slot = NULL};
}

void pf_slots_set(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa)
{
	uint64_t word = gpa | WAITS, old = atomic_load(&slots->slot[vcpu]), next;

	if (vcpu >= atomic_load_explicit(&slots->used, memory_order_relaxed))
		atomic_store(&slots->used, vcpu + 1);
	do
		next = (old & ~COUNTED) == word ? old : word;
	while (!atomic_compare_exchange_strong(&slots->slot[vcpu], &old, next));
}

bool pf_slots_count(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa)
{
	uint64_t word = gpa | WAITS;

	return atomic_compare_exchange_strong(&slots->slot[vcpu], &word, word | COUNTED);
}

bool pf_slots_next(const struct pf_slots *slots, uint32_t *vcpu, uint64_t *out_gpa)
{
	uint32_t used = atomic_load(&slots->used);

	for (; *vcpu < used; ++*vcpu) {
		uint64_t word = atomic_load_explicit(&slots->slot[*vcpu], memory_order_acquire);

		if (!(word & WAITS))
			continue;
		*out_gpa = word & PAGE_MASK;
		return true;
	}
	return false;
}

bool pf_slots_clear(struct pf_slots *slots, uint32_t vcpu, uint64_t gpa)
{
	uint64_t word = gpa | WAITS, counted = gpa | WAITS | COUNTED;

	return atomic_compare_exchange_strong(&slots->slot[vcpu], &word, 0) ||
	       atomic_compare_exchange_strong(&slots->slot[vcpu], &counted, 0);
}
