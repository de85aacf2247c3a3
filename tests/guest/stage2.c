/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/stage2.c - see tests/guest/stage2.h; the calls are those of vmm/pageferry-vmm.h. */
#include "tests/guest/stage2.h"

#include <errno.h>

#include "vmm/pageferry-vmm.h"

void pf_stage2_init(struct pf_stage2 *stage2)
{
	*stage2 = (struct pf_stage2){0};
	pthread_rwlock_init(&stage2->connection, NULL);
	pthread_mutex_init(&stage2->lock, NULL);
	pthread_cond_init(&stage2->changed, NULL);
}

void pf_stage2_done(struct pf_stage2 *stage2)
{
	pthread_cond_destroy(&stage2->changed);
	pthread_mutex_destroy(&stage2->lock);
	pthread_rwlock_destroy(&stage2->connection);
}

void pf_stage2_connect(struct pf_stage2 *stage2, struct pageferry_vmm *agent)
{
	pthread_rwlock_wrlock(&stage2->connection);
	stage2->agent = agent;
	pthread_rwlock_unlock(&stage2->connection);
	pthread_mutex_lock(&stage2->lock);
	for (uint32_t i = 0; i < PF_GUEST_VCPUS_MAX; i++)
		if (stage2->vcpu[i].fault == PF_STAGE2_ASKED)
			stage2->vcpu[i].fault = PF_STAGE2_NEW;
	pthread_cond_broadcast(&stage2->changed);
	pthread_mutex_unlock(&stage2->lock);
}

static void answer(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa, bool lost)
{
	pthread_mutex_lock(&stage2->lock);
	if (vcpu < PF_GUEST_VCPUS_MAX && stage2->vcpu[vcpu].gpa == gpa) {
		stage2->vcpu[vcpu].fault = lost ? PF_STAGE2_LOST : PF_STAGE2_NONE;
		pthread_cond_broadcast(&stage2->changed);
	}
	pthread_mutex_unlock(&stage2->lock);
}

void pf_stage2_resolved(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa)
{
	answer(stage2, vcpu, gpa, false);
}

void pf_stage2_lost(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa)
{
	answer(stage2, vcpu, gpa, true);
}

void pf_stage2_complete(struct pf_stage2 *stage2)
{
	pthread_mutex_lock(&stage2->lock);
	stage2->complete = true;
	for (uint32_t i = 0; i < PF_GUEST_VCPUS_MAX; i++)
		if (stage2->vcpu[i].fault != PF_STAGE2_LOST)
			stage2->vcpu[i].fault = PF_STAGE2_NONE;
	pthread_cond_broadcast(&stage2->changed);
	pthread_mutex_unlock(&stage2->lock);
}

void pf_stage2_kick(struct pf_stage2 *stage2)
{
	pthread_mutex_lock(&stage2->lock);
	pthread_cond_broadcast(&stage2->changed);
	pthread_mutex_unlock(&stage2->lock);
}

void pf_stage2_fault(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa, pf_stage2_traps *traps,
		     const void *opaque)
{
	pthread_mutex_lock(&stage2->lock);
	/* `complete` first: a bit that was read before may have been cleared until it came, and only after it
	 * is a set bit that of a lost page. */
	if (!stage2->complete)
		stage2->vcpu[vcpu].fault = PF_STAGE2_NEW;
	else
		stage2->vcpu[vcpu].fault = traps(opaque, gpa) ? PF_STAGE2_LOST : PF_STAGE2_NONE;
	stage2->vcpu[vcpu].gpa = gpa & ~(uint64_t)(PF_GUEST_PAGE - 1);
	pthread_mutex_unlock(&stage2->lock);
	atomic_fetch_add(&stage2->faults, 1);
}

/* Without the lock: `resolved` may be called before this returns. */
static void ask(struct pf_stage2 *stage2, uint32_t vcpu, uint64_t gpa)
{
	int told = -1;

	pthread_rwlock_rdlock(&stage2->connection);
	if (stage2->agent) {
		do
			told = pageferry_vmm_fault(stage2->agent, vcpu, gpa);
		while (told < 0 && errno == EINTR);
	}
	pthread_rwlock_unlock(&stage2->connection);
	/* Nobody to ask, or gone just now: the next connection is asked, and until then it waits. */
	if (told > 0)
		answer(stage2, vcpu, gpa, told == 2);
}

bool pf_stage2_wait(struct pf_stage2 *stage2, uint32_t vcpu, const volatile uint8_t *parks)
{
	bool resolved;

	pthread_mutex_lock(&stage2->lock);
	while (stage2->vcpu[vcpu].fault != PF_STAGE2_NONE && !*parks) {
		if (stage2->vcpu[vcpu].fault == PF_STAGE2_NEW) {
			stage2->vcpu[vcpu].fault = PF_STAGE2_ASKED;
			pthread_mutex_unlock(&stage2->lock);
			ask(stage2, vcpu, stage2->vcpu[vcpu].gpa);
			pthread_mutex_lock(&stage2->lock);
		} else {
			pthread_cond_wait(&stage2->changed, &stage2->lock);
		}
	}
	resolved = stage2->vcpu[vcpu].fault == PF_STAGE2_NONE;
	pthread_mutex_unlock(&stage2->lock);
	return resolved;
}
