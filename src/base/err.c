/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/err.c - see base/err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int pf_err_set(struct pf_err *err, enum pf_err_class class, const char *fmt, ...)
{
	va_list args;

	err->class = class;
	err->sys = 0;
	err->hint[0] = '\0';
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return -1;
}

int pf_err_sys(struct pf_err *err, const char *fmt, ...)
{
	int sys = errno;
	char reason[96];
	size_t used;
	va_list args;

	err->class = PF_ERR_SYSTEM;
	err->sys = sys;
	err->hint[0] = '\0';
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	used = strlen(err->text);
	/* GNU strerror_r: the string need not be in the buffer. */
	snprintf(err->text + used, sizeof(err->text) - used, ": %s",
		 strerror_r(sys, reason, sizeof(reason)));
	return -1;
}

int pf_err_prefix(struct pf_err *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	size_t used;
	va_list args;

	memcpy(old, err->text, sizeof(old));
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s", old);
	return -1;
}

int pf_err_hint(struct pf_err *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return -1;
}

void pf_err_print(const struct pf_err *err, char *out, size_t size)
{
	int whole = snprintf(out, size, "%s; %s", err->text, err->hint);

	if (!err->hint[0] || whole < 0 || (size_t)whole >= size)
		snprintf(out, size, "%s", err->text);
}

int pf_err_exit_code(const struct pf_err *err)
{
	static const int code[] = {
		[PF_ERR_NONE] = 0,	   [PF_ERR_USAGE] = 64,	   [PF_ERR_UNREACHABLE] = 69,
		[PF_ERR_SYSTEM] = 71,	   [PF_ERR_PROTOCOL] = 76, [PF_ERR_CONFIG] = 78,
		[PF_ERR_STATE] = 1,
	};

	return code[err->class];
}
