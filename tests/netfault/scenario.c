/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/scenario.c - see tests/netfault/scenario.h. */
#include "tests/netfault/scenario.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "tests/netfault/value.h"

#define BIT(n) (1u << (n))
#define NETEM_OPTIONS                                                                              \
	(BIT(NF_DELAY) | BIT(NF_JITTER) | BIT(NF_LOSS) | BIT(NF_DUPLICATE) | BIT(NF_REORDER) |     \
	 BIT(NF_CORRUPT))

/* What stands behind a verb, a letter a word: fields[] has what they mean. */
static const struct verb {
	const char *name, *fields;
	unsigned options;
	const char *usage, *help;
} verbs[NF_VERBS_] = {
	/* clang-format off: a table */
	[NF_SEED] = {"seed", "#", 0, "NUMBER", "what drop and garble choose by; before both"},
	[NF_NAMESPACE] = {"namespace", "n", 0, "NS", "a network namespace, with loopback up"},
	[NF_LINK] = {"link", "pp", 0, "NS:IF NS:IF", "a veth pair, both ends up"},
	[NF_BRIDGE] = {"bridge", "pp+", 0, "NS:IF NS:IF...",
		       "a bridge, and interfaces to be its ports"},
	[NF_ADDRESS] = {"address", "pa", 0, "NS:IF ADDRESS/PREFIX", "an address, usable at once"},
	[NF_MTU] = {"mtu", "pm", 0, "NS:IF BYTES", "the longest packet"},
	[NF_DOWN] = {"down", "p", 0, "NS:IF", "sets the link down; its other end loses carrier"},
	[NF_UP] = {"up", "p", 0, "NS:IF", "sets it up again"},
	[NF_CUT] = {"cut", "p", 0, "NS:IF",
		    "nothing that is sent by it arrives; the sender sees no error"},
	[NF_RATE] = {"rate", "pr", BIT(NF_BURST) | BIT(NF_QUEUE),
		     "NS:IF RATE [burst SIZE] [queue TIME]",
		     "limits what is sent by it (burst 32K, queue 50ms)"},
	[NF_DROP] = {"drop", "p%", 0, "NS:IF PERCENT",
		     "loses so many of the packets sent by it, by the seed"},
	[NF_NETEM] =
		{"netem", "po", NETEM_OPTIONS,
		 "NS:IF [delay TIME [jitter TIME]] [loss|duplicate|reorder|corrupt PERCENT]...",
		 "what the kernel's netem does to what is sent by it"},
	[NF_HEAL] = {"heal", "p?h", 0, "NS:IF [cut|rate|drop|netem]",
		     "takes that away, or all four"},
	[NF_RESET] = {"reset", "n", BIT(NF_PORT), "NS [port NUMBER]",
		      "destroys the namespace's TCP connections; their peers get a reset"},
	[NF_RELAY] = {"relay", "nnee", 0, "NAME NS ADDRESS:PORT ADDRESS:PORT",
		      "listens on the first, forwards to the second, in that namespace"},
	[NF_STALL] = {"stall", "nw", 0, "NAME forward|back|both",
		      "the relay forwards nothing that way"},
	[NF_FLOW] = {"flow", "n", 0, "NAME", "it forwards all of it again, unchanged"},
	[NF_GARBLE] = {"garble", "nwg", 0, "NAME forward|back|both BYTES",
		       "in the connections that stand, one bit in about so many bytes is changed, by the seed"},
	[NF_START] = {"start", "nc", 0, "NS COMMAND...", "runs a program there, and goes on"},
	[NF_EXEC] = {"exec", "nc", 0, "NS COMMAND...", "runs it and waits; it must end with 0"},
	[NF_END] = {"end", "", 0, "", "removes everything"},
	/* clang-format on */
};

static const struct option {
	const char *name;
	enum { OPTION_TIME, OPTION_PERCENT, OPTION_SIZE, OPTION_PORT } kind;
} options[NF_OPTIONS_] = {
	[NF_DELAY] = {"delay", OPTION_TIME},	    [NF_JITTER] = {"jitter", OPTION_TIME},
	[NF_LOSS] = {"loss", OPTION_PERCENT},	    [NF_DUPLICATE] = {"duplicate", OPTION_PERCENT},
	[NF_REORDER] = {"reorder", OPTION_PERCENT}, [NF_CORRUPT] = {"corrupt", OPTION_PERCENT},
	[NF_BURST] = {"burst", OPTION_SIZE},	    [NF_QUEUE] = {"queue", OPTION_TIME},
	[NF_PORT] = {"port", OPTION_PORT},
};

