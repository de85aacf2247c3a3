/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/progress.c - see migrate/progress.h. */
#include "migrate/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"

/* The rate is looked at again after so long: shorter spans show the scheduler, not the link. */
#define SPAN_NS (200 * PF_NS_PER_MS)
#define KEEP 0.7 /* how much of the old rate stays */

struct text {
	char *out;
	size_t size, used;
};

static void add(struct text *text, const char *fmt, ...) PF_PRINTF(2, 3);

static void add(struct text *text, const char *fmt, ...)
{
	va_list args;
	int length;

	if (text->used >= text->size)
		return;
	va_start(args, fmt);
	length = vsnprintf(text->out + text->used, text->size - text->used, fmt, args);
	va_end(args);
	text->used += length > 0 ? (size_t)length : 0;
}

/* 0 if the member is not there, negative or no number. */
static uint64_t number(const json_t *status, const char *group, const char *name)
{
	double value = json_number_value(json_object_get(json_object_get(status, group), name));

	return value > 0 && value < 9e15 ? (uint64_t)value : 0;
}

/* Bytes for people, pages for the time left: zero pages cost no bytes and are pages all the same.
 */
static void follow(struct pf_progress *progress, const json_t *status, uint64_t filled,
		   uint64_t now_ns)
{
	uint64_t bytes = number(status, "bytes", "sent") + number(status, "bytes", "received");
	uint64_t span = now_ns - progress->at_ns;
	bool first = progress->at_ns == 0 || filled < progress->filled || bytes < progress->bytes;
	double seconds = (double)span / (double)PF_NS_PER_S, keep = KEEP;

	if (!first && span < SPAN_NS)
		return;
	if (!first) {
		double rate = (double)(bytes - progress->bytes) / seconds;
		double page_rate = (double)(filled - progress->filled) / seconds;

		if (progress->rate <= 0)
			keep = 0;
		progress->rate = keep * progress->rate + (1 - keep) * rate;
		progress->page_rate = keep * progress->page_rate + (1 - keep) * page_rate;
	}
	progress->filled = filled;
	progress->bytes = bytes;
	progress->at_ns = now_ns;
}

static void add_rate(struct text *text, double rate)
{
	static const char *const unit[] = {"B/s", "KiB/s", "MiB/s", "GiB/s"};
	unsigned i = 0;

	while (rate >= 1024 && i < 3) {
		rate /= 1024;
		i++;
	}
	add(text, " %.*f %s", rate < 10 && i > 0 ? 1 : 0, rate, unit[i]);
}

static void add_time_left(struct text *text, double seconds)
{
	if (seconds < 100)
		add(text, " %.0f s left", seconds);
	else if (seconds < 6000)
		add(text, " %.0f min left", seconds / 60);
	else if (seconds < 360000)
		add(text, " %.0f h left", seconds / 3600);
}

static void add_latency(struct text *text, const json_t *status)
{
	uint64_t count = number(status, "faults", "count");

	add(text, " %" PRIu64 " faults", count);
	if (count > 0)
		add(text, " %" PRIu64 "/%" PRIu64 " us",
		    number(status, "latency-us", "p50"), number(status, "latency-us", "p99"));
}

void pf_progress_line(struct pf_progress *progress, const json_t *status, uint64_t now_ns,
		      char *out, size_t size)
{
	const char *state = json_string_value(json_object_get(status, "state"));
	uint64_t total = number(status, "pages", "total");
	uint64_t filled = number(status, "pages", "filled");
	struct text text = {.out = out, .size = size};

	if (size > 0)
		out[0] = '\0';
	add(&text, "%s", state ? state : "?");
	follow(progress, status, filled, now_ns);
	if (total == 0)
		return;
	if (filled > total)
		filled = total;
	add(&text, " %" PRIu64 " %% %" PRIu64 "/%" PRIu64, filled * 100 / total, filled, total);
	if (filled < total && progress->rate > 0)
		add_rate(&text, progress->rate);
	add_latency(&text, status);
	if (filled < total && progress->page_rate > 0)
		add_time_left(&text, (double)(total - filled) / progress->page_rate);
}
