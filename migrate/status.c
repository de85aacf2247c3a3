/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/status.c - see migrate/status.h; members and units: proto/CONTROL.md. */
#include "migrate/status.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"

json_t *pf_status(struct pf_agent *agent)
{
	json_t *status = json_pack(
		"{s:s, s:s?, s:s?, s:s?, s:s, s:i, s:s, s:s, s:i, s:i, s:[]}", "state",
		pf_phase_name(agent->machine->phase[agent->state]), "waits-for",
		agent->machine->waits_for[agent->state], "outcome", agent->outcome,
		"owner", agent->owner, "record", pf_record_name(agent->record), "epoch",
		(int)agent->epoch, "id", agent->options->id, "role", pf_agent_role(agent),
		"keeper-pid", (int)agent->kept->keeper, "worker-pid", (int)getpid(), "blocked-vcpus");

	agent->ops->status(agent->engine, status);
	json_object_set_new(status, "path", pf_paths_json(agent->paths));
	return status;
}

json_t *pf_metrics(struct pf_agent *agent)
{
	json_t *status = pf_status(agent), *metrics = json_object();
	static const char *const members[] = {
		"id",	 "role",       "state", "epoch",       "pages",
		"faults", "latency-us", "bytes", "downtime-us", "blocked-vcpus",
	};

	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_set(metrics, members[i], json_object_get(status, members[i]));
	json_decref(status);
	return metrics;
}

void pf_status_pages(json_t *status, const struct pf_page_counts *pages)
{
	json_object_set_new(
		status, "pages",
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)pages->total,
			  "filled", (json_int_t)pages->filled, "requested",
			  (json_int_t)pages->requested, "pushed", (json_int_t)pages->pushed, "zero",
			  (json_int_t)pages->zero, "duplicates", (json_int_t)pages->duplicates,
			  "resent-after-resume", (json_int_t)pages->resent_after_resume,
			  "lost", (json_int_t)pages->lost, "mapped-unasked",
			  (json_int_t)pages->unasked));
}

void pf_status_faults(json_t *status, const struct pf_fault_counts *faults,
		      const struct pf_hist *latency_ns)
{
	double us = (double)PF_NS_PER_US;

	json_object_set_new(
		status, "faults",
		json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)faults->count, "open",
			  (json_int_t)faults->open, "vcpu", (json_int_t)faults->vcpu, "kvm",
			  (json_int_t)faults->kvm, "vmm", (json_int_t)faults->vmm));
	json_object_set_new(
		status, "latency-us",
		json_pack("{s:f, s:f, s:f}", "p50", (double)pf_hist_quantile(latency_ns, 500) / us,
			  "p99", (double)pf_hist_quantile(latency_ns, 990) / us, "max",
			  (double)pf_hist_quantile(latency_ns, 1000) / us));
}

void pf_status_bytes(json_t *status, uint64_t sent, uint64_t received)
{
	json_object_set_new(status, "bytes",
			    json_pack("{s:I, s:I, s:[]}", "sent", (json_int_t)sent, "received",
				      (json_int_t)received, "bulk"));
}

void pf_status_bulk(json_t *status, uint64_t bytes)
{
	json_t *bulk = json_object_get(json_object_get(status, "bytes"), "bulk");

	json_array_append_new(bulk, json_integer((json_int_t)bytes));
}

json_t *pf_status_page(const struct pf_mail_page *page)
{
	return json_pack("{s:i, s:I, s:i, s:s}", "region", (int)page->region, "page",
			 (json_int_t)page->page, "errno", (int)page->sys, "error",
			 strerror((int)page->sys));
}

void pf_status_peer(json_t *status, const char *address, const char *cipher)
{
	json_object_set_new(status, "peer",
			    json_pack("{s:s?, s:s?}", "address", address, "cipher", cipher));
}

void pf_status_waits(json_t *status, const char *what)
{
	if (what)
		json_object_set_new(status, "waits-for", json_string(what));
}
