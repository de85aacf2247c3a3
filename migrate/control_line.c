/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/control_line.c - see migrate/control_line.h. */
#include "config.h"

#include "migrate/control_line.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "migrate/jsonline.h"

static int check_members(json_t *root, struct pf_err *err)
{
	static const char *const known[] = {"execute", "arguments", "id"};
	const char *key;
	json_t *value;

	json_object_foreach(root, key, value)
	{
		size_t i = 0;

		while (i < PF_ARRAY_LEN(known) && strcmp(key, known[i]) != 0)
			i++;
		if (i == PF_ARRAY_LEN(known))
			return pf_err_set(err, PF_ERR_PROTOCOL,
					  "unknown member '%.64s'; a command has execute, "
					  "arguments and id",
					  key);
	}
	return 0;
}

int pf_control_parse(const char *line, size_t length, struct pf_control_line *out,
		     struct pf_err *err)
{
	json_t *execute, *args;
	json_error_t where;

	*out = (struct pf_control_line){0};
	/* Depth is limited by jansson (2048), length by the caller. */
	out->root = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
	if (!out->root)
		return pf_err_set(err, PF_ERR_PROTOCOL, "not JSON: %s at byte %d", where.text,
				  where.position);
	if (!json_is_object(out->root))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a command is an object: {\"execute\": NAME}");
	out->id = json_object_get(out->root, "id");
	execute = json_object_get(out->root, "execute");
	args = json_object_get(out->root, "arguments");
	if (check_members(out->root, err))
		return -1;
	if (!json_is_string(execute))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "'execute' is missing or not a string; it names the command");
	if (args && !json_is_object(args))
		return pf_err_set(err, PF_ERR_USAGE, "'arguments' is not an object");
	out->args = args ? json_incref(args) : json_object();
	if (!out->args)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	out->name = json_string_value(execute);
	return 0;
}

void pf_control_line_free(struct pf_control_line *line)
{
	json_decref(line->args);
	json_decref(line->root);
	*line = (struct pf_control_line){0};
}

static bool word_in(const char *words, const char *word)
{
	size_t length = strlen(word);
	const char *at = words ? words : "";

	while (*at) {
		size_t here = strcspn(at, " ");

		if (here == length && strncmp(at, word, length) == 0)
			return true;
		at += here + strspn(at + here, " ");
	}
	return false;
}

static int check_arguments(const struct pf_command *row, json_t *args, struct pf_err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(args, key, value)
	{
		if (word_in(row->arguments, key))
			continue;
		pf_err_set(err, PF_ERR_USAGE, "%s has no argument '%.64s'", row->name, key);
		return pf_err_hint(err, "it takes: %s",
				   row->arguments ? row->arguments : "no arguments");
	}
	return 0;
}

const struct pf_command *pf_control_find(const struct pf_command *table, enum pf_side side,
					 const struct pf_control_line *line, const char **out_class,
					 struct pf_err *err)
{
	const struct pf_command *row = table;

	while (row->name && strcmp(row->name, line->name) != 0)
		row++;
	*out_class = "CommandNotFound";
	if (!row->name) {
		pf_err_set(err, PF_ERR_USAGE, "no command '%.64s'", line->name);
		return NULL;
	}
	if (!(row->sides & (1u << side))) {
		pf_err_set(err, PF_ERR_USAGE, "%s is a command of the %s", row->name,
			   side == PF_SOURCE ? "destination; this is the source"
					     : "source; this is the destination");
		return NULL;
	}
	*out_class = "InvalidArgument";
	return check_arguments(row, line->args, err) ? NULL : row;
}

const char *pf_control_class(const struct pf_err *err)
{
	switch (err->class) {
	case PF_ERR_USAGE:
		return "InvalidArgument";
	case PF_ERR_STATE:
		return "WrongState";
	default:
		return "GenericError";
	}
}

/* Takes over message. */
static char *to_line(json_t *message)
{
	char *line = pf_jsonline(message);

	json_decref(message);
	return line;
}

char *pf_control_greeting(enum pf_side side, const char *id)
{
	return to_line(json_pack("{s:{s:s, s:i, s:s, s:s}}", "pageferry", "version",
				 PACKAGE_VERSION, "protocol", PF_CONTROL_PROTOCOL, "role",
				 side == PF_SOURCE ? "source" : "destination", "id", id));
}

char *pf_control_return(json_t *value, json_t *id)
{
	return to_line(json_pack("{s:o, s:O*}", "return", value ? value : json_object(), "id", id));
}

json_t *pf_control_text(const char *text)
{
	char plain[sizeof(((struct pf_err *)0)->text) + sizeof(((struct pf_err *)0)->hint) + 2];
	json_t *string = json_string(text);

	if (string)
		return string;
	snprintf(plain, sizeof(plain), "%s", text);
	for (char *at = plain; *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return json_string(plain);
}

char *pf_control_error(const char *class, const struct pf_err *err, json_t *id)
{
	char desc[sizeof(err->text) + sizeof(err->hint) + 2];

	snprintf(desc, sizeof(desc), "%s%s%s", err->text, err->hint[0] ? "; " : "", err->hint);
	return to_line(json_pack("{s:{s:s, s:o}, s:O*}", "error", "class", class, "desc",
				 pf_control_text(desc), "id", id));
}
