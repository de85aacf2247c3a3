/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kill/vcpus.c - see tests/kill/vcpus.h. */
#include "vcpus.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "machine.h"
#include "tests/unit/memhelp.h"

#define VISITS_A_ROUND 12u
#define LOST_VISITORS 2u /* few, so that some pages are lost before anybody asks */
#define OWNERS_EACH 16u /* of so many pages one is its owner's alone, */
#define OWNERS_FIRST 5u /* the first is this one, and all are this thread's */
#define SHIFT 29u /* of xorshift, below */

#define OWN_WORDS 3u
/* Of a huge page in use; at the end every word is looked at.  Prime, so that it meets every offset. */
#define HUGE_STRIDE 509u

struct note {
	uint64_t generation; /* 0: never written to */
	bool seen, punched;
};

struct vcpu {
	struct vcpus *vcpus;
	pthread_t thread;
	unsigned number;
	uint64_t random;
	unsigned rounds; /* done */
	bool walked;
};

struct vcpus {
	const struct stage *stage;
	struct machine *machine;
	struct note *note[REGIONS_MAX]; /* a page's is its owner's */
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned granted;
	bool walk, end;
	struct vcpu vcpu[VCPUS];
	_Atomic uint64_t visits;
	_Atomic bool complained;
	char complaint[256];
};

static uint64_t pages_of(const struct vcpus *vcpus, uint32_t region)
{
	return pf_region_pages(&vcpus->stage->table.region[region]);
}

static bool is_owners(uint64_t page)
{
	return page % OWNERS_EACH == OWNERS_FIRST;
}

static uint64_t draw(struct vcpu *vcpu, uint64_t below)
{
	vcpu->random ^= vcpu->random << 13;
	vcpu->random ^= vcpu->random >> 7;
	vcpu->random ^= vcpu->random << 17;
	return (vcpu->random >> SHIFT) % below;
}

static const struct memory_row *row_of(const struct vcpus *vcpus, uint32_t region)
{
	return stage_row(vcpus->stage, region);
}

/* The words that only a page's owner reads and writes: the first, the last, one between. */
static size_t own_word(const struct vcpus *vcpus, uint32_t region, unsigned k)
{
	size_t words = stage_words(vcpus->stage, region);

	return k == 0 ? 0 : words / (k == 1 ? 2 : 1) - 1;
}

static bool is_own_word(const struct vcpus *vcpus, uint32_t region, size_t i)
{
	return i == 0 || i == own_word(vcpus, region, 1) || i == own_word(vcpus, region, 2);
}

static uint64_t expected(const struct vcpus *vcpus, uint32_t region, uint64_t page, size_t i)
{
	const struct note *note = &vcpus->note[region][page];

	if (note->generation > 0 && is_own_word(vcpus, region, i))
		return ~stage_word(vcpus->stage, region, page, i) + note->generation;
	return note->punched ? 0 : stage_word(vcpus->stage, region, page, i);
}

/* instead: of what it is. */
static void complain(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping, size_t i,
		     uint64_t found, const char *instead)
{
	pthread_mutex_lock(&vcpus->lock);
	if (!atomic_exchange(&vcpus->complained, true))
		snprintf(vcpus->complaint, sizeof(vcpus->complaint),
			 "region %" PRIu32 ", page %" PRIu64 ", mapping %" PRIu32
			 ", word %zu: 0x%016" PRIx64 "%s instead of %s",
			 region, page, mapping, i, found, found == 0 ? " (zeros)" : "", instead);
	pthread_mutex_unlock(&vcpus->lock);
}

static void complain_word(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping,
			  size_t i, uint64_t found)
{
	char instead[24];

	snprintf(instead, sizeof(instead), "0x%016" PRIx64, expected(vcpus, region, page, i));
	complain(vcpus, region, page, mapping, i, found, instead);
}

