/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/print.c - a statement as text, for --dry-run and for who runs a scenario. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "tests/netfault/scenario.h"
#include "tests/netfault/value.h"

struct line {
	char *out;
	size_t used;
};

static void PF_PRINTF(2, 3) add(struct line *line, const char *fmt, ...)
{
	va_list args;
	int more;

	va_start(args, fmt);
	more = vsnprintf(line->out + line->used, NF_PRINT_MAX - line->used, fmt, args);
	va_end(args);
	if (more > 0)
		line->used += (size_t)more;
	if (line->used >= NF_PRINT_MAX)
		line->used = NF_PRINT_MAX - 1;
}

static void add_value(struct line *line, const char *before, enum nf_unit unit, uint64_t value)
{
	char text[NF_VALUE_TEXT_MAX];

	nf_value_print(unit, value, text);
	add(line, "%s%s", before, text);
}

/* The number that belongs to the verb, in the unit that it is written in. */
static void add_number(struct line *line, const struct nf_statement *statement)
{
	switch (statement->verb) {
	case NF_SEED:
	case NF_MTU:
	case NF_GARBLE:
		add(line, " %" PRIu64, statement->number);
		break;
	case NF_RATE:
		add_value(line, " ", NF_BITRATE, statement->number);
		break;
	case NF_DROP:
		add_value(line, " ", NF_PERCENT, statement->number);
		break;
	default:
		break;
	}
}

static void add_options(struct line *line, const struct nf_statement *statement)
{
	static const char *const names[NF_OPTIONS_] = {
		[NF_DELAY] = " delay ",	    [NF_JITTER] = " jitter ",
		[NF_LOSS] = " loss ",	    [NF_DUPLICATE] = " duplicate ",
		[NF_REORDER] = " reorder ", [NF_CORRUPT] = " corrupt ",
		[NF_BURST] = " burst ",	    [NF_QUEUE] = " queue ",
		[NF_PORT] = " port ",
	};

	for (unsigned i = 0; i < NF_OPTIONS_; i++) {
		if (!(statement->given & (1u << i)))
			continue;
		if (i == NF_BURST || i == NF_PORT)
			add(line, "%s%" PRIu64, names[i], statement->option[i]);
		else
			add_value(line, names[i],
				  i == NF_DELAY || i == NF_JITTER || i == NF_QUEUE ? NF_TIME
										   : NF_PERCENT,
				  statement->option[i]);
	}
}

static void add_places(struct line *line, const struct nf_statement *statement)
{
	char text[PF_ENDPOINT_TEXT_MAX];

	for (unsigned i = 0; i < statement->names; i++)
		add(line, " %s", statement->name[i]);
	for (unsigned i = 0; i < statement->ports; i++)
		add(line, " %s:%s", statement->port[i].space, statement->port[i].interface);
	for (unsigned i = 0; i < statement->endpoints; i++) {
		pf_endpoint_print(&statement->endpoint[i], text);
		add(line, " %s", text);
	}
}

void nf_statement_print(const struct nf_statement *statement, char out[NF_PRINT_MAX])
{
	static const char *const ways[] = {
		[NF_BOTH] = "both", [NF_FORWARD] = "forward", [NF_BACK] = "back"};
	struct line line = {.out = out};
	char text[NF_VALUE_TEXT_MAX];

	if (statement->timed)
		add_value(&line, "at ", NF_TIME, statement->at_ns);
	add(&line, "%s%s", statement->timed ? " " : "", nf_verb_name(statement->verb));
	add_places(&line, statement);
	if (statement->verb == NF_ADDRESS) {
		nf_address_print(statement->address.family, statement->address.bytes,
				 statement->address.prefix, text);
		add(&line, " %s", text);
	}
	if (statement->verb == NF_STALL || statement->verb == NF_GARBLE)
		add(&line, " %s", ways[statement->way]);
	add_number(&line, statement);
	for (unsigned i = 0; i < NF_VERBS_; i++)
		if (statement->heal & (1u << i))
			add(&line, " %s", nf_verb_name((enum nf_verb)i));
	add_options(&line, statement);
	for (unsigned i = 0; i < statement->words; i++) {
		const char *word = statement->text + statement->word[i];
		bool quoted = word[0] == '\0' || word[0] == '#' || strpbrk(word, " \t");

		add(&line, quoted ? " \"%s\"" : " %s", word);
	}
}
