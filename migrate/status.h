/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/status.h - what query-migrate and query-metrics return; main thread, new references. */
#ifndef PF_MIGRATE_STATUS_H
#define PF_MIGRATE_STATUS_H

#include "base/hist.h"
#include "migrate/agent.h"
#include "migrate/link.h"

json_t *pf_status(struct pf_agent *agent);
json_t *pf_metrics(struct pf_agent *agent);

/* Members of the status object that both engines have. */
struct pf_page_counts {
	uint64_t total, filled, requested, pushed, zero, duplicates, resent_after_resume, lost, unasked;
};
void pf_status_pages(json_t *status, const struct pf_page_counts *pages);
struct pf_fault_counts {
	uint64_t count, open;
	uint64_t vcpu, kvm, vmm; /* parts of count, by who waited, where that is known */
};
void pf_status_faults(json_t *status, const struct pf_fault_counts *faults,
		      const struct pf_hist *latency_ns);
void pf_status_bytes(json_t *status, uint64_t sent, uint64_t received);
/* After pf_status_bytes(): one more bulk connection that stands, and the pages' way on it. */
void pf_status_bulk(json_t *status, uint64_t bytes);
/* Of a page with which something is wrong, in an event. */
json_t *pf_status_page(const struct pf_mail_page *page);
/* Instead of what the state table says; NULL: that holds. */
void pf_status_waits(json_t *status, const char *what);
void pf_status_peer(json_t *status, const char *address, const char *cipher);

#endif