static volatile uint64_t *page_at(const struct vcpus *vcpus, uint32_t region, uint64_t page,
				  uint32_t mapping)
{
	return (volatile uint64_t *)(uintptr_t)(vcpus->stage->region[region].base[mapping] +
						page * row_of(vcpus, region)->page_size);
}

static bool check_word(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping, size_t i,
		       bool punched)
{
	uint64_t found = page_at(vcpus, region, page, mapping)[i];
	uint64_t wanted = is_own_word(vcpus, region, i) ? expected(vcpus, region, page, i)
			  : punched ? 0
				    : stage_word(vcpus->stage, region, page, i);

	if (found != wanted)
		complain_word(vcpus, region, page, mapping, i, found);
	return found == wanted;
}

static void check_words(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping,
			bool owner, size_t stride)
{
	bool punched = owner && vcpus->note[region][page].punched;

	for (size_t i = 0; i < stage_words(vcpus->stage, region); i += stride)
		if ((owner || !is_own_word(vcpus, region, i)) &&
		    !check_word(vcpus, region, page, mapping, i, punched))
			return;
	for (unsigned k = 0; owner && k < OWN_WORDS; k++)
		if (!check_word(vcpus, region, page, mapping, own_word(vcpus, region, k), punched))
			return;
}

/* A lost page is SIGBUS to who touches it. */
static void check_lost(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping)
{
	const void *at = (const void *)(uintptr_t)page_at(vcpus, region, page, mapping);
	uint64_t found = read_or_sigbus(at);

	if (found != GOT_SIGBUS)
		complain(vcpus, region, page, mapping, 0, found, "SIGBUS, since it is lost");
}

static bool is_lost(const struct vcpus *vcpus, uint32_t region, uint64_t page)
{
	return page >= stage_lost_from(vcpus->stage, region);
}

static void check_page(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping,
		       bool owner)
{
	bool huge = row_of(vcpus, region)->page_size == HUGE_PAGE;

	if (is_lost(vcpus, region, page))
		check_lost(vcpus, region, page, mapping);
	else
		check_words(vcpus, region, page, mapping, owner, huge ? HUGE_STRIDE : 1);
}

static void write_page(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping)
{
	volatile uint64_t *word = page_at(vcpus, region, page, mapping);
	struct note *note = &vcpus->note[region][page];

	note->generation++;
	note->seen = true;
	for (unsigned k = 0; k < OWN_WORDS; k++) {
		size_t i = own_word(vcpus, region, k);

		word[i] = expected(vcpus, region, page, i);
	}
}

/*
 * Of guest_memfd: a word that nobody writes, read by the vCPU or, for it, by KVM, so that it is one of
 * them who waits for the page; or by neither.
 */
static void check_as_guest(struct vcpu *vcpu, uint32_t region, uint64_t page)
{
	const struct vcpus *vcpus = vcpu->vcpus;
	const struct pf_region_shape *shape = &vcpus->stage->table.region[region];
	enum reader reader = (enum reader)draw(vcpu, READERS + 1);
	uint64_t found, wanted;

	if (row_of(vcpus, region)->kind != PF_MEMORY_GUEST_MEMFD || reader == READERS)
		return;
	wanted = expected(vcpus, region, page, 1);
	found = machine_read(vcpus->machine, vcpu->number, reader,
			     shape->gpa + page * shape->page_size + sizeof(found));
	if (found != wanted)
		complain_word(vcpu->vcpus, region, page, MAPPINGS, 1, found);
}

static void visit(struct vcpu *vcpu, uint32_t region, uint64_t page)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint32_t mapping = (uint32_t)draw(vcpu, vcpus->stage->region[region].mappings);
	bool owner = page % VCPUS == vcpu->number;

	if (is_owners(page) && !owner)
		return;
	check_as_guest(vcpu, region, page);
	check_page(vcpus, region, page, mapping, owner);
	if (owner && !is_lost(vcpus, region, page))
		write_page(vcpus, region, page, mapping);
	atomic_fetch_add(&vcpus->visits, 1);
}

