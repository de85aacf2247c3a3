/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/jsonline.h - a JSON value as one compact line; pure, any thread. */
#ifndef PF_MIGRATE_JSONLINE_H
#define PF_MIGRATE_JSONLINE_H

#include <jansson.h>
#include <stddef.h>

/* On the heap, with its newline and a NUL; NULL without memory, or for a NULL value. */
char *pf_jsonline(const json_t *value);

#endif
