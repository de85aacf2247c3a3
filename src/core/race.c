/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/race.c - see core/race.h. */
#include "core/race.h"

#include "base/pause.h"

void pf_race_begin(struct pf_race *race, uint32_t addresses, bool eager, uint64_t now_ns)
{
	*race = (struct pf_race){.addresses = addresses, .eager = eager};
	for (uint32_t i = 0; i < addresses; i++) {
		race->at[i].next_ns = now_ns;
		race->at[i].every_ns = PF_RACE_EVERY_NS;
		race->at[i].tls_ns = PF_RACE_TLS_NS;
	}
}

static bool is_open(const struct pf_race *race, uint32_t slot)
{
	return race->attempt[slot].state != PF_RACE_FREE &&
	       race->attempt[slot].state != PF_RACE_LEAVING;
}

static unsigned open_at(const struct pf_race *race, uint32_t address)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		count += is_open(race, i) && race->attempt[i].address == address;
	return count;
}

/* The oldest in that state. */
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

/* One that only waits for its turn to say HELLO: there is no need for another there. */
static bool has_ready(const struct pf_race *race, uint32_t address)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (race->attempt[i].state == PF_RACE_READY && race->attempt[i].address == address)
			return true;
	return false;
}

/* Whose turn it is: an address without an attempt comes before all that have one. */
static bool find_due(const struct pf_race *race, uint64_t now_ns, uint32_t *out_address)
{
	bool found = false, best_has = false;

	for (uint32_t i = 0; i < race->addresses; i++) {
		bool has = open_at(race, i) > 0;

		if (race->at[i].next_ns > now_ns || has_ready(race, i))
			continue;
		if (found && (has != best_has
				      ? has
				      : race->at[i].next_ns >= race->at[*out_address].next_ns))
			continue;
		*out_address = i;
		best_has = has;
		found = true;
	}
	return found;
}

bool pf_race_start(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot, uint32_t *out_address)
{
	uint64_t every_ns;

	if (!find_due(race, now_ns, out_address) || !find(race, PF_RACE_FREE, out_slot))
		return false;
	race->attempt[*out_slot].state = PF_RACE_CONNECTING;
	race->attempt[*out_slot].address = *out_address;
	race->attempt[*out_slot].since_ns = now_ns;
	every_ns = race->at[*out_address].every_ns;
	race->at[*out_address].next_ns = race->at[*out_address].soon_ns = now_ns + every_ns;
	if (!race->eager)
		race->at[*out_address].every_ns = pf_doubled_ns(every_ns, 1, PF_RACE_BACKOFF_NS);
	return true;
}

/* The first of the two rather than the second. */
static bool spares_rather(const struct pf_race *race, uint32_t a, uint32_t b)
{
	enum pf_race_state state = race->attempt[a].state;
	uint64_t since_a = race->attempt[a].since_ns, since_b = race->attempt[b].since_ns;

	if (state != race->attempt[b].state)
		return state == PF_RACE_CONNECTING;
	return state == PF_RACE_CONNECTING ? since_a < since_b : since_a > since_b;
}

/* The SYN that has waited longest at an address where nobody has got further: its answer may be on the way. */
static bool is_awaited(const struct pf_race *race, uint32_t slot, uint64_t now_ns)
{
	if (race->attempt[slot].state != PF_RACE_CONNECTING ||
	    now_ns - race->attempt[slot].since_ns >= PF_RACE_TIME_NS)
		return false;
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (i != slot && is_open(race, i) &&
		    race->attempt[i].address == race->attempt[slot].address &&
		    (race->attempt[i].state != PF_RACE_CONNECTING ||
		     race->attempt[i].since_ns < race->attempt[slot].since_ns))
			return false;
	return true;
}

/* Of an address that has two: a SYN before a handshake; the oldest SYN that is not awaited, since a fresh one helps, and
 * the handshake with the least done. */
static bool find_spare(const struct pf_race *race, uint64_t now_ns, uint32_t *out_slot)
{
	bool found = false;

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		enum pf_race_state state = race->attempt[i].state;

		if ((state != PF_RACE_CONNECTING && state != PF_RACE_SECURING) ||
		    open_at(race, race->attempt[i].address) < 2 || is_awaited(race, i, now_ns))
			continue;
		if (found && !spares_rather(race, i, *out_slot))
			continue;
		*out_slot = i;
		found = true;
	}
	return found;
}

