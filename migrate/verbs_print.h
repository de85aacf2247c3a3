/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/verbs_print.h - what agents say, for people and for scripts.
 *
 * Nothing here knows the members: what a newer agent adds is shown as well.  Control characters
 * in texts come out as '?'.  One thread; blocks as the stream does.
 */
#ifndef PF_MIGRATE_VERBS_PRINT_H
#define PF_MIGRATE_VERBS_PRINT_H

#include <jansson.h>
#include <stdio.h>

/* One line of JSON. */
void pf_print_json(FILE *out, const json_t *value);
/* A row for each member: "pages      total 262144, filled 107402". */
void pf_print_status(FILE *out, const json_t *status);
/* "15:04:05.123 STATE state active". */
void pf_print_event(FILE *out, const json_t *event);

#endif
