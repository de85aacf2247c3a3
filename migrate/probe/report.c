/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/report.c - verdicts and JSON: see migrate/probe/report.h. */
#include "migrate/probe/report.h"

#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config.h"

const struct pf_verdict pf_verdicts[PF_VERDICTS] = {
	{"memfd", false},   {"tmpfs", false},	   {"hugetlbfs", false},
	{"private", false}, {"guest_memfd", true},
};

bool pf_report_has(const struct pf_probe_report *report, uint32_t subject)
{
	return !report->subject[subject]->wanted ||
	       report->subject[subject]->wanted(report->options);
}

static const struct pf_subject *find_subject(const struct pf_probe_report *report, const char *name,
					     uint32_t *out_index)
{
	for (uint32_t i = 0; i < report->subjects; i++) {
		if (strcmp(report->subject[i]->name, name) != 0 || !pf_report_has(report, i))
			continue;
		*out_index = i;
		return report->subject[i];
	}
	return NULL;
}

const struct pf_found *pf_report_find(const struct pf_probe_report *report, const char *subject,
				      const char *check)
{
	uint32_t index = 0;
	const struct pf_subject *at = find_subject(report, subject, &index);

	for (uint32_t i = 0; at && i < at->checks; i++)
		if (strcmp(at->check[i].name, check) == 0)
			return &report->found[index][i];
	return NULL;
}

static void lack(char *out, size_t size, const char *what)
{
	size_t used = strlen(out);

	if (used < size)
		snprintf(out + used, size - used, "%s%s", used ? ", " : "", what);
}

bool pf_verdict_lacks(const struct pf_probe_report *report, const struct pf_verdict *verdict,
		      char *out, size_t size)
{
	static const struct {
		const char *subject, *check, *words;
		bool vcpu_exits;
	} besides[] = {
		{"userfaultfd", "kernel-accesses", "traps of accesses by the kernel", false},
		{"kvm", "userfault", "KVM userfault", true},
	};
	uint32_t index = 0;
	const struct pf_subject *kind = find_subject(report, verdict->kind, &index);

	out[0] = '\0';
	for (uint32_t i = 0; kind && i < kind->checks; i++)
		if ((kind->needed & (1u << i)) && report->found[index][i].result != PF_CHECK_YES)
			lack(out, size, kind->check[i].title);
	for (size_t i = 0; i < PF_ARRAY_LEN(besides); i++) {
		const struct pf_found *found =
			pf_report_find(report, besides[i].subject, besides[i].check);

		if ((verdict->vcpu_exits || !besides[i].vcpu_exits) &&
		    (!found || found->result != PF_CHECK_YES))
			lack(out, size, besides[i].words);
	}
	if (!kind)
		lack(out, size, "everything");
	return out[0] != '\0';
}

/* ---- JSON ---- */

static const char *result_name(enum pf_check_result result)
{
	switch (result) {
	case PF_CHECK_YES:
		return "yes";
	case PF_CHECK_NO:
		return "no";
	default:
		return "untried";
	}
}

/* A member for each text that says something. */
static json_t *check_json(const struct pf_subject *subject, uint32_t row,
			  const struct pf_found *found)
{
	const char *const texts[][2] = {
		{"found", found->what},
		{"why", found->why.text},
		{"hint", found->why.hint},
		{"privilege", found->privilege ? found->privilege : ""},
	};
	json_t *check = json_pack("{s:s, s:s, s:s}", "name", subject->check[row].name, "title",
				  subject->check[row].title, "result", result_name(found->result));

	if (subject->column)
		json_object_set_new(check, "needed", json_boolean(subject->needed & (1u << row)));
	for (size_t i = 0; i < PF_ARRAY_LEN(texts); i++)
		if (texts[i][1][0] != '\0')
			json_object_set_new(check, texts[i][0], json_string(texts[i][1]));
	return check;
}

static json_t *subject_json(const struct pf_probe_report *report, uint32_t index)
{
	const struct pf_subject *subject = report->subject[index];
	json_t *checks = json_array();

	for (uint32_t i = 0; i < subject->checks; i++)
		json_array_append_new(checks, check_json(subject, i, &report->found[index][i]));
	return json_pack("{s:s, s:s, s:o}", "name", subject->name, "title", subject->title,
			 "checks", checks);
}

static json_t *verdicts_json(const struct pf_probe_report *report)
{
	json_t *all = json_object();
	char lacks[256];

	for (size_t i = 0; i < PF_VERDICTS; i++) {
		bool missing = pf_verdict_lacks(report, &pf_verdicts[i], lacks, sizeof(lacks));
		json_t *one = json_pack("{s:b}", "works", !missing);

		if (missing)
			json_object_set_new(one, "lacks", json_string(lacks));
		json_object_set_new(all, pf_verdicts[i].kind, one);
	}
	return all;
}

json_t *pf_report_json(const struct pf_probe_report *report)
{
	struct utsname host = {0};
	json_t *subjects = json_array(), *memory = json_null();

	(void)uname(&host);
	if (report->options->memory)
		memory = json_integer((json_int_t)report->options->memory);
	for (uint32_t i = 0; i < report->subjects; i++)
		if (pf_report_has(report, i))
			json_array_append_new(subjects, subject_json(report, i));
	return json_pack("{s:{s:s}, s:{s:s, s:s, s:i}, s:o, s:o, s:o}", "pageferry", "version",
			 PACKAGE_VERSION, "host", "kernel", host.release, "machine", host.machine,
			 "user", (int)geteuid(), "memory", memory, "post-copy",
			 verdicts_json(report), "subjects", subjects);
}
