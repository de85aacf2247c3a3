/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/openmetrics.c - see migrate/openmetrics.h; the text format: OpenMetrics 1.0, section 5. */
#include "migrate/openmetrics.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/fsm.h"

#define SECONDS_OF_US 1e-6

/* A sample.  One without a type is another sample of the family above it. */
static const struct row {
	const char *family, *type, *unit, *help;
	const char *suffix; /* of the sample's name */
	const char *label;  /* beside id and role */
	const char *group, *member; /* in the answer; no group: at its top */
	double scale; /* 0: an integer as it is, or the length of an array */
} table[] = {
	/* clang-format off */
	{"epoch", "gauge", NULL, "Number of the latest connection, from 1.",
	 "", "", NULL, "epoch", 0},
	{"guest_pages", "gauge", NULL, "Pages of the guest, each in its region's page size.",
	 "", "", "pages", "total", 0},
	{"filled_pages", "gauge", NULL, "Pages whose bytes are here (destination) or were sent (source).",
	 "", "", "pages", "filled", 0},
	{"pages", "counter", NULL, "Pages that travelled because they were asked for, or unasked.",
	 "_total", ",how=\"requested\"", "pages", "requested", 0},
	{"pages", NULL, NULL, NULL, "_total", ",how=\"pushed\"", "pages", "pushed", 0},
	{"zero_pages", "counter", NULL, "Pages among them whose bytes are all zero.",
	 "_total", "", "pages", "zero", 0},
	{"duplicate_pages", "counter", NULL, "Pages that came and were there already.",
	 "_total", "", "pages", "duplicates", 0},
	{"resent_pages", "counter", NULL, "Pages that came although an earlier connection had brought them.",
	 "_total", "", "pages", "resent-after-resume", 0},
	{"lost_pages", "gauge", NULL, "Pages that the source cannot read: D, among the filled; S, as often as it says so.",
	 "", "", "pages", "lost", 0},
	{"mapped_unasked_pages", "counter", NULL, "Pages that somebody mapped without a fault that was told, as they came.",
	 "_total", "", "pages", "mapped-unasked", 0},
	{"faults", "counter", NULL, "Accesses that waited for a page (destination), requests received (source).",
	 "_total", "", "faults", "count", 0},
	{"faults_by", "counter", NULL, "Those whose thread is known, by who waited.",
	 "_total", ",who=\"vcpu\"", "faults", "vcpu", 0},
	{"faults_by", NULL, NULL, NULL, "_total", ",who=\"kvm\"", "faults", "kvm", 0},
	{"faults_by", NULL, NULL, NULL, "_total", ",who=\"vmm\"", "faults", "vmm", 0},
	{"open_faults", "gauge", NULL, "Pages that are asked for and not here.",
	 "", "", "faults", "open", 0},
	{"fault_latency_seconds", "summary", "seconds", "From reading a fault to its page being mapped.",
	 "", ",quantile=\"0.5\"", "latency-us", "p50", SECONDS_OF_US},
	{"fault_latency_seconds", NULL, NULL, NULL,
	 "", ",quantile=\"0.99\"", "latency-us", "p99", SECONDS_OF_US},
	{"fault_latency_max_seconds", "gauge", "seconds", "The longest of them.",
	 "", "", "latency-us", "max", SECONDS_OF_US},
	{"downtime_seconds", "gauge", "seconds", "How long the guest stood, as this side sees it; 0 until it is known.",
	 "", "", NULL, "downtime-us", SECONDS_OF_US},
	{"transferred_bytes", "counter", "bytes", "Bytes of frames on all connections, before encryption.",
	 "_total", ",direction=\"sent\"", "bytes", "sent", 0},
	{"transferred_bytes", NULL, NULL, NULL,
	 "_total", ",direction=\"received\"", "bytes", "received", 0},
	{"blocked_vcpus", "gauge", NULL, "vCPUs whose access waits for a page now.",
	 "", "", NULL, "blocked-vcpus", 0},
	/* clang-format on */
};

static const char *text_of(const json_t *metrics, const char *member)
{
	const char *text = json_string_value(json_object_get(metrics, member));

	return text ? text : "";
}

/* Whose: both values are of a set without quotes and backslashes (wire/msg.h, pf_id_check()), which
 * an answer that came from elsewhere need not keep to. */
static void print_whose(FILE *out, const json_t *metrics)
{
	static const char *const labels[] = {"id", "role"};

	for (size_t i = 0; i < PF_ARRAY_LEN(labels); i++) {
		fprintf(out, "%s%s=\"", i ? "," : "", labels[i]);
		for (const char *at = text_of(metrics, labels[i]); *at; at++)
			fputc(*at == '"' || *at == '\\' || *at == '\n' ? '?' : *at, out);
		fputc('"', out);
	}
}

static void print_head(FILE *out, const struct row *row)
{
	fprintf(out, "# TYPE pageferry_%s %s\n", row->family, row->type);
	if (row->unit)
		fprintf(out, "# UNIT pageferry_%s %s\n", row->family, row->unit);
	fprintf(out, "# HELP pageferry_%s %s\n", row->family, row->help);
}

static void print_sample(FILE *out, const json_t *metrics, const struct row *row)
{
	const json_t *group = row->group ? json_object_get(metrics, row->group) : metrics;
	const json_t *value = json_object_get(group, row->member);

	if (!json_is_number(value) && !json_is_array(value))
		return;
	if (row->type)
		print_head(out, row);
	fprintf(out, "pageferry_%s%s{", row->family, row->suffix);
	print_whose(out, metrics);
	if (json_is_array(value))
		fprintf(out, "%s} %zu\n", row->label, json_array_size(value));
	else if (row->scale > 0)
		fprintf(out, "%s} %.9g\n", row->label, json_number_value(value) * row->scale);
	else
		fprintf(out, "%s} %" JSON_INTEGER_FORMAT "\n", row->label,
			json_integer_value(value));
}

/* A stateset: every state, and 1 at the one that is. */
static void print_state(FILE *out, const json_t *metrics)
{
	const char *now = text_of(metrics, "state");

	fputs("# TYPE pageferry_state stateset\n"
	      "# HELP pageferry_state What the migration is doing, as in query-migrate.\n", out);
	for (int phase = PF_PHASE_SETUP; phase <= PF_PHASE_CANCELLED; phase++) {
		const char *name = pf_phase_name((enum pf_phase)phase);

		fputs("pageferry_state{", out);
		print_whose(out, metrics);
		fprintf(out, ",pageferry_state=\"%s\"} %d\n", name, strcmp(now, name) == 0);
	}
}

void pf_openmetrics_print(FILE *out, const json_t *metrics)
{
	print_state(out, metrics);
	for (size_t i = 0; i < PF_ARRAY_LEN(table); i++)
		print_sample(out, metrics, &table[i]);
	fputs("# EOF\n", out);
}
