/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/text.c - the table for people: see migrate/probe/report.h. */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config.h"
#include "migrate/probe/report.h"

#define GREEN "\033[32m"
#define RED "\033[31m"
#define PLAIN "\033[0m"
#define TITLE_WIDTH 44
#define KIND_WIDTH 13
#define RESULT_WIDTH 5

struct page {
	FILE *out;
	unsigned width;
	bool colour;
};

/* Words from column `at` on, the first line's beginning is there already. */
static void put_wrapped(const struct page *page, unsigned at, const char *text)
{
	unsigned column = at;

	while (*text) {
		size_t blanks = strspn(text, " "), word = strcspn(text + blanks, " ");
		bool begins = column == at;

		if (!begins && page->width && column + blanks + word > page->width) {
			fprintf(page->out, "\n%*s", (int)at, "");
			column = at;
			begins = true;
		}
		if (begins)
			text += blanks;
		else
			word += blanks;
		fprintf(page->out, "%.*s", (int)word, text);
		column += (unsigned)word;
		text += word;
	}
	fputc('\n', page->out);
}

/* The word, and blanks up to `width`, which is counted without the colour. */
static void put_result(const struct page *page, const struct pf_found *found, bool needed,
		       int width)
{
	const char *word = "?", *colour = "";

	if (found->result == PF_CHECK_YES) {
		word = "yes";
		colour = GREEN;
	} else if (found->result == PF_CHECK_NO) {
		word = needed ? "no" : "(no)";
		colour = needed ? RED : "";
	}
	if (!page->colour || !colour[0])
		fprintf(page->out, "%-*s", width, word);
	else
		fprintf(page->out, "%s%s%s%*s", colour, word, PLAIN, width - (int)strlen(word), "");
}

static void put_hint(const struct page *page, unsigned at, const struct pf_found *found)
{
	char line[320];

	if (!found->why.hint[0] && !found->privilege)
		return;
	fprintf(page->out, "%*s> ", (int)at, "");
	snprintf(line, sizeof(line), "%s%s%s%s", found->privilege ? "lacks " : "",
		 found->privilege ? found->privilege : "",
		 found->privilege && found->why.hint[0] ? ": " : "", found->why.hint);
	put_wrapped(page, at + 2, line);
}

static void put_row(const struct page *page, const struct pf_check *check,
		    const struct pf_found *found)
{
	const unsigned at = 2 + TITLE_WIDTH + RESULT_WIDTH;
	char line[sizeof(found->what) + sizeof(found->why.text) + 8];
	bool both = found->what[0] && found->why.text[0];

	snprintf(line, sizeof(line), "%s%s%s", found->why.text, both ? " (" : "", found->what);
	if (both)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), ")");
	fprintf(page->out, "  %-*s", TITLE_WIDTH, check->title);
	put_result(page, found, true, line[0] ? RESULT_WIDTH : 0);
	put_wrapped(page, at, line);
	put_hint(page, at, found);
}

static void put_list(const struct page *page, const struct pf_probe_report *report, uint32_t index)
{
	const struct pf_subject *subject = report->subject[index];

	fprintf(page->out, "\n%s\n", subject->title);
	for (uint32_t i = 0; i < subject->checks; i++)
		put_row(page, &subject->check[i], &report->found[index][i]);
}

/* ---- several subjects with the same rows: a line each, a column for each row ---- */

static int cell_width(const struct pf_check *check)
{
	return (int)strlen(check->title) + 2;
}

static bool is_needed(const struct pf_subject *subject, uint32_t row)
{
	return subject->needed & (1u << row);
}

/* Whether row `b` is left out because row `a` said the same. */
static bool same_reason(const struct pf_subject *subject, const struct pf_found *found, uint32_t a,
			uint32_t b)
{
	return found[a].result == found[b].result &&
	       is_needed(subject, a) == is_needed(subject, b) &&
	       strcmp(found[a].why.text, found[b].why.text) == 0 &&
	       strcmp(found[a].why.hint, found[b].why.hint) == 0;
}

