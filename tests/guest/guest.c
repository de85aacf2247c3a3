/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/guest.c - the guest program: walks memory for ever, with a heartbeat.
 *
 * Now and then it lets somebody else be the first to touch the next page, in turn: KVM's emulator,
 * which does string I/O on the vCPU's behalf, reading and writing; or the VMM's device.
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

/* KVM reads the words and writes them back where they were. */
static void echo(uint32_t *words)
{
	const uint32_t *from = words;
	uint32_t count = PF_GUEST_ECHO_WORDS;

	__asm__ volatile("rep outsl" : "+S"(from), "+c"(count) : "d"(PF_PORT_ECHO) : "memory");
	count = PF_GUEST_ECHO_WORDS;
	__asm__ volatile("rep insl" : "+D"(words), "+c"(count) : "d"(PF_PORT_ECHO) : "memory");
}

/* KVM writes a word that is never rewritten: what it is to be is known without reading it. */
static void write_through_kvm(const struct pf_walk *walk, uint32_t *words)
{
	uint32_t page = pf_walk_page(walk), *word = words + 1;

	out(PF_PORT_ECHO, pf_walk_starts_zero(walk->seed, page)
				  ? 0
				  : pf_walk_initial(pf_walk_initial_key(walk->seed, page), 1));
	__asm__ volatile("insl" : "+D"(word) : "d"(PF_PORT_ECHO) : "memory");
}

static void let_another_be_first(const struct pf_walk *walk)
{
	uint32_t address = pf_walk_page(walk) * PF_GUEST_PAGE;
	uint32_t *words = (uint32_t *)address;

	switch ((uint32_t)walk->visits / PF_GUEST_VISITS_PER_OTHER % 3) {
	case 0:
		echo(words);
		break;
	case 1:
		write_through_kvm(walk, words);
		break;
	default:
		out(PF_PORT_DEVICE, address);
	}
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
		if ((uint32_t)walk->visits % PF_GUEST_VISITS_PER_OTHER == 1)
			let_another_be_first(walk);
		if (pf_walk_visit(walk, 0, &wrong))
			report(&wrong);
		if (walk->visits % PF_GUEST_VISITS_PER_BEAT != 0)
			continue;
		out(PF_PORT_HEARTBEAT, (uint32_t)walk->visits);
		if (in(PF_PORT_COMMAND) == PF_COMMAND_FINISH)
			return;
	}
}
