/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pager-events.c - the urgent thread and events that are late, old, double or strange. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/place.h"
#include "pager_kit.h"

#define PAGES 256u
#define REMOTE 200u /* pages from here on are the barriers' */

static struct pager_kit kit;

/* Read into the ring, as far as a thread gets that is slow, or dies: handled by nobody yet. */
static void hold_events_back(uint32_t uffd, uint32_t count)
{
	struct pf_ring *ring = &kit.guest.uffd[uffd].ring;

	while (ring->head - ring->tail < count) {
		wait_readable(kit.guest.uffd[uffd].fd);
		assert_int_equal(pf_ring_read(ring, kit.guest.uffd[uffd].fd), PF_RING_EVENTS);
	}
}

/* What a thread leaves that dies between the handling of an event and pf_ring_pop(). */
static void repeat_event(uint32_t uffd)
{
	struct pf_ring *ring = &kit.guest.uffd[uffd].ring;

	ring->slot[ring->head % PF_RING_SLOTS] = *pf_ring_peek(ring);
	ring->head++;
}

static void bulk_places(uint64_t page)
{
	const struct pf_run run = {.first = page, .count = 1};
	struct pf_err err = {0};
	uint8_t bytes[PAGE];
	uint32_t placed;

	page_fill(bytes, page, 1);
	assert_int_equal(pf_place_run(&kit.guest, &run, bytes, &placed, &err), PF_PLACE_OK);
	assert_int_equal(placed, 1);
}

/* FILLED and not mapped: what a bulk thread leaves that dies between the two. */
static void bulk_fills(uint64_t page)
{
	uint8_t bytes[PAGE];

	page_fill(bytes, page, 1);
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, page, 1), 1);
	assert_int_equal(pwrite(kit.guest.region[0].fd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
	pf_journal_fill(&kit.guest.journal, 0, page, 1);
}

static void guest_writes(uint64_t page, uint64_t value)
{
	vmm_tell(&kit.vmm, VMM_WRITE, 0, page, value);
	assert_int_equal(vmm_reply(&kit.vmm).op, VMM_WRITE);
}

static void assert_first_word(uint64_t page, uint64_t value)
{
	vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	assert_int_equal(vmm_reply(&kit.vmm).value, value);
}

/* allocated: the trap is MINOR, for a page that the file has and that nobody has written. */
static void hold_an_event_until_the_guest_has_written(bool allocated)
{
	enum { HELD = 50 };

	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	if (allocated)
		assert_int_equal(fallocate(kit.vmm.memfd, 0, HELD * PAGE, PAGE), 0);
	vmm_tell(&kit.vmm, VMM_READ, 0, HELD, 0);
	hold_events_back(0, 1);
	assert_int_equal(
		!!(pf_ring_peek(&kit.guest.uffd[0].ring)->arg.pagefault.flags &
		   UFFD_PAGEFAULT_FLAG_MINOR), allocated);
	bulk_places(HELD);
	pk_reply_word(&kit, HELD, page_word(HELD));
	guest_writes(HELD, 4711);
	repeat_event(0);
	pk_give(&kit);
	/* Not asked for either: the barrier's is the first request. */
	pk_barrier(&kit, REMOTE);
	assert_first_word(HELD, 4711);
	assert_int_equal(kit.guest.count.holes, 0);
	assert_int_equal(kit.guest.count.duplicates, 0);
	pk_close(&kit);
}

static void a_missing_event_older_than_what_the_guest_wrote_leaves_it_alone(void **state)
{
	(void)state;
	hold_an_event_until_the_guest_has_written(false);
}

static void a_minor_event_older_than_what_the_guest_wrote_leaves_it_alone(void **state)
{
	(void)state;
	hold_an_event_until_the_guest_has_written(true);
}

static void an_event_older_than_a_page_that_nobody_mapped_lets_its_waiters_go_on(void **state)
{
	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .mappings = 2, .hold = true});
	vmm_tell(&kit.vmm, VMM_READ, 0, 60, 0);
	vmm_tell(&kit.vmm, VMM_READ, 1, 60, 0);
	hold_events_back(0, 1);
	hold_events_back(1, 1);
	bulk_fills(60);
	assert_true(vmm_is_silent(&kit.vmm));
	pk_give(&kit);
	pk_reply_word(&kit, 60, page_word(60));
	pk_reply_word(&kit, 60, page_word(60));
	pk_barrier(&kit, REMOTE);
	assert_int_equal(kit.guest.count.holes, 0);
	pk_close(&kit);
}

