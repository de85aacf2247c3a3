/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/scenario.h - what may be said to pageferry-netfault: text to checked statements.
 *
 * A statement is a line; scenario.c has one table of them, which feeds the parser, the printer and
 * --help.  What a line says is judged here by itself (words, numbers, ranges); whether the names in
 * it exist is plan.h's question.  Pure: no I/O, any thread.  Refusals are PF_ERR_USAGE.
 */
#ifndef PF_TESTS_NETFAULT_SCENARIO_H
#define PF_TESTS_NETFAULT_SCENARIO_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "net/addr.h"

#define NF_NAME_MAX 15u /* IFNAMSIZ without its NUL */
#define NF_LINE_MAX 400u
#define NF_WORDS_MAX 32u
#define NF_PORTS_MAX 8u
#define NF_STATEMENTS_MAX 256u
#define NF_SCENARIO_MAX (64u << 10)
#define NF_PRINT_MAX (2 * NF_LINE_MAX)

enum nf_verb {
	NF_SEED,
	NF_NAMESPACE,
	NF_LINK,
	NF_BRIDGE,
	NF_ADDRESS,
	NF_MTU,
	NF_DOWN,
	NF_UP,
	NF_CUT,
	NF_RATE,
	NF_DROP,
	NF_NETEM,
	NF_HEAL,
	NF_RESET,
	NF_RELAY,
	NF_STALL,
	NF_FLOW,
	NF_GARBLE,
	NF_START,
	NF_EXEC,
	NF_END,
	NF_VERBS_
};

/* Words with a value behind them: "delay 50ms". */
enum nf_option {
	NF_DELAY, /* ns */
	NF_JITTER,
	NF_LOSS, /* parts per million */
	NF_DUPLICATE,
	NF_REORDER,
	NF_CORRUPT,
	NF_BURST, /* bytes */
	NF_QUEUE, /* ns */
	NF_PORT,
	NF_OPTIONS_
};

/* Of a relay: from who connected to the target, and back. */
enum nf_way { NF_BOTH, NF_FORWARD, NF_BACK };

/* "a:eth0": an interface in a namespace. */
struct nf_port {
	char space[NF_NAME_MAX + 1];
	char interface[NF_NAME_MAX + 1];
};

struct nf_statement {
	enum nf_verb verb;
	unsigned line; /* 1 is the first; 0: not from a file */
	bool timed;    /* "at TIME" stands before it */
	uint64_t at_ns;
	unsigned names, ports, endpoints, words;
	char name[2][NF_NAME_MAX + 1]; /* namespace or relay */
	struct nf_port port[NF_PORTS_MAX];
	struct pf_endpoint endpoint[2]; /* a relay's: listens on, connects to */
	struct {
		int family; /* AF_INET, AF_INET6 */
		uint8_t bytes[16];
		unsigned prefix;
	} address;
	uint64_t number; /* seed, MTU, bits a second, parts per million, or one byte in so many */
	enum nf_way way;
	unsigned heal;	/* bit of NF_CUT, NF_RATE, NF_DROP or NF_NETEM; 0: all of them */
	unsigned given; /* bit of each option that was said */
	uint64_t option[NF_OPTIONS_];
	uint16_t word[NF_WORDS_MAX]; /* a command's words, as offsets into text */
	char text[NF_LINE_MAX + 1];
};

struct nf_scenario {
	unsigned count;
	struct nf_statement statement[NF_STATEMENTS_MAX];
};

/* One line without its end.  1: it is empty or a comment. */
PF_MUST_USE int nf_statement_parse(const char *line, size_t length, struct nf_statement *out,
				   struct pf_err *err);
/* A whole file; an error names the line. */
PF_MUST_USE int nf_scenario_parse(const char *text, size_t size, struct nf_scenario *out,
				  struct pf_err *err);
/* The statement as one would write it; parsed again it is the same. */
void nf_statement_print(const struct nf_statement *statement, char out[NF_PRINT_MAX]);
const char *nf_verb_name(enum nf_verb verb);
/* What it may say, a statement a line. */
void nf_statements_help(FILE *out);

#endif
