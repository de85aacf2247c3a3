/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/termline.h - one line at the bottom of a terminal that is written over and over.
 *
 * No escape sequences, so NO_COLOR needs no rule; cut to the terminal's width, since a line that
 * wraps cannot be written over.  One thread; blocks as the terminal does.
 */
#ifndef PF_MIGRATE_TERMLINE_H
#define PF_MIGRATE_TERMLINE_H

#include <stdbool.h>
#include <stdio.h>

struct pf_termline {
	FILE *out;
	bool active; /* out is a terminal; else nothing is ever written */
	int shown;   /* columns that the line takes now */
};

void pf_termline_init(struct pf_termline *line, FILE *out);
void pf_termline_show(struct pf_termline *line, const char *text);
/* Removes the line, so that something else can be written. */
void pf_termline_clear(struct pf_termline *line);
/* Leaves the line where it is and goes to the next one. */
void pf_termline_end(struct pf_termline *line);

#endif
