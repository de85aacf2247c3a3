/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/report.h - what was found out, for people and for programs, and what follows from
 * it.
 *
 * Pure but for writing to `out`; one thread.
 */
#ifndef PF_MIGRATE_PROBE_REPORT_H
#define PF_MIGRATE_PROBE_REPORT_H

#include <jansson.h>

#include "migrate/probe/check.h"

/* Can post-copy move a guest to this kind of memory here? */
struct pf_verdict {
	const char *kind; /* also the name of its subject, whose needed rows must all be yes */
	bool vcpu_exits;  /* it takes KVM userfault besides */
};

#define PF_VERDICTS 5u
extern const struct pf_verdict pf_verdicts[PF_VERDICTS]; /* the first one is memfd's */

/* What of it is missing, in words; false: nothing is. */
bool pf_verdict_lacks(const struct pf_probe_report *report, const struct pf_verdict *verdict,
		      char *out, size_t size);
/* NULL: there is no such row, or it was not asked for. */
const struct pf_found *pf_report_find(const struct pf_probe_report *report, const char *subject,
				      const char *check);
bool pf_report_has(const struct pf_probe_report *report, uint32_t subject);

/* width: columns to wrap at; 0: never. */
void pf_report_text(const struct pf_probe_report *report, FILE *out, unsigned width, bool colour);
/* NULL: out of memory. */
json_t *pf_report_json(const struct pf_probe_report *report);

#endif
