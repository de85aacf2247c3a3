/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/err.h - an error is a value.
 *
 * A fallible function takes a `struct pf_err *err` last, returns 0 or -1, fills *err on -1 and
 * leaves it alone on 0.  The text says what was being done, to whom and why it failed; the hint
 * says what to do about it.  Callers may prefix the text, they never replace it.  Nothing here
 * logs: a program reports an error once, where it decides what follows from it.
 *
 * Any thread; never blocks; cannot fail.
 */
#ifndef PF_BASE_ERR_H
#define PF_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define PF_MUST_USE __attribute__((warn_unused_result))
#define PF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* What kind of failure it is: decides the exit code before the commit (DESIGN.md section 6). */
enum pf_err_class {
	PF_ERR_NONE = 0,
	PF_ERR_USAGE,	    /* 64: the command line, or a command's arguments */
	PF_ERR_UNREACHABLE, /* 69: the peer does not answer, or the connection was lost */
	PF_ERR_SYSTEM,	    /* 71: the operating system said no */
	PF_ERR_PROTOCOL,    /* 76: a protocol was broken or an identity refused */
	PF_ERR_CONFIG,	    /* 78: files, certificates, a state directory */
	PF_ERR_STATE,	    /* 1: not possible in this state */
};

struct pf_err {
	enum pf_err_class class;
	int sys;	/* errno that caused it, or 0 */
	char text[448]; /* one line, no newline at its end */
	char hint[192]; /* what to do about it, or "" */
};

/* All four return -1, so that a failing function can end with `return pf_err_set(...)`. */
int pf_err_set(struct pf_err *err, enum pf_err_class class, const char *fmt, ...) PF_PRINTF(3, 4);
/* Class PF_ERR_SYSTEM; appends ": " and strerror(errno). */
int pf_err_sys(struct pf_err *err, const char *fmt, ...) PF_PRINTF(2, 3);
/* Puts "<prefix>: " before the text that is there. */
int pf_err_prefix(struct pf_err *err, const char *fmt, ...) PF_PRINTF(2, 3);
int pf_err_hint(struct pf_err *err, const char *fmt, ...) PF_PRINTF(2, 3);

/*
 * "<text>; <hint>" for a reader elsewhere, who sees nothing else of it; the hint only if all of it
 * fits, since half of an advice is none.
 */
void pf_err_print(const struct pf_err *err, char *out, size_t size);

/* The agent's exit code for an error that ends it before the commit. */
int pf_err_exit_code(const struct pf_err *err);

#endif
