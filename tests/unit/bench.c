/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/bench.c - see tests/unit/bench.h. */
#include "bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void bench_open(struct bench *bench, uint32_t mappings, uint64_t features, int memfd)
{
	struct pf_err err = {0};

	bench->dirfd = dir_make();
	vmm_start(&bench->vmm, PAGES, mappings, features, memfd);
	guest_fill(&bench->guest, &bench->vmm, PAGES);
	if (pf_guest_arm(&bench->guest, bench->dirfd, &err))
		fail_msg("%s", err.text);
}

void bench_close(struct bench *bench)
{
	vmm_stop(&bench->vmm);
	pf_guest_done(&bench->guest);
	dir_remove(bench->dirfd);
}

enum pf_place_result place(struct bench *bench, uint64_t first, uint32_t count,
			   const uint8_t *bytes, uint32_t *out_placed)
{
	const struct pf_run run = {.region = REGION, .first = first, .count = count};
	struct pf_err err = {0};
	enum pf_place_result result = pf_place_run(&bench->guest, &run, bytes, out_placed, &err);

	if (result == PF_PLACE_FAILED)
		fail_msg("%s", err.text);
	return result;
}

void place_own(struct bench *bench, uint64_t first, uint32_t count)
{
	static uint8_t bytes[PF_RUN_BYTES_MAX];
	uint32_t placed;

	page_fill(bytes, first, count);
	assert_in_range(place(bench, first, count, bytes, &placed), PF_PLACE_OK, PF_PLACE_ASKED);
	assert_int_equal(placed, count);
}

enum pf_place_result map(struct bench *bench, uint64_t first, uint32_t count)
{
	const struct pf_run run = {.region = REGION, .first = first, .count = count};
	struct pf_err err = {0};

	return pf_map_run(&bench->guest, &run, &err);
}

enum pf_trap_action next_fault(struct bench *bench, uint32_t uffd, uint64_t page)
{
	bool minor, first;

	assert_int_equal(guest_fault(&bench->guest, uffd, &minor), page);
	return pf_trap_decide(minor ? PF_TRAP_MINOR : PF_TRAP_MISSING,
			      pf_journal_request(&bench->guest.journal, REGION, page, &first));
}

void advise(struct bench *bench, enum vmm_op op, uint32_t mapping, uint64_t page)
{
	vmm_tell(&bench->vmm, op, mapping, page, 0);
	assert_int_equal(vmm_reply(&bench->vmm).op, op);
}

void punch(struct bench *bench, uint64_t page)
{
	advise(bench, VMM_REMOVE, 0, page);
}
