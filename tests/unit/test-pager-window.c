/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pager-window.c - as many requests as may be open, and faults that wait behind them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pager_kit.h"

#define WINDOW PF_REQUESTS_OPEN_MAX
#define LEFT 6u		    /* room in the window when the faults begin */
#define FAULTS 40u	    /* of them LEFT find room */
#define FIRST (WINDOW + 16) /* the page of the first fault */
#define PAGES (FIRST + FAULTS)

static struct pager_kit kit;

/*
 * The window as an outage leaves it: asked for on a connection that is gone, to be sent again on the
 * next.  Fewer threads than pages can have done that: one that is interrupted touches another.
 */
static void open_with_an_old_window(void)
{
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true, .offline = true});
	pf_pager_stop(&kit.pager, false);
	pf_pager_done(&kit.pager);
	kit.pager = (struct pf_pager){0};
	for (uint64_t page = 0; page < WINDOW - LEFT; page++)
		pf_requests_open(&kit.pager.requests, 0, page, 1);
	assert_int_equal(pf_pager_start(&kit.pager, &kit.inbox, &kit.filled_told,
					&kit.assembly[0], &(struct pf_err){0}), 0);
	pk_give(&kit);
}

/* Reads `count` requests and answers none; asked[page] counts. */
static void read_requests(uint32_t count, uint8_t *asked)
{
	while (count-- > 0)
		asked[pk_request(&kit)]++;
}

static void a_full_window_is_sent_whole_without_an_answer(void **state)
{
	static uint8_t asked[PAGES];

	(void)state;
	open_with_an_old_window();
	pk_connect(&kit);
	/* More than the channel's buffer holds: nothing but the buffer's end stops between. */
	read_requests(WINDOW - LEFT, asked);
	for (uint64_t page = 0; page < WINDOW - LEFT; page++)
		assert_int_equal(asked[page], 1);
	pk_close(&kit);
}

static void what_finds_no_room_waits_and_is_asked_for_when_there_is_some(void **state)
{
	static uint8_t asked[PAGES];
	uint32_t waiting;

	(void)state;
	open_with_an_old_window();
	for (uint64_t page = FIRST; page < FIRST + FAULTS; page++)
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == FAULTS);
	pk_connect(&kit);
	read_requests(WINDOW, asked);
	assert_int_equal(atomic_load(&kit.pager.count.open), WINDOW);
	assert_int_equal(atomic_load(&kit.pager.count.faults), LEFT);
	/* One answer, of whatever kind, one request more. */
	for (waiting = FAULTS - LEFT; waiting > 0; waiting--) {
		if (waiting % 2)
			pk_pages(kit.urgent, waiting, 1);
		else
			pk_page_error(kit.urgent, waiting, EIO);
		read_requests(1, asked);
	}
	for (uint64_t page = FIRST; page < FIRST + FAULTS; page++)
		assert_int_equal(asked[page], 1);
	assert_true(vmm_is_silent(&kit.vmm));
	for (uint64_t page = FIRST; page < FIRST + FAULTS; page++) {
		pk_pages(kit.urgent, page, 1);
		pk_reply_word(&kit, page, page_word(page));
	}
	pk_close(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_window_is_sent_whole_without_an_answer),
		cmocka_unit_test(what_finds_no_room_waits_and_is_asked_for_when_there_is_some),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
