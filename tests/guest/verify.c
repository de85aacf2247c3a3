/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/verify.c - see tests/guest/verify.h. */
#include "tests/guest/verify.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"

static bool compare_page(const unsigned char *found, const unsigned char *expected,
			 uint64_t address, struct pf_difference *out)
{
	uint32_t i = 0;

	if (memcmp(found, expected, PF_GUEST_PAGE) == 0)
		return true;
	while (found[i] == expected[i])
		i++;
	*out = (struct pf_difference){true, address + i, expected[i], found[i]};
	return false;
}

int pf_verify_memory(const struct pf_guest_memory *memory, const struct pf_replay *replay,
		     struct pf_difference *out, struct pf_err *err)
{
	uint32_t pages = (uint32_t)(replay->plan.memory / PF_GUEST_PAGE);
	unsigned char expected[PF_GUEST_PAGE], found[PF_GUEST_PAGE];

	*out = (struct pf_difference){0};
	for (uint32_t page = 0; page < pages; page++) {
		const unsigned char *mirrored = pf_memory_mirrored(memory, page);
		uint64_t address = (uint64_t)page * PF_GUEST_PAGE;

		if (pf_memory_read(memory, page, found, err))
			return -1;
		pf_replay_page(replay, page, expected);
		if (!compare_page(found, expected, address, out) ||
		    (mirrored && !compare_page(mirrored, expected, address, out)))
			return 0;
	}
	return 0;
}

struct pf_difference pf_verify_word(const struct pf_walk_wrong *wrong)
{
	uint32_t byte = 0; /* x86 is little endian: the lowest byte has the lowest address */

	while (byte < 3 && ((wrong->expected ^ wrong->found) >> (8 * byte) & 0xff) == 0)
		byte++;
	return (struct pf_difference){
		.found_one = true,
		.address = (uint64_t)wrong->address + byte,
		.expected = (unsigned char)(wrong->expected >> (8 * byte)),
		.found = (unsigned char)(wrong->found >> (8 * byte)),
	};
}
