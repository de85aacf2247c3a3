/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-pager-storm.c - threads of a guest that read, write and give back pages at random,
 * while the real threads of the destination place them; every access is judged.
 *
 * A page has one owner among the guest's threads.  Only the owner writes to it or gives it back, so
 * it knows what the page must hold, word for word; the others read it too, and judge what they have
 * read unless the owner has changed the page meanwhile.  The model lies in memory that the guest's
 * process and the test share.  What is drawn depends on the seed alone; how the threads interleave
 * does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "pager_kit.h"

#define PAGES 2048u
#define THREADS 12u
#define STEPS 1500u
#define WORDS (PAGE / sizeof(uint64_t))
#define MARK 1 /* the word that the owner writes; all the others are the body */

/* What the body may be. */
enum { SOURCES = 1, ZEROS = 2 };

struct page_model {
	_Atomic uint32_t sequence; /* odd while the owner gives the page back */
	_Atomic uint32_t body;	   /* which of SOURCES, ZEROS */
	/* The owner's: */
	bool seen; /* so it is FILLED, for good */
	bool marked;
	uint64_t mark;
};

struct model {
	unsigned seed;
	_Atomic uint32_t wrong;
	char what[160];
	struct page_model page[PAGES];
};

static struct pager_kit kit;
static struct model *model;
static unsigned seed;

/* Every eighth page of the source is zero, and crosses as ZERO. */
static uint64_t source_word(uint64_t page)
{
	return page % 8 == 3 ? 0 : page_word(page);
}

static void report(uint64_t page, const char *what, uint64_t at, uint64_t found)
{
	if (atomic_fetch_add(&model->wrong, 1) == 0)
		snprintf(model->what, sizeof(model->what),
			 "page %" PRIu64 ": %s, word %" PRIu64 " is 0x%" PRIx64, page, what, at,
			 found);
}

/* ---- the guest ---- */

struct thread_of_guest {
	const struct vmm_memory *memory;
	uint64_t number;
	unsigned draw;
};

static volatile uint64_t *words_of(const struct thread_of_guest *self, uint64_t page)
{
	return (volatile uint64_t *)(void *)(self->memory->base + page * PAGE);
}

/* The body's word, if all of it is that; else the first word that differs is *out_odd. */
static uint64_t read_body(volatile uint64_t *words, uint64_t *out_odd)
{
	uint64_t body = words[0];

	*out_odd = 0;
	for (uint64_t i = MARK + 1; i < WORDS; i++)
		if (words[i] != body && *out_odd == 0)
			*out_odd = i;
	return body;
}

static bool body_is_allowed(uint64_t page, uint32_t allowed, uint64_t body)
{
	return (allowed & SOURCES && body == source_word(page)) || (allowed & ZEROS && body == 0);
}

static void owner_looks(struct thread_of_guest *self, uint64_t page)
{
	struct page_model *mine = &model->page[page];
	volatile uint64_t *words = words_of(self, page);
	uint64_t odd, body = read_body(words, &odd), mark = words[MARK];

	if (odd)
		report(page, "torn", odd, words[odd]);
	else if (!body_is_allowed(page, mine->body, body))
		report(page, "the owner finds another body", 0, body);
	else if (mark != (mine->marked ? mine->mark : body))
		report(page, "the owner's mark is lost", MARK, mark);
	mine->seen = true;
	mine->body = body == source_word(page) ? SOURCES : ZEROS;
}

static void owner_writes(struct thread_of_guest *self, uint64_t page)
{
	struct page_model *mine = &model->page[page];

	mine->mark = (uint64_t)rand_r(&self->draw) << 16 | page;
	mine->marked = true;
	words_of(self, page)[MARK] = mine->mark;
	mine->seen = true;
}

/* DONTNEED keeps the data of shared memory; the others leave a hole where there is a page. */
static void owner_gives_back(struct thread_of_guest *self, uint64_t page, unsigned how)
{
	struct page_model *mine = &model->page[page];
	int failed;

	mine->sequence++;
	if (how == 0)
		failed = madvise(self->memory->base + page * PAGE, PAGE, MADV_DONTNEED);
	else if (how == 1)
		failed = madvise(self->memory->base + page * PAGE, PAGE, MADV_REMOVE);
	else
		failed = fallocate(self->memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)(page * PAGE), PAGE);
	if (failed)
		report(page, strerror(errno), how, 0);
	if (how > 0) {
		mine->body = mine->seen ? ZEROS : SOURCES | ZEROS;
		mine->marked = false;
	}
	mine->sequence++;
}

