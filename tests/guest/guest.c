/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/guest.c - the guest program: walks memory for ever, with a heartbeat.
 *
 * Freestanding 32-bit code without data of its own: all state is in the struct pf_walk and on the
 * stack, so that whatever the VMM compares at the end can be predicted.
 */
#include "layout.h"
#include "walk.h"

void pf_guest_main(struct pf_walk *walk);

static void out(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "d"(port) : "memory");
}

static uint32_t in(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port) : "memory");
	return value;
}

static void report(const struct pf_walk_wrong *wrong)
{
	out(PF_PORT_ADDRESS, wrong->address);
	out(PF_PORT_EXPECTED, wrong->expected);
	out(PF_PORT_FOUND, wrong->found);
	for (;;)
		__asm__ volatile("hlt");
}

/* Returns when the VMM says so; then the vCPU is at a visit boundary that the VMM knows. */
void pf_guest_main(struct pf_walk *walk)
{
	struct pf_walk_wrong wrong;

	for (;;) {
		if (pf_walk_visit(walk, 0, &wrong))
			report(&wrong);
		if (walk->visits % PF_GUEST_VISITS_PER_BEAT != 0)
			continue;
		out(PF_PORT_HEARTBEAT, (uint32_t)walk->visits);
		if (in(PF_PORT_COMMAND) == PF_COMMAND_FINISH)
			return;
	}
}
