/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/report.c - see migrate/demo/report.h. */
#include "migrate/demo/report.h"

#include <inttypes.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define PAGE_BYTES 4096u /* of a memfd guest */

/* A count at the top of the object or one level below. */
static int take_count(const json_t *status, const char *outer, const char *name, uint64_t *out,
		      struct pf_err *err)
{
	const json_t *object = outer ? json_object_get(status, outer) : status;
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the agent's status has no count %s%s%s",
				  outer ? outer : "", outer ? "." : "", name);
	*out = (uint64_t)json_integer_value(value);
	return 0;
}

static int take_latency(struct pf_demo_report *report, const json_t *status, struct pf_err *err)
{
	const json_t *latency = json_object_get(status, "latency-us");
	const json_t *p50 = json_object_get(latency, "p50"), *p99 = json_object_get(latency, "p99");
	const json_t *max = json_object_get(latency, "max");

	if (!json_is_number(p50) || !json_is_number(p99) || !json_is_number(max))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the agent's status has no latency-us with p50, p99 and max");
	report->p50_us = json_number_value(p50);
	report->p99_us = json_number_value(p99);
	report->max_us = json_number_value(max);
	return 0;
}

int pf_demo_report_take(struct pf_demo_report *report, const json_t *source,
			const json_t *destination, struct pf_err *err)
{
	static const struct {
		const char *outer, *name;
		size_t offset;
	} counts[] = {
		{"pages", "total", offsetof(struct pf_demo_report, pages)},
		{"pages", "requested", offsetof(struct pf_demo_report, requested)},
		{"pages", "pushed", offsetof(struct pf_demo_report, pushed)},
		{"pages", "zero", offsetof(struct pf_demo_report, zero)},
		{"pages", "duplicates", offsetof(struct pf_demo_report, duplicates)},
		{"faults", "count", offsetof(struct pf_demo_report, faults)},
	};

	for (size_t i = 0; i < PF_ARRAY_LEN(counts); i++) {
		uint64_t *member = (uint64_t *)(void *)((char *)report + counts[i].offset);

		if (take_count(destination, counts[i].outer, counts[i].name, member, err))
			return -1;
	}
	if (take_latency(report, destination, err))
		return -1;
	return take_count(source, NULL, "downtime-us", &report->downtime_us, err);
}

static double ratio(uint64_t part, double whole)
{
	return whole > 0 ? (double)part / whole : 0;
}

void pf_demo_report_print(const struct pf_demo_report *report, FILE *out)
{
	const struct pf_guest_answer *guest = report->guest;
	uint64_t bytes = (report->pages - report->zero) * PAGE_BYTES;
	double seconds = (double)report->postcopy_ns / (double)PF_NS_PER_S;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"memory-bytes", guest->memory_bytes},
		{"vcpus", guest->vcpus},
		{"visits", guest->visits},
		{"downtime-guest-us", guest->downtime_guest_us},
		{"downtime-us", report->downtime_us},
		{"total-ms", report->total_ns / PF_NS_PER_MS},
		{"pages", report->pages},
		{"pages-by-request", report->requested},
		{"pages-by-push", report->pushed},
		{"pages-zero", report->zero},
		{"duplicates", report->duplicates},
		{"faults", report->faults},
		{"pages-touched", guest->pages_touched_here},
		{"worst-stall-us", guest->worst_stall_us},
	};

	fprintf(out, "backend: %s\n", guest->backend);
	fprintf(out, "network: %s\n", report->network);
	fprintf(out, "cipher: %s\n", report->cipher);
	for (size_t i = 0; i < PF_ARRAY_LEN(numbers); i++)
		fprintf(out, "%s: %" PRIu64 "\n", numbers[i].name, numbers[i].value);
	fprintf(out, "fault-latency-p50-us: %.1f\n", report->p50_us);
	fprintf(out, "fault-latency-p99-us: %.1f\n", report->p99_us);
	fprintf(out, "fault-latency-max-us: %.1f\n", report->max_us);
	fprintf(out, "remote-faults-per-page-touched: %.3f\n",
		ratio(report->faults, (double)guest->pages_touched_here));
	fprintf(out, "throughput-mb-per-s: %.1f\n", ratio(bytes, seconds * 1e6));
	fprintf(out, "verdict: %s\n", guest->verdict);
}