/* A discard that keeps the data: the page traps MINOR again, FILLED. */
static void unmap(struct vcpus *vcpus, uint32_t region, uint64_t page)
{
	void *at = (void *)(uintptr_t)page_at(vcpus, region, page, 0);

	if (madvise(at, row_of(vcpus, region)->page_size, MADV_DONTNEED))
		perror("madvise");
}

/* A discard that gives the data up: the page traps MISSING, FILLED. */
static void punch(struct vcpus *vcpus, uint32_t region, uint64_t page)
{
	errno = row_give_up(row_of(vcpus, region), vcpus->stage->region[region].fd,
			    (void *)(uintptr_t)vcpus->stage->region[region].base[0], page);
	if (errno)
		perror("giving a page up");
	vcpus->note[region][page] = (struct note){.seen = true, .punched = true};
}

/*
 * Private memory's pages can be given up before they have come, and must be zeros from then on,
 * whoever had read the event, and whatever the source still sends.
 */
static void give_up_unseen(struct vcpu *vcpu, uint32_t region)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint64_t page = OWNERS_FIRST;

	while (page < pages_of(vcpus, region) && stage_word(vcpus->stage, region, page, 0) == 0)
		page += OWNERS_EACH;
	if (page >= pages_of(vcpus, region))
		return;
	punch(vcpus, region, page);
	visit(vcpu, region, page);
}

static void visit_owners(struct vcpu *vcpu, uint32_t region)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint64_t page = draw(vcpu, pages_of(vcpus, region) / OWNERS_EACH) * OWNERS_EACH + OWNERS_FIRST;

	if (!row_of(vcpus, region)->keeps && draw(vcpu, 2) == 0)
		punch(vcpus, region, page);
	visit(vcpu, region, page);
	punch(vcpus, region, page);
	visit(vcpu, region, page);
}

/* Taken out of a mapping, it is poisoned there again. */
static void visit_lost(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint32_t region = (uint32_t)draw(vcpu, vcpus->stage->table.count);
	uint64_t first = stage_lost_from(vcpus->stage, region), lost = pages_of(vcpus, region) - first;
	uint64_t page = first + draw(vcpu, lost + (lost == 0));

	if (lost == 0)
		return;
	visit(vcpu, region, page);
	if (!row_of(vcpus, region)->keeps)
		return;
	unmap(vcpus, region, page);
	check_lost(vcpus, region, page, 0);
}

static void round_of(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint32_t regions = vcpus->stage->table.count, region = vcpu->rounds % regions;
	/* The same for all of them. */
	uint64_t common = stage_word(vcpus->stage, region, vcpu->rounds, 7) %
			  pages_of(vcpus, region);

	common -= is_owners(common);
	if (vcpu->number < LOST_VISITORS)
		visit_lost(vcpu);
	for (uint32_t r = 0; vcpu->number == OWNERS_FIRST && vcpu->rounds == 0 && r < regions; r++)
		if (!row_of(vcpus, r)->keeps)
			give_up_unseen(vcpu, r);
	if (row_of(vcpus, region)->keeps && common % VCPUS == vcpu->number &&
	    vcpus->note[region][common].seen)
		unmap(vcpus, region, common);
	visit(vcpu, region, common);
	for (unsigned i = 0; i < VISITS_A_ROUND; i++) {
		uint64_t page;

		region = (uint32_t)draw(vcpu, regions);
		page = draw(vcpu, stage_lost_from(vcpus->stage, region));
		visit(vcpu, region, page);
		if (page % VCPUS != vcpu->number || !vcpus->note[region][page].seen)
			continue;
		if (is_owners(page))
			punch(vcpus, region, page);
		else if (row_of(vcpus, region)->keeps && draw(vcpu, 4) == 0)
			unmap(vcpus, region, page);
		visit(vcpu, region, page);
	}
	/* One of its own private pages, which are few. */
	region = (uint32_t)draw(vcpu, regions);
	if (vcpu->number == OWNERS_FIRST)
		visit_owners(vcpu, region);
}

