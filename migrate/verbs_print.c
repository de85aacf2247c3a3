/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/verbs_print.c - see migrate/verbs_print.h. */
#include "migrate/verbs_print.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "migrate/jsonline.h"

void pf_print_json(FILE *out, const json_t *value)
{
	pf_auto_free char *line = pf_jsonline(value);

	if (line)
		fputs(line, out);
}

/* Some of it comes from the peer; none of it may steer the terminal. */
static void print_text(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(iscntrl((unsigned char)*text) ? '?' : *text, out);
}

static void print_scalar(FILE *out, const json_t *value)
{
	if (json_is_string(value))
		print_text(out, json_string_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", out);
	else if (json_is_integer(value))
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		fprintf(out, "%g", json_real_value(value));
	else
		fputs("-", out);
}

static void print_value(FILE *out, json_t *value);

static void print_array(FILE *out, json_t *array)
{
	json_t *value;
	size_t i;

	if (json_array_size(array) == 0)
		fputs("none", out);
	json_array_foreach(array, i, value)
	{
		if (i > 0)
			fputs(", ", out);
		print_value(out, value);
	}
}

static void print_members(FILE *out, json_t *object)
{
	const char *separator = "", *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		fputs(separator, out);
		print_text(out, key);
		fputc(' ', out);
		print_value(out, value);
		separator = ", ";
	}
}

static void print_value(FILE *out, json_t *value)
{
	if (json_is_object(value))
		print_members(out, value);
	else if (json_is_array(value))
		print_array(out, value);
	else
		print_scalar(out, value);
}

void pf_print_status(FILE *out, const json_t *status)
{
	int width = 0;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)status, key, value) if ((int)strnlen(key, 32) > width) width =
		(int)strnlen(key, 32);
	json_object_foreach((json_t *)status, key, value)
	{
		fprintf(out, "%-*.32s  ", width, key);
		print_value(out, value);
		fputc('\n', out);
	}
}

void pf_print_event(FILE *out, const json_t *event)
{
	const json_t *stamp = json_object_get(event, "timestamp");
	const char *name = json_string_value(json_object_get(event, "event"));
	json_int_t us = json_integer_value(json_object_get(stamp, "microseconds"));
	time_t seconds = (time_t)json_integer_value(json_object_get(stamp, "seconds"));
	json_t *data = json_object_get(event, "data");
	struct tm local = {0};

	localtime_r(&seconds, &local);
	fprintf(out, "%02d:%02d:%02d.%03d ", local.tm_hour, local.tm_min, local.tm_sec,
		(int)(us / 1000));
	print_text(out, name ? name : "?");
	if (json_object_size(data) > 0)
		fputc(' ', out);
	print_members(out, data);
	fputc('\n', out);
}