static const char *const ways[] = {
	[NF_BOTH] = "both", [NF_FORWARD] = "forward", [NF_BACK] = "back"};

/* A line cut into words; they point into `text`. */
struct words {
	unsigned count, next;
	char *word[NF_WORDS_MAX + 4]; /* "at TIME", the verb, the namespace */
	char text[NF_LINE_MAX + 1];
};

const char *nf_verb_name(enum nf_verb verb)
{
	return verbs[verb].name;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* One word from *at, unquoted in place; 1: there is none, or a comment begins. */
static int cut_word(char **at, char **out, struct pf_err *err)
{
	char *to, quote = '\0';

	while (is_blank(**at))
		(*at)++;
	if (**at == '\0' || **at == '#')
		return 1;
	*out = to = *at;
	for (; **at && (quote || !is_blank(**at)); (*at)++) {
		if (**at == '"')
			quote = quote ? '\0' : '"';
		else
			*to++ = **at;
	}
	if (quote)
		return pf_err_set(err, PF_ERR_USAGE, "a '\"' has no end");
	if (**at)
		(*at)++;
	*to = '\0';
	return 0;
}

static int split(const char *line, size_t length, struct words *out, struct pf_err *err)
{
	char *at = out->text;
	int none = 0;

	if (length > NF_LINE_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "the line has %zu bytes; %u are possible",
				  length, NF_LINE_MAX);
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return pf_err_set(err, PF_ERR_USAGE, "byte %zu is a control character (%u)",
					  i + 1, (unsigned char)line[i]);
	memcpy(out->text, line, length);
	out->text[length] = '\0';
	out->count = out->next = 0;
	while (none == 0 && out->count < PF_ARRAY_LEN(out->word)) {
		none = cut_word(&at, &out->word[out->count], err);
		out->count += none == 0;
	}
	if (none == 0)
		return pf_err_set(err, PF_ERR_USAGE, "more than %zu words",
				  PF_ARRAY_LEN(out->word) - 1);
	return none < 0 ? -1 : 0;
}

static const char *next_word(struct words *words)
{
	return words->next < words->count ? words->word[words->next++] : NULL;
}

static int take_name(const char *text, char out[NF_NAME_MAX + 1], struct pf_err *err)
{
	size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	if (length > 0 && length <= NF_NAME_MAX && text[length] == '\0' && text[0] != '-') {
		memcpy(out, text, length + 1);
		return 0;
	}
	pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not a name", text);
	return pf_err_hint(err, "a name has 1 to %u of a-z, 0-9, '_' and '-'", NF_NAME_MAX);
}

static int field_name(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return take_name(text, out->name[out->names++], err);
}

static int field_port(const char *text, struct nf_statement *out, struct pf_err *err)
{
	const char *colon = strchr(text, ':');
	char space[NF_LINE_MAX + 1] = "";
	struct nf_port *port = &out->port[out->ports];

	if (!colon) {
		pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not an interface", text);
		return pf_err_hint(err, "write NAMESPACE:INTERFACE, as in a:eth0");
	}
	if (out->ports++ == NF_PORTS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "more than %u interfaces", NF_PORTS_MAX);
	memcpy(space, text, (size_t)(colon - text));
	return take_name(space, port->space, err) || take_name(colon + 1, port->interface, err) ? -1
												: 0;
}

static int field_address(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return nf_address_parse(text, &out->address.family, out->address.bytes,
				&out->address.prefix, err);
}

static int field_endpoint(const char *text, struct nf_statement *out, struct pf_err *err)
{
	struct pf_endpoint *endpoint = &out->endpoint[out->endpoints++];
	uint8_t bytes[16];
	unsigned prefix;
	char whole[PF_HOST_MAX + 5];
	int family;

	if (pf_endpoint_parse(text, endpoint, err))
		return -1;
	/* No resolver is asked from inside a namespace. */
	snprintf(whole, sizeof(whole), "%s/32", endpoint->host);
	if (endpoint->port != 0 && nf_address_parse(whole, &family, bytes, &prefix, err) == 0)
		return 0;
	pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not an address and its port", text);
	return pf_err_hint(err, "write 192.0.2.1:4444 or [2001:db8::1]:4444");
}

static int field_number(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return pf_number_parse(text, 0, UINT64_MAX, &out->number, err);
}

static int field_mtu(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return pf_number_parse(text, 68, 65535, &out->number, err);
}

static int field_period(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return pf_number_parse(text, 1, UINT64_C(1) << 40, &out->number, err);
}

static int field_percent(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return nf_value_parse(NF_PERCENT, text, &out->number, err);
}

static int field_rate(const char *text, struct nf_statement *out, struct pf_err *err)
{
	return nf_value_parse(NF_BITRATE, text, &out->number, err);
}

static int field_way(const char *text, struct nf_statement *out, struct pf_err *err)
{
	for (unsigned i = 0; i < PF_ARRAY_LEN(ways); i++) {
		if (strcmp(text, ways[i]) != 0)
			continue;
		out->way = (enum nf_way)i;
		return 0;
	}
	return pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not forward, back or both", text);
}

static int field_heal(const char *text, struct nf_statement *out, struct pf_err *err)
{
	static const enum nf_verb faults[] = {NF_CUT, NF_RATE, NF_DROP, NF_NETEM};

	for (unsigned i = 0; i < PF_ARRAY_LEN(faults); i++)
		if (strcmp(text, verbs[faults[i]].name) == 0)
			out->heal = BIT(faults[i]);
	if (out->heal)
		return 0;
	return pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not cut, rate, drop or netem", text);
}

static int field_command(const char *text, struct nf_statement *out, struct pf_err *err)
{
	size_t used = out->words ? out->word[out->words - 1] : 0;
	size_t length = strlen(text) + 1;

	if (out->words == NF_WORDS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "a command of more than %u words",
				  NF_WORDS_MAX);
	if (out->words)
		used += strlen(out->text + used) + 1;
	out->word[out->words++] = (uint16_t)used;
	memcpy(out->text + used, text, length);
	return 0;
}

static int option_value(unsigned option, const char *text, struct nf_statement *out,
			struct pf_err *err)
{
	uint64_t *value = &out->option[option];

	switch (options[option].kind) {
	case OPTION_TIME:
		return nf_value_parse(NF_TIME, text, value, err);
	case OPTION_PERCENT:
		return nf_value_parse(NF_PERCENT, text, value, err);
	case OPTION_PORT:
		return pf_number_parse(text, 1, UINT16_MAX, value, err);
	case OPTION_SIZE:
		break;
	}
	if (pf_size_parse(text, value, err))
		return -1;
	if (*value >= 2048 && *value <= (64u << 20))
		return 0;
	return pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not a size from 2K to 64M", text);
}

static int take_option(struct words *words, struct nf_statement *out, struct pf_err *err)
{
	const char *name = next_word(words), *value = next_word(words);

	for (unsigned i = 0; i < NF_OPTIONS_; i++) {
		if (!(verbs[out->verb].options & BIT(i)) || strcmp(name, options[i].name) != 0)
			continue;
		if (!value)
			return pf_err_set(err, PF_ERR_USAGE, "%s needs a value", name);
		if (out->given & BIT(i))
			return pf_err_set(err, PF_ERR_USAGE, "%s is given twice", name);
		out->given |= BIT(i);
		return option_value(i, value, out, err) ? pf_err_prefix(err, "%s", name) : 0;
	}
	return pf_err_set(err, PF_ERR_USAGE, "'%.60s' is too much", name);
}

static const struct field {
	char letter;
	const char *what;
	int (*take)(const char *text, struct nf_statement *out, struct pf_err *err);
} fields[] = {
	{'n', "a name", field_name},	      {'p', "an interface (NS:IF)", field_port},
	{'a', "an address", field_address},   {'e', "an address and port", field_endpoint},
	{'#', "a number", field_number},      {'m', "a size in bytes", field_mtu},
	{'%', "a percentage", field_percent}, {'r', "a rate", field_rate},
	{'w', "a direction", field_way},      {'g', "a number of bytes", field_period},
	{'h', "a fault", field_heal},	      {'c', "a command", field_command},
};

static const struct field *find_field(char letter)
{
	for (unsigned i = 0; i < PF_ARRAY_LEN(fields); i++)
		if (fields[i].letter == letter)
			return &fields[i];
	return NULL;
}

static int take_fields(struct words *words, struct nf_statement *out, struct pf_err *err)
{
	bool optional = false;

	for (const char *at = verbs[out->verb].fields; *at && *at != 'o'; at++) {
		const struct field *field = find_field(*at);
		bool repeats = *at == 'c' || at[1] == '+';
		const char *word;

		if (*at == '?' || *at == '+') {
			optional = *at == '?';
			continue;
		}
		word = next_word(words);
		if (!word && optional)
			continue;
		if (!word)
			return pf_err_set(err, PF_ERR_USAGE, "%s is missing", field->what);
		do {
			if (field->take(word, out, err))
				return -1;
		} while (repeats && (word = next_word(words)));
	}
	return 0;
}

/* What its parts do not show one by one. */
static int check_whole(const struct nf_statement *statement, struct pf_err *err)
{
	if (statement->verb != NF_NETEM)
		return 0;
	if (!statement->given)
		return pf_err_set(err, PF_ERR_USAGE, "it says nothing that netem is to do");
	if (!(statement->given & BIT(NF_DELAY)) &&
	    statement->given & (BIT(NF_JITTER) | BIT(NF_REORDER)))
		return pf_err_set(
			err, PF_ERR_USAGE,
			"jitter and reorder need a delay: what is not delayed has no order "
			"to lose");
	return 0;
}

static int take_time(struct words *words, struct nf_statement *out, struct pf_err *err)
{
	const char *time;

	if (strcmp(words->word[0], "at") != 0)
		return 0;
	words->next = 1;
	time = next_word(words);
	if (!time)
		return pf_err_set(err, PF_ERR_USAGE, "at: a time is missing");
	out->timed = true;
	return nf_value_parse(NF_TIME, time, &out->at_ns, err) ? pf_err_prefix(err, "at") : 0;
}

static int take_verb(struct words *words, struct nf_statement *out, struct pf_err *err)
{
	const char *word = next_word(words);

	for (unsigned i = 0; word && i < NF_VERBS_; i++) {
		if (strcmp(word, verbs[i].name) != 0)
			continue;
		out->verb = (enum nf_verb)i;
		return 0;
	}
	if (!word)
		return pf_err_set(err, PF_ERR_USAGE, "a statement is missing");
	pf_err_set(err, PF_ERR_USAGE, "there is no statement '%.60s'", word);
	return pf_err_hint(err, "pageferry-netfault --help lists them");
}

int nf_statement_parse(const char *line, size_t length, struct nf_statement *out,
		       struct pf_err *err)
{
	struct words words;
	int failed;

	memset(out, 0, sizeof(*out));
	if (split(line, length, &words, err))
		return -1;
	if (words.count == 0)
		return 1;
	if (take_time(&words, out, err) || take_verb(&words, out, err))
		return -1;
	failed = take_fields(&words, out, err);
	while (!failed && words.next < words.count)
		failed = take_option(&words, out, err);
	if (!failed)
		failed = check_whole(out, err);
	if (!failed)
		return 0;
	pf_err_prefix(err, "%s", verbs[out->verb].name);
	if (!err->hint[0])
		pf_err_hint(err, "usage: %s %s", verbs[out->verb].name, verbs[out->verb].usage);
	return -1;
}

/* Times are from one beginning, and a file is read from the top: what goes back is an oversight. */
static int check_order(const struct nf_scenario *scenario, const struct nf_statement *last,
		       struct pf_err *err)
{
	char before[NF_VALUE_TEXT_MAX];

	for (unsigned i = scenario->count; last->timed && i-- > 0;) {
		const struct nf_statement *earlier = &scenario->statement[i];

		if (!earlier->timed)
			continue;
		if (earlier->at_ns <= last->at_ns)
			return 0;
		nf_value_print(NF_TIME, earlier->at_ns, before);
		pf_err_set(err, PF_ERR_USAGE, "its time is before that of line %u, %s",
			   earlier->line, before);
		return pf_err_hint(err,
				   "sort the lines by their times, all from the same beginning");
	}
	return 0;
}

static int take_line(const char *line, size_t length, unsigned number, struct nf_scenario *out,
		     struct pf_err *err)
{
	struct nf_statement *statement = &out->statement[out->count];
	struct nf_statement blank;
	int failed = nf_statement_parse(line, length,
					out->count < NF_STATEMENTS_MAX ? statement : &blank, err);

	if (failed == 1)
		return 0;
	if (failed == 0 && out->count == NF_STATEMENTS_MAX)
		failed =
			pf_err_set(err, PF_ERR_USAGE, "more than %u statements", NF_STATEMENTS_MAX);
	if (failed == 0) {
		statement->line = number;
		failed = check_order(out, statement, err);
	}
	if (failed)
		return pf_err_prefix(err, "line %u", number);
	out->count++;
	return 0;
}

int nf_scenario_parse(const char *text, size_t size, struct nf_scenario *out, struct pf_err *err)
{
	const char *end = text + size;
	unsigned number = 0;

	out->count = 0;
	if (size > NF_SCENARIO_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "it has %zu bytes; %u are possible", size,
				  NF_SCENARIO_MAX);
	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));

		if (!stop)
			stop = end;
		if (take_line(text, (size_t)(stop - text), ++number, out, err))
			return -1;
		text = stop < end ? stop + 1 : end;
	}
	return 0;
}

void nf_statements_help(FILE *out)
{
	for (unsigned i = 0; i < NF_VERBS_; i++)
		fprintf(out, "  %s %s\n      %s\n", verbs[i].name, verbs[i].usage, verbs[i].help);
}
