/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-journal.c - a page's life under contention, and what a crash leaves of it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/snapshot.h"

#define THREADS 4
#define REQUESTED_ABSENT UINT64_C(4)

static int dirfd = -1;
static unsigned seed;

/* Sizes that end within a word, at its end, and in a second cache line. */
static const struct pf_region_table table = {
	.count = 3,
	.region = {{.gpa = 0, .size = 37 * PAGE, .page_size = PAGE},
		   {.gpa = 1 << 30, .size = 16 * PAGE, .page_size = PAGE},
		   {.gpa = UINT64_C(1) << 32, .size = 4099 * PAGE, .page_size = PAGE}},
};
#define LAST_PAGES 4099u
#define TOTAL_PAGES (37u + 16u + LAST_PAGES)

static int make_dir(void **state)
{
	(void)state;
	dirfd = dir_make();
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	dir_remove(dirfd);
	return 0;
}

static void create(struct pf_journal *journal)
{
	struct pf_err err = {0};

	memset(journal, 0, sizeof(*journal));
	if (pf_journal_create(journal, dirfd, &table, &err))
		fail_msg("%s", err.text);
}

static void a_new_journal_is_absent_everywhere(void **state)
{
	struct pf_journal journal;

	(void)state;
	create(&journal);
	assert_int_equal(journal.total, TOTAL_PAGES);
	assert_int_equal(journal.filled, 0);
	for (uint32_t r = 0; r < table.count; r++)
		for (uint64_t p = 0; p < journal.region[r].pages; p++)
			assert_int_equal(pf_journal_state(&journal, r, p), PF_PAGE_ABSENT);
	assert_false(pf_journal_complete(&journal));
	pf_journal_close(&journal);
}

static void an_unaligned_run_spans_two_words(void **state)
{
	struct pf_journal journal;
	bool first;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_claim(&journal, 0, 9, 16), 0xffff);
	assert_int_equal(pf_journal_state(&journal, 0, 8), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_state(&journal, 0, 9), PF_PAGE_FILLING);
	assert_int_equal(pf_journal_state(&journal, 0, 24), PF_PAGE_FILLING);
	assert_int_equal(pf_journal_state(&journal, 0, 25), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_request(&journal, 0, 12, &first), PF_PAGE_FILLING);
	assert_int_equal(pf_journal_request(&journal, 0, 20, &first), PF_PAGE_FILLING);
	assert_int_equal(pf_journal_fill(&journal, 0, 9, 0xffff), 1 << 3 | 1 << 11);
	assert_int_equal(journal.filled, 16);
	pf_journal_close(&journal);
}

static void a_claim_wins_what_is_absent_and_nothing_else(void **state)
{
	struct pf_journal journal;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_claim(&journal, 2, 100, 4), 0xf);
	assert_int_equal(pf_journal_claim(&journal, 2, 98, 8), 0xc3);
	assert_int_equal(pf_journal_claim(&journal, 2, 98, 8), 0);
	pf_journal_fill(&journal, 2, 100, 0xf);
	assert_int_equal(pf_journal_claim(&journal, 2, 100, 4), 0);
	assert_int_equal(pf_journal_unclaim(&journal, 2, 98, 0xc3, true), 0);
	assert_int_equal(pf_journal_claim(&journal, 2, 98, 8), 0xc3);
	pf_journal_close(&journal);
}

static void only_claimed_pages_can_be_filled_and_each_counts_once(void **state)
{
	struct pf_journal journal;

	(void)state;
	create(&journal);
	pf_journal_fill(&journal, 1, 0, 0xffff);
	assert_int_equal(journal.filled, 0);
	assert_int_equal(pf_journal_claim(&journal, 1, 3, 2), 3);
	pf_journal_fill(&journal, 1, 0, 0xffff);
	pf_journal_fill(&journal, 1, 3, 3);
	assert_int_equal(journal.filled, 2);
	assert_int_equal(pf_journal_state(&journal, 1, 2), PF_PAGE_ABSENT);
	/* What is FILLED stays so, also if somebody gives back what is not his. */
	assert_int_equal(pf_journal_unclaim(&journal, 1, 3, 3, true), 0);
	assert_int_equal(pf_journal_state(&journal, 1, 3), PF_PAGE_FILLED);
	pf_journal_close(&journal);
}

