/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/verify.c - see tests/guest/verify.h. */
#include "tests/guest/verify.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"

#define CHUNK_PAGES 256u

static int read_all(int fd, unsigned char *out, size_t length, uint64_t offset, struct pf_err *err)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = pread(fd, out + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return pf_err_sys(err, "reading guest memory at 0x%" PRIx64, offset + done);
		if (got == 0)
			return pf_err_set(err, PF_ERR_STATE,
					  "the memory file ends at 0x%" PRIx64 ": somebody cut it",
					  offset + done);
		done += (size_t)got;
	}
	return 0;
}

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

int pf_verify_memory(int fd, const struct pf_replay *replay, struct pf_difference *out,
		     struct pf_err *err)
{
	uint32_t pages = (uint32_t)(replay->plan.memory / PF_GUEST_PAGE);
	unsigned char expected[PF_GUEST_PAGE];
	pf_auto_free unsigned char *chunk = malloc(CHUNK_PAGES * PF_GUEST_PAGE);

	*out = (struct pf_difference){0};
	if (!chunk)
		return pf_err_sys(err, "allocating a buffer of %u pages", CHUNK_PAGES);
	for (uint32_t first = 0; first < pages; first += CHUNK_PAGES) {
		uint32_t count = pages - first < CHUNK_PAGES ? pages - first : CHUNK_PAGES;
		uint64_t address = (uint64_t)first * PF_GUEST_PAGE;

		if (read_all(fd, chunk, (size_t)count * PF_GUEST_PAGE, address, err))
			return -1;
		for (uint32_t i = 0; i < count; i++) {
			size_t at = (size_t)i * PF_GUEST_PAGE;

			pf_replay_page(replay, first + i, expected);
			if (!compare_page(chunk + at, expected, address + at, out))
				return 0;
		}
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
