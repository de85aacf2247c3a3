/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_status.c - what the destination shows of itself in query-migrate.
 *
 * Main thread; reads counters that other threads write, and blocks on none of them.
 */
#include "base/clock.h"
#include "migrate/destination_engine.h"
#include "migrate/status.h"

json_t *pf_destination_blocked(struct destination *destination)
{
	uint64_t now = pf_now_ns();
	json_t *list = json_array();

	for (uint32_t i = 0; destination->armed && i < PF_SLOTS; i++) {
		uint64_t since = pf_pager_blocked(&destination->pager, &destination->guest, i);

		if (since > 0)
			json_array_append_new(
				list, json_pack("{s:i, s:I}", "vcpu", (int)i, "blocked-ms",
						(json_int_t)((now - since) / PF_NS_PER_MS)));
	}
	return list;
}

/* What the state alone does not say.  NULL: it does. */
static const char *waits_for(struct destination *destination)
{
	if (destination->agent.state == PF_D_SERVING && destination->armed &&
	    pf_journal_complete(&destination->guest.journal) &&
	    !pf_requests_all_mapped(&destination->pager.requests))
		return "pages that cannot be mapped: PAGE_STUCK names them";
	if (!destination->held || destination->urgent_up)
		return NULL;
	switch ((enum pf_destination_state)destination->agent.state) {
	case PF_D_OUTAGE:
		return "recover";
	case PF_D_CUT:
		return "RESUMED of its VMM, and recover";
	case PF_D_AWAY_RUN:
		return "its VMM, and recover";
	default:
		return NULL;
	}
}

void pf_destination_status(void *engine, json_t *status)
{
	struct destination *destination = engine;
	struct pf_pager *pager = &destination->pager;
	uint64_t sent = destination->sent_before + pager->count.sent;
	uint64_t received = destination->received_before + pager->count.received;
	struct pf_page_counts pages = {
		.requested = pager->count.requested,
		.pushed = destination->pushed_before,
		.zero = destination->zero_before + pager->count.zero,
	};
	struct pf_fault_counts faults = {
		.count = pager->count.faults,
		.open = pager->count.open,
		.vcpu = pager->count.vcpu,
		.kvm = pager->count.kvm,
		.vmm = pager->count.vmm,
	};

	if (destination->armed) {
		pages.total = destination->guest.journal.total;
		pages.filled = destination->guest.journal.filled;
		pages.lost = destination->guest.journal.lost;
		pages.unasked = destination->guest.count.unasked;
		pages.duplicates = destination->guest.count.duplicates;
		pages.resent_after_resume = destination->guest.count.resent;
		/* What was pushed first is owed by the source still, and waited for by nobody. */
		if (pages.filled == pages.total)
			faults.open = 0;
	}
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++) {
		if (!destination->bulk[i].started)
			continue;
		pages.pushed += destination->receiver[i]->count.pushed;
		pages.zero += destination->receiver[i]->count.zero;
		sent += pf_channel_bytes(destination->bulk[i].channel, false);
		received += pf_channel_bytes(destination->bulk[i].channel, true);
	}
	pf_status_pages(status, &pages);
	pf_status_faults(status, &faults, &pager->latency_ns);
	pf_status_bytes(status, sent, received);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX && destination->bulk[i].started; i++)
		pf_status_bulk(status, pf_channel_bytes(destination->bulk[i].channel, true));
	pf_status_peer(status, destination->urgent_up ? destination->address : NULL,
		       destination->urgent_up ? destination->cipher : NULL);
	pf_status_waits(status, waits_for(destination));
	json_object_set_new(status, "blocked-vcpus", pf_destination_blocked(destination));
	json_object_set_new(status, "downtime-us",
			    json_integer((json_int_t)(destination->downtime_ns / PF_NS_PER_US)));
}