static void the_first_request_is_told_and_outlives_an_unclaim(void **state)
{
	struct pf_journal journal;
	bool first;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_request(&journal, 0, 36, &first), PF_PAGE_ABSENT);
	assert_true(first);
	assert_int_equal(pf_journal_request(&journal, 0, 36, &first), PF_PAGE_ABSENT);
	assert_false(first);
	assert_int_equal(pf_journal_claim(&journal, 0, 36, 1), 1);
	assert_int_equal(pf_journal_unclaim(&journal, 0, 36, 1, true), 1);
	assert_int_equal(pf_journal_claim(&journal, 0, 36, 1), 1);
	assert_int_equal(pf_journal_fill(&journal, 0, 36, 1), 1);
	assert_int_equal(pf_journal_request(&journal, 0, 36, &first), PF_PAGE_FILLED);
	pf_journal_close(&journal);
}

/* Across a word's end, and only what was claimed: another's page may be REQUESTED too. */
static void an_unclaim_tells_who_asked_while_it_was_being_filled(void **state)
{
	struct pf_journal journal;
	bool first;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_request(&journal, 0, 8, &first), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_request(&journal, 0, 11, &first), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_claim(&journal, 0, 9, 16), 0xffff);
	assert_int_equal(pf_journal_request(&journal, 0, 20, &first), PF_PAGE_FILLING);
	assert_true(first);
	pf_journal_fill(&journal, 0, 24, 1);
	assert_int_equal(pf_journal_request(&journal, 0, 24, &first), PF_PAGE_FILLED);
	assert_int_equal(pf_journal_unclaim(&journal, 0, 9, 0xffff, true), 1 << 2 | 1 << 11);
	assert_int_equal(pf_journal_unclaim(&journal, 0, 9, 0xffff, true), 0);
	assert_int_equal(pf_journal_request(&journal, 0, 20, &first), PF_PAGE_ABSENT);
	assert_false(first);
	pf_journal_close(&journal);
}

/* LOST and TRIED share a bit: neither becomes the other, over a crash too. */
static void a_page_is_tried_until_it_is_filled(void **state)
{
	struct pf_journal journal;
	struct pf_err err;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_claim(&journal, 0, 14, 4), 0xf); /* two words */
	assert_false(pf_journal_tried(&journal, 0, 15));
	assert_int_equal(pf_journal_unclaim(&journal, 0, 15, 3, true), 0);
	pf_journal_close(&journal);
	assert_int_equal(pf_journal_open(&journal, dirfd, &table, &err), 0);
	assert_int_equal(pf_journal_next_marked(&journal, 0, 0), 14);
	assert_int_equal(pf_journal_next_marked(&journal, 0, 15), 15);
	assert_int_equal(pf_journal_next_marked(&journal, 0, 18), journal.region[0].pages);
	for (uint64_t page = 13; page < 19; page++) /* given back, or died in: all four */
		assert_int_equal(pf_journal_tried(&journal, 0, page), page >= 14 && page < 18);
	assert_false(pf_journal_lost(&journal, 0, 15));
	assert_int_equal(journal.lost, 0);
	pf_journal_close(&journal);

	assert_int_equal(pf_journal_open(&journal, dirfd, &table, &err), 0);
	assert_int_equal(pf_journal_claim(&journal, 0, 14, 3), 7);
	assert_true(pf_journal_tried(&journal, 0, 15));
	(void)pf_journal_fill(&journal, 0, 15, 1);
	(void)!pf_journal_lose(&journal, 0, 16);
	assert_false(pf_journal_discard(&journal, 0, 17, 1));
	for (uint64_t page = 15; page < 18; page++) {
		assert_false(pf_journal_tried(&journal, 0, page));
		assert_int_equal(pf_journal_lost(&journal, 0, page), page == 16);
	}
	pf_journal_close(&journal);
	assert_int_equal(pf_journal_open(&journal, dirfd, &table, &err), 0);
	assert_true(pf_journal_tried(&journal, 0, 14));
	assert_true(pf_journal_lost(&journal, 0, 16));
	assert_int_equal(journal.lost, 1);
	pf_journal_close(&journal);
}

