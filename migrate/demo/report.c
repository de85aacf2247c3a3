/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/report.c - see migrate/demo/report.h. */
#include "migrate/demo/report.h"

#include <inttypes.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/clock.h"

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
		{"faults", "vcpu", offsetof(struct pf_demo_report, faults_vcpu)},
		{"faults", "kvm", offsetof(struct pf_demo_report, faults_kvm)},
		{"faults", "vmm", offsetof(struct pf_demo_report, faults_vmm)},
	};
	uint64_t sent, came;

	for (size_t i = 0; i < PF_ARRAY_LEN(counts); i++) {
		uint64_t *member = (uint64_t *)(void *)((char *)report + counts[i].offset);

		if (take_count(destination, counts[i].outer, counts[i].name, member, err))
			return -1;
	}
	if (take_latency(report, destination, err) ||
	    take_count(source, NULL, "downtime-us", &report->downtime_us, err) ||
	    take_count(source, "pages", "resent-after-resume", &sent, err) ||
	    take_count(destination, "pages", "resent-after-resume", &came, err))
		return -1;
	report->resent = sent > came ? sent : came;
	report->taken = true;
	return 0;
}

/* What the guest did before it moved, until every page had come, and after that. */
struct visits {
	uint64_t before, during, after;
};

static uint64_t less(uint64_t from, uint64_t what)
{
	return from > what ? from - what : 0;
}

static struct visits take_visits(const struct pf_demo_report *report)
{
	uint64_t before = less(report->guest->visits, report->guest->visits_here);

	return (struct visits){
		.before = before,
		.during = less(report->visits_end, before),
		.after = less(report->guest->visits, report->visits_end),
	};
}

int pf_demo_report_prove(const struct pf_demo_report *report, struct pf_err *err)
{
	struct visits visits = take_visits(report);
	const struct {
		const char *name;
		uint64_t value;
		bool waived;
	} needed[] = {
		{"visits-before", visits.before, false},
		{"visits-during", visits.during, false},
		{"visits-after", visits.after, false},
		{"faults", report->faults, false},
		/* Both traps were needed, and for all who can run into them. */
		{"faults-vcpu", report->faults_vcpu, !report->backend->guest_memfd},
		{"faults-kvm", report->faults_kvm, !report->backend->guest_memfd},
		{"faults-vmm", report->faults_vmm, !report->backend->guest_memfd},
		{"pages-by-request", report->requested, false},
		{"pages-touched", report->guest->pages_touched_here, false},
	};

	for (size_t i = 0; i < PF_ARRAY_LEN(needed); i++) {
		if (needed[i].value > 0 || needed[i].waived)
			continue;
		pf_err_set(err, PF_ERR_STATE,
			   "this was no post-copy: %s is 0, so the guest did not work all the time "
			   "and wait for pages meanwhile",
			   needed[i].name);
		return pf_err_hint(err, "with more --memory the move takes longer");
	}
	if (report->resent > 0)
		return pf_err_set(err, PF_ERR_STATE,
				  "%" PRIu64 " pages were sent again after a resume, although they "
				  "had been there",
				  report->resent);
	return 0;
}

static double ratio(uint64_t part, double whole)
{
	return whole > 0 ? (double)part / whole : 0;
}

static void print_texts(const struct pf_demo_report *report, FILE *out)
{
	if (pf_demo_guest_knows(report->guest, PF_GUEST_BACKEND))
		fprintf(out, "backend: %s\n", report->guest->backend);
	fprintf(out, "memory: %s\n", report->backend->name);
	if (report->network[0] != '\0')
		fprintf(out, "network: %s\n", report->network);
	if (report->cipher[0] != '\0')
		fprintf(out, "cipher: %s\n", report->cipher);
}

