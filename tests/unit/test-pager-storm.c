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
 *
 * Memory of each row goes through it, and some once more over a row that is wrong on purpose, which must
 * be found.
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

#include "base/cleanup.h"
#include "memory/touch.h"
#include "pager_kit.h"
#include "wrong_rows.h"

#define PAGES_MOST 2048u
#define PAGES_HUGE 48u
#define THREADS 12u
#define STEPS 1500u
#define STEPS_HUGE 100u
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
	_Atomic uint64_t claimed; /* wrong_rows_claimed */
	char what[160];
	struct page_model page[PAGES_MOST];
};

static struct pager_kit kit;
static struct model *model;
static unsigned seed;
static const struct memory_row *row; /* of this storm */
static uint64_t pages;		     /* the same */

static bool is_huge(void)
{
	return row->page_size > PAGE;
}

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
	return (volatile uint64_t *)(void *)(self->memory->base + page * row->page_size);
}

/* The body's word, if all of it is that; else the first word that differs is *out_odd. */
static uint64_t read_body(volatile uint64_t *words, uint64_t *out_odd)
{
	uint64_t body = words[0];

	*out_odd = 0;
	for (uint64_t i = MARK + 1; i < row->page_size / sizeof(uint64_t); i++)
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

/* Of memory that keeps its data at DONTNEED the others leave a hole where there is a page. */
static int give_back(const struct vmm_memory *memory, uint64_t page, unsigned how)
{
	uint8_t *at = memory->base + page * row->page_size;

	if (how == 0 || !row->keeps)
		return madvise(at, row->page_size, MADV_DONTNEED);
	if (how == 1)
		return madvise(at, row->page_size, MADV_REMOVE);
	return fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)(page * row->page_size), row->page_size);
}