static void walk(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;

	for (uint32_t r = 0; r < vcpus->stage->table.count; r++) {
		for (uint64_t i = 0; i < pages_of(vcpus, r); i++) {
			uint64_t page = (i + vcpu->number * 101) % pages_of(vcpus, r);

			for (uint32_t m = 0; m < vcpus->stage->region[r].mappings; m++)
				if (!is_owners(page) || page % VCPUS == vcpu->number)
					check_page(vcpus, r, page, m,
						   page % VCPUS == vcpu->number);
		}
	}
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct vcpus *vcpus = vcpu->vcpus;

	pthread_mutex_lock(&vcpus->lock);
	while (!vcpus->end) {
		bool walks = vcpus->walk && !vcpu->walked && vcpu->rounds == vcpus->granted;

		if (vcpu->rounds == vcpus->granted && !walks) {
			pthread_cond_wait(&vcpus->more, &vcpus->lock);
			continue;
		}
		pthread_mutex_unlock(&vcpus->lock);
		if (walks)
			walk(vcpu);
		else
			round_of(vcpu);
		pthread_mutex_lock(&vcpus->lock);
		vcpu->walked = walks;
		vcpu->rounds += !walks;
	}
	pthread_mutex_unlock(&vcpus->lock);
	return NULL;
}

struct vcpus *vcpus_start(const struct stage *stage, struct machine *machine)
{
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus));

	vcpus->stage = stage;
	vcpus->machine = machine;
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->more, NULL);
	for (uint32_t r = 0; r < vcpus->stage->table.count; r++)
		vcpus->note[r] = calloc(pages_of(vcpus, r), sizeof(struct note));
	for (unsigned i = 0; i < VCPUS; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		vcpu->vcpus = vcpus;
		vcpu->number = i;
		vcpu->random = stage_word(stage, 0, UINT32_MAX, i) | 1;
		if (pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu))
			abort();
	}
	return vcpus;
}

void vcpus_grant(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->granted++;
	pthread_cond_broadcast(&vcpus->more);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_walk(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->walk = true;
	pthread_cond_broadcast(&vcpus->more);
	pthread_mutex_unlock(&vcpus->lock);
}

unsigned vcpus_idle(struct vcpus *vcpus)
{
	unsigned idle = 0;

	pthread_mutex_lock(&vcpus->lock);
	for (unsigned i = 0; i < VCPUS; i++)
		idle += vcpus->vcpu[i].rounds == vcpus->granted &&
			(!vcpus->walk || vcpus->vcpu[i].walked);
	pthread_mutex_unlock(&vcpus->lock);
	return idle;
}

const char *vcpus_complaint(struct vcpus *vcpus)
{
	return atomic_load(&vcpus->complained) ? vcpus->complaint : NULL;
}

const char *vcpus_compare(struct vcpus *vcpus)
{
	for (uint32_t r = 0; r < vcpus->stage->table.count; r++)
		for (uint64_t page = 0; page < pages_of(vcpus, r); page++)
			for (uint32_t m = 0; m < vcpus->stage->region[r].mappings; m++)
				if (is_lost(vcpus, r, page))
					check_lost(vcpus, r, page, m);
				else
					check_words(vcpus, r, page, m, true, 1);
	return vcpus_complaint(vcpus);
}

uint64_t vcpus_visits(const struct vcpus *vcpus)
{
	return atomic_load(&vcpus->visits);
}

void vcpus_end(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->end = true;
	pthread_cond_broadcast(&vcpus->more);
	pthread_mutex_unlock(&vcpus->lock);
	for (unsigned i = 0; i < VCPUS; i++)
		pthread_join(vcpus->vcpu[i].thread, NULL);
	for (uint32_t r = 0; r < vcpus->stage->table.count; r++)
		free(vcpus->note[r]);
	pthread_cond_destroy(&vcpus->more);
	pthread_mutex_destroy(&vcpus->lock);
	free(vcpus);
}
