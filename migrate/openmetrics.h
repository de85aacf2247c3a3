/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/openmetrics.h - an agent's counters as OpenMetrics 1.0 text, for a scraper.
 *
 * The names are a contract (proto/CONTROL.md, "Metrics").  One thread; blocks as the stream does.
 */
#ifndef PF_MIGRATE_OPENMETRICS_H
#define PF_MIGRATE_OPENMETRICS_H

#include <jansson.h>
#include <stdio.h>

/* metrics: the answer to query-metrics; a member that an older agent lacks leaves its metric out. */
void pf_openmetrics_print(FILE *out, const json_t *metrics);

#endif
