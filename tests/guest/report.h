/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/report.h - what the VMM says on stdout: one word or one `name: value` a line.
 *
 * Main thread; blocks if nobody reads the pipe.
 */
#ifndef PF_GUEST_REPORT_H
#define PF_GUEST_REPORT_H

#include "base/err.h"
#include "tests/guest/machine.h"
#include "tests/guest/verify.h"

void pf_report_word(const char *word);
void pf_report_visits(struct pf_machine *machine);
/* This vCPU stands before a page that will never come. */
void pf_report_lost(uint32_t vcpu, uint64_t gpa);
void pf_report_error(const struct pf_err *err);
/* The whole report about a machine whose vCPUs are all FINISHED, without the verdict. */
void pf_report_machine(const struct pf_machine *machine);
/* Last line: identical, or the first difference. */
void pf_report_verdict(const struct pf_machine *machine, const struct pf_difference *difference);
/* The guest itself has found a wrong word: the report ends here and now. */
void pf_report_wrong_word(const struct pf_machine *machine, const struct pf_walk_wrong *wrong);

#endif
