/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/reader.c - see memory/reader.h. */
#include "memory/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/gmem.h"
#include "memory/lost.h"
#include "memory/memfile.h"
#include "memory/touch.h"

static int check_region(struct pf_reader *reader, uint32_t i, struct pf_err *err)
{
	const struct pf_region_shape *shape = &reader->table.region[i];

	if (pf_memfile_check(reader->region[i].fd, reader->region[i].kind,
			     reader->region[i].offset, shape, false, err))
		return -1;
	if (reader->region[i].has_lost && !reader->region[i].lost &&
	    pf_lost_load(reader->region[i].lost_fd, pf_region_pages(shape), &reader->region[i].lost,
			 err))
		return -1;
	if (reader->region[i].kind != PF_MEMORY_GUEST_MEMFD || reader->region[i].map)
		return 0;
	pf_touch_init();
	reader->region[i].map = pf_gmem_map(reader->region[i].fd, reader->region[i].offset,
					    shape->size, false, err);
	return reader->region[i].map ? 0 : -1;
}

int pf_reader_check(struct pf_reader *reader, struct pf_err *err)
{
	if (pf_table_check(&reader->table, err))
		return -1;
	for (uint32_t i = 0; i < reader->table.count; i++)
		if (check_region(reader, i, err))
			return pf_err_prefix(err, "region %" PRIu32 " (id %" PRIu32 ")", i,
					     reader->region[i].id);
	return 0;
}

static int read_all(int fd, uint8_t *out, size_t length, off_t at)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = pread(fd, out + done, length - done, at + (off_t)done);

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

static off_t file_offset(const struct pf_reader *reader, uint32_t region, uint64_t page)
{
	return (off_t)(reader->region[region].offset +
		       page * reader->table.region[region].page_size);
}

/* Pages of guest_memfd, one call for a stretch of those that are there. */
static int copy_pages(const uint8_t *map, uint64_t first, uint32_t count, uint8_t *out)
{
	while (count > 0) {
		bool there = false;
		uint32_t pages = pf_gmem_stretch(map, first, count, &there);
		size_t length = (size_t)pages * PF_GMEM_PAGE;

		if (pages == 0)
			return -1;
		if (!there)
			memset(out, 0, length);
		else if (pf_touch_read(out, map + first * PF_GMEM_PAGE, length))
			return -1;
		out += length;
		first += pages;
		count -= pages;
	}
	return 0;
}

/* The first page of [first, end) that was lost before this source had it, or end. */
static uint64_t next_lost(const struct pf_reader *reader, uint32_t region, uint64_t first, uint64_t end)
{
	const unsigned long *bits = reader->region[region].lost;

	return bits ? pf_lost_next(bits, first, end) : end;
}

/* Within the table, and none of it lost; -1 with errno. */
static int check_run(const struct pf_reader *reader, const struct pf_run *run)
{
	uint64_t end = run->first + run->count;

	if (!pf_run_valid(&reader->table, run))
		errno = EINVAL;
	else if (next_lost(reader, run->region, run->first, end) < end)
		errno = EHWPOISON;
	else
		return 0;
	return -1;
}

int pf_reader_read(const struct pf_reader *reader, const struct pf_run *run, uint8_t *out)
{
	if (check_run(reader, run))
		return -1;
	if (reader->region[run->region].map)
		return copy_pages(reader->region[run->region].map, run->first, run->count, out);
	return read_all(reader->region[run->region].fd, out,
			(size_t)run->count * reader->table.region[run->region].page_size,
			file_offset(reader, run->region, run->first));
}

int pf_reader_read_part(const struct pf_reader *reader, const struct pf_part *part, uint8_t *out)
{
	const struct pf_run run = {.region = part->region, .first = part->page, .count = 1};
	uint32_t page_size;

	if (check_run(reader, &run))
		return -1;
	page_size = reader->table.region[part->region].page_size;
	if (part->offset > page_size || part->length > page_size - part->offset) {
		errno = EINVAL;
		return -1;
	}
	return read_all(reader->region[part->region].fd, out, part->length,
			file_offset(reader, part->region, part->page) + (off_t)part->offset);
}

/*
 * The VMM's descriptor and ours are one open file: seeking in it would move the VMM's file offset,
 * so the file is opened once more.  Where that is refused, holes are read as the zeros they are.
 */
void pf_reader_seek_holes(struct pf_reader *reader)
{
	char path[32];

	for (uint32_t i = 0; i < reader->table.count; i++) {
		if (reader->region[i].kind != PF_MEMORY_MEMFD || reader->region[i].seeks)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", reader->region[i].fd);
		reader->region[i].seek_fd = open(path, O_RDONLY | O_CLOEXEC);
		reader->region[i].seeks = reader->region[i].seek_fd >= 0;
	}
}

static uint64_t absent_pages(const uint8_t *map, uint64_t first, uint64_t count)
{
	bool there = true;
	uint32_t pages = pf_gmem_stretch(map, first, count, &there);

	return there ? 0 : pages;
}

/* Lost pages are among them. */
static uint64_t hole_in_file(const struct pf_reader *reader, uint32_t region, uint64_t page)
{
	const struct pf_region_shape *shape = &reader->table.region[region];
	uint64_t begin = reader->region[region].offset, end = begin + shape->size;
	uint64_t at = begin + page * shape->page_size;
	struct stat st;
	off_t data;

	if (reader->region[region].map)
		return absent_pages(reader->region[region].map, page, pf_region_pages(shape) - page);
	if (!reader->region[region].seeks)
		return 0;
	data = lseek(reader->region[region].seek_fd, (off_t)at, SEEK_DATA);
	if (data >= 0)
		return ((uint64_t)data < end ? (uint64_t)data - at : end - at) / shape->page_size;
	/* No data up to the end of the file; behind that end there are no zeros, but nothing. */
	if (errno != ENXIO || fstat(reader->region[region].seek_fd, &st) != 0 ||
	    (uint64_t)st.st_size < end)
		return 0;
	return (end - at) / shape->page_size;
}

uint64_t pf_reader_hole(const struct pf_reader *reader, uint32_t region, uint64_t page)
{
	uint64_t pages = hole_in_file(reader, region, page);

	return next_lost(reader, region, page, page + pages) - page;
}

void pf_reader_done(struct pf_reader *reader)
{
	for (uint32_t i = 0; i < reader->table.count; i++) {
		if (reader->region[i].fd >= 0)
			close(reader->region[i].fd);
		if (reader->region[i].seeks)
			close(reader->region[i].seek_fd);
		if (reader->region[i].has_lost)
			close(reader->region[i].lost_fd);
		free(reader->region[i].lost);
		if (reader->region[i].map)
			munmap(reader->region[i].map, reader->table.region[i].size);
	}
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
