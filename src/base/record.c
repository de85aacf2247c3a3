/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/record.c - see base/record.h. */
#include "base/record.h"

#include <string.h>

static const char *const names[PF_RECORD_COUNT_] = {
	[PF_RECORD_NONE] = "NONE",	   [PF_RECORD_OFFERED] = "OFFERED",
	[PF_RECORD_GONE] = "GONE",	   [PF_RECORD_KEPT] = "KEPT",
	[PF_RECORD_READY] = "READY",	   [PF_RECORD_RUN] = "RUN",
	[PF_RECORD_REFUSED] = "REFUSED",   [PF_RECORD_ABORTED] = "ABORTED",
};

const char *pf_record_name(enum pf_record record)
{
	if (record < PF_RECORD_NONE || record >= PF_RECORD_COUNT_)
		return "?";
	return names[record];
}

enum pf_record pf_record_parse(const char *name)
{
	for (enum pf_record r = PF_RECORD_NONE; r < PF_RECORD_COUNT_; r++)
		if (strcmp(name, names[r]) == 0)
			return r;
	return (enum pf_record)0;
}
