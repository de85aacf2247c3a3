/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-text.c - addresses, sizes, numbers, ids and records as somebody typed them.
 *
 * Input: a byte that chooses the parser, then the text.  What is accepted must mean the same when it
 * is printed and parsed again, or keep its limits.
 */
#include <inttypes.h>
#include <string.h>

#include "base/record.h"
#include "base/size.h"
#include "net/addr.h"
#include "tests/fuzz/fuzz.h"
#include "wire/msg.h"

#define TEXT_MAX 400u

static int try_endpoint(const char *text, struct pf_err *err)
{
	char printed[PF_ENDPOINT_TEXT_MAX];
	struct pf_endpoint endpoint, again;

	if (pf_endpoint_parse(text, &endpoint, err))
		return -1;
	FUZZ_ASSERT(strnlen(endpoint.host, sizeof(endpoint.host)) <= PF_HOST_MAX);
	pf_endpoint_print(&endpoint, printed);
	FUZZ_ASSERT(pf_endpoint_parse(printed, &again, err) == 0);
	FUZZ_ASSERT(strcmp(endpoint.host, again.host) == 0 && endpoint.port == again.port);
	return 0;
}

static int try_size(const char *text, struct pf_err *err)
{
	char printed[24];
	uint64_t bytes, again;

	if (pf_size_parse(text, &bytes, err))
		return -1;
	snprintf(printed, sizeof(printed), "%" PRIu64, bytes);
	FUZZ_ASSERT(pf_size_parse(printed, &again, err) == 0 && again == bytes);
	return 0;
}

static int try_number(const char *text, struct pf_err *err)
{
	uint64_t number;

	if (pf_number_parse(text, 3, 70000, &number, err))
		return -1;
	FUZZ_ASSERT(number >= 3 && number <= 70000);
	return 0;
}

static int try_id(const char *text, struct pf_err *err)
{
	if (pf_id_check(text, err))
		return -1;
	FUZZ_ASSERT(text[0] != '.' && text[0] != '-' && strlen(text) <= PF_ID_MAX);
	FUZZ_ASSERT(!strpbrk(text, "/ \n\t\"'\\%"));
	return 0;
}

static int try_record(const char *text, struct pf_err *err)
{
	enum pf_record record = pf_record_parse(text);

	if (!record)
		return pf_err_set(err, PF_ERR_USAGE, "no record");
	FUZZ_ASSERT(strcmp(pf_record_name(record), text) == 0);
	return 0;
}

static int (*const parsers[])(const char *text, struct pf_err *err) = {
	try_endpoint, try_size, try_number, try_id, try_record,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pf_err err = {0};
	char text[TEXT_MAX + 1];

	if (size == 0 || size > TEXT_MAX)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](text, &err))
		FUZZ_ASSERT(err.class != PF_ERR_NONE && err.text[0]);
	return 0;
}