/* CONTINUE says EEXIST then, and wakes nobody. */
static void waiters_of_a_page_that_is_mapped_already_are_woken(void **state)
{
	struct uffdio_continue silently = {.mode = UFFDIO_CONTINUE_MODE_DONTWAKE};

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	vmm_tell(&kit.vmm, VMM_READ, 0, 65, 0);
	vmm_tell(&kit.vmm, VMM_READ, 0, 65, 0);
	hold_events_back(0, 2);
	bulk_fills(65);
	silently.range.start = kit.vmm.base[0] + 65 * PAGE;
	silently.range.len = PAGE;
	assert_int_equal(ioctl(kit.vmm.uffd[0], UFFDIO_CONTINUE, &silently), 0);
	assert_true(vmm_is_silent(&kit.vmm));
	pk_give(&kit);
	pk_reply_word(&kit, 65, page_word(65));
	pk_reply_word(&kit, 65, page_word(65));
	assert_true(kit.guest.count.woken > 0);
	pk_close(&kit);
}

static void an_event_that_is_replayed_asks_once(void **state)
{
	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	vmm_tell(&kit.vmm, VMM_READ, 0, 61, 0);
	hold_events_back(0, 1);
	repeat_event(0);
	repeat_event(0);
	pk_give(&kit);
	assert_int_equal(pk_request(&kit), 61);
	pk_pages(kit.urgent, 61, 1);
	pk_reply_word(&kit, 61, page_word(61));
	pk_barrier(&kit, REMOTE);
	assert_int_equal(kit.pager.count.faults, 3 + 1);
	assert_int_equal(kit.guest.count.duplicates, 0);
	pk_close(&kit);
}

static void many_threads_on_one_page_are_one_request_and_all_go_on(void **state)
{
	enum { THREADS = 48 };

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .mappings = 2});
	for (uint32_t t = 0; t < THREADS; t++)
		vmm_tell(&kit.vmm, VMM_READ, t % 2, 62, 0);
	assert_int_equal(pk_request(&kit), 62);
	/* Some of them trap before the answer, some while it is placed, some after. */
	pk_pages(kit.urgent, 62, 1);
	for (uint32_t t = 0; t < THREADS; t++)
		pk_reply_word(&kit, 62, page_word(62));
	pk_barrier(&kit, REMOTE);
	assert_int_equal(kit.guest.journal.filled, 2);
	pk_close(&kit);
}

static void a_page_that_was_allocated_and_never_written_is_asked_for(void **state)
{
	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	assert_int_equal(fallocate(kit.vmm.memfd, 0, 0, PAGES * PAGE), 0);
	for (uint64_t page = 0; page < 32; page++)
		pk_barrier(&kit, page);
	assert_int_equal(kit.guest.journal.filled, 32);
	pk_close(&kit);
}

/* With huge=always one write of 4 KiB makes 511 neighbours present; none of them is FILLED. */
static void neighbours_that_a_huge_page_has_brought_are_asked_for(void **state)
{
	int fd = tmpfs_file("huge=always");

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = 1024, .memfd = fd});
	pk_barrier(&kit, 600);
	assert_true(file_has_page(kit.vmm.memfd, 601));
	for (uint64_t page = 601; page < 632; page++)
		pk_barrier(&kit, page);
	assert_int_equal(kit.guest.journal.filled, 32);
	pk_close(&kit);
}

static void a_fault_without_a_connection_is_asked_for_on_the_next(void **state)
{
	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .offline = true});
	vmm_tell(&kit.vmm, VMM_READ, 0, 63, 0);
	WAIT_UNTIL(atomic_load(&kit.pager.count.faults) > 0);
	pk_connect(&kit);
	assert_int_equal(pk_request(&kit), 63);
	pk_pages(kit.urgent, 63, 1);
	pk_reply_word(&kit, 63, page_word(63));
	pk_close(&kit);
}

