/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/journal.c - see memory/journal.h.
 *
 * The file: one page with magic and region table, then for each region its words, 16 pages each,
 * from a new cache line.  A page is four bits of a word; a *lane* mask has the lowest of the four
 * set for every page that is meant.  It never leaves the host, so it is in host byte order.
 */
#include "memory/journal.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/statefile.h"

#define JOURNAL_NAME "journal"
#define JOURNAL_MAGIC UINT64_C(0x32304c4e524a4650) /* "PFJRNL02" */
#define HEADER_BYTES UINT64_C(4096)
#define LINE_BYTES UINT64_C(64)

#define PAGES_PER_WORD 16u
#define BITS_PER_PAGE 4u
#define STATE_BITS UINT64_C(3)
#define REQUESTED_SHIFT 2u
#define REQUESTED_BIT (UINT64_C(1) << REQUESTED_SHIFT)
#define MARK_SHIFT 3u
#define MARK_BIT (UINT64_C(1) << MARK_SHIFT) /* FILLED: LOST; else: TRIED */
#define ALL_LANES UINT64_C(0x1111111111111111)

struct journal_header {
	_Atomic uint64_t magic; /* stored last: a journal without it was never finished */
	uint64_t regions;
	struct {
		uint64_t gpa, size, page_size;
	} region[PF_REGIONS_MAX];
};
_Static_assert(sizeof(struct journal_header) <= HEADER_BYTES, "the header is one page");
_Static_assert(PF_RUN_PAGES_MAX <= PAGES_PER_WORD, "a run spans two words at most");

static uint64_t region_words(const struct pf_region_shape *shape)
{
	return (pf_region_pages(shape) + PAGES_PER_WORD - 1) / PAGES_PER_WORD;
}

