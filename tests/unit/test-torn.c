/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-torn.c - readers hammer pages while they are populated, and look for a mixture.
 *
 * Half of the readers wait, blocked, for pages that are still to come; the other half follow the
 * placers and touch each page in the moment in which it is written.  A page that is visible too
 * early shows words of the file as it was before, zeros, among its own.  That this would be seen is
 * shown in each row, made wrong on purpose.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/place.h"
#include "rows.h"
#include "wrong_rows.h"

#define SMALL_PAGES 4096u
#define HUGE_PAGES 24u
#define PLACERS 2u
#define WAITERS 3u
#define FOLLOWERS 3u

struct shared {
	_Atomic uint64_t frontier; /* pages below it are written, or about to be */
	_Atomic uint64_t torn;
	_Atomic uint64_t read;
	_Atomic uint64_t trapped_filled;
	_Atomic bool over; /* every reader has ended */
};

static struct shared *shared;
static struct pf_guest guest;
static unsigned seed;
static uint64_t pages;	   /* of this run */
static uint32_t page_size; /* the same */

/* ---- the readers, in the VMM's process ---- */

/* From both ends inwards, so that either half of a page may be the one that is late. */
static bool page_is_whole(volatile uint64_t *words, uint64_t page)
{
	uint64_t expected = page_word(page);

	size_t count = page_size / sizeof(uint64_t);

	for (size_t i = 0; i < count / 2; i++)
		if (words[i] != expected || words[count - 1 - i] != expected)
			return false;
	return true;
}

static void read_one(const struct vmm_memory *memory, uint64_t page)
{
	volatile uint64_t *words = (volatile uint64_t *)(void *)(memory->base + page * page_size);

	if (!page_is_whole(words, page))
		shared->torn++;
	shared->read++;
}

static uint64_t wait_for_pages(const struct vmm_memory *memory, uint64_t number)
{
	for (uint64_t page = number; page < pages; page += WAITERS)
		read_one(memory, page);
	return 0;
}

static uint64_t follow_the_placers(const struct vmm_memory *memory, uint64_t number)
{
	for (uint64_t page = number; page < pages; page += FOLLOWERS) {
		while (shared->frontier <= page)
			sched_yield();
		read_one(memory, page);
	}
	return 0;
}

/* ---- the placers ---- */

struct placer {
	unsigned draw;
	uint8_t *bytes; /* a huge page, or the longest run of small ones */
};

static void fill(uint8_t *bytes, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t word = page_word(first + i);

		for (size_t at = 0; at < page_size; at += sizeof(word))
			memcpy(bytes + (size_t)i * page_size + at, &word, sizeof(word));
	}
}

static void *place_what_comes(void *argument)
{
	struct placer *self = argument;
	uint32_t most = page_size == PAGE ? PF_RUN_PAGES_MAX : 1;
	struct pf_err err;

	for (;;) {
		uint32_t placed, count = 1 + (uint32_t)rand_r(&self->draw) % most;
		struct pf_run run = {.first = atomic_fetch_add(&shared->frontier, count)};

		if (run.first >= pages)
			return NULL;
		run.count = count < pages - run.first ? count : (uint32_t)(pages - run.first);
		fill(self->bytes, run.first, run.count);
		if (pf_place_run(&guest, &run, self->bytes, &placed, &err) != PF_PLACE_OK ||
		    placed != run.count)
			return (void *)"a run was not placed";
	}
}

/*
 * A page that is FILLED can trap: the trap was older, or the kernel has unmapped the page since, as it
 * does when it makes a huge page of it.  Whatever else traps is mapped by whoever places it.
 */
static void map_what_traps(uint32_t uffd, const struct uffd_msg *event)
{
	struct pf_run run = {.count = 1};
	struct pf_err err;

	if (!pf_guest_find(&guest, uffd, event->arg.pagefault.address, &run.region, &run.first) ||
	    pf_journal_state(&guest.journal, run.region, run.first) != PF_PAGE_FILLED)
		return;
	shared->trapped_filled++;
	(void)pf_map_run(&guest, &run, &err);
}