static bool said_before(const struct pf_subject *subject, const struct pf_found *found,
			uint32_t row)
{
	for (uint32_t i = 0; i < row; i++)
		if (same_reason(subject, found, i, row))
			return true;
	return false;
}

static void put_reasons(const struct page *page, const struct pf_subject *subject,
			const struct pf_found *found)
{
	for (uint32_t i = 0; i < subject->checks; i++) {
		char line[sizeof(found->why.text) + 160];
		size_t used;

		if (found[i].result == PF_CHECK_YES || said_before(subject, found, i))
			continue;
		used = (size_t)snprintf(line, sizeof(line), "%s", subject->title);
		for (uint32_t k = i; k < subject->checks; k++)
			if (same_reason(subject, found, i, k))
				used += (size_t)snprintf(line + used, sizeof(line) - used, " %s",
							 subject->check[k].title);
		snprintf(line + used, sizeof(line) - used, "%s: %s",
			 is_needed(subject, i) ? "" : " (not needed)", found[i].why.text);
		fputs("  ", page->out);
		put_wrapped(page, 4, line);
		if (is_needed(subject, i))
			put_hint(page, 4, &found[i]);
	}
}

static void put_line(const struct page *page, const struct pf_subject *subject,
		     const struct pf_found *found)
{
	fprintf(page->out, "  %-*s", KIND_WIDTH, subject->title);
	for (uint32_t i = 0; i < subject->checks; i++)
		put_result(page, &found[i], is_needed(subject, i),
			   i + 1 < subject->checks ? cell_width(&subject->check[i]) : 0);
	fputc('\n', page->out);
}

/* From subject `first` on; the index of the first one that is no column any more. */
static uint32_t put_columns(const struct page *page, const struct pf_probe_report *report,
			    uint32_t first)
{
	const struct pf_subject *subject = report->subject[first];
	uint32_t end = first;

	fprintf(page->out, "\n%-*s", KIND_WIDTH + 2, "Memory");
	for (uint32_t i = 0; i < subject->checks; i++)
		fprintf(page->out, "%-*s",
			i + 1 < subject->checks ? cell_width(&subject->check[i]) : 0,
			subject->check[i].title);
	fputc('\n', page->out);
	while (end < report->subjects && report->subject[end]->column) {
		put_line(page, report->subject[end], report->found[end]);
		end++;
	}
	for (uint32_t i = first; i < end; i++)
		put_reasons(page, report->subject[i], report->found[i]);
	return end;
}

/* ---- all of it ---- */

static void put_verdicts(const struct page *page, const struct pf_probe_report *report)
{
	char lacks[256], line[280];

	fputs("\nPost-copy of guests whose memory is\n", page->out);
	for (size_t i = 0; i < PF_VERDICTS; i++) {
		bool missing = pf_verdict_lacks(report, &pf_verdicts[i], lacks, sizeof(lacks));
		struct pf_found found = {.result = missing ? PF_CHECK_NO : PF_CHECK_YES};

		fprintf(page->out, "  %-*s", KIND_WIDTH, pf_verdicts[i].kind);
		put_result(page, &found, true, missing ? RESULT_WIDTH : 0);
		snprintf(line, sizeof(line), "%s%s", missing ? "lacks " : "", lacks);
		put_wrapped(page, 2 + KIND_WIDTH + RESULT_WIDTH, line);
	}
}

void pf_report_text(const struct pf_probe_report *report, FILE *out, unsigned width, bool colour)
{
	struct page page = {.out = out, .width = width, .colour = colour};
	struct utsname host = {0};

	(void)uname(&host);
	fprintf(out, "pageferry %s, %s %s %s, user %d\n", PACKAGE_VERSION, host.sysname,
		host.release, host.machine, (int)geteuid());
	put_verdicts(&page, report);
	for (uint32_t i = 0; i < report->subjects;) {
		if (!pf_report_has(report, i))
			i++;
		else if (report->subject[i]->column)
			i = put_columns(&page, report, i);
		else
			put_list(&page, report, i++);
	}
	fputs("\n(no): it is not needed.  ?: it could not be tried.  >: what to do.\n", out);
}