/* What is discarded where that is told of does not come any more; a file's page that is absent does. */
static void owner_gives_back(struct thread_of_guest *self, uint64_t page, unsigned how)
{
	struct page_model *mine = &model->page[page];

	mine->sequence++;
	if (give_back(self->memory, page, how))
		report(page, strerror(errno), how, 0);
	if (how > 0 || !row->keeps) {
		mine->seen = mine->seen || !row->keeps;
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

/* Any page; or, where some are claimed and not there yet, mostly one of its own among them, or behind. */
static uint64_t draw_page(struct thread_of_guest *self)
{
	uint64_t any = (uint64_t)rand_r(&self->draw) % pages, claimed = model->claimed, own;

	if (claimed == 0 || any % 4 == 0)
		return any;
	own = claimed - 1;
	own += (self->number + THREADS - own % THREADS) % THREADS;
	return own < pages ? own : any;
}

static uint64_t live(const struct vmm_memory *memory, uint64_t number)
{
	struct thread_of_guest self = {memory, number, model->seed + (unsigned)number};
	unsigned steps = is_huge() ? STEPS_HUGE : STEPS;

	for (unsigned step = 0; step < steps && model->wrong == 0; step++) {
		uint64_t page = draw_page(&self);
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
	return 0;
}

/* Every byte, in the end. */
static uint64_t look_at_every_page(const struct vmm_memory *memory, uint64_t unused)
{
	struct thread_of_guest self = {.memory = memory};

	for (uint64_t p = 0; p < pages; p++) {
		volatile uint64_t *words = words_of(&self, p);
		uint64_t odd, body = read_body(words, &odd);
		const struct page_model *page = &model->page[p];

		if (odd || !body_is_allowed(p, page->body, body))
			report(p, "wrong in the end", odd, words[odd]);
		if (words[MARK] != (page->marked ? page->mark : body))
			report(p, "without its mark in the end", MARK, words[MARK]);
	}
	return unused;
}

/* ---- the source ---- */

/* All of a page that no frame holds, part by part. */
static bool send_parts(struct pf_channel *channel, uint64_t page)
{
	uint32_t most = channel == kit.urgent ? PF_URGENT_BODY_MAX : PF_BULK_BODY_MAX;
	struct pf_frame frame = {
		.type = PF_FRAME_PAGES, .page = page, .count = 1, .length = most};
	uint64_t words[PF_BULK_BODY_MAX / sizeof(uint64_t)];
	bool sent = true;

	for (size_t i = 0; i < PF_ARRAY_LEN(words); i++)
		words[i] = source_word(page);
	for (; sent && frame.extra < row->page_size; frame.extra += most)
		sent = pk_try_send(channel, frame, words);
	return sent;
}

static bool send_run(struct pf_channel *channel, uint64_t first, uint32_t count)
{
	uint8_t bytes[PF_RUN_BYTES_MAX];
	struct pf_frame frame = {.page = first, .count = count};

	if (count == 1 && source_word(first) == 0) {
		frame.type = PF_FRAME_ZERO;
		return pk_try_send(channel, frame, NULL);
	}
	if (is_huge())
		return send_parts(channel, first);
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
	uint32_t most = is_huge() ? 1 : PF_RUN_PAGES_MAX;
	uint64_t at = self->first;

	while (at < self->end) {
		uint32_t count = 1 + (uint32_t)rand_r(&self->draw) % most;
		bool again = rand_r(&self->draw) % 4 == 0;
		uint64_t first = again ? (uint64_t)rand_r(&self->draw) % (pages - most) : at;

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

static void let_it_look_at_every_page(void)
{
	for (uint32_t m = 0; m < kit.vmm.mappings; m++)
		vmm_call(&kit.vmm, look_at_every_page, m, 0);
	for (uint32_t m = 0; m < kit.vmm.mappings; m++)
		(void)vmm_reply(&kit.vmm);
}

static void set_up_the_model(void)
{
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	assert_true(model != MAP_FAILED);
	model->seed = seed;
	for (uint64_t p = 0; p < pages; p++)
		model->page[p].body = SOURCES;
	source_may_go = false;
}

/* What the threads say of themselves, a moment after they have told of the last page. */
static uint64_t placed(void)
{
	uint64_t all = kit.pager.count.requested;

	for (uint32_t i = 0; i < PK_BULKS; i++)
		all += kit.receiver[i].count.pushed;
	return all;
}

/* Discarded pages of private memory are FILLED and were not placed. */
static void check_counts(void)
{
	pk_await_filled(&kit, pages);
	WAIT_UNTIL(placed() + kit.guest.count.discarded >= pages);
	assert_true(placed() <= pages);
	assert_true(row->keeps ? kit.guest.count.discarded == 0 : kit.guest.count.discarded > 0);
	print_message("%s: %" PRIu64 " pages by request, %" PRIu64 " faults, %" PRIu64
		      " duplicates, %" PRIu64 " holes, %" PRIu64 " woken, %" PRIu64 " discards\n",
		      row->name, kit.pager.count.requested, kit.pager.count.faults,
		      kit.guest.count.duplicates, kit.guest.count.holes, kit.guest.count.woken,
		      kit.guest.count.discarded);
}

struct storm {
	enum row_name row;
	uint32_t mappings;
	uint64_t features;
	/* In place of the row's (wrong_rows.h); NULL: not. */
	int (*populate)(const struct pf_guest *guest, uint32_t region, uint64_t first,
			uint32_t count, const uint8_t *bytes);
};

static void open_storm(const struct storm *how)
{
	static struct pf_placer own; /* threads go on with it until pk_close() */

	row = &memory_rows[how->row];
	pages = is_huge() ? PAGES_HUGE : PAGES_MOST;
	row_needs(row, pages);
	pf_touch_init(); /* in each test: cmocka puts a handler of its own before every one */
	set_up_the_model();
	pk_open(&kit, &(struct pk_how){
		.row = row,
		.pages = pages,
		.mappings = how->mappings,
		.features = how->features,
		.memfd = row->file ? row_file(row, pages * row->page_size) : VMM_PRIVATE,
		.hold = true,
	});
	wrong_rows_vmm = kit.vmm.pid;
	wrong_rows_claimed = &model->claimed;
	own = *kit.guest.region[0].placer;
	if (how->populate)
		own.populate = how->populate;
	kit.guest.region[0].placer = &own;
	pk_give(&kit);
}

static void storm(const struct storm *how)
{
	pthread_t thread[PK_BULKS + 1];
	struct pusher pusher[PK_BULKS + 1];
	void *failed;

	open_storm(how);
	for (uint32_t i = 0; i < PK_BULKS; i++) {
		pk_connect_bulk(&kit, i, true);
		pusher[i] = (struct pusher){kit.push[i], seed + 100 + i, i * pages / PK_BULKS,
					    (i + 1) * pages / PK_BULKS};
		assert_int_equal(pthread_create(&thread[i], NULL, push, &pusher[i]), 0);
	}
	pusher[PK_BULKS] = (struct pusher){kit.urgent, seed + 99, 0, 0};
	assert_int_equal(pthread_create(&thread[PK_BULKS], NULL, answer, &pusher[PK_BULKS]), 0);
	let_the_guest_live();
	free(pk_mail(&kit, PF_MAIL_FILLED).data);
	let_it_look_at_every_page();
	source_may_go = true;
	for (uint32_t i = 0; i <= PK_BULKS; i++) {
		pthread_join(thread[i], &failed);
		if (failed)
			fail_msg("%s", (const char *)failed);
	}
}

static void end_storm(void)
{
	pk_close(&kit);
	munmap(model, sizeof(*model));
	row_done();
}

static void a_guest_in_a_storm_finds_every_byte(void **state)
{
	storm(*state);
	if (model->wrong)
		fail_msg("%s (%u in all)", model->what, (unsigned)model->wrong);
	check_counts();
	end_storm();
}

static void a_guest_in_a_storm_finds_what_is_wrong(void **state)
{
	storm(*state);
	assert_true(model->wrong > 0);
	print_message("%s, made wrong: %s\n", row->name, model->what);
	end_storm();
}

#define REMOVES UFFD_FEATURE_EVENT_REMOVE

int main(void)
{
	static struct storm memfd = {ROW_MEMFD, 1, 0, NULL},
			    removes = {ROW_MEMFD, 2, REMOVES, NULL},
			    tmpfs = {ROW_TMPFS, 1, REMOVES, NULL},
			    private = {ROW_PRIVATE, 1, REMOVES, NULL},
			    late = {ROW_PRIVATE, 1, REMOVES, copy_late},
			    hugetlb = {ROW_HUGETLB, 2, REMOVES, NULL},
			    early = {ROW_MEMFD, 1, 0, map_before_writing},
			    early_private = {ROW_PRIVATE, 1, REMOVES, zeros_before_copying},
			    unlocked = {ROW_PRIVATE, 1, REMOVES, copy_behind_discards},
			    early_hugetlb = {ROW_HUGETLB, 2, REMOVES, map_before_writing};
	const struct CMUnitTest tests[] = {
		{"memfd: every byte is right", a_guest_in_a_storm_finds_every_byte, NULL, NULL,
		 &memfd},
		{"memfd, two mappings, discards: every byte is right",
		 a_guest_in_a_storm_finds_every_byte, NULL, NULL, &removes},
		{"tmpfs huge=always, where a write brings a huge page: every byte is right",
		 a_guest_in_a_storm_finds_every_byte, NULL, NULL, &tmpfs},
		{"private, discards: every byte is right", a_guest_in_a_storm_finds_every_byte, NULL,
		 NULL, &private},
		{"private, discards between claim and copy: every byte is right",
		 a_guest_in_a_storm_finds_every_byte, NULL, NULL, &late},
		{"hugetlbfs, two mappings, discards: every byte is right",
		 a_guest_in_a_storm_finds_every_byte, NULL, NULL, &hugetlb},
		{"memfd, mapped before it is written: that is found",
		 a_guest_in_a_storm_finds_what_is_wrong, NULL, NULL, &early},
		{"private, zeros before the copy: that is found",
		 a_guest_in_a_storm_finds_what_is_wrong, NULL, NULL, &early_private},
		{"private, discards read between claim and copy: that is found",
		 a_guest_in_a_storm_finds_what_is_wrong, NULL, NULL, &unlocked},
		{"hugetlbfs, mapped before it is written: that is found",
		 a_guest_in_a_storm_finds_what_is_wrong, NULL, NULL, &early_hugetlb},
	};

	seed = test_seed();
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
