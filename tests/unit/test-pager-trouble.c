/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-pager-trouble.c - no memory, a limit, a lost page: the others do not wait for it. */
#include <errno.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/place.h"
#include "pager_kit.h"

#define PAGES 256u
#define SMALL 10u /* pages that a small tmpfs has room for */
#define SMALL_TMPFS "size=40k"

static struct pager_kit kit;

static void read_page(uint64_t page)
{
	vmm_tell(&kit.vmm, VMM_READ, 0, page, 0);
}

static void vmm_does(enum vmm_op op, uint64_t page)
{
	vmm_tell(&kit.vmm, op, 0, page, 0);
	assert_int_equal(vmm_reply(&kit.vmm).op, op);
}

/* Of two threads that go on at the same time, one has read this. */
static void assert_word_of_one_of_two_replies(uint64_t page, uint64_t word)
{
	unsigned reads = 0;

	for (int i = 0; i < 2; i++) {
		struct vmm_reply reply = vmm_reply(&kit.vmm);

		if (reply.op != VMM_READ)
			continue;
		assert_int_equal(reply.page, page);
		assert_int_equal(reply.value, word);
		assert_true(reply.uniform);
		reads++;
	}
	assert_int_equal(reads, 1);
}

/* Every page that the file system has room for is used: 0 to SMALL - 1. */
static void open_full(uint64_t features)
{
	int fd = tmpfs_file(SMALL_TMPFS);

	pk_open(&kit, &(struct pk_how){.pages = PAGES, .memfd = fd, .features = features});
	for (uint64_t page = 0; page < SMALL; page++)
		pk_barrier(&kit, page);
}

static int trouble_errno(void)
{
	struct pf_mail mail = pk_mail(&kit, PF_MAIL_TROUBLE);
	struct pf_mail_page page;

	memcpy(&page, mail.data, sizeof(page));
	free(mail.data);
	return (int)page.sys;
}

/* A fault whose answer finds no room; it was told, and waits. */
static void fault_without_room(uint64_t page)
{
	read_page(page);
	assert_int_equal(pk_request(&kit), page);
	pk_pages(kit.urgent, page, 1);
	assert_int_equal(trouble_errno(), ENOSPC);
}

static void a_page_without_room_keeps_no_other_fault_waiting(void **state)
{
	(void)state;
	open_full(0);
	vmm_does(VMM_DONTNEED, 3);
	fault_without_room(20);
	/* FILLED, so it needs no room; and an absent one is asked for, though it fits no better. */
	read_page(3);
	pk_reply_word(&kit, 3, page_word(3));
	read_page(21);
	while (pk_request(&kit) != 21)
		; /* 20, again */
	assert_true(vmm_is_silent(&kit.vmm));
	pk_close(&kit);
}

/*
 * With EVENT_REMOVE the VMM's madvise(2) stands until its event has been read.  A thread that waited
 * for memory without reading events would wait for ever.
 */
static void what_the_vmm_gives_back_makes_room_for_the_page_that_waits(void **state)
{
	(void)state;
	open_full(UFFD_FEATURE_EVENT_REMOVE);
	fault_without_room(20);
	vmm_does(VMM_REMOVE, 4);
	assert_int_equal(pk_request(&kit), 20);
	pk_pages(kit.urgent, 20, 1);
	pk_reply_word(&kit, 20, page_word(20));
	assert_int_equal(kit.guest.count.duplicates, 0);
	pk_await_filled(&kit, SMALL + 1);
	pk_close(&kit);
}

static void a_hole_without_room_waits_and_comes_as_zeros(void **state)
{
	(void)state;
	open_full(0);
	vmm_does(VMM_REMOVE, 5);
	pk_barrier(&kit, 30); /* takes the room */
	read_page(5);
	assert_int_equal(trouble_errno(), ENOSPC);
	vmm_does(VMM_DONTNEED, 6);
	read_page(6);
	pk_reply_word(&kit, 6, page_word(6));
	assert_true(vmm_is_silent(&kit.vmm));
	vmm_tell(&kit.vmm, VMM_REMOVE, 0, 7, 0);
	assert_word_of_one_of_two_replies(5, 0);
	assert_int_equal(kit.guest.count.holes, 1);
	pk_close(&kit);
}