/* The same steps, drawn by seed, on the journal and on an array of plain structs. */
static void random_steps_agree_with_a_simple_model(void **state)
{
	struct {
		enum pf_page_state state;
		bool requested, tried;
	} model[LAST_PAGES + PF_RUN_PAGES_MAX] = {0};
	struct pf_journal journal;
	unsigned draw = seed;

	(void)state;
	create(&journal);
	for (int step = 0; step < 200000; step++) {
		uint32_t count = 1 + (uint32_t)rand_r(&draw) % PF_RUN_PAGES_MAX;
		uint64_t at = (uint64_t)rand_r(&draw) % (LAST_PAGES - count + 1);
		uint32_t mask = (uint32_t)rand_r(&draw) & ((UINT32_C(1) << count) - 1), want = 0;
		int what = rand_r(&draw) % 4;
		bool first;

		for (uint32_t i = 0; i < count; i++) {
			bool in = what == 0 || mask >> i & 1;
			enum pf_page_state was = model[at + i].state;

			if (in && what == 0 && was == PF_PAGE_ABSENT) {
				model[at + i].state = PF_PAGE_FILLING;
				want |= UINT32_C(1) << i;
			} else if (in && what == 1 && was == PF_PAGE_FILLING) {
				model[at + i].state = PF_PAGE_FILLED;
				model[at + i].tried = false;
				want |= (uint32_t)model[at + i].requested << i;
			} else if (in && what == 2 && was == PF_PAGE_FILLING) {
				model[at + i].state = PF_PAGE_ABSENT;
				model[at + i].tried = true;
				want |= (uint32_t)model[at + i].requested << i;
			}
		}
		if (what == 0)
			assert_int_equal(pf_journal_claim(&journal, 2, at, count), want);
		else if (what == 1)
			assert_int_equal(pf_journal_fill(&journal, 2, at, mask), want);
		else if (what == 2)
			assert_int_equal(pf_journal_unclaim(&journal, 2, at, mask, true), want);
		else {
			assert_int_equal(pf_journal_request(&journal, 2, at, &first),
					 model[at].state);
			assert_int_equal(first, !model[at].requested);
			model[at].requested = true;
		}
	}
	for (uint64_t p = 0; p < LAST_PAGES; p++) {
		assert_int_equal(pf_journal_state(&journal, 2, p), model[p].state);
		assert_int_equal(pf_journal_tried(&journal, 2, p), model[p].tried);
		assert_false(pf_journal_lost(&journal, 2, p));
	}
	pf_journal_close(&journal);
}

struct claimer {
	struct pf_journal *journal;
	pthread_barrier_t *window;
	unsigned draw;
	_Atomic int *owners;	 /* of each page, at this moment */
	_Atomic uint64_t *stolen; /* claims of a page that had an owner */
};

/* All threads work on the same few words at a time: that is where a lost update would show. */
#define WINDOW_PAGES 40u
#define WINDOWS 25u
#define STEPS 4000

static void own(struct claimer *self, uint64_t at, uint32_t mine, int by)
{
	for (uint32_t i = 0; i < PF_RUN_PAGES_MAX; i++)
		if (mine >> i & 1 && atomic_fetch_add(&self->owners[at + i], by) > 0 && by > 0)
			atomic_fetch_add(self->stolen, 1);
}

/* Nearly always gives back what it won, as out of memory does: so that there is more to win. */
static void claim_some(struct claimer *self, uint64_t at, uint32_t count)
{
	uint32_t mine = pf_journal_claim(self->journal, 2, at, count);

	own(self, at, mine, 1);
	if (rand_r(&self->draw) % 512 == 0) {
		pf_journal_fill(self->journal, 2, at, mine);
		return;
	}
	own(self, at, mine, -1);
	(void)!pf_journal_unclaim(self->journal, 2, at, mine, true);
}

static void *claim_overlapping_runs(void *argument)
{
	struct claimer *self = argument;

	for (uint64_t window = 0; window < WINDOWS; window++) {
		pthread_barrier_wait(self->window);
		for (int i = 0; i < STEPS; i++) {
			uint32_t count = 1 + (uint32_t)rand_r(&self->draw) % PF_RUN_PAGES_MAX;
			uint64_t at = (uint64_t)rand_r(&self->draw) % (WINDOW_PAGES - count + 1);

			claim_some(self, window * WINDOW_PAGES + at, count);
		}
	}
	return NULL;
}

