/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/reader.c - see memory/reader.h. */
#include "memory/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "memory/memfile.h"

int pf_reader_check(const struct pf_reader *reader, struct pf_err *err)
{
	if (pf_table_check(&reader->table, err))
		return -1;
	for (uint32_t i = 0; i < reader->table.count; i++)
		if (pf_memfile_check(reader->region[i].fd, reader->region[i].kind,
				     reader->region[i].offset, &reader->table.region[i], false,
				     err))
			return pf_err_prefix(err, "region %" PRIu32 " (id %" PRIu32 ")", i,
					     reader->region[i].id);
	return 0;
}

int pf_reader_read(const struct pf_reader *reader, const struct pf_run *run, uint8_t *out)
{
	const struct pf_region_shape *shape;
	size_t length, done = 0;
	off_t at;

	if (!pf_run_valid(&reader->table, run)) {
		errno = EINVAL;
		return -1;
	}
	shape = &reader->table.region[run->region];
	length = (size_t)run->count * shape->page_size;
	at = (off_t)(reader->region[run->region].offset + run->first * shape->page_size);
	while (done < length) {
		ssize_t got = pread(reader->region[run->region].fd, out + done, length - done,
				    at + (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0) {
			errno = EIO;
			return -1;
		}
		done += (size_t)got;
	}
	return 0;
}

void pf_reader_done(struct pf_reader *reader)
{
	for (uint32_t i = 0; i < reader->table.count; i++)
		if (reader->region[i].fd >= 0)
			close(reader->region[i].fd);
	memset(reader, 0, sizeof(*reader));
}

bool pf_all_zero(const uint8_t *bytes, size_t length)
{
	uint64_t word[8];

	/* 64 bytes at a time: a page with data mostly ends this in its first line. */
	for (size_t at = 0; at < length; at += sizeof(word)) {
		memcpy(word, bytes + at, sizeof(word));
		if (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7])
			return false;
	}
	return true;
}