/* A parked page comes by the other way meanwhile: nobody asks again, and its waiter goes on. */
static void a_page_that_waits_for_room_is_taken_from_bulk_too(void **state)
{
	(void)state;
	open_full(0);
	pk_connect_bulk(&kit, 0, true);
	fault_without_room(20);
	pk_pages(kit.push[0], 20, 2); /* waits for room too */
	assert_int_equal(trouble_errno(), ENOSPC);
	vmm_does(VMM_REMOVE, 0);
	vmm_tell(&kit.vmm, VMM_REMOVE, 0, 1, 0);
	assert_word_of_one_of_two_replies(20, page_word(20));
	assert_int_equal(pf_journal_state(&kit.guest.journal, 0, 21), PF_PAGE_FILLED);
	read_page(21);
	pk_reply_word(&kit, 21, page_word(21));
	pk_close(&kit);
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Answers what is asked for; true: so many pages are FILLED. */
static bool answered_until_filled(uint64_t count)
{
	uint64_t page;

	while (pk_try_request(&kit, &page))
		pk_pages(kit.urgent, page, 1);
	return kit.guest.journal.filled == count;
}

/*
 * pwrite(2) up to the limit is a short write, and then EFBIG, which is no want of memory: such a page is
 * asked for again and again, and what is behind it on its connection does not wait.
 */
static void pages_that_cannot_be_written_keep_no_others_waiting(void **state)
{
	struct pf_mail_page stuck;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_connect_bulk(&kit, 0, true);
	set_file_limit(100 * PAGE + 2000);
	read_page(101);
	assert_int_equal(pk_request(&kit), 101);
	pk_pages(kit.push[0], 96, 16);
	mail = pk_mail(&kit, PF_MAIL_TROUBLE);
	memcpy(&stuck, mail.data, sizeof(stuck));
	free(mail.data);
	assert_int_equal(stuck.sys, EFBIG);
	assert_int_equal(stuck.page, 100);
	pk_pages(kit.push[0], 20, 16);
	pk_await_state(&kit, 35, PF_PAGE_FILLED);
	pk_pages(kit.urgent, 101, 1);
	assert_int_equal(trouble_errno(), EFBIG);
	for (unsigned i = 0; i < 3 * 12; i++)
		pk_pages(kit.urgent, pk_request(&kit), 1);
	assert_true(vmm_is_silent(&kit.vmm));
	pk_await_filled(&kit, 16 + 4);
	set_file_limit(RLIM_INFINITY);
	WAIT_UNTIL(answered_until_filled(2 * 16));
	pk_reply_word(&kit, 101, page_word(101));
	for (uint64_t page = 96; page < 112; page++)
		assert_int_equal(vmm_word(&kit.vmm, page), page_word(page));
	assert_int_equal(kit.guest.count.duplicates, 0);
	WAIT_UNTIL(atomic_load(&kit.pager.requests.reserved) == 0);
	assert_int_equal(kit.pager.latency_ns.count, 1); /* of the one that somebody waited for */
	pk_close(&kit);
}

/* As many as may be handed on: then the connection waits, as for want of memory, and loses none. */
static void a_file_that_cannot_be_written_at_all_stops_push_at_half_a_window(void **state)
{
	enum { STUCK = PF_REQUESTS_HANDED_MAX + 64 };

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = STUCK + 16});
	pk_connect_bulk(&kit, 0, true);
	set_file_limit(16 * PAGE);
	for (uint64_t page = 16; page < STUCK + 16; page += 16)
		pk_pages(kit.push[0], page, 16);
	pk_pages(kit.push[0], 0, 16);
	WAIT_UNTIL(atomic_load(&kit.pager.requests.reserved) >= PF_REQUESTS_HANDED_MAX);
	for (unsigned i = 0; i < PF_REQUESTS_HANDED_MAX; i++)
		(void)pk_request(&kit); /* each is asked for once, and the next only when it is answered */
	assert_int_equal(kit.guest.journal.filled, 0);
	assert_int_equal(atomic_load(&kit.pager.count.open), 0);
	set_file_limit(RLIM_INFINITY);
	for (uint64_t page = 16; page < PF_REQUESTS_HANDED_MAX + 16; page++)
		pk_pages(kit.urgent, page, 1);
	pk_await_state(&kit, 0, PF_PAGE_FILLED);
	WAIT_UNTIL(kit.guest.journal.filled == STUCK + 16);
	free(pk_mail(&kit, PF_MAIL_FILLED).data);
	pk_close(&kit);
}

