/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/lost.c - see memory/lost.h. */
#include "memory/lost.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "memory/memfile.h"

#define WORD_BITS (8 * sizeof(unsigned long))
#define WORD_BYTES sizeof(unsigned long)

static size_t words_of(uint64_t pages)
{
	return (size_t)((pages + WORD_BITS - 1) / WORD_BITS);
}

int pf_lost_check(int fd, uint64_t pages, struct pf_err *err)
{
	struct stat st;

	if (pf_memfile_check_bitmap(fd, err)) {
		pf_err_set(err, PF_ERR_PROTOCOL, "its bitmap of lost pages is not a memfd");
		return pf_err_hint(err, "make it with memfd_create(2)");
	}
	if (fstat(fd, &st))
		return pf_err_sys(err, "looking at its bitmap of lost pages");
	if ((uint64_t)st.st_size >= words_of(pages) * WORD_BYTES)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "its bitmap of lost pages has %lld bytes, too short for a bit for each of its %" PRIu64
		   " pages (%zu bytes)",
		   (long long)st.st_size, pages, words_of(pages) * WORD_BYTES);
	return pf_err_hint(err, "hand over the one that the guest arrived with");
}

static int read_all(int fd, void *out, size_t size, struct pf_err *err)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = pread(fd, (uint8_t *)out + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO; /* its owner has shrunk it */
		if (got <= 0)
			return pf_err_sys(err, "reading its bitmap of lost pages");
		done += (size_t)got;
	}
	return 0;
}

int pf_lost_load(int fd, uint64_t pages, unsigned long **out, struct pf_err *err)
{
	pf_auto_free unsigned long *bits = NULL;

	*out = NULL;
	if (pf_lost_check(fd, pages, err))
		return -1;
	bits = calloc(words_of(pages), WORD_BYTES);
	if (!bits)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for its bitmap of lost pages");
	if (read_all(fd, bits, words_of(pages) * WORD_BYTES, err))
		return -1;
	if (pf_lost_next(bits, 0, pages) < pages)
		*out = pf_steal(&bits);
	return 0;
}

uint64_t pf_lost_next(const unsigned long *bits, uint64_t first, uint64_t end)
{
	while (first < end) {
		unsigned long left = bits[first / WORD_BITS] >> first % WORD_BITS;

		if (left != 0) {
			first += (uint64_t)__builtin_ctzl(left);
			break;
		}
		first += WORD_BITS - first % WORD_BITS;
	}
	return first < end ? first : end;
}

/* The bits of the region's pages from `first` on, a word's. */
static unsigned long lost_word(const struct pf_guest *guest, uint32_t region, uint64_t first)
{
	uint64_t pages = pf_region_pages(&guest->table.region[region]);
	unsigned long word = 0;

	for (uint64_t i = 0; i < WORD_BITS && first + i < pages; i++)
		if (pf_journal_lost(&guest->journal, region, first + i))
			word |= 1ul << i;
	return word;
}

/* By write and not through a mapping, which its owner could take away; a word at a time: there are few. */
int pf_lost_store(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	uint64_t pages = pf_region_pages(&guest->table.region[region]);
	int fd = guest->region[region].lost_fd;

	if (!guest->region[region].has_lost || atomic_load(&guest->journal.lost) == 0)
		return 0;
	for (uint64_t first = 0; first < pages; first += WORD_BITS) {
		unsigned long lost = lost_word(guest, region, first), word = 0;
		off_t at = (off_t)(first / WORD_BITS * WORD_BYTES);

		if (lost == 0)
			continue;
		if (pread(fd, &word, WORD_BYTES, at) == (ssize_t)WORD_BYTES)
			lost |= word;
		if (pwrite(fd, &lost, WORD_BYTES, at) != (ssize_t)WORD_BYTES)
			return pf_err_sys(err, "writing its bitmap of lost pages");
	}
	return 0;
}
