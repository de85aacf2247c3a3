/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_status.c - what the source shows of itself in query-migrate.
 *
 * Main thread; reads counters that other threads write, and blocks on none of them.
 */
#include "base/clock.h"
#include "migrate/source_engine.h"
#include "migrate/status.h"

static uint64_t bytes_of(const struct pf_link *link, bool received)
{
	return link->started ? pf_channel_bytes(link->channel, received) : 0;
}

/* What goes again, in another session or because it was asked for as it was pushed, fills nothing more. */
static uint64_t filled(const struct pf_page_counts *pages)
{
	uint64_t sent = pages->requested + pages->pushed;

	return sent < pages->total ? sent : pages->total;
}

/* What the state alone does not say; NULL: it does. */
static const char *waits_for(const struct source *source)
{
	enum pf_source_state state = (enum pf_source_state)source->agent.state;

	if (source->link_up)
		return NULL;
	if (state == PF_S_NEW)
		return "REGIONS of its VMM, and a connection";
	if (state == PF_S_SETUP)
		return "a connection";
	if (!pf_source_is_cut(source) || state == PF_S_KEPT)
		return NULL;
	if (!source->vmm_described)
		return source->held ? "its VMM, which is to attach to --vmm-socket again, and recover"
				    : "its VMM, which is to attach to --vmm-socket again: nothing is "
				      "connected before";
	if (!source->held)
		return NULL;
	return state == PF_S_OUTAGE ? "recover" : "recover, or resolve";
}

void pf_source_status(void *engine, json_t *status)
{
	struct source *source = engine;
	struct pf_service *service = &source->service;
	static const struct pf_hist no_latency; /* the destination's to measure */
	uint64_t sent = source->sent_before + bytes_of(&source->urgent, false);
	uint64_t received = source->received_before + bytes_of(&source->urgent, true);
	struct pf_fault_counts requests = {.count = service->count.requests};
	struct pf_page_counts pages = {
		.total = source->vmm_described ? pf_table_pages(&service->reader.table) : 0,
		.requested = service->count.answered,
		.pushed = service->count.pushed,
		.zero = service->count.zero,
		.lost = service->count.lost,
		.resent_after_resume = service->count.resent,
	};

	pages.filled = filled(&pages);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++) {
		sent += bytes_of(&source->bulk[i], false);
		received += bytes_of(&source->bulk[i], true);
	}
	pf_status_pages(status, &pages);
	pf_status_faults(status, &requests, &no_latency);
	pf_status_bytes(status, sent, received);
	for (uint32_t i = 0; i < PF_CHANNELS_MAX && source->bulk[i].started; i++)
		pf_status_bulk(status, bytes_of(&source->bulk[i], false));
	pf_status_peer(status, source->link_up ? source->address : NULL,
		       source->link_up ? source->cipher : NULL);
	if (!source->link_up && source->tried[0])
		json_object_set_new(json_object_get(status, "peer"), "tried",
				    json_string(source->tried));
	pf_status_waits(status, waits_for(source));
	json_object_set_new(status, "downtime-us",
			    json_integer((json_int_t)(source->downtime_ns / PF_NS_PER_US)));
}
