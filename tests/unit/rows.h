/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/rows.h - the rows of memory that tests of pages go through: a table, an entry each.
 *
 * A new row joins every test of torn pages and of kills with its entry in rows.c.  Calls fail the
 * test by cmocka, or skip it and say why where the machine lacks what a row needs.
 */
#ifndef PF_TESTS_ROWS_H
#define PF_TESTS_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/page.h"

#define HUGE_PAGE ((uint32_t)2 << 20)

enum row_name { ROW_MEMFD, ROW_TMPFS, ROW_PRIVATE, ROW_HUGETLB, ROW_GMEM, ROWS };

struct memory_row {
	const char *name;
	enum pf_memory_kind kind;
	uint32_t page_size;
	uint32_t mappings;	/* at most */
	int (*file)(uint64_t bytes); /* a new file, empty; NULL: the row has none */
	int map_flags;
	/*
	 * MADV_DONTNEED takes a page out of a mapping and keeps its data.  Else it gives the data up,
	 * also of a page that has not come, and a userfaultfd with EVENT_REMOVE tells of that.
	 */
	bool keeps;
};

extern const struct memory_row memory_rows[ROWS];

/* Skips the test if so many pages of a row cannot be had here; of what the machine has few, nobody else takes
 * any until row_done(). */
void row_needs(const struct memory_row *row, uint64_t pages);
/* Every page of every row is given back. */
void row_done(void);
/* A new file of the row, or -1 where it has none. */
int row_file(const struct memory_row *row, uint64_t bytes);
/* The KVM machine that guest_memfd is of: one for the process, made when it is first asked for. */
int row_machine(void);
/* MAP_FAILED, as mmap(2). */
void *row_map(const struct memory_row *row, int fd, uint64_t bytes);
/* Gives a page and its data up, in every mapping: who reads it then finds zeros.  0, or errno. */
int row_give_up(const struct memory_row *row, int fd, void *mapping, uint64_t page);

#endif