/* What a bulk thread could not write has come on urgent by the time that is heard of. */
static void a_page_that_came_before_its_trouble_was_heard_of_gives_its_room_back(void **state)
{
	const struct pf_run page = {.first = 40, .count = 1};

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_barrier(&kit, 40);
	pk_await_state(&kit, 40, PF_PAGE_FILLED);
	assert_true(pf_requests_reserve(&kit.pager.requests));
	assert_true(pf_mail_post(&kit.pager.maps, 0, PF_MAIL_STUCK, 0, &page, sizeof(page)));
	WAIT_UNTIL(atomic_load(&kit.pager.requests.reserved) == 0);
	pk_close(&kit);
}

/* Main has much to read, and stops the threads: then it asks the journal, and must be able to hear it too. */
static void news_of_the_last_page_that_found_no_room_may_be_told_again(void **state)
{
	uint32_t told = 0;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_connect_bulk(&kit, 0, true);
	while (!pf_mailbox_half_full(&kit.inbox))
		assert_true(pf_mail_post(&kit.inbox, 0, PF_MAIL_PAGE_LOST, 0, NULL, 0));
	for (uint64_t page = 0; page < PAGES; page += 16)
		pk_pages(kit.push[0], page, 16);
	WAIT_UNTIL(atomic_load(&kit.filled_told));
	pf_link_stop(&kit.bulk[0], false);
	while (pf_mailbox_take(&kit.inbox, &mail)) {
		told += mail.kind == PF_MAIL_FILLED;
		free(mail.data);
	}
	assert_int_equal(told, 0);
	assert_true(pf_journal_complete(&kit.guest.journal));
	assert_false(atomic_load(&kit.filled_told));
	pk_close(&kit);
}

/* While a madvise(2) is under way UFFDIO_CONTINUE says EAGAIN, to both threads. */
static void while_the_vmm_discards_every_page_that_arrives_is_mapped(void **state)
{
	enum { ROUNDS = 60, PUSHED = 100 };

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE});
	pk_connect_bulk(&kit, 0, true);
	pk_barrier(&kit, 0);
	for (uint64_t page = 1; page <= ROUNDS; page++) {
		read_page(page);
		assert_int_equal(pk_request(&kit), page);
		vmm_tell(&kit.vmm, VMM_DONTNEED, 0, 0, 0);
		pk_pages(kit.push[0], page + PUSHED, 1);
		pk_pages(kit.urgent, page, 1);
		assert_word_of_one_of_two_replies(page, page_word(page));
	}
	pk_await_state(&kit, ROUNDS + PUSHED, PF_PAGE_FILLED);
	for (uint64_t page = 1; page <= ROUNDS; page++)
		assert_int_equal(vmm_word(&kit.vmm, page + PUSHED), page_word(page + PUSHED));
	pk_close(&kit);
}

/* On a kernel older than 6.6. */
static void without_poison_a_lost_page_is_told_and_a_second_access_asks_again(void **state)
{
	struct pf_mail_page lost;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	kit.guest.region[0].poisons = false;
	pk_give(&kit);
	read_page(40);
	assert_int_equal(pk_request(&kit), 40);
	pk_page_error(kit.urgent, 40, EIO);
	mail = pk_mail(&kit, PF_MAIL_PAGE_LOST);
	memcpy(&lost, mail.data, sizeof(lost));
	free(mail.data);
	assert_int_equal(lost.page, 40);
	assert_int_equal(lost.sys, EIO);
	pk_barrier(&kit, 200);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	assert_int_equal(pf_journal_state(&kit.guest.journal, 0, 40), PF_PAGE_ABSENT);
	read_page(40);
	assert_int_equal(pk_request(&kit), 40);
	pk_pages(kit.urgent, 40, 1);
	pk_reply_word(&kit, 40, page_word(40));
	pk_reply_word(&kit, 40, page_word(40));
	pk_close(&kit);
}

