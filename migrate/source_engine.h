/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_engine.h - the source's engine as its main thread sees it.
 *
 * For source.c (what the state table's actions do) and source_status.c (what query-migrate shows)
 * alone.
 */
#ifndef PF_MIGRATE_SOURCE_ENGINE_H
#define PF_MIGRATE_SOURCE_ENGINE_H

#include "migrate/source.h"

struct source {
	struct pf_agent agent;
	struct pf_service service;
	bool vmm_described; /* service.reader is filled */
	struct pf_connector connector;
	struct pf_link urgent, bulk[PF_CHANNELS_MAX];
	struct pf_answers answers;
	struct pf_pusher *pusher[PF_CHANNELS_MAX];
	bool link_up;
	uint64_t connected_ns; /* when the link last came up */
	uint64_t deadline_ns;  /* of --connect-timeout */
	uint32_t pauses_asked, pauses_answered;
	bool guest_paused; /* PAUSE was sent, CONTINUE_SOURCE was not */
	bool stood_vmm_gone; /* it was lost while guest_paused, and nothing gave up for that */
	struct pf_mail_state state;
	bool resumed; /* the destination said so: the guest has run there */
	uint64_t paused_ns, downtime_ns;
	uint64_t sent_before, received_before; /* bytes of connections that are gone */
	char address[PF_ENDPOINT_TEXT_MAX];
	char cipher[64];
};

/* Adds the source's members to the object that query-migrate returns. */
void pf_source_status(void *engine, json_t *status);

#endif
