/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/race.c - see core/race.h. */
#include "core/race.h"

void pf_race_begin(struct pf_race *race, uint32_t addresses, bool eager, uint64_t now_ns)
{
	*race = (struct pf_race){.addresses = addresses, .eager = eager};
	for (uint32_t i = 0; i < addresses; i++) {
		race->next_ns[i] = now_ns;
		race->every_ns[i] = PF_RACE_EVERY_NS;
		race->tls_ns[i] = PF_RACE_TLS_NS;
	}
}

static uint32_t earliest(const struct pf_race *race)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < race->addresses; i++)
		if (race->next_ns[i] < race->next_ns[best])
			best = i;
	return best;
}

static bool find(const struct pf_race *race, enum pf_race_state state, uint32_t *out_slot)
{
	bool found = false;

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		if (race->attempt[i].state != state ||
		    (found && race->attempt[i].since_ns >= race->attempt[*out_slot].since_ns))
			continue;
		*out_slot = i;
		found = true;
	}
	return found;
}

bool pf_race_start(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot, uint32_t *out_address)
{
	uint32_t address = earliest(race);

	if (race->next_ns[address] > now_ns || !find(race, PF_RACE_FREE, out_slot))
		return false;
	race->attempt[*out_slot].state = PF_RACE_CONNECTING;
	race->attempt[*out_slot].address = *out_address = address;
	race->attempt[*out_slot].since_ns = now_ns;
	race->next_ns[address] = now_ns + race->every_ns[address];
	if (!race->eager && race->every_ns[address] * 2 <= PF_RACE_BACKOFF_NS)
		race->every_ns[address] *= 2;
	else if (!race->eager)
		race->every_ns[address] = PF_RACE_BACKOFF_NS;
	return true;
}

static unsigned open_at(const struct pf_race *race, uint32_t address)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		count += race->attempt[i].state != PF_RACE_FREE &&
			 race->attempt[i].address == address;
	return count;
}

/* For an address that has none: the oldest whose address has another one. */
static bool find_one_of_two(const struct pf_race *race, uint32_t *out_slot)
{
	bool found = false;

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		if (race->attempt[i].state != PF_RACE_SECURING ||
		    open_at(race, race->attempt[i].address) < 2 ||
		    (found && race->attempt[i].since_ns >= race->attempt[*out_slot].since_ns))
			continue;
		*out_slot = i;
		found = true;
	}
	return found;
}

bool pf_race_evict(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot)
{
	uint32_t address = earliest(race), ignored;

	if (race->next_ns[address] > now_ns || find(race, PF_RACE_FREE, &ignored) ||
	    find(race, PF_RACE_LEAVING, &ignored))
		return false;
	/* Who has TCP is not a SYN that was lost, and who has TLS keeps its life. */
	if ((!find(race, PF_RACE_CONNECTING, out_slot) ||
	     now_ns - race->attempt[*out_slot].since_ns < PF_RACE_TIME_NS) &&
	    (open_at(race, address) > 0 || !find_one_of_two(race, out_slot)))
		return false;
	race->attempt[*out_slot].state = PF_RACE_LEAVING;
	return true;
}

bool pf_race_speaker(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (race->attempt[i].state == PF_RACE_SPEAKING &&
		    now_ns - race->attempt[i].spoke_ns < PF_RACE_SPEECH_NS)
			return false;
	if (!find(race, PF_RACE_READY, out_slot))
		return false;
	race->attempt[*out_slot].state = PF_RACE_SPEAKING;
	race->attempt[*out_slot].spoke_ns = now_ns;
	return true;
}

static void leave_alone(struct pf_race *race, uint32_t address, uint64_t until_ns)
{
	if (race->next_ns[address] < until_ns)
		race->next_ns[address] = until_ns;
}

void pf_race_connected(struct pf_race *race, uint32_t slot, uint64_t now_ns)
{
	uint32_t address = race->attempt[slot].address;

	if (race->attempt[slot].state != PF_RACE_CONNECTING)
		return;
	race->attempt[slot].state = PF_RACE_SECURING;
	leave_alone(race, address, now_ns + race->tls_ns[address]);
}

void pf_race_ready(struct pf_race *race, uint32_t slot)
{
	if (race->attempt[slot].state == PF_RACE_CONNECTING ||
	    race->attempt[slot].state == PF_RACE_SECURING)
		race->attempt[slot].state = PF_RACE_READY;
}

/* It had TCP: it ran out of time, or its connection broke and there is nothing to wait for. */
static void lost_connection(struct pf_race *race, uint32_t slot, uint64_t now_ns)
{
	uint32_t address = race->attempt[slot].address;
	uint64_t again_ns = now_ns + race->every_ns[address];
	bool late = now_ns - race->attempt[slot].since_ns >= PF_RACE_LIFE_NS;

	if (late && race->attempt[slot].state == PF_RACE_SECURING &&
	    race->tls_ns[address] < PF_RACE_TLS_MAX_NS)
		race->tls_ns[address] *= 2;
	else if (!late && race->next_ns[address] > again_ns)
		race->next_ns[address] = again_ns;
}

void pf_race_over(struct pf_race *race, uint32_t slot, bool refused, uint64_t now_ns)
{
	enum pf_race_state state = race->attempt[slot].state;

	if (refused)
		leave_alone(race, race->attempt[slot].address, now_ns + PF_RACE_BACKOFF_NS);
	else if (state != PF_RACE_CONNECTING && state != PF_RACE_LEAVING)
		lost_connection(race, slot, now_ns);
	race->attempt[slot].state = PF_RACE_FREE;
}

uint64_t pf_race_wake_ns(const struct pf_race *race, uint64_t now_ns)
{
	uint64_t wake = race->next_ns[earliest(race)], room = now_ns + PF_RACE_EVERY_NS;
	uint32_t slot = 0;

	/* All places taken: until one is wanted back, and can be. */
	if (!find(race, PF_RACE_FREE, &slot)) {
		if (find(race, PF_RACE_CONNECTING, &slot))
			room = race->attempt[slot].since_ns + PF_RACE_TIME_NS;
		wake = wake > room ? wake : room;
	}
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (race->attempt[i].state == PF_RACE_SPEAKING &&
		    race->attempt[i].spoke_ns + PF_RACE_SPEECH_NS < wake &&
		    race->attempt[i].spoke_ns + PF_RACE_SPEECH_NS > now_ns)
			wake = race->attempt[i].spoke_ns + PF_RACE_SPEECH_NS;
	return wake;
}
