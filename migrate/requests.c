/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/requests.c - see migrate/requests.h. */
#include "migrate/requests.h"

#include <stddef.h>

#define AGAIN_DOUBLED 6u

static uint32_t home_of(uint32_t region, uint64_t page)
{
	/* Fibonacci hashing: neighbouring pages are the common case and must spread. */
	uint64_t key = (uint64_t)region << 48 ^ page;

	return (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 40) % PF_REQUESTS_SLOTS;
}

static uint32_t find(const struct pf_requests *requests, uint32_t region, uint64_t page)
{
	uint32_t at = home_of(region, page);

	while (requests->slot[at].used &&
	       (requests->slot[at].page != page || requests->slot[at].region != region))
		at = (at + 1) % PF_REQUESTS_SLOTS;
	return at;
}

bool pf_requests_reserve(struct pf_requests *requests)
{
	pf_requests_overbook(requests, 1);
	if (!pf_requests_overbooked(requests))
		return true;
	pf_requests_release(requests, 1);
	return false;
}

void pf_requests_overbook(struct pf_requests *requests, uint32_t pages)
{
	atomic_fetch_add(&requests->reserved, pages);
}

bool pf_requests_overbooked(struct pf_requests *requests)
{
	return atomic_load(&requests->reserved) > PF_REQUESTS_HANDED_MAX;
}

void pf_requests_release(struct pf_requests *requests, uint32_t pages)
{
	atomic_fetch_sub(&requests->reserved, pages);
}

void pf_requests_map_begin(struct pf_requests *requests, uint32_t pages)
{
	atomic_fetch_add(&requests->unmapped, pages);
}

void pf_requests_map_end(struct pf_requests *requests, uint32_t pages)
{
	if (atomic_fetch_sub(&requests->unmapped, pages) == pages)
		requests->mapped_all = true;
}

void pf_requests_map_forget(struct pf_requests *requests, uint32_t pages)
{
	atomic_fetch_sub(&requests->unmapped, pages);
}

bool pf_requests_all_mapped(struct pf_requests *requests)
{
	return atomic_load(&requests->unmapped) == 0;
}

static void set_unmapped(struct pf_requests *requests, struct pf_request *slot, bool unmapped)
{
	if (unmapped && !slot->unmapped)
		pf_requests_map_begin(requests, 1);
	else if (!unmapped && slot->unmapped)
		pf_requests_map_end(requests, 1);
	slot->unmapped = unmapped;
}

bool pf_requests_is_unmapped(const struct pf_requests *requests, uint32_t region, uint64_t page)
{
	return requests->slot[find(requests, region, page)].unmapped;
}

void pf_requests_unmapped(struct pf_requests *requests, uint32_t region, uint64_t page)
{
	struct pf_request *slot = &requests->slot[find(requests, region, page)];

	if (slot->used)
		set_unmapped(requests, slot, true);
}

/* Somebody waits for it now, or it is closed. */
static void stop_handing(struct pf_requests *requests, struct pf_request *slot, uint64_t now_ns)
{
	if (!slot->handed)
		return;
	slot->handed = 0;
	slot->since_ns = now_ns;
	requests->handed--;
	pf_requests_release(requests, 1);
}

void pf_requests_open(struct pf_requests *requests, uint32_t region, uint64_t page, uint64_t now_ns)
{
	uint32_t at = find(requests, region, page);
	struct pf_request *slot = &requests->slot[at];

	if (slot->used) {
		stop_handing(requests, slot, now_ns);
		return;
	}
	requests->scan = at;
	*slot = (struct pf_request){
		.used = true, .region = region, .page = page, .since_ns = now_ns};
	requests->open++;
	requests->unsent++;
}

/* Moves later members of the probe sequence back into the hole (Knuth, 6.4, algorithm R). */
static void close_hole(struct pf_requests *requests, uint32_t hole)
{
	uint32_t at = hole;

	for (;;) {
		const struct pf_request *next;
		uint32_t home;

		at = (at + 1) % PF_REQUESTS_SLOTS;
		next = &requests->slot[at];
		if (!next->used)
			break;
		home = home_of(next->region, next->page);
		if ((at - home + PF_REQUESTS_SLOTS) % PF_REQUESTS_SLOTS <
		    (at - hole + PF_REQUESTS_SLOTS) % PF_REQUESTS_SLOTS)
			continue;
		requests->slot[hole] = *next;
		hole = at;
	}
	requests->slot[hole] = (struct pf_request){.used = false};
}

static void drop(struct pf_requests *requests, uint32_t at)
{
	struct pf_request *slot = &requests->slot[at];

	stop_handing(requests, slot, 0);
	set_unmapped(requests, slot, false);
	requests->open--;
	requests->parked -= slot->parked;
	requests->unsent -= !slot->sent && !slot->parked;
	close_hole(requests, at);
}

bool pf_requests_owed(const struct pf_requests *requests, uint32_t region, uint64_t page)
{
	const struct pf_request *slot = &requests->slot[find(requests, region, page)];

	return slot->used && slot->sent;
}

