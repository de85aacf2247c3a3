/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/spin.c - see base/spin.h. */
#include "base/spin.h"

#include <stddef.h>
#include <time.h>

#include "base/clock.h"

#define BUDGET_FIRST_NS UINT64_C(10000)
#define OFF_FIRST_NS (10 * PF_NS_PER_MS)
#define OFF_MOST_NS PF_NS_PER_S

void pf_spin_learn(struct pf_spin *spin, uint64_t limit_ns, uint64_t waited_ns)
{
	uint64_t more = spin->budget_ns ? spin->budget_ns * 2 : BUDGET_FIRST_NS;

	if (waited_ns > limit_ns)
		spin->budget_ns /= 2;
	else if (waited_ns > spin->budget_ns)
		spin->budget_ns = more;
	if (spin->budget_ns < BUDGET_FIRST_NS && waited_ns > limit_ns)
		spin->budget_ns = 0;
	if (spin->budget_ns > limit_ns)
		spin->budget_ns = limit_ns;
}

void pf_spin_note_gap(struct pf_spin *spin, uint64_t now_ns, uint64_t gap_ns)
{
	if (gap_ns > PF_SPIN_AWAY_NS) {
		spin->off_ns = spin->off_ns ? spin->off_ns * 2 : OFF_FIRST_NS;
		if (spin->off_ns > OFF_MOST_NS)
			spin->off_ns = OFF_MOST_NS;
		spin->off_until_ns = now_ns + spin->off_ns;
	} else if (spin->off_ns > OFF_FIRST_NS) {
		spin->off_ns -= spin->off_ns / 64;
	}
}

/* What poll(2) says until it says something, or until the budget is used up: then 0. */
static int look(struct pf_spin *spin, struct pollfd *fds, nfds_t count, uint64_t began_ns)
{
	uint64_t now = began_ns, gap = 0;
	int ready = 0;

	while (ready == 0 && now - began_ns < spin->budget_ns) {
		uint64_t before = now;

		ready = poll(fds, count, 0);
		now = pf_now_ns();
		gap = now - before > gap ? now - before : gap;
	}
	pf_spin_note_gap(spin, now, gap);
	return ready;
}

int pf_spin_poll(struct pf_spin *spin, struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout)
{
	uint64_t limit = atomic_load_explicit(&spin->limit_ns, memory_order_relaxed);
	uint64_t began;
	int ready = 0;

	if (limit == 0)
		return ppoll(fds, count, timeout, NULL);
	began = pf_now_ns();
	if (spin->budget_ns > limit)
		spin->budget_ns = limit;
	if (spin->budget_ns > 0 && began >= spin->off_until_ns)
		ready = look(spin, fds, count, began);
	if (ready == 0)
		ready = ppoll(fds, count, timeout, NULL);
	pf_spin_learn(spin, limit, pf_now_ns() - began);
	return ready;
}