static void *serve_traps(void *unused)
{
	struct pollfd pfd[VMM_MAPPINGS];

	for (uint32_t u = 0; u < guest.uffds; u++)
		pfd[u] = (struct pollfd){.fd = guest.uffd[u].fd, .events = POLLIN};
	while (!shared->over) {
		(void)poll(pfd, guest.uffds, 20);
		for (uint32_t u = 0; u < guest.uffds; u++) {
			struct pf_ring *ring = &guest.uffd[u].ring;

			(void)pf_ring_read(ring, guest.uffd[u].fd);
			for (; pf_ring_peek(ring); pf_ring_pop(ring))
				map_what_traps(u, pf_ring_peek(ring));
		}
	}
	return unused;
}

/* ---- rows that are wrong ---- */

/* In halves: with MINOR registered nobody can see the first one before the map. */
static int write_halves(const struct pf_guest *unused, uint32_t region, uint64_t first,
			uint32_t count, const uint8_t *bytes)
{
	(void)unused, (void)region;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t half = 0; half < 2; half++) {
			size_t at = i * PAGE + half * PAGE / 2;

			if (pwrite(guest.region[0].fd, bytes + at, PAGE / 2,
				   (off_t)(first * PAGE + at)) != PAGE / 2)
				return -1;
			sched_yield();
		}
	return (int)count;
}

static enum pf_map_result wake_instead(const struct pf_guest *unused, uint32_t region,
				       uint32_t mapping, uint64_t first, uint32_t count,
				       uint32_t *out_pages)
{
	(void)unused, (void)region;
	*out_pages = count;
	return pf_uffd_wake(guest.uffd[mapping].fd,
			    guest.region[0].mapping[mapping].base + first * PAGE, count * PAGE);
}

/* ---- a run of it ---- */

struct row {
	enum row_name name;
	int (*populate)(const struct pf_guest *guest, uint32_t region, uint64_t first,
			uint32_t count, const uint8_t *bytes); /* NULL: the row's */
	bool missing_alone;
};

static void register_missing_alone(const struct vmm *vmm)
{
	struct pf_err err;

	for (uint32_t m = 0; m < vmm->mappings; m++) {
		assert_int_equal(pf_uffd_unregister(vmm->uffd[m], vmm->base[m], pages * PAGE, &err),
				 0);
		assert_int_equal(pf_uffd_register(vmm->uffd[m], vmm->base[m], pages * PAGE,
						  UFFDIO_REGISTER_MODE_MISSING, &err),
				 0);
	}
}

static void change_row(const struct row *row, const struct vmm *vmm, struct pf_placer *own)
{
	*own = *guest.region[0].placer;
	if (row->populate)
		own->populate = row->populate;
	if (row->missing_alone) {
		own->map = wake_instead;
		register_missing_alone(vmm);
	}
	guest.region[0].placer = own;
}

static void run_placers(void)
{
	pthread_t thread[PLACERS];
	struct placer placer[PLACERS];
	void *failed;

	for (unsigned t = 0; t < PLACERS; t++) {
		placer[t] = (struct placer){seed + t, malloc(HUGE_PAGE)};
		assert_non_null(placer[t].bytes);
		assert_int_equal(pthread_create(&thread[t], NULL, place_what_comes, &placer[t]), 0);
	}
	for (unsigned t = 0; t < PLACERS; t++) {
		pthread_join(thread[t], &failed);
		assert_null(failed);
		free(placer[t].bytes);
	}
}