static void an_error_for_a_page_that_has_come_loses_nothing(void **state)
{
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_connect_bulk(&kit, 0, true);
	read_page(41);
	assert_int_equal(pk_request(&kit), 41);
	pk_pages(kit.push[0], 41, 1);
	pk_reply_word(&kit, 41, page_word(41));
	pk_page_error(kit.urgent, 41, EIO);
	pk_barrier(&kit, 200);
	while (pf_mailbox_take(&kit.inbox, &mail)) {
		assert_int_not_equal(mail.kind, PF_MAIL_PAGE_LOST);
		free(mail.data);
	}
	pk_close(&kit);
}

static void an_error_for_a_page_that_nobody_asked_for_ends_the_connection(void **state)
{
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES});
	pk_page_error(kit.urgent, 42, EIO);
	do {
		while (!pf_mailbox_take(&kit.inbox, &mail))
			wait_readable(kit.inbox.event_fd);
		assert_int_not_equal(mail.kind, PF_MAIL_PAGE_LOST);
		if (mail.kind == PF_MAIL_DOWN)
			assert_non_null(strstr(((struct pf_err *)mail.data)->text,
					       "nobody asked for"));
		free(mail.data);
	} while (mail.kind != PF_MAIL_DOWN);
	pk_close(&kit);
}

/* Four times as many as main's box holds, and main does not look meanwhile. */
static void a_thousand_lost_pages_are_all_told_and_a_control_frame_finds_room(void **state)
{
	enum { LOST = 4 * PF_MAILBOX_SLOTS };
	uint32_t told = 0;
	bool control = false;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = 2 * LOST});
	pk_connect_bulk(&kit, 0, true);
	for (uint64_t page = 0; page < LOST; page++)
		pk_page_error(kit.push[0], page, EIO);
	WAIT_UNTIL(pf_mailbox_half_full(&kit.inbox));
	pk_send(kit.urgent, (struct pf_frame){.type = PF_FRAME_COMPLETE_ACK}, NULL);
	pk_barrier(&kit, 2 * LOST - 1);
	while (told < LOST || !control) {
		while (!pf_mailbox_take(&kit.inbox, &mail))
			wait_readable(kit.inbox.event_fd);
		assert_int_not_equal(mail.kind, PF_MAIL_DOWN);
		told += mail.kind == PF_MAIL_PAGE_LOST;
		control = control || mail.kind == PF_MAIL_FRAME;
		free(mail.data);
	}
	assert_int_equal(told, LOST);
	pk_close(&kit);
}

/* What is said to be mapped there is another file: told, and tried now and then, not all the time. */
static void a_mapping_of_another_file_is_told_and_keeps_nobody_busy(void **state)
{
	int other = memfd_create("other", MFD_CLOEXEC);

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	assert_int_equal(ftruncate(other, PAGES * PAGE), 0);
	assert_int_equal(dup2(other, kit.guest.region[0].fd), kit.guest.region[0].fd);
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
	read_page(33);
	assert_int_equal(pk_request(&kit), 33);
	pk_pages(kit.urgent, 33, 1);
	assert_int_equal(trouble_errno(), EFAULT);
	read_page(34);
	assert_int_equal(pk_request(&kit), 34);
	pk_pages(kit.push[0], 34, 1);
	WAIT_UNTIL(kit.guest.count.holes >= 8); /* one each time that it is tried */
	assert_true(kit.guest.count.holes < 1000);
	assert_true(vmm_is_silent(&kit.vmm));
	/* The file that is mapped gets the page after all, and who waited goes on. */
	assert_int_equal(pwrite(kit.vmm.memfd, "", 1, 33 * PAGE), 1);
	assert_int_equal(vmm_reply(&kit.vmm).page, 33);
	close(other);
	pk_close(&kit);
}