static void stranger_looks(struct thread_of_guest *self, uint64_t page)
{
	struct page_model *theirs = &model->page[page];
	uint32_t sequence = theirs->sequence, allowed = theirs->body;
	volatile uint64_t *words = words_of(self, page);
	uint64_t odd, body = read_body(words, &odd);

	if (sequence % 2 || theirs->sequence != sequence)
		return;
	if (odd)
		report(page, "torn for a stranger", odd, words[odd]);
	else if (!body_is_allowed(page, allowed, body))
		report(page, "a stranger finds another body", 0, body);
}

static uint64_t live(const struct vmm_memory *memory, uint64_t number)
{
	struct thread_of_guest self = {memory, number, model->seed + (unsigned)number};

	for (unsigned step = 0; step < STEPS && model->wrong == 0; step++) {
		uint64_t page = (uint64_t)rand_r(&self.draw) % PAGES;
		unsigned what = (unsigned)rand_r(&self.draw) % 16;

		if (page % THREADS != number)
			stranger_looks(&self, page);
		else if (what < 6)
			owner_looks(&self, page);
		else if (what < 12)
			owner_writes(&self, page);
		else
			owner_gives_back(&self, page, what % 3);
	}
	return model->wrong;
}

/* ---- the source ---- */

static bool send_run(struct pf_channel *channel, uint64_t first, uint32_t count)
{
	uint8_t bytes[PF_RUN_BYTES_MAX];
	struct pf_frame frame = {.page = first, .count = count};

	if (count == 1 && source_word(first) == 0) {
		frame.type = PF_FRAME_ZERO;
		return pk_try_send(channel, frame, NULL);
	}
	page_fill(bytes, first, count);
	for (uint32_t i = 0; i < count; i++)
		if (source_word(first + i) == 0)
			memset(bytes + i * PAGE, 0, PAGE);
	frame.type = PF_FRAME_PAGES;
	frame.length = count * PAGE;
	return pk_try_send(channel, frame, bytes);
}

struct pusher {
	struct pf_channel *channel;
	unsigned draw;
	uint64_t first, end;
};

/* Its half of the pages in runs, and now and then what was there already, from either half. */
static void *push(void *argument)
{
	struct pusher *self = argument;
	uint64_t at = self->first;

	while (at < self->end) {
		uint32_t count = 1 + (uint32_t)rand_r(&self->draw) % PF_RUN_PAGES_MAX;
		bool again = rand_r(&self->draw) % 4 == 0;
		uint64_t first = again ? (uint64_t)rand_r(&self->draw) % (PAGES - PF_RUN_PAGES_MAX) : at;

		if (!again && count > self->end - at)
			count = (uint32_t)(self->end - at);
		if (!send_run(self->channel, first, count))
			return (void *)"a bulk connection is gone";
		at += again ? 0 : count;
		/* Slow enough that the guest meets pages that are not there. */
		(void)poll(NULL, 0, rand_r(&self->draw) % 8);
	}
	return NULL;
}

static _Atomic bool source_may_go;

/* Answers what has come together in any order. */
static void *answer(void *argument)
{
	struct pusher *self = argument;
	uint64_t asked[8];
	uint32_t count = 0;
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err;

	while (!source_may_go) {
		enum pf_io io = pf_channel_recv(self->channel, &frame, &body, &err);
		struct pollfd pfd = {.fd = pf_conn_fd(pf_channel_conn(self->channel)),
				     .events = POLLIN};

		if (io == PF_IO_OK)
			asked[count++] = frame.page;
		else if (io != PF_IO_AGAIN)
			return (void *)"the urgent connection is gone";
		while (count > (io == PF_IO_OK ? 7 : 0)) {
			uint32_t pick = (uint32_t)rand_r(&self->draw) % count;

			if (!send_run(self->channel, asked[pick], 1))
				return (void *)"the urgent connection is gone";
			asked[pick] = asked[--count];
		}
		if (io == PF_IO_AGAIN)
			(void)poll(&pfd, 1, 20);
	}
	return NULL;
}

/* ---- the test ---- */

static void assert_nothing_wrong(void)
{
	if (model->wrong)
		fail_msg("%s (%u in all)", model->what, (unsigned)model->wrong);
}

