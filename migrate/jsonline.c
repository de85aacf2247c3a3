/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/jsonline.c - see migrate/jsonline.h. */
#include "migrate/jsonline.h"

#include <stdlib.h>

char *pf_jsonline(const json_t *value)
{
	size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
	size_t length = json_dumpb(value, NULL, 0, flags);
	char *line = length ? malloc(length + 2) : NULL;

	if (!line)
		return NULL;
	json_dumpb(value, line, length, flags);
	line[length] = '\n';
	line[length + 1] = '\0';
	return line;
}