static void print_counts(const struct pf_demo_report *report, FILE *out)
{
	const struct pf_guest_answer *guest = report->guest;
	struct visits visits = take_visits(report);
	bool walked = pf_demo_guest_knows(guest, PF_GUEST_VISITS_HERE) && report->visits_end > 0;
	bool touched = pf_demo_guest_knows(guest, PF_GUEST_PAGES_TOUCHED_HERE);
	bool stalled = pf_demo_guest_knows(guest, PF_GUEST_WORST_STALL_US);
	bool paused = pf_demo_guest_knows(guest, PF_GUEST_DOWNTIME_GUEST_US);
	const struct {
		const char *name;
		uint64_t value;
		bool known;
	} numbers[] = {
		{"memory-bytes", guest->memory_bytes,
		 pf_demo_guest_knows(guest, PF_GUEST_MEMORY_BYTES)},
		{"vcpus", guest->vcpus, pf_demo_guest_knows(guest, PF_GUEST_VCPUS)},
		{"visits", guest->visits, pf_demo_guest_knows(guest, PF_GUEST_VISITS)},
		{"visits-before", visits.before, walked},
		{"visits-during", visits.during, walked},
		{"visits-after", visits.after, walked},
		{"downtime-guest-us", guest->downtime_guest_us, paused},
		{"downtime-us", report->downtime_us, report->taken},
		{"total-ms", report->total_ns / PF_NS_PER_MS, report->total_ns > 0},
		{"pages", report->pages, report->taken},
		{"pages-by-request", report->requested, report->taken},
		{"pages-by-push", report->pushed, report->taken},
		{"pages-zero", report->zero, report->taken},
		{"duplicates", report->duplicates, report->taken},
		{"faults", report->faults, report->taken},
		{"faults-vcpu", report->faults_vcpu, report->taken},
		{"faults-kvm", report->faults_kvm, report->taken},
		{"faults-vmm", report->faults_vmm, report->taken},
		{"pages-touched", guest->pages_touched_here, touched},
		{"worst-stall-us", guest->worst_stall_us, stalled},
		{"outages", report->outages, report->outages > 0},
	};

	for (size_t i = 0; i < PF_ARRAY_LEN(numbers); i++)
		if (numbers[i].known)
			fprintf(out, "%s: %" PRIu64 "\n", numbers[i].name, numbers[i].value);
}

static void print_rates(const struct pf_demo_report *report, FILE *out)
{
	uint64_t bytes = less(report->pages, report->zero) * report->backend->page_bytes;
	double seconds = (double)report->postcopy_ns / (double)PF_NS_PER_S;
	const struct pf_guest_answer *guest = report->guest;

	if (!report->taken)
		return;
	fprintf(out, "fault-latency-p50-us: %.1f\n", report->p50_us);
	fprintf(out, "fault-latency-p99-us: %.1f\n", report->p99_us);
	fprintf(out, "fault-latency-max-us: %.1f\n", report->max_us);
	if (pf_demo_guest_knows(guest, PF_GUEST_PAGES_TOUCHED_HERE))
		fprintf(out, "remote-faults-per-page-touched: %.3f\n",
			ratio(report->faults, (double)guest->pages_touched_here));
	if (report->postcopy_ns > 0)
		fprintf(out, "throughput-mb-per-s: %.1f\n", ratio(bytes, seconds * 1e6));
}

/* The goals are those of DESIGN.md section 11: said beside the number, and no verdict on it. */
static void print_mishaps(const struct pf_demo_report *report, FILE *out)
{
	for (size_t i = 0; i < PF_MISHAPS; i++) {
		const struct pf_mishap_course *course = &report->mishaps->course[i];
		const struct pf_mishap *mishap = &pf_mishap_table[i];

		if (mishap->kind == PF_MISHAP_CUT && course->mended_ns != 0)
			fprintf(out, "cut-ms: %" PRIu64 "\n",
				(course->mended_ns - course->struck_ns) / PF_NS_PER_MS);
		if (course->page_ns != 0)
			fprintf(out, "%s: %.1f (goal %u)\n", mishap->measure,
				(double)(course->page_ns - course->mended_ns) /
					(double)PF_NS_PER_MS,
				mishap->goal_ms);
	}
	if (report->taken)
		fprintf(out, "resent-after-resume: %" PRIu64 "\n", report->resent);
}

void pf_demo_report_print(const struct pf_demo_report *report, FILE *out)
{
	print_texts(report, out);
	print_counts(report, out);
	print_rates(report, out);
	if (report->mishaps)
		print_mishaps(report, out);
	fprintf(out, "verdict: %s\n", report->guest->verdict);
}