static void let_the_guest_live(void)
{
	uint32_t alive = THREADS;

	for (uint64_t t = 0; t < THREADS; t++)
		vmm_call(&kit.vmm, live, (uint32_t)(t % kit.vmm.mappings), t);
	while (alive > 0) {
		struct pollfd pfd = {.fd = kit.vmm.sock, .events = POLLIN};

		if (poll(&pfd, 1, 6 * DEADLINE_MS) != 1)
			fail_msg("%u threads are blocked, %u in the kernel's queue; %u requests open",
				 uffd_blocked(kit.vmm.uffd[0]), uffd_pending(kit.vmm.uffd[0]),
				 (unsigned)kit.pager.count.open);
		(void)vmm_reply(&kit.vmm);
		alive--;
	}
}

/* Every byte, through a mapping of the test's own. */
static void look_at_every_page(void)
{
	uint8_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, kit.vmm.memfd, 0);

	assert_true(memory != MAP_FAILED);
	for (uint64_t p = 0; p < PAGES; p++) {
		volatile uint64_t *words = (volatile uint64_t *)(void *)(memory + p * PAGE);
		uint64_t odd, body = read_body(words, &odd);
		const struct page_model *page = &model->page[p];

		if (odd || !body_is_allowed(p, page->body, body))
			report(p, "wrong in the end", odd, words[odd]);
		if (words[MARK] != (page->marked ? page->mark : body))
			report(p, "without its mark in the end", MARK, words[MARK]);
	}
	munmap(memory, PAGES * PAGE);
	assert_nothing_wrong();
}

static void set_up_the_model(void)
{
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	assert_true(model != MAP_FAILED);
	model->seed = seed;
	for (uint64_t p = 0; p < PAGES; p++)
		model->page[p].body = SOURCES;
	source_may_go = false;
}

/* What the threads say of themselves, a moment after they have told of the last page. */
static uint64_t placed(void)
{
	uint64_t pages = kit.pager.count.requested;

	for (uint32_t i = 0; i < PK_BULKS; i++)
		pages += kit.receiver[i].count.pushed;
	return pages;
}

static void storm(const struct pk_how *how)
{
	pthread_t thread[PK_BULKS + 1];
	struct pusher pusher[PK_BULKS + 1];
	void *failed;

	set_up_the_model();
	pk_open(&kit, how);
	for (uint32_t i = 0; i < PK_BULKS; i++) {
		pk_connect_bulk(&kit, i, true);
		pusher[i] = (struct pusher){kit.push[i], seed + 100 + i, i * PAGES / PK_BULKS,
					    (i + 1) * PAGES / PK_BULKS};
		assert_int_equal(pthread_create(&thread[i], NULL, push, &pusher[i]), 0);
	}
	pusher[PK_BULKS] = (struct pusher){kit.urgent, seed + 99, 0, 0};
	assert_int_equal(pthread_create(&thread[PK_BULKS], NULL, answer, &pusher[PK_BULKS]), 0);
	let_the_guest_live();
	free(pk_mail(&kit, PF_MAIL_FILLED).data);
	source_may_go = true;
	for (uint32_t i = 0; i <= PK_BULKS; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	assert_nothing_wrong();
	assert_int_equal(kit.guest.journal.filled, PAGES);
	look_at_every_page();
	WAIT_UNTIL(placed() == PAGES);
	print_message("%" PRIu64 " pages by request, %" PRIu64 " faults, %" PRIu64
		      " duplicates, %" PRIu64 " holes, %" PRIu64 " woken\n",
		      kit.pager.count.requested, kit.pager.count.faults,
		      kit.guest.count.duplicates, kit.guest.count.holes, kit.guest.count.woken);
	pk_close(&kit);
	munmap(model, sizeof(*model));
}

static void a_guest_in_a_storm_finds_every_byte(void **state)
{
	(void)state;
	storm(&(struct pk_how){.pages = PAGES});
}

static void the_same_with_remove_events_and_two_mappings(void **state)
{
	(void)state;
	storm(&(struct pk_how){
		.pages = PAGES, .mappings = 2, .features = UFFD_FEATURE_EVENT_REMOVE});
}

static void the_same_where_a_write_brings_a_huge_page(void **state)
{
	int fd = tmpfs_file("huge=always");

	(void)state;
	storm(&(struct pk_how){
		.pages = PAGES, .memfd = fd, .features = UFFD_FEATURE_EVENT_REMOVE});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_in_a_storm_finds_every_byte),
		cmocka_unit_test(the_same_with_remove_events_and_two_mappings),
		cmocka_unit_test(the_same_where_a_write_brings_a_huge_page),
	};

	seed = test_seed();
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, pk_begin, pk_end);
}
