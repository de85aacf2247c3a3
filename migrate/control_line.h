/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/control_line.h - the text of the control socket: one line in, one line out.
 *
 * Pure: no I/O, no state, any thread.  Everything that a client can send is judged here, and the
 * fuzz target tests/fuzz/fuzz-control.c feeds it.  proto/CONTROL.md is the specification.
 */
#ifndef PF_MIGRATE_CONTROL_LINE_H
#define PF_MIGRATE_CONTROL_LINE_H

#include <jansson.h>
#include <stddef.h>

#include "base/side.h"
#include "migrate/control.h"

#define PF_CONTROL_PROTOCOL 1
#define PF_CONTROL_LINE_MAX (64u * 1024) /* bytes of a command, without its newline */

struct pf_control_line {
	json_t *root;	  /* owns the rest */
	const char *name; /* the command; NULL if it could not be told */
	json_t *args;	  /* always an object; owned */
	json_t *id;	  /* NULL: none was given */
};

/*
 * One line without its newline.  -1: PF_ERR_USAGE becomes "InvalidArgument", PF_ERR_PROTOCOL
 * "GenericError"; the id is filled in if it could be read, so that the error can carry it.  Call
 * pf_control_line_free() in either case.
 */
PF_MUST_USE int pf_control_parse(const char *line, size_t length, struct pf_control_line *out,
				 struct pf_err *err);
void pf_control_line_free(struct pf_control_line *line);

/* A text of an error may quote a file name or end in half a character: then '?' stands for its odd bytes. */
json_t *pf_control_text(const char *text);
/*
 * The command's row, if this side has it and all arguments are known to it.  NULL: *out_class is
 * "CommandNotFound" or "InvalidArgument" and err says why.
 */
const struct pf_command *pf_control_find(const struct pf_command *table, enum pf_side side,
					 const struct pf_control_line *line,
					 const char **out_class, struct pf_err *err);

/* "InvalidArgument", "WrongState" or "GenericError". */
const char *pf_control_class(const struct pf_err *err);

/* Lines with their newline, on the heap; NULL without memory.  id (may be NULL) is borrowed. */
char *pf_control_greeting(enum pf_side side, const char *id);
char *pf_control_return(json_t *value, json_t *id); /* takes over value (NULL: {}) */
char *pf_control_error(const char *class, const struct pf_err *err, json_t *id);

#endif
