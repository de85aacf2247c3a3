/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kill/stage.c - see tests/kill/stage.h. */
#include "stage.h"

#include <sys/mman.h>

struct stage *stage_map(int fd)
{
	void *map = mmap(NULL, sizeof(struct stage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return map == MAP_FAILED ? NULL : map;
}

const struct memory_row *stage_row(const struct stage *stage, uint32_t region)
{
	return &memory_rows[stage->region[region].row];
}

const struct memory_row *stage_source_row(const struct stage *stage, uint32_t region)
{
	return stage_row(stage, region)->file ? stage_row(stage, region) : &memory_rows[ROW_MEMFD];
}

size_t stage_words(const struct stage *stage, uint32_t region)
{
	return stage->table.region[region].page_size / sizeof(uint64_t);
}

uint64_t stage_lost_from(const struct stage *stage, uint32_t region)
{
	static const uint64_t lost[ROWS] = {
		[ROW_MEMFD] = 8, [ROW_TMPFS] = 8, [ROW_PRIVATE] = 8, [ROW_HUGETLB] = 2};

	return pf_region_pages(&stage->table.region[region]) - lost[stage->region[region].row];
}

/* splitmix64's last steps: no two pages alike, and none like another seed's. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t stage_word(const struct stage *stage, uint32_t region, uint64_t page, size_t i)
{
	uint64_t name = stage->seed + (((uint64_t)region << 32 | page) + 1) *
					      UINT64_C(0x9e3779b97f4a7c15);

	return mix(name) % 6 == 0 ? 0 : mix(mix(name) + i);
}
