/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/requests.c - see migrate/requests.h. */
#include "migrate/requests.h"

#include <stddef.h>
#include <string.h>

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

void pf_requests_open(struct pf_requests *requests, uint32_t region, uint64_t page, uint64_t now_ns)
{
	uint32_t at = find(requests, region, page);
	struct pf_request *slot = &requests->slot[at];

	if (slot->used)
		return;
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
	const struct pf_request *slot = &requests->slot[at];

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

	if (!requests->slot[at].used)
		return false;
	*out_since_ns = requests->slot[at].since_ns;
	drop(requests, at);
	return true;
}

void pf_requests_park(struct pf_requests *requests, uint32_t region, uint64_t page, uint64_t now_ns)
{
	struct pf_request *slot;

	pf_requests_open(requests, region, page, now_ns);
	slot = &requests->slot[find(requests, region, page)];
	if (slot->parked)
		return;
	requests->unsent -= !slot->sent;
	requests->parked++;
	slot->sent = false;
	slot->parked = true;
}

void pf_requests_retry(struct pf_requests *requests,
		       enum pf_retry (*judge)(void *opaque, const struct pf_request *request),
		       void *opaque)
{
	for (uint32_t at = 0; at < PF_REQUESTS_SLOTS && requests->parked > 0;) {
		struct pf_request *slot = &requests->slot[at];
		enum pf_retry verdict = slot->parked ? judge(opaque, slot) : PF_RETRY_KEEP;

		if (verdict == PF_RETRY_DONE) {
			drop(requests, at); /* another may be in its place now */
			continue;
		}
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
	if (requests->unsent == 0)
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

void pf_requests_resend(struct pf_requests *requests)
{
	for (uint32_t i = 0; i < PF_REQUESTS_SLOTS; i++)
		requests->slot[i].sent = requests->slot[i].parked = false;
	requests->unsent = requests->open;
	requests->parked = 0;
}

void pf_requests_clear(struct pf_requests *requests)
{
	memset(requests, 0, sizeof(*requests));
}
