/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/tally.h - the counts of an agent whose worker was killed: query-migrate counts from the
 * start of a process (proto/CONTROL.md).
 *
 * Pure; any thread.
 */
#ifndef PF_MIGRATE_DEMO_TALLY_H
#define PF_MIGRATE_DEMO_TALLY_H

#include <jansson.h>

/*
 * Adds to status what an earlier process of the same agent had counted when it was asked last; of what
 * is no sum the larger one stays.  p50 and p99 cannot be joined and remain the later process's.  A
 * member that either lacks is left alone.
 */
void pf_tally_add(json_t *status, const json_t *earlier);

#endif
