/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pager-discard.c - pages given back by every call, in every state, with and without waiters. */
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/place.h"
#include "pager_kit.h"

#define PAGES 256u
#define REMOTE 128u /* pages from here on are the barriers' */

static struct pager_kit kit;
static uint64_t next_remote;

enum call { CALL_DONTNEED, CALL_REMOVE, CALL_PUNCH, CALLS };
static const char *const call_names[] = {"MADV_DONTNEED", "MADV_REMOVE", "FALLOC_FL_PUNCH_HOLE"};

/* When the page is given back, in the life of a page that is pushed. */
enum stage { ABSENT, BEFORE_WRITE, AFTER_WRITE, FILLED, STAGES };
static const char *const stage_names[] = {"ABSENT", "FILLING, not written", "FILLING, written",
					  "FILLED"};

/*
 * What the guest must find.  In shared memory MADV_DONTNEED gives up the mapping and keeps the data;
 * what frees the page does so for ever, if there was one: before that, the source's still comes.
 */
static const bool gone[CALLS][STAGES] = {
	[CALL_REMOVE] = {[AFTER_WRITE] = true, [FILLED] = true},
	[CALL_PUNCH] = {[AFTER_WRITE] = true, [FILLED] = true},
};

/* The memfd row, but the bulk thread stops before or after its write. */
static _Atomic enum stage stop_at;
static sem_t reached, go_on;

static void stop_if(enum stage stage)
{
	if (stop_at != stage || !pk_is_bulk_thread())
		return;
	sem_post(&reached);
	sem_wait(&go_on);
}

static int populate_with_stops(const struct pf_guest *guest, uint32_t region, uint64_t first,
			       uint32_t count, const uint8_t *bytes)
{
	int done;

	stop_if(BEFORE_WRITE);
	done = pf_placer_memfd.populate(guest, region, first, count, bytes);
	stop_if(AFTER_WRITE);
	return done;
}

static void open_with_stops(uint64_t features)
{
	static struct pf_placer placer;

	pk_open(&kit, &(struct pk_how){.pages = PAGES, .features = features, .hold = true});
	placer = pf_placer_memfd;
	placer.populate = populate_with_stops;
	kit.guest.region[0].placer = &placer;
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
	next_remote = REMOTE;
}

static void close_with_stops(void)
{
	pk_close(&kit);
	sem_destroy(&reached);
	sem_destroy(&go_on);
}

static void give_back(enum call call, uint64_t page)
{
	static const enum vmm_op op[] = {VMM_DONTNEED, VMM_REMOVE};

	if (call == CALL_PUNCH) {
		assert_int_equal(fallocate(kit.vmm.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)(page * PAGE), PAGE), 0);
		return;
	}
	vmm_tell(&kit.vmm, op[call], 0, page, 0);
	assert_int_equal(vmm_reply(&kit.vmm).op, op[call]);
}

/* Up to the stage, with a thread that is blocked on the page by then, if it can be. */
static void reach(enum stage stage, uint64_t page, bool waiter)
{
	stop_at = stage;
	if (stage != ABSENT)
		pk_pages(kit.push[0], page, 1);
	if (stage == BEFORE_WRITE || stage == AFTER_WRITE)
		sem_wait(&reached);
	if (stage == FILLED) {
		pk_await_state(&kit, page, PF_PAGE_FILLED);
		assert_int_equal(vmm_word(&kit.vmm, page), page_word(page));
	}
	if (!waiter || stage == FILLED)
		return;
	vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == 1);
	if (stage == ABSENT)
		assert_int_equal(pk_request(&kit), page);
	else
		pk_barrier(&kit, next_remote++); /* its trap has met FILLING */
}

/* From the stage to the end, where a thread has read the page, or two have. */
static void go_on_from(enum stage stage, uint64_t page, bool waiter, uint64_t word)
{
	if (stage == ABSENT && !waiter) {
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
		assert_int_equal(pk_request(&kit), page);
	}
	if (stage == ABSENT)
		pk_pages(kit.urgent, page, 1);
	if (stage == BEFORE_WRITE || stage == AFTER_WRITE)
		sem_post(&go_on);
	pk_await_state(&kit, page, PF_PAGE_FILLED);
	if (stage != ABSENT && (!waiter || stage == FILLED))
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	if (stage == FILLED && waiter) {
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
		pk_reply_word(&kit, page, word);
	}
	pk_reply_word(&kit, page, word);
}

static void every_call_in_every_state_leaves_what_it_must(uint64_t features)
{
	uint64_t page = 0;

	open_with_stops(features);
	for (enum call call = 0; call < CALLS; call++)
		for (enum stage stage = 0; stage < STAGES; stage++)
			for (int waiter = 0; waiter < 2; waiter++, page++) {
				print_message("%s while %s%s\n", call_names[call],
					      stage_names[stage], waiter ? ", with a waiter" : "");
				reach(stage, page, waiter);
				give_back(call, page);
				go_on_from(stage, page, waiter,
					   gone[call][stage] ? 0 : page_word(page));
			}
	/* And each is what it was: nothing was placed twice, or into another page. */
	page = 0;
	for (enum call call = 0; call < CALLS; call++)
		for (enum stage stage = 0; stage < STAGES; stage++)
			for (int waiter = 0; waiter < 2; waiter++, page++)
				assert_int_equal(vmm_word(&kit.vmm, page),
						 gone[call][stage] ? 0 : page_word(page));
	assert_int_equal(kit.guest.count.duplicates, 0);
	close_with_stops();
}

static void without_events(void **state)
{
	(void)state;
	every_call_in_every_state_leaves_what_it_must(0);
}

static void with_events(void **state)
{
	(void)state;
	every_call_in_every_state_leaves_what_it_must(UFFD_FEATURE_EVENT_REMOVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_events),
		cmocka_unit_test(with_events),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
