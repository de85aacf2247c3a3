/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-scenario.c - a scenario of pageferry-netfault, as a file or somebody else's
 * program says it.
 *
 * What is accepted must mean the same when it is printed and parsed again; what is refused says
 * why.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/netfault/plan.h"

static void check_statement(const struct nf_statement *statement)
{
	struct nf_statement again;
	char printed[NF_PRINT_MAX], twice[NF_PRINT_MAX];
	struct pf_err err = {0};
	size_t length;

	nf_statement_print(statement, printed);
	length = strnlen(printed, sizeof(printed));
	/* Units and quotes may make it longer than a line may be. */
	if (length > NF_LINE_MAX)
		return;
	FUZZ_ASSERT(nf_statement_parse(printed, length, &again, &err) == 0);
	nf_statement_print(&again, twice);
	FUZZ_ASSERT(strcmp(printed, twice) == 0);
	again.line = statement->line;
	FUZZ_ASSERT(memcmp(&again, statement, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nf_scenario scenario;
	struct pf_err err = {0};

	memset(&scenario, 0, sizeof(scenario));
	if (nf_scenario_parse((const char *)data, size, &scenario, &err)) {
		FUZZ_ASSERT(err.class == PF_ERR_USAGE && err.text[0]);
		return 0;
	}
	FUZZ_ASSERT(scenario.count <= NF_STATEMENTS_MAX);
	for (unsigned i = 0; i < scenario.count; i++)
		check_statement(&scenario.statement[i]);
	if (nf_plan_check(&scenario, &err))
		FUZZ_ASSERT(err.class == PF_ERR_USAGE && err.text[0]);
	return 0;
}