static uint64_t region_bytes(const struct pf_region_shape *shape)
{
	uint64_t bytes = region_words(shape) * sizeof(uint64_t);

	return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

static size_t file_bytes(const struct pf_region_table *table)
{
	uint64_t bytes = HEADER_BYTES;

	for (uint32_t i = 0; i < table->count; i++)
		bytes += region_bytes(&table->region[i]);
	return bytes;
}

static int map_file(struct pf_journal *journal, int dirfd, const struct pf_region_table *table,
		    enum pf_statefile_mode mode, struct pf_err *err)
{
	size_t length = file_bytes(table);
	uint8_t *at = pf_statefile_map(dirfd, JOURNAL_NAME, mode, length, err);

	if (!at)
		return pf_err_prefix(err, "the page journal");
	memset(journal, 0, sizeof(*journal));
	journal->map = at;
	journal->length = length;
	journal->regions = table->count;
	at += HEADER_BYTES;
	for (uint32_t i = 0; i < table->count; i++) {
		journal->region[i].word = (_Atomic uint64_t *)(void *)at;
		journal->region[i].pages = pf_region_pages(&table->region[i]);
		journal->total += journal->region[i].pages;
		at += region_bytes(&table->region[i]);
	}
	return 0;
}

int pf_journal_create(struct pf_journal *journal, int dirfd, const struct pf_region_table *table,
		      struct pf_err *err)
{
	struct journal_header *header;

	if (map_file(journal, dirfd, table, PF_STATEFILE_NEW, err))
		return -1;
	header = journal->map;
	header->regions = table->count;
	for (uint32_t i = 0; i < table->count; i++) {
		header->region[i].gpa = table->region[i].gpa;
		header->region[i].size = table->region[i].size;
		header->region[i].page_size = table->region[i].page_size;
	}
	atomic_store_explicit(&header->magic, JOURNAL_MAGIC, memory_order_release);
	return 0;
}

static int check_header(const struct journal_header *header, const struct pf_region_table *table,
			struct pf_err *err)
{
	bool same = header->regions == table->count;

	if (atomic_load_explicit(&header->magic, memory_order_acquire) != JOURNAL_MAGIC)
		return pf_err_set(err, PF_ERR_CONFIG,
				  "the page journal in the state directory was "
				  "never finished, or is not a journal of this version");
	for (uint32_t i = 0; same && i < table->count; i++)
		same = header->region[i].gpa == table->region[i].gpa &&
		       header->region[i].size == table->region[i].size &&
		       header->region[i].page_size == table->region[i].page_size;
	if (!same)
		return pf_err_set(err, PF_ERR_CONFIG,
				  "the page journal in the state directory "
				  "describes other regions than the VMM");
	return 0;
}

/* Which lanes of word are in a state. */
static uint64_t lanes_absent(uint64_t word)
{
	return ~word & ~(word >> 1) & ALL_LANES;
}

static uint64_t lanes_filling(uint64_t word)
{
	return word & ~(word >> 1) & ALL_LANES;
}

static uint64_t lanes_filled(uint64_t word)
{
	return ~word & (word >> 1) & ALL_LANES;
}

/*
 * FILLED stays, LOST or not; everything else starts again as ABSENT and not REQUESTED.  A page that was FILLING
 * was seen by nobody, and is TRIED; and whoever waits asks again after the crash, a blocked thread because it is
 * woken and faults again, so a REQUESTED that stayed would keep it from being asked for.
 */
static int recover_region(struct pf_journal *journal, uint32_t region, struct pf_err *err)
{
	uint64_t pages = journal->region[region].pages, filled = 0, lost = 0;

	for (uint64_t first = 0; first < pages; first += PAGES_PER_WORD) {
		_Atomic uint64_t *slot = &journal->region[region].word[first / PAGES_PER_WORD];
		uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
		uint64_t left = pages - first, keep = lanes_filled(word);
		uint64_t beyond = left < PAGES_PER_WORD ? word >> (left * BITS_PER_PAGE) : 0;
		uint64_t marked = word >> MARK_SHIFT & ALL_LANES;
		uint64_t tried = (marked & ~keep) | lanes_filling(word);

		if (word & (word >> 1) & ALL_LANES || beyond)
			return pf_err_set(err, PF_ERR_CONFIG,
					  "the page journal in the state "
					  "directory is damaged at region %" PRIu32
					  ", page %" PRIu64 ": 0x%016" PRIx64,
					  region, first, word);
		atomic_store_explicit(slot, (word & (keep * UINT64_C(0xf))) | tried * MARK_BIT,
				      memory_order_relaxed);
		filled += (uint64_t)__builtin_popcountll(keep);
		lost += (uint64_t)__builtin_popcountll(marked & keep);
	}
	atomic_fetch_add_explicit(&journal->lost, lost, memory_order_relaxed);
	atomic_fetch_add_explicit(&journal->filled, filled, memory_order_release);
	return 0;
}

int pf_journal_open(struct pf_journal *journal, int dirfd, const struct pf_region_table *table,
		    struct pf_err *err)
{
	int failed;

	if (map_file(journal, dirfd, table, PF_STATEFILE_OPEN, err))
		return -1;
	failed = check_header(journal->map, table, err);
	for (uint32_t i = 0; !failed && i < table->count; i++)
		failed = recover_region(journal, i, err);
	if (failed)
		pf_journal_close(journal);
	return failed;
}

void pf_journal_close(struct pf_journal *journal)
{
	if (journal->map)
		munmap(journal->map, journal->length);
	memset(journal, 0, sizeof(*journal));
}

static unsigned page_shift(uint64_t page)
{
	return (unsigned)(page % PAGES_PER_WORD) * BITS_PER_PAGE;
}

enum pf_page_state pf_journal_state(const struct pf_journal *journal, uint32_t region,
				    uint64_t page)
{
	const _Atomic uint64_t *word = &journal->region[region].word[page / PAGES_PER_WORD];
	uint64_t value = atomic_load_explicit(word, memory_order_acquire);

	return (enum pf_page_state)(value >> page_shift(page) & STATE_BITS);
}

enum pf_page_state pf_journal_request(struct pf_journal *journal, uint32_t region, uint64_t page,
				      bool *out_first)
{
	_Atomic uint64_t *word = &journal->region[region].word[page / PAGES_PER_WORD];
	uint64_t old = atomic_fetch_or_explicit(word, REQUESTED_BIT << page_shift(page),
						memory_order_acq_rel);

	old >>= page_shift(page);
	*out_first = !(old & REQUESTED_BIT);
	return (enum pf_page_state)(old & STATE_BITS);
}

/* Bit i of pages to lane i, and back. */
static uint64_t spread(uint32_t pages)
{
	uint64_t lanes = pages;

	lanes = (lanes | lanes << 24) & UINT64_C(0x000000ff000000ff);
	lanes = (lanes | lanes << 12) & UINT64_C(0x000f000f000f000f);
	lanes = (lanes | lanes << 6) & UINT64_C(0x0303030303030303);
	return (lanes | lanes << 3) & ALL_LANES;
}

static uint32_t gather(uint64_t lanes)
{
	lanes = (lanes | lanes >> 3) & UINT64_C(0x0303030303030303);
	lanes = (lanes | lanes >> 6) & UINT64_C(0x000f000f000f000f);
	lanes = (lanes | lanes >> 12) & UINT64_C(0x000000ff000000ff);
	return (uint32_t)((lanes | lanes >> 24) & UINT64_C(0xffff));
}

/* A step of a page's life: from where, which bits of the state turn over, and what becomes of the mark. */
struct step {
	uint64_t (*from)(uint64_t);
	uint64_t flip, unmark, mark;
};

static const struct step claim = {lanes_absent, PF_PAGE_ABSENT ^ PF_PAGE_FILLING, 0, 0};
static const struct step unclaim = {lanes_filling, PF_PAGE_FILLING ^ PF_PAGE_ABSENT, 0, 0};
static const struct step fail = {lanes_filling, PF_PAGE_FILLING ^ PF_PAGE_ABSENT, 0, MARK_BIT};
static const struct step fill = {lanes_filling, PF_PAGE_FILLING ^ PF_PAGE_FILLED, MARK_BIT, 0};
static const struct step lose = {lanes_filling, PF_PAGE_FILLING ^ PF_PAGE_FILLED, 0, MARK_BIT};
static const struct step discard = {lanes_absent, PF_PAGE_ABSENT ^ PF_PAGE_FILLED, MARK_BIT, 0};

/* Pages that have taken the step by this call, and which of them were REQUESTED. */
struct moved {
	uint32_t pages;
	uint32_t requested;
};

static struct moved move_word(_Atomic uint64_t *word, uint32_t mask, const struct step *step)
{
	uint64_t lanes = spread(mask), old = atomic_load_explicit(word, memory_order_acquire);
	uint64_t won, new;

	do {
		won = lanes & step->from(old);
		if (!won)
			return (struct moved){0, 0};
		/* Factors of four bits at most: the products stay within each lane. */
		new = ((old ^ won * step->flip) & ~(won * step->unmark)) | won * step->mark;
	} while (!atomic_compare_exchange_weak_explicit(word, &old, new, memory_order_acq_rel,
							memory_order_acquire));
	return (struct moved){gather(won), gather(won & old >> REQUESTED_SHIFT)};
}

/* The same for a run: mask is relative to first, and spans two words if first is not aligned. */
static struct moved move_run(struct pf_journal *journal, uint32_t region, uint64_t first,
			     uint32_t mask, const struct step *step)
{
	_Atomic uint64_t *word = &journal->region[region].word[first / PAGES_PER_WORD];
	unsigned skip = (unsigned)(first % PAGES_PER_WORD);
	uint32_t low = mask << skip & UINT32_C(0xffff), high = mask << skip >> PAGES_PER_WORD;
	struct moved moved = {0, 0}, more = {0, 0};

	if (low)
		moved = move_word(word, low, step);
	if (high)
		more = move_word(word + 1, high, step);
	moved.pages = (moved.pages | more.pages << PAGES_PER_WORD) >> skip;
	moved.requested = (moved.requested | more.requested << PAGES_PER_WORD) >> skip;
	return moved;
}

uint32_t pf_journal_claim(struct pf_journal *journal, uint32_t region, uint64_t first,
			  uint32_t count)
{
	uint32_t mask = (UINT32_C(1) << count) - 1;

	return move_run(journal, region, first, mask, &claim).pages;
}

uint32_t pf_journal_fill(struct pf_journal *journal, uint32_t region, uint64_t first, uint32_t mask)
{
	struct moved moved = move_run(journal, region, first, mask, &fill);

	/* After the words, so that whoever sees the last count sees every page FILLED. */
	atomic_fetch_add_explicit(&journal->filled, (uint64_t)__builtin_popcount(moved.pages),
				  memory_order_acq_rel);
	return moved.requested;
}

/* State and mark by one load: what the mark means is the state's to say. */
static uint64_t look(const struct pf_journal *journal, uint32_t region, uint64_t page)
{
	const _Atomic uint64_t *word = &journal->region[region].word[page / PAGES_PER_WORD];

	return atomic_load_explicit(word, memory_order_acquire) >> page_shift(page) &
	       (STATE_BITS | MARK_BIT);
}

bool pf_journal_lost(const struct pf_journal *journal, uint32_t region, uint64_t page)
{
	return look(journal, region, page) == (PF_PAGE_FILLED | MARK_BIT);
}

bool pf_journal_tried(const struct pf_journal *journal, uint32_t region, uint64_t page)
{
	uint64_t seen = look(journal, region, page);

	return seen == (PF_PAGE_ABSENT | MARK_BIT) || seen == (PF_PAGE_FILLING | MARK_BIT);
}

bool pf_journal_untouched(const struct pf_journal *journal, uint32_t region, uint64_t page)
{
	return look(journal, region, page) == PF_PAGE_ABSENT;
}

bool pf_journal_lose(struct pf_journal *journal, uint32_t region, uint64_t page)
{
	struct moved moved = move_run(journal, region, page, 1, &lose);
	uint64_t count = (uint64_t)__builtin_popcount(moved.pages);

	/* Before the count that completes: whoever sees that sees what is lost. */
	atomic_fetch_add_explicit(&journal->lost, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&journal->filled, count, memory_order_acq_rel);
	return moved.requested;
}

uint32_t pf_journal_unclaim(struct pf_journal *journal, uint32_t region, uint64_t first,
			    uint32_t mask, bool tried)
{
	return move_run(journal, region, first, mask, tried ? &fail : &unclaim).requested;
}

bool pf_journal_discard(struct pf_journal *journal, uint32_t region, uint64_t first, uint64_t count)
{
	uint64_t filled = 0;
	bool requested = false;

	while (count > 0) {
		uint32_t skip = (uint32_t)(first % PAGES_PER_WORD);
		uint32_t here = PAGES_PER_WORD - skip;
		struct moved moved;

		if (here > count)
			here = (uint32_t)count;
		moved = move_word(&journal->region[region].word[first / PAGES_PER_WORD],
				  ((UINT32_C(1) << here) - 1) << skip, &discard);
		filled += (uint64_t)__builtin_popcount(moved.pages);
		requested = requested || moved.requested;
		first += here;
		count -= here;
	}
	atomic_fetch_add_explicit(&journal->filled, filled, memory_order_acq_rel);
	return requested;
}

uint64_t pf_journal_next_marked(const struct pf_journal *journal, uint32_t region, uint64_t first)
{
	uint64_t pages = journal->region[region].pages;

	while (first < pages) {
		const _Atomic uint64_t *word = &journal->region[region].word[first / PAGES_PER_WORD];
		uint64_t marked = atomic_load_explicit(word, memory_order_acquire) >> MARK_SHIFT &
				  ALL_LANES & ~UINT64_C(0) << page_shift(first);

		if (marked)
			return first - first % PAGES_PER_WORD +
			       (unsigned)__builtin_ctzll(marked) / BITS_PER_PAGE;
		first += PAGES_PER_WORD - first % PAGES_PER_WORD;
	}
	return pages;
}

/* The upper state bit of each page, which FILLED alone has, side by side. */
static uint64_t filled_lanes(uint64_t word)
{
	word = word >> 1 & ALL_LANES;
	word = (word | word >> 3) & UINT64_C(0x0303030303030303);
	word = (word | word >> 6) & UINT64_C(0x000f000f000f000f);
	word = (word | word >> 12) & UINT64_C(0x000000ff000000ff);
	return (word | word >> 24) & UINT64_C(0xffff);
}

uint64_t pf_journal_filled(const struct pf_journal *journal, uint32_t region, uint64_t first)
{
	uint64_t pages = journal->region[region].pages, bits = 0;

	for (unsigned i = 0; i < 64 / PAGES_PER_WORD; i++) {
		uint64_t page = first + i * PAGES_PER_WORD;
		const _Atomic uint64_t *word = &journal->region[region].word[page / PAGES_PER_WORD];

		if (page < pages)
			bits |= filled_lanes(atomic_load_explicit(word, memory_order_acquire))
				<< i * PAGES_PER_WORD;
	}
	return bits;
}

_Static_assert(PF_PAGE_FILLED == 2 && PF_PAGE_FILLING == 1, "the upper bit is FILLED's");

bool pf_journal_complete(const struct pf_journal *journal)
{
	return atomic_load_explicit(&journal->filled, memory_order_acquire) == journal->total;
}

void pf_journal_clear(struct pf_journal *journal)
{
	for (uint32_t i = 0; i < journal->regions; i++) {
		uint64_t words = (journal->region[i].pages + PAGES_PER_WORD - 1) / PAGES_PER_WORD;

		for (uint64_t w = 0; w < words; w++)
			atomic_store_explicit(&journal->region[i].word[w], 0,
					      memory_order_relaxed);
	}
	atomic_store_explicit(&journal->filled, 0, memory_order_relaxed);
	atomic_store_explicit(&journal->lost, 0, memory_order_relaxed);
}