bool pf_requests_close(struct pf_requests *requests, uint32_t region, uint64_t page,
		       uint64_t *out_since_ns)
{
	uint32_t at = find(requests, region, page);
	bool awaited = !requests->slot[at].handed;

	if (!requests->slot[at].used)
		return false;
	*out_since_ns = requests->slot[at].since_ns;
	drop(requests, at);
	return awaited;
}

static uint64_t again_ns(const struct pf_request *slot, uint64_t now_ns)
{
	unsigned doubled = slot->handed - 1u;

	return now_ns + (PF_REQUESTS_AGAIN_NS << (doubled < AGAIN_DOUBLED ? doubled : AGAIN_DOUBLED));
}

static void park(struct pf_requests *requests, struct pf_request *slot, uint64_t now_ns)
{
	if (slot->parked)
		return;
	requests->unsent -= !slot->sent;
	requests->parked++;
	slot->sent = false;
	slot->parked = true;
	if (slot->handed)
		slot->since_ns = again_ns(slot, now_ns);
}

void pf_requests_park(struct pf_requests *requests, uint32_t region, uint64_t page, uint64_t now_ns)
{
	struct pf_request *slot = &requests->slot[find(requests, region, page)];

	if (!slot->used)
		pf_requests_open(requests, region, page, now_ns);
	else if (slot->handed && !slot->parked && slot->handed <= AGAIN_DOUBLED)
		slot->handed++;
	park(requests, slot, now_ns);
}

void pf_requests_hand_on(struct pf_requests *requests, uint32_t region, uint64_t page,
			 uint64_t now_ns)
{
	struct pf_request *slot = &requests->slot[find(requests, region, page)];

	if (slot->used) { /* it is owed, and tried again, anyway */
		pf_requests_release(requests, 1);
		return;
	}
	pf_requests_open(requests, region, page, now_ns);
	slot->handed = 1;
	requests->handed++;
	park(requests, slot, now_ns);
}

bool pf_requests_handed(const struct pf_requests *requests, uint32_t region, uint64_t page)
{
	return requests->slot[find(requests, region, page)].handed;
}

/* Handed on, and tried once more in vain. */
static void wait_longer(struct pf_request *slot, uint64_t now_ns)
{
	if (!slot->handed)
		return;
	if (slot->handed <= AGAIN_DOUBLED)
		slot->handed++;
	slot->since_ns = again_ns(slot, now_ns);
}

static bool due(const struct pf_request *slot, uint64_t now_ns)
{
	return slot->parked && (!slot->handed || slot->since_ns <= now_ns);
}

void pf_requests_retry(struct pf_requests *requests, uint64_t now_ns,
		       enum pf_retry (*judge)(void *opaque, const struct pf_request *request),
		       void *opaque)
{
	for (uint32_t at = 0; at < PF_REQUESTS_SLOTS && requests->parked > 0;) {
		struct pf_request *slot = &requests->slot[at];
		enum pf_retry verdict = due(slot, now_ns) ? judge(opaque, slot) : PF_RETRY_KEEP;

		if (verdict == PF_RETRY_DONE) {
			drop(requests, at); /* another may be in its place now */
			continue;
		}
		if (verdict != PF_RETRY_KEEP)
			set_unmapped(requests, slot, verdict == PF_RETRY_UNMAPPED);
		if (verdict == PF_RETRY_UNMAPPED)
			wait_longer(slot, now_ns);
		if (verdict == PF_RETRY_SEND) {
			slot->parked = false;
			requests->parked--;
			requests->unsent++;
		}
		at++;
	}
}

struct pf_request *pf_requests_next(struct pf_requests *requests)
{
	/* What is handed on can make more of them than the source takes at once. */
	if (requests->unsent == 0 ||
	    requests->open - requests->unsent - requests->parked >= PF_REQUESTS_OPEN_MAX)
		return NULL;
	while (!requests->slot[requests->scan].used || requests->slot[requests->scan].sent ||
	       requests->slot[requests->scan].parked)
		requests->scan = (requests->scan + 1) % PF_REQUESTS_SLOTS;
	return &requests->slot[requests->scan];
}

void pf_requests_sent(struct pf_requests *requests, struct pf_request *request)
{
	request->sent = true;
	requests->unsent--;
}

void pf_requests_park_all(struct pf_requests *requests, uint64_t now_ns)
{
	for (uint32_t i = 0; i < PF_REQUESTS_SLOTS; i++) {
		struct pf_request *slot = &requests->slot[i];

		if (slot->used && slot->handed && !slot->parked)
			slot->since_ns = now_ns;
		slot->sent = false;
		slot->parked = slot->used;
	}
	requests->unsent = 0;
	requests->parked = requests->open;
}

void pf_requests_resend(struct pf_requests *requests)
{
	for (uint32_t i = 0; i < PF_REQUESTS_SLOTS; i++)
		requests->slot[i].sent = requests->slot[i].parked = false;
	requests->unsent = requests->open;
	requests->parked = 0;
}
