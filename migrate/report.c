/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/report.c - see migrate/report.h.  Any thread; blocks as stderr does. */
#include "migrate/report.h"

#include <ctype.h>
#include <stdio.h>

/* Texts can quote what a peer or a file said: nothing of that may steer a terminal. */
static void clean(char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

void pf_report(const char *verb, const struct pf_err *err)
{
	struct pf_err copy = *err;

	clean(copy.text);
	clean(copy.hint);
	if (copy.hint[0])
		fprintf(stderr, "pageferry %s: %s\n%s\n", verb, copy.text, copy.hint);
	else
		fprintf(stderr, "pageferry %s: %s\n", verb, copy.text);
}
