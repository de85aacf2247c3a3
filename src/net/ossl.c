/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/ossl.c - see net/ossl.h; ERR_get_error_all(3). */
#include "net/ossl.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REASONS_MAX 2 /* the first is the cause; beyond the second there is only context */

static const char *reason_of(unsigned long code, char *buffer, size_t size)
{
	const char *reason;

	if (ERR_SYSTEM_ERROR(code))
		return strerror_r(ERR_GET_REASON(code), buffer, size);
	reason = ERR_reason_error_string(code);
	if (reason)
		return reason;
	ERR_error_string_n(code, buffer, size);
	return buffer;
}

int pf_ossl_err(struct pf_err *err, enum pf_err_class class, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	char buffer[128];
	unsigned long code;
	size_t used;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (int i = 0; i < REASONS_MAX && (code = ERR_get_error()) != 0; i++) {
		used = strlen(text);
		snprintf(text + used, sizeof(text) - used, "%s%s", i == 0 ? ": " : "; ",
			 reason_of(code, buffer, sizeof(buffer)));
	}
	ERR_clear_error();
	return pf_err_set(err, class, "%s", text);
}