static void overlapping_runs_are_won_once_and_counted_exactly(void **state)
{
	static _Atomic int owners[LAST_PAGES];
	static _Atomic uint64_t stolen;
	struct claimer claimer[THREADS];
	pthread_t thread[THREADS];
	struct pf_journal journal;
	pthread_barrier_t window;
	uint64_t won = 0;

	(void)state;
	create(&journal);
	pthread_barrier_init(&window, NULL, THREADS);
	for (unsigned t = 0; t < THREADS; t++) {
		claimer[t] = (struct claimer){&journal, &window, seed + t, owners, &stolen};
		assert_int_equal(pthread_create(&thread[t], NULL, claim_overlapping_runs,
						&claimer[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(thread[t], NULL);
	pthread_barrier_destroy(&window);
	assert_int_equal(stolen, 0);
	/* Whoever filled a page owns it still; what nobody owns can be won, none is stuck. */
	for (uint64_t p = 0; p < LAST_PAGES; p++) {
		assert_int_equal(pf_journal_state(&journal, 2, p),
				 owners[p] ? PF_PAGE_FILLED : PF_PAGE_ABSENT);
		assert_in_range(owners[p], 0, 1);
		won += (uint64_t)owners[p];
	}
	assert_in_range(won, 1, WINDOWS * WINDOW_PAGES);
	assert_int_equal(journal.filled, won);
	pf_journal_close(&journal);
}

/* Two threads hand each other the pages one by one, so that their steps on a page overlap. */
struct race {
	struct pf_journal *journal;
	_Atomic uint64_t offered, answered;
	uint8_t heard[LAST_PAGES]; /* the writer saw REQUESTED */
	uint8_t seen[LAST_PAGES];  /* the requester saw that it is FILLING no more */
};

static void wait_for(const _Atomic uint64_t *counter, uint64_t value)
{
	for (unsigned spins = 1; atomic_load(counter) < value; spins++)
		if (spins % 1024 == 0)
			sched_yield();
}

static void *request_each(void *argument)
{
	struct race *race = argument;
	bool first;

	for (uint64_t p = 0; p < LAST_PAGES; p++) {
		wait_for(&race->offered, p + 1);
		race->seen[p] = pf_journal_request(race->journal, 2, p, &first) != PF_PAGE_FILLING;
		atomic_store(&race->answered, p + 1);
	}
	return NULL;
}

/* "set REQUESTED, read state" against "end FILLING, read REQUESTED": one of them sees the other. */
static void race_requests(uint32_t (*end)(struct pf_journal *, uint32_t, uint64_t, uint32_t),
			  enum pf_page_state state)
{
	static struct race race;
	struct pf_journal journal;
	pthread_t thread;

	create(&journal);
	memset(&race, 0, sizeof(race));
	race.journal = &journal;
	assert_int_equal(pthread_create(&thread, NULL, request_each, &race), 0);
	for (uint64_t p = 0; p < LAST_PAGES; p++) {
		assert_int_equal(pf_journal_claim(&journal, 2, p, 1), 1);
		atomic_store(&race.offered, p + 1);
		race.heard[p] = end(&journal, 2, p, 1) == 1;
		wait_for(&race.answered, p + 1);
	}
	pthread_join(thread, NULL);
	for (uint64_t p = 0; p < LAST_PAGES; p++) {
		assert_int_equal(race.heard[p] + race.seen[p], 1);
		assert_int_equal(pf_journal_state(&journal, 2, p), state);
	}
	assert_int_equal(journal.filled, state == PF_PAGE_FILLED ? LAST_PAGES : 0);
	pf_journal_close(&journal);
}

static void a_request_and_a_fill_cannot_miss_each_other(void **state)
{
	(void)state;
	race_requests(pf_journal_fill, PF_PAGE_FILLED);
}

static uint32_t give_back(struct pf_journal *journal, uint32_t region, uint64_t first, uint32_t mask)
{
	return pf_journal_unclaim(journal, region, first, mask, true);
}

static void a_request_and_an_unclaim_cannot_miss_each_other(void **state)
{
	(void)state;
	race_requests(give_back, PF_PAGE_ABSENT);
}

static void clearing_forgets_every_page_and_request(void **state)
{
	struct pf_journal journal;
	bool first;

	(void)state;
	create(&journal);
	pf_journal_fill(&journal, 0, 30, pf_journal_claim(&journal, 0, 30, 7));
	assert_int_equal(pf_journal_request(&journal, 2, 4098, &first), PF_PAGE_ABSENT);
	pf_journal_clear(&journal);
	assert_int_equal(journal.filled, 0);
	assert_int_equal(pf_journal_claim(&journal, 0, 30, 7), 0x7f);
	assert_int_equal(pf_journal_request(&journal, 2, 4098, &first), PF_PAGE_ABSENT);
	assert_true(first);
	pf_journal_close(&journal);
}

static void a_crash_leaves_what_was_filled_and_nothing_else(void **state)
{
	struct pf_journal journal;
	struct pf_err err;
	bool first;

	(void)state;
	create(&journal);
	pf_journal_fill(&journal, 0, 30, pf_journal_claim(&journal, 0, 30, 7));
	assert_int_equal(pf_journal_claim(&journal, 0, 3, 2), 3);
	assert_int_equal(pf_journal_request(&journal, 0, 3, &first), PF_PAGE_FILLING);
	assert_int_equal(pf_journal_request(&journal, 2, 4098, &first), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_request(&journal, 0, 36, &first), PF_PAGE_FILLED);
	pf_journal_close(&journal);

	assert_int_equal(pf_journal_open(&journal, dirfd, &table, &err), 0);
	assert_int_equal(journal.filled, 7);
	assert_int_equal(journal.total, TOTAL_PAGES);
	assert_int_equal(pf_journal_state(&journal, 0, 29), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_state(&journal, 0, 30), PF_PAGE_FILLED);
	assert_int_equal(pf_journal_state(&journal, 0, 36), PF_PAGE_FILLED);
	/* Its waiter faults again, and must be the first to ask for it again. */
	assert_int_equal(pf_journal_request(&journal, 0, 3, &first), PF_PAGE_ABSENT);
	assert_true(first);
	assert_int_equal(pf_journal_request(&journal, 2, 4098, &first), PF_PAGE_ABSENT);
	assert_true(first);
	pf_journal_close(&journal);
}

static void fill_all(struct pf_journal *journal)
{
	for (uint32_t r = 0; r < table.count; r++)
		for (uint64_t p = 0; p < journal->region[r].pages; p++)
			pf_journal_fill(journal, r, p, pf_journal_claim(journal, r, p, 1));
}

static void the_last_page_completes_it_and_a_crash_does_not_undo_that(void **state)
{
	struct pf_journal journal;
	struct pf_err err;

	(void)state;
	create(&journal);
	assert_int_equal(pf_journal_claim(&journal, 1, 5, 1), 1);
	fill_all(&journal);
	assert_false(pf_journal_complete(&journal));
	pf_journal_fill(&journal, 1, 5, 1);
	assert_true(pf_journal_complete(&journal));
	pf_journal_close(&journal);
	assert_int_equal(pf_journal_open(&journal, dirfd, &table, &err), 0);
	assert_true(pf_journal_complete(&journal));
	pf_journal_close(&journal);
}

static void a_new_journal_forgets_an_old_one_that_is_still_mapped(void **state)
{
	struct pf_journal old, new;

	(void)state;
	create(&old);
	pf_journal_fill(&old, 0, 0, pf_journal_claim(&old, 0, 0, 1));
	create(&new);
	assert_int_equal(pf_journal_state(&new, 0, 0), PF_PAGE_ABSENT);
	assert_int_equal(pf_journal_state(&old, 0, 0), PF_PAGE_FILLED);
	pf_journal_close(&old);
	pf_journal_close(&new);
}

static void assert_open_refused(const struct pf_region_table *other, const char *why)
{
	struct pf_journal journal = {0};
	struct pf_err err = {0};

	assert_int_equal(pf_journal_open(&journal, dirfd, other, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	pf_journal_close(&journal);
}

static void poke(off_t at, uint64_t word)
{
	int fd = openat(dirfd, "journal", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &word, sizeof(word), at), sizeof(word));
	close(fd);
}

static void another_guests_journal_is_refused(void **state)
{
	struct pf_region_table other = table;
	struct pf_journal journal;

	(void)state;
	assert_open_refused(&table, "No such file");
	create(&journal);
	pf_journal_close(&journal);
	other.region[1].gpa += PAGE;
	assert_open_refused(&other, "other regions");
	other = table;
	other.region[2].size *= 2;
	assert_open_refused(&other, "bytes, not the");
}

static void an_unfinished_or_damaged_journal_is_refused(void **state)
{
	struct pf_journal journal;

	(void)state;
	create(&journal);
	pf_journal_close(&journal);
	poke(4096, 0xb);
	assert_open_refused(&table, "damaged at region 0, page 0");
	poke(4096, 0x3);
	assert_open_refused(&table, "damaged at region 0, page 0");
	poke(4096, 0);
	/* Region 0 has 37 pages: five in its third word. */
	poke(4096 + 16, REQUESTED_ABSENT << 20);
	assert_open_refused(&table, "damaged at region 0, page 32");
	poke(4096 + 16, 0);
	poke(0, 0);
	assert_open_refused(&table, "never finished");
}

static void a_journal_without_room_is_refused_with_the_bytes_needed(void **state)
{
	struct pf_journal journal = {0};
	struct pf_err err = {0};
	struct rlimit old, low;
	int failed;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 1024;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	failed = pf_journal_create(&journal, dirfd, &table, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(failed, -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	/* 4096, then 3, 1 and 257 words in cache lines of 8. */
	assert_non_null(strstr(err.text, "6336 bytes"));
	assert_non_null(strstr(err.hint, "6336 bytes"));
	assert_int_equal(faccessat(dirfd, "journal", F_OK, 0), -1);
	pf_journal_close(&journal);
}

/* FILLED and nothing else, whatever else is noted of a page; asked by runs that cross words. */
static void a_snapshot_has_what_is_filled_at_that_moment(void **state)
{
	struct pf_snapshot snapshot;
	struct pf_journal journal;
	struct pf_run run = {.region = 2, .first = 90, .count = 40};
	struct pf_err err = {0};
	bool first;

	(void)state;
	create(&journal);
	assert_int_equal(pf_snapshot_init(&snapshot, &table, &err), 0);
	for (uint64_t page = 100; page < 116; page += 16)
		(void)pf_journal_claim(&journal, 2, page, 16);
	(void)pf_journal_request(&journal, 2, 101, &first);
	(void)pf_journal_fill(&journal, 2, 100, 0x00ff); /* 108 to 115 are being filled */
	assert_false(pf_journal_lose(&journal, 2, 110));
	assert_int_equal(pf_snapshot_count(&snapshot, &run), 0); /* not taken yet */
	pf_snapshot_take(&snapshot, &journal);
	assert_int_equal(pf_snapshot_count(&snapshot, &run), 9); /* a lost page does not come any more */
	(void)pf_journal_fill(&journal, 2, 111, 1);
	assert_int_equal(pf_snapshot_count(&snapshot, &run), 9);
	assert_int_equal(pf_journal_filled(&journal, 2, 64) >> (100 - 64), 0xcff);
	(void)pf_journal_claim(&journal, 2, LAST_PAGES - 1, 1);
	(void)pf_journal_fill(&journal, 2, LAST_PAGES - 1, 1);
	assert_int_equal(pf_journal_filled(&journal, 2, LAST_PAGES / 64 * 64), 1 << 2);
	assert_int_equal(pf_journal_filled(&journal, 0, 0), 0);
	pf_snapshot_done(&snapshot);
	pf_journal_close(&journal);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_new_journal_is_absent_everywhere),
		CASE(an_unaligned_run_spans_two_words),
		CASE(a_claim_wins_what_is_absent_and_nothing_else),
		CASE(only_claimed_pages_can_be_filled_and_each_counts_once),
		CASE(the_first_request_is_told_and_outlives_an_unclaim),
		CASE(an_unclaim_tells_who_asked_while_it_was_being_filled),
		CASE(a_page_is_tried_until_it_is_filled),
		CASE(random_steps_agree_with_a_simple_model),
		CASE(overlapping_runs_are_won_once_and_counted_exactly),
		CASE(a_request_and_a_fill_cannot_miss_each_other),
		CASE(a_request_and_an_unclaim_cannot_miss_each_other),
		CASE(clearing_forgets_every_page_and_request),
		CASE(a_crash_leaves_what_was_filled_and_nothing_else),
		CASE(the_last_page_completes_it_and_a_crash_does_not_undo_that),
		CASE(a_new_journal_forgets_an_old_one_that_is_still_mapped),
		CASE(another_guests_journal_is_refused),
		CASE(an_unfinished_or_damaged_journal_is_refused),
		CASE(a_journal_without_room_is_refused_with_the_bytes_needed),
		CASE(a_snapshot_has_what_is_filled_at_that_moment),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