/* Nobody traps there, so nobody would ever try them again; and every page is FILLED. */
static void pushed_pages_that_cannot_be_mapped_are_tried_until_they_are(void **state)
{
	int other = memfd_create("other", MFD_CLOEXEC);
	bool stuck = false, filled = false;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = PAGES, .hold = true});
	assert_int_equal(ftruncate(other, PAGES * PAGE), 0);
	assert_int_equal(dup2(other, kit.guest.region[0].fd), kit.guest.region[0].fd);
	pk_give(&kit);
	pk_connect_bulk(&kit, 0, true);
	for (uint64_t page = 0; page < PAGES; page += 16)
		pk_pages(kit.push[0], page, 16);
	while (!stuck || !filled) {
		while (!pf_mailbox_take(&kit.inbox, &mail))
			wait_readable(kit.inbox.event_fd);
		stuck = stuck || (mail.kind == PF_MAIL_TROUBLE &&
				  ((struct pf_mail_page *)mail.data)->sys == EFAULT);
		filled = filled || mail.kind == PF_MAIL_FILLED;
		free(mail.data);
	}
	WAIT_UNTIL(atomic_load(&kit.pager.requests.reserved) == PAGES);
	assert_false(pf_requests_all_mapped(&kit.pager.requests));
	/* The file that is mapped gets the pages after all. */
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(pwrite(kit.vmm.memfd, "", 1, (off_t)(page * PAGE)), 1);
	free(pk_mail(&kit, PF_MAIL_FILLED).data);
	assert_true(pf_requests_all_mapped(&kit.pager.requests));
	WAIT_UNTIL(atomic_load(&kit.pager.requests.reserved) == 0);
	close(other);
	pk_close(&kit);
}

/* Pages that the VMM has written itself, behind our back; main does not look meanwhile. */
static void hundreds_of_unexpected_pages_leave_room_for_a_control_frame(void **state)
{
	enum { WRITTEN = PF_MAILBOX_SLOTS + 44 };
	uint8_t byte = 1;
	bool told = false, control = false;
	struct pf_mail mail;

	(void)state;
	pk_open(&kit, &(struct pk_how){.pages = 2 * WRITTEN});
	for (uint64_t page = 0; page < WRITTEN; page++) {
		assert_int_equal(pwrite(kit.vmm.memfd, &byte, 1, (off_t)(page * PAGE)), 1);
		read_page(page);
		(void)pk_request(&kit);
	}
	pk_send(kit.urgent, (struct pf_frame){.type = PF_FRAME_COMPLETE_ACK}, NULL);
	for (uint64_t page = 0; page < WRITTEN; page++)
		pk_pages(kit.urgent, page, 1);
	for (uint64_t page = 0; page < WRITTEN; page++)
		(void)vmm_reply(&kit.vmm);
	while (!told || !control) {
		while (!pf_mailbox_take(&kit.inbox, &mail))
			wait_readable(kit.inbox.event_fd);
		assert_int_not_equal(mail.kind, PF_MAIL_DOWN);
		told = told || mail.kind == PF_MAIL_UNEXPECTED;
		control = control || mail.kind == PF_MAIL_FRAME;
		free(mail.data);
	}
	pk_close(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_without_room_keeps_no_other_fault_waiting),
		cmocka_unit_test(what_the_vmm_gives_back_makes_room_for_the_page_that_waits),
		cmocka_unit_test(a_hole_without_room_waits_and_comes_as_zeros),
		cmocka_unit_test(a_page_that_waits_for_room_is_taken_from_bulk_too),
		cmocka_unit_test(pages_that_cannot_be_written_keep_no_others_waiting),
		cmocka_unit_test(a_file_that_cannot_be_written_at_all_stops_push_at_half_a_window),
		cmocka_unit_test(a_page_that_came_before_its_trouble_was_heard_of_gives_its_room_back),
		cmocka_unit_test(news_of_the_last_page_that_found_no_room_may_be_told_again),
		cmocka_unit_test(while_the_vmm_discards_every_page_that_arrives_is_mapped),
		cmocka_unit_test(without_poison_a_lost_page_is_told_and_a_second_access_asks_again),
		cmocka_unit_test(an_error_for_a_page_that_has_come_loses_nothing),
		cmocka_unit_test(an_error_for_a_page_that_nobody_asked_for_ends_the_connection),
		cmocka_unit_test(a_mapping_of_another_file_is_told_and_keeps_nobody_busy),
		cmocka_unit_test(pushed_pages_that_cannot_be_mapped_are_tried_until_they_are),
		cmocka_unit_test(hundreds_of_unexpected_pages_leave_room_for_a_control_frame),
		cmocka_unit_test(a_thousand_lost_pages_are_all_told_and_a_control_frame_finds_room),
	};

	/* As pageferry does: a write beyond RLIMIT_FSIZE is an error, not the end. */
	signal(SIGXFSZ, SIG_IGN);
	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