/* When somebody can make room for that address, and who; all places are taken. */
static uint64_t room_ns(const struct pf_race *race, uint32_t address, uint64_t now_ns,
			uint32_t *out_slot)
{
	if (find(race, PF_RACE_LEAVING, out_slot))
		return now_ns + PF_RACE_EVERY_NS; /* he does; his end is news before that */
	if (open_at(race, address) == 0 && find_spare(race, now_ns, out_slot))
		return now_ns;
	/* Who has TCP is not a SYN that was lost, and keeps its place. */
	return find(race, PF_RACE_CONNECTING, out_slot)
		       ? race->attempt[*out_slot].since_ns + PF_RACE_TIME_NS
		       : now_ns + PF_RACE_EVERY_NS;
}

bool pf_race_evict(struct pf_race *race, uint64_t now_ns, uint32_t *out_slot)
{
	uint32_t address;

	if (find(race, PF_RACE_FREE, out_slot) || !find_due(race, now_ns, &address) ||
	    room_ns(race, address, now_ns, out_slot) > now_ns)
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

uint32_t pf_race_connected(struct pf_race *race, uint32_t slot, uint64_t now_ns)
{
	uint32_t address = race->attempt[slot].address, leave = 0;
	bool beside = false;

	if (race->attempt[slot].state != PF_RACE_CONNECTING)
		return 0;
	race->attempt[slot].state = PF_RACE_SECURING;
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		enum pf_race_state *state = &race->attempt[i].state;

		if (i == slot || race->attempt[i].address != address)
			continue;
		beside = beside || *state == PF_RACE_SECURING;
		if (*state == PF_RACE_CONNECTING) {
			*state = PF_RACE_LEAVING;
			leave |= 1u << i;
		}
	}
	race->at[address].tls_ns =
		beside ? pf_doubled_ns(race->at[address].tls_ns, 1, PF_RACE_TLS_MAX_NS) : PF_RACE_TLS_NS;
	race->at[address].next_ns = now_ns + race->at[address].tls_ns;
	return leave;
}

void pf_race_ready(struct pf_race *race, uint32_t slot)
{
	if (race->attempt[slot].state != PF_RACE_SECURING)
		return;
	race->attempt[slot].state = PF_RACE_READY;
	race->at[race->attempt[slot].address].tls_ns = PF_RACE_TLS_NS;
}

void pf_race_over(struct pf_race *race, uint32_t slot, enum pf_race_end how, uint64_t now_ns)
{
	uint32_t address = race->attempt[slot].address;
	enum pf_race_state was = race->attempt[slot].state;

	race->attempt[slot].state = PF_RACE_FREE;
	if (how == PF_RACE_REFUSED) {
		race->at[address].next_ns = now_ns + PF_RACE_BACKOFF_NS;
		race->at[address].tls_ns = PF_RACE_TLS_NS;
	} else if (how == PF_RACE_BROKE && was >= PF_RACE_SECURING && was <= PF_RACE_SPEAKING &&
		   race->at[address].next_ns > race->at[address].soon_ns) {
		race->at[address].next_ns = race->at[address].soon_ns;
	}
}

uint64_t pf_race_wake_ns(const struct pf_race *race, uint64_t now_ns)
{
	uint64_t wake = UINT64_MAX;
	uint32_t slot = 0;
	bool full = !find(race, PF_RACE_FREE, &slot);

	for (uint32_t i = 0; i < race->addresses; i++) {
		uint64_t due = race->at[i].next_ns, room = full ? room_ns(race, i, now_ns, &slot) : 0;

		due = due > room ? due : room;
		if (due < wake && !has_ready(race, i))
			wake = due;
	}
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		uint64_t heard = race->attempt[i].spoke_ns + PF_RACE_SPEECH_NS;

		if (race->attempt[i].state == PF_RACE_SPEAKING && heard > now_ns && heard < wake)
			wake = heard;
	}
	return wake;
}