static void a_fault_while_device_state_arrives_is_served(void **state)
{
	struct pf_frame frame = {.type = PF_FRAME_PAUSED};
	static const uint8_t device[1000];
	uint8_t body[64];
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_connect_bulk(&kit, 0, false);
	frame.length = (uint32_t)pf_msg_pack_paused(2000, body, sizeof(body));
	pk_send(kit.push[0], frame, body);
	frame = (struct pf_frame){.type = PF_FRAME_DEVICE, .length = sizeof(device)};
	pk_send(kit.push[0], frame, device);
	mail = pk_mail(&kit, PF_MAIL_FRAME);
	free(mail.data);
	pk_barrier(&kit, REMOTE);
	frame.page = sizeof(device);
	pk_send(kit.push[0], frame, device);
	mail = pk_mail(&kit, PF_MAIL_STATE_HERE);
	close(((struct pf_mail_state *)mail.data)->fd);
	free(mail.data);
	/* And between the state and RUN, while the VMM loads it. */
	pk_barrier(&kit, REMOTE + 1);
	pk_close(&kit);
}

/* More of them than main's box holds: a control frame must find room, and other faults a server. */
static void faults_outside_of_every_region_are_told_and_disturb_nobody(void **state)
{
	enum { BEYOND = 300 };
	uint64_t first = 0, base;
	struct pf_mail mail;
	struct pf_err err;
	uint32_t told = 0;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .beyond = BEYOND});
	base = kit.vmm.base[0] + PAGES * PAGE;
	assert_int_equal(pf_uffd_register(kit.vmm.uffd[0], base, BEYOND * PAGE,
					  UFFDIO_REGISTER_MODE_MISSING, &err), 0);
	for (uint64_t page = PAGES; page < PAGES + BEYOND; page++)
		vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
	pk_barrier(&kit, REMOTE);
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == BEYOND && uffd_pending(kit.vmm.uffd[0]) == 0);
	pk_barrier(&kit, REMOTE + 1);
	pk_send(kit.urgent, (struct pf_frame){.type = PF_FRAME_COMPLETE_ACK}, NULL);
	do {
		while (!pf_mailbox_take(&kit.inbox, &mail))
			wait_readable(kit.inbox.event_fd);
		if (mail.kind == PF_MAIL_OUTSIDE && told++ == 0)
			memcpy(&first, mail.data, sizeof(first));
		assert_int_not_equal(mail.kind, PF_MAIL_DOWN);
		free(mail.data);
	} while (mail.kind != PF_MAIL_FRAME);
	assert_true(first >= base && first < base + BEYOND * PAGE);
	assert_in_range(told, 1, 100);
	assert_true(vmm_is_silent(&kit.vmm));
	pk_close(&kit);
}

static void an_event_that_nobody_knows_does_not_hold_up_the_next(void **state)
{
	struct pf_ring *ring = &kit.guest.uffd[0].ring;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	vmm_tell(&kit.vmm, VMM_READ, 0, 64, 0);
	hold_events_back(0, 1);
	repeat_event(0);
	ring->slot[ring->tail % PF_RING_SLOTS].event = 0x7f;
	pk_give(&kit);
	assert_int_equal(pk_request(&kit), 64);
	pk_pages(kit.urgent, 64, 1);
	pk_reply_word(&kit, 64, page_word(64));
	pk_close(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_event_older_than_what_the_guest_wrote_leaves_it_alone),
		cmocka_unit_test(a_minor_event_older_than_what_the_guest_wrote_leaves_it_alone),
		cmocka_unit_test(
			an_event_older_than_a_page_that_nobody_mapped_lets_its_waiters_go_on),
		cmocka_unit_test(waiters_of_a_page_that_is_mapped_already_are_woken),
		cmocka_unit_test(an_event_that_is_replayed_asks_once),
		cmocka_unit_test(many_threads_on_one_page_are_one_request_and_all_go_on),
		cmocka_unit_test(a_page_that_was_allocated_and_never_written_is_asked_for),
		cmocka_unit_test(neighbours_that_a_huge_page_has_brought_are_asked_for),
		cmocka_unit_test(a_fault_without_a_connection_is_asked_for_on_the_next),
		cmocka_unit_test(a_fault_while_device_state_arrives_is_served),
		cmocka_unit_test(faults_outside_of_every_region_are_told_and_disturb_nobody),
		cmocka_unit_test(an_event_that_nobody_knows_does_not_hold_up_the_next),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
