/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/report.h - the one way in which the program tells a person what went wrong: stderr. */
#ifndef PF_MIGRATE_REPORT_H
#define PF_MIGRATE_REPORT_H

#include "base/err.h"

/* "pageferry VERB: TEXT", then the hint on a line of its own; control characters as '?'. */
void pf_report(const char *verb, const struct pf_err *err);

#endif
