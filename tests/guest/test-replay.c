/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/test-replay.c - the replay is what the walk does, and the walk sees what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/guest/replay.h"

#define MEMORY (UINT64_C(16) << 20)
#define PAGES (MEMORY / PF_GUEST_PAGE)

static unsigned char *replay_all(const struct pf_plan *plan, const uint64_t *visits)
{
	unsigned char *memory = malloc(plan->memory);
	struct pf_replay replay;

	assert_non_null(memory);
	pf_replay_init(&replay, plan, visits);
	for (uint32_t page = 0; page < PAGES; page++)
		pf_replay_page(&replay, page, memory + (size_t)page * PF_GUEST_PAGE);
	return memory;
}

static struct pf_walk *walk_in(unsigned char *memory, uint32_t vcpu)
{
	return (struct pf_walk *)(memory + PF_GUEST_WALKS + vcpu * PF_GUEST_WALK_SPACING);
}

/* Walks from one replayed moment to a later one, and compares with the replay of that. */
static void check_walk_from(uint32_t vcpus, uint64_t start, uint64_t more)
{
	struct pf_plan plan = {MEMORY, vcpus, 42};
	uint64_t visits[PF_GUEST_VCPUS_MAX] = {0};
	unsigned char *walked, *replayed;

	for (uint32_t i = 0; i < vcpus; i++)
		visits[i] = start + i * 7;
	walked = replay_all(&plan, visits);
	for (uint32_t i = 0; i < vcpus; i++) {
		struct pf_walk_wrong wrong;

		for (uint64_t n = 0; n < more + i; n++)
			assert_int_equal(
				pf_walk_visit(walk_in(walked, i), (uintptr_t)walked, &wrong), 0);
		visits[i] += more + i;
	}
	replayed = replay_all(&plan, visits);
	assert_memory_equal(walked, replayed, MEMORY);
	free(walked);
	free(replayed);
}

static void a_replay_equals_a_walk_from_the_start(void **state)
{
	(void)state;
	for (uint32_t vcpus = 1; vcpus <= PF_GUEST_VCPUS_MAX; vcpus++) {
		check_walk_from(vcpus, 0, 0);
		check_walk_from(vcpus, 0, 1000);
		check_walk_from(vcpus, 0, 10 * PAGES / vcpus + 333);
	}
}

static void a_replay_equals_a_walk_of_many_generations(void **state)
{
	(void)state;
	check_walk_from(2, 0, 70 * PAGES / 2 + 1);
	check_walk_from(3, 31 * PAGES / 3, PAGES);
	check_walk_from(4, 1000 * PAGES, 40 * PAGES / 4);
}

static void generations_wrap_without_becoming_initial(void **state)
{
	struct pf_plan plan = {MEMORY, 2, 42};
	struct pf_walk walk = pf_replay_walk(&plan, 0, 0);
	uint64_t wrap = (UINT64_C(1) << 32) * walk.count;

	(void)state;
	assert_int_equal(pf_replay_walk(&plan, 0, wrap - 1).generation, UINT32_MAX);
	assert_int_equal(pf_replay_walk(&plan, 0, wrap).generation, PF_WALK_BLOCKS);
	check_walk_from(2, wrap - 2 * walk.count, 4 * walk.count + 5);
	check_walk_from(2, wrap + 3, 33 * walk.count);
}

static void a_round_visits_every_page_once(void **state)
{
	(void)state;
	for (uint32_t vcpus = 1; vcpus <= PF_GUEST_VCPUS_MAX; vcpus++) {
		struct pf_plan plan = {MEMORY, vcpus, 7 * vcpus};
		unsigned char *seen = calloc(1, PAGES);

		assert_non_null(seen);
		for (uint32_t i = 0; i < vcpus; i++) {
			uint32_t count = pf_replay_walk(&plan, i, 0).count;

			for (uint32_t n = 0; n < count; n++) {
				struct pf_walk walk = pf_replay_walk(&plan, i, n);
				uint32_t page = walk.first + walk.slot * walk.vcpus;

				assert_int_equal(page % vcpus, i);
				assert_in_range(page, PF_GUEST_LOW_END / PF_GUEST_PAGE, PAGES - 1);
				seen[page]++;
			}
		}
		for (uint32_t page = PF_GUEST_LOW_END / PF_GUEST_PAGE; page < PAGES; page++)
			assert_int_equal(seen[page], 1);
		free(seen);
	}
}

static void some_pages_start_as_zeros_in_runs(void **state)
{
	uint32_t zero = 0, pairs = 0;

	(void)state;
	for (uint32_t page = 0; page < PAGES; page++) {
		bool now = pf_walk_starts_zero(42, page);

		zero += now;
		pairs += now && page > 0 && pf_walk_starts_zero(42, page - 1);
	}
	assert_in_range(zero, PAGES / 32, PAGES / 8);
	assert_in_range(pairs, zero * 7 / 8, zero);
}

/* Damages a word of the page that is visited next; the visit must name it. */
static void check_visit_sees(uint64_t visits, bool rewritten)
{
	struct pf_plan plan = {MEMORY, 1, 42};
	unsigned char *memory = replay_all(&plan, &visits);
	struct pf_walk *walk = walk_in(memory, 0);
	uint32_t page = walk->first + walk->slot;
	uint32_t *words = (uint32_t *)(memory + (size_t)page * PF_GUEST_PAGE);
	struct pf_walk_wrong wrong = {0};
	uint32_t damaged = pf_walk_rewritten_word(page, walk->generation, 11), right;

	if (!rewritten) /* a visit checks some of these: all are damaged, any may be named */
		for (uint32_t word = 1; word < PF_WALK_WORDS; word += 2)
			words[word] ^= 0x100;
	else
		words[damaged] ^= 0x100;
	assert_int_equal(pf_walk_visit(walk, (uintptr_t)memory, &wrong), -1);
	assert_int_equal(wrong.expected ^ wrong.found, 0x100);
	assert_int_equal(wrong.address / PF_GUEST_PAGE, page);
	right = wrong.address % PF_GUEST_PAGE / 4;
	if (rewritten)
		assert_int_equal(right, damaged);
	else
		assert_int_equal(right % 2, 1);
	free(memory);
}

static void a_visit_names_the_wrong_word(void **state)
{
	(void)state;
	check_visit_sees(0, true);
	check_visit_sees(0, false);
	check_visit_sees(3 * PAGES + 17, true);
	check_visit_sees(3 * PAGES + 17, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replay_equals_a_walk_from_the_start),
		cmocka_unit_test(a_replay_equals_a_walk_of_many_generations),
		cmocka_unit_test(generations_wrap_without_becoming_initial),
		cmocka_unit_test(a_round_visits_every_page_once),
		cmocka_unit_test(some_pages_start_as_zeros_in_runs),
		cmocka_unit_test(a_visit_names_the_wrong_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
