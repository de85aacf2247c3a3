/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kill/vcpus.c - see tests/kill/vcpus.h. */
#include "vcpus.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"

#define VISITS_A_ROUND 12u
#define SHIFT 29u /* of xorshift, below */

/* The words that only a page's owner reads and writes. */
static const size_t own_words[] = {0, 255, WORDS - 1};

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
	struct note *note[REGIONS]; /* a page's is its owner's */
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

static bool is_private(uint64_t page)
{
	return page % 16 == 5;
}

static uint64_t draw(struct vcpu *vcpu, uint64_t below)
{
	vcpu->random ^= vcpu->random << 13;
	vcpu->random ^= vcpu->random >> 7;
	vcpu->random ^= vcpu->random << 17;
	return (vcpu->random >> SHIFT) % below;
}

static uint64_t expected(const struct vcpus *vcpus, uint32_t region, uint64_t page, size_t i)
{
	const struct note *note = &vcpus->note[region][page];

	for (size_t k = 0; k < PF_ARRAY_LEN(own_words); k++)
		if (own_words[k] == i && note->generation > 0)
			return ~stage_word(vcpus->stage, region, page, i) + note->generation;
	return note->punched ? 0 : stage_word(vcpus->stage, region, page, i);
}

static void complain(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping, size_t i,
		     uint64_t found)
{
	pthread_mutex_lock(&vcpus->lock);
	if (!atomic_exchange(&vcpus->complained, true))
		snprintf(vcpus->complaint, sizeof(vcpus->complaint),
			 "region %" PRIu32 ", page %" PRIu64 ", mapping %" PRIu32
			 ", word %zu: 0x%016" PRIx64 " instead of 0x%016" PRIx64 "%s",
			 region, page, mapping, i, found, expected(vcpus, region, page, i),
			 found == 0 ? " (zeros)" : "");
	pthread_mutex_unlock(&vcpus->lock);
}

static volatile uint64_t *page_at(const struct vcpus *vcpus, uint32_t region, uint64_t page,
				  uint32_t mapping)
{
	return (volatile uint64_t *)(uintptr_t)(vcpus->stage->region[region].base[mapping] +
						page * PAGE);
}

static bool is_own_word(size_t i)
{
	return i == own_words[0] || i == own_words[1] || i == own_words[2];
}

static void check_page(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping,
		       bool owner)
{
	volatile uint64_t *word = page_at(vcpus, region, page, mapping);
	bool punched = owner && vcpus->note[region][page].punched;

	for (size_t i = 0; i < WORDS; i++) {
		uint64_t found, wanted;

		if (!owner && is_own_word(i))
			continue;
		wanted = is_own_word(i) ? expected(vcpus, region, page, i)
			 : punched	? 0
					: stage_word(vcpus->stage, region, page, i);
		found = word[i];
		if (found == wanted)
			continue;
		complain(vcpus, region, page, mapping, i, found);
		return;
	}
}

static void write_page(struct vcpus *vcpus, uint32_t region, uint64_t page, uint32_t mapping)
{
	volatile uint64_t *word = page_at(vcpus, region, page, mapping);
	struct note *note = &vcpus->note[region][page];

	note->generation++;
	note->seen = true;
	for (size_t k = 0; k < PF_ARRAY_LEN(own_words); k++)
		word[own_words[k]] = expected(vcpus, region, page, own_words[k]);
}

static void visit(struct vcpu *vcpu, uint32_t region, uint64_t page)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint32_t mapping = (uint32_t)draw(vcpu, vcpus->stage->region[region].mappings);
	bool owner = page % VCPUS == vcpu->number;

	if (is_private(page) && !owner)
		return;
	check_page(vcpus, region, page, mapping, owner);
	if (owner)
		write_page(vcpus, region, page, mapping);
	atomic_fetch_add(&vcpus->visits, 1);
}

/* A discard that keeps the data: the page traps MINOR again, FILLED. */
static void unmap(struct vcpus *vcpus, uint32_t region, uint64_t page)
{
	void *at = (void *)(uintptr_t)(vcpus->stage->region[region].base[0] + page * PAGE);

	if (madvise(at, PAGE, MADV_DONTNEED))
		perror("madvise");
}

/* A discard that gives the data up: the page traps MISSING, FILLED. */
static void punch(struct vcpus *vcpus, uint32_t region, uint64_t page)
{
	if (fallocate(vcpus->stage->region[region].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(page * PAGE), PAGE))
		perror("fallocate");
	vcpus->note[region][page] = (struct note){.seen = true, .punched = true};
}

static void round_of(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	uint32_t region = vcpu->rounds % REGIONS;
	/* The same for all of them. */
	uint64_t common = stage_word(vcpus->stage, region, vcpu->rounds, 7) %
			  pages_of(vcpus, region);

	common -= is_private(common);
	if (common % VCPUS == vcpu->number && vcpus->note[region][common].seen)
		unmap(vcpus, region, common);
	visit(vcpu, region, common);
	for (unsigned i = 0; i < VISITS_A_ROUND; i++) {
		uint64_t page;

		region = (uint32_t)draw(vcpu, REGIONS);
		page = draw(vcpu, pages_of(vcpus, region));
		visit(vcpu, region, page);
		if (page % VCPUS != vcpu->number || !vcpus->note[region][page].seen)
			continue;
		if (is_private(page))
			punch(vcpus, region, page);
		else if (draw(vcpu, 4) == 0)
			unmap(vcpus, region, page);
		visit(vcpu, region, page);
	}
	/* One of its own private pages, which are few. */
	region = (uint32_t)draw(vcpu, REGIONS);
	if (vcpu->number == 5) {
		uint64_t page = draw(vcpu, pages_of(vcpus, region) / 16) * 16 + 5;

		visit(vcpu, region, page);
		punch(vcpus, region, page);
		visit(vcpu, region, page);
	}
}

static void walk(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;

	for (uint32_t r = 0; r < REGIONS; r++) {
		for (uint64_t i = 0; i < pages_of(vcpus, r); i++) {
			uint64_t page = (i + vcpu->number * 101) % pages_of(vcpus, r);

			for (uint32_t m = 0; m < vcpus->stage->region[r].mappings; m++)
				if (!is_private(page) || page % VCPUS == vcpu->number)
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

struct vcpus *vcpus_start(const struct stage *stage)
{
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus));

	vcpus->stage = stage;
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->more, NULL);
	for (uint32_t r = 0; r < REGIONS; r++)
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
	for (uint32_t r = 0; r < REGIONS; r++)
		for (uint64_t page = 0; page < pages_of(vcpus, r); page++)
			for (uint32_t m = 0; m < vcpus->stage->region[r].mappings; m++)
				check_page(vcpus, r, page, m, true);
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
	for (uint32_t r = 0; r < REGIONS; r++)
		free(vcpus->note[r]);
	pthread_cond_destroy(&vcpus->more);
	pthread_mutex_destroy(&vcpus->lock);
	free(vcpus);
}