/* Returns how many of the pages that were read were torn. */
static uint64_t hammer(const struct row *row)
{
	const struct memory_row *memory = &memory_rows[row->name];
	int dirfd = dir_make();
	struct pf_placer own;
	struct pf_err err = {0};
	struct vmm vmm;
	pthread_t server;
	uint64_t torn;

	*shared = (struct shared){0};
	page_size = memory->page_size;
	pages = page_size == PAGE ? SMALL_PAGES : HUGE_PAGES;
	vmm_start(&vmm, pages * page_size / PAGE, memory->mappings, 0,
		  memory->file ? row_file(memory, pages * page_size) : VMM_PRIVATE);
	wrong_rows_vmm = vmm.pid;
	guest_fill(&guest, &vmm, pages * page_size / PAGE);
	guest.table.region[0].page_size = page_size;
	guest.region[0].kind = memory->kind;
	if (pf_guest_arm(&guest, dirfd, &err))
		fail_msg("%s", err.text);
	change_row(row, &vmm, &own);
	for (uint64_t t = 0; t < WAITERS; t++)
		vmm_call(&vmm, wait_for_pages, (uint32_t)(t % memory->mappings), t);
	for (uint64_t t = 0; t < FOLLOWERS; t++)
		vmm_call(&vmm, follow_the_placers, (uint32_t)(t % memory->mappings), t);
	assert_int_equal(pthread_create(&server, NULL, serve_traps, NULL), 0);
	run_placers();
	for (uint64_t t = 0; t < WAITERS + FOLLOWERS; t++)
		(void)vmm_reply(&vmm);
	shared->over = true;
	pthread_join(server, NULL);
	assert_int_equal(shared->read, 2 * pages);
	torn = shared->torn;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	dir_remove(dirfd);
	row_done();
	print_message("%s: %llu of %llu pages torn; %llu traps of pages that were there\n",
		      memory->name, (unsigned long long)torn, (unsigned long long)(2 * pages),
		      (unsigned long long)shared->trapped_filled);
	return torn;
}

static void no_page_is_torn(void **state)
{
	const struct row *row = *state;

	row_needs(&memory_rows[row->name], HUGE_PAGES);
	assert_int_equal(hammer(row), 0);
}

/* Of few pages, where readers are starved of processors, all can be whole by chance. */
static void torn_pages_are_seen(void **state)
{
	const struct row *row = *state;
	uint64_t torn = 0;

	row_needs(&memory_rows[row->name], HUGE_PAGES);
	for (unsigned tries = 0; tries < 5 && torn == 0; tries++)
		torn += hammer(row);
	assert_true(torn > 0);
}

int main(void)
{
	static struct row memfd = {.name = ROW_MEMFD}, tmpfs = {.name = ROW_TMPFS}, private = {.name = ROW_PRIVATE},
			  hugetlb = {.name = ROW_HUGETLB}, halves = {.name = ROW_MEMFD, .populate = write_halves},
			  halves_visible = {.name = ROW_MEMFD, .populate = write_halves,
					    .missing_alone = true},
			  early = {.name = ROW_MEMFD, .populate = map_before_writing},
			  early_private = {.name = ROW_PRIVATE, .populate = zeros_before_copying},
			  early_hugetlb = {.name = ROW_HUGETLB, .populate = map_before_writing};
	const struct CMUnitTest tests[] = {
		{"memfd: no page is torn", no_page_is_torn, NULL, NULL, &memfd},
		{"tmpfs huge=always: no page is torn", no_page_is_torn, NULL, NULL, &tmpfs},
		{"private: no page is torn", no_page_is_torn, NULL, NULL, &private},
		{"hugetlbfs: no page is torn", no_page_is_torn, NULL, NULL, &hugetlb},
		{"a page written in halves is not torn", no_page_is_torn, NULL, NULL, &halves},
		{"in halves and MISSING alone: torn pages are seen", torn_pages_are_seen, NULL, NULL,
		 &halves_visible},
		{"mapped before it is written: torn pages are seen", torn_pages_are_seen, NULL, NULL,
		 &early},
		{"private, zeros before the copy: torn pages are seen", torn_pages_are_seen, NULL, NULL,
		 &early_private},
		{"hugetlbfs, mapped before it is written: torn pages are seen", torn_pages_are_seen,
		 NULL, NULL, &early_hugetlb},
	};

	seed = test_seed();
	if (uffd_refused())
		return 77;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 99;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
