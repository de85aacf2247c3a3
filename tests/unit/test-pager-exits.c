/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-pager-exits.c - vCPUs that left for a page: asked for, let in, answered, whoever filled
 * it, and over the death of a process.
 *
 * Without the kernel features: exits_kit.h.  With guest_memfd: tests/e2e, tests/unit/test-row-gmem.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "exits_kit.h"
#include "migrate/destination_exits.h"
#include "migrate/destination_pager.h"

static void a_vcpu_that_left_is_asked_for_let_in_and_answered(void **state)
{
	(void)state;
	open_kit();
	leave(3, GPA + 5 * PAGE + 77);
	assert_int_equal(pk_request(&kit), 5);
	assert_true(nobody_enters());
	assert_int_equal(atomic_load(&traps[5]), 1);
	pk_pages(kit.urgent, 5, 1);
	enters(3, 5);
	pk_barrier(&kit, 1000);
	assert_true(slots_are_empty());
	assert_int_equal(atomic_load(&traps[6]), 1);
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 1);
	assert_int_equal(atomic_load(&kit.pager.count.faults), 2);
	close_kit();
}

static void who_leaves_for_a_page_that_is_here_is_answered_at_once(void **state)
{
	(void)state;
	open_kit();
	pk_barrier(&kit, 9);
	atomic_store(&traps[9], 1); /* as a process leaves it that dies before it has cleared the bit */
	leave_for(0, 9);
	enters(0, 9);
	WAIT_UNTIL(slots_are_empty());
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 0);
	close_kit();
}

static void one_request_answers_all_vcpus_and_threads_that_wait(void **state)
{
	(void)state;
	open_kit();
	leave_for(1023, 40);
	assert_int_equal(pk_request(&kit), 40);
	leave_for(0, 40);
	vmm_tell(&kit.vmm, VMM_READ, 0, 40, 0);
	leave_for(7, 41);
	assert_int_equal(pk_request(&kit), 41); /* and nothing for page 40 before */
	WAIT_UNTIL(uffd_blocked(kit.vmm.uffd[0]) == 1);
	pk_pages(kit.urgent, 40, 1);
	enters(0, 40);
	enters(1023, 40);
	pk_reply_word(&kit, 40, page_word(40));
	pk_pages(kit.urgent, 41, 1);
	enters(7, 41);
	close_kit();
}

/* The pushed copy is first: its thread has the urgent one answer, which the source has not yet. */
static void a_page_that_is_pushed_answers_who_waits_for_it(void **state)
{
	(void)state;
	open_kit();
	pk_connect_bulk(&kit, 0, true);
	leave_for(2, 64);
	assert_int_equal(pk_request(&kit), 64);
	pk_pages(kit.push[0], 60, 8);
	enters(2, 64);
	assert_int_equal(atomic_load(&traps[60]), 0); /* nor does it stop who has not come yet */
	pk_pages(kit.urgent, 64, 1); /* owed, and late */
	pk_barrier(&kit, 1000);
	assert_true(nobody_enters());
	assert_true(slots_are_empty());
	close_kit();
}

/* A bulk thread has claimed it, and gets no further: nobody else would ever ask. */
static void a_page_that_is_given_up_half_way_is_asked_for(void **state)
{
	(void)state;
	open_kit();
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, 70, 1), 1);
	leave_for(4, 70);
	pk_barrier(&kit, 1000); /* no request for page 70 came before */
	assert_int_equal(pf_journal_unclaim(&kit.guest.journal, 0, 70, 1, true), 1);
	assert_int_equal(pk_request(&kit), 70);
	pk_pages(kit.urgent, 70, 1);
	enters(4, 70);
	/* It has waited for the source after all, like the barrier's thread. */
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 1);
	assert_int_equal(atomic_load(&kit.pager.count.faults), 2);
	close_kit();
}

/* The thread that was filling it does: nothing was asked for, and nothing is open any more. */
static void a_page_that_was_being_filled_is_answered_when_it_is(void **state)
{
	static uint8_t bytes[PAGE];
	struct pf_run run = {.region = 0, .first = 70, .count = 1};

	(void)state;
	open_kit();
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, 70, 1), 1);
	leave_for(4, 70);
	pk_barrier(&kit, 1000);
	/* The barrier's own request is counted off a turn later. */
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 1);
	page_fill(bytes, 70, 1);
	assert_int_equal(pwrite(kit.guest.region[0].fd, bytes, PAGE, 70 * PAGE), PAGE);
	assert_int_equal(pf_journal_fill(&kit.guest.journal, 0, 70, 1), 1);
	assert_true(pf_mail_post(&kit.pager.maps, 0, PF_MAIL_ANSWER, 0, &run, sizeof(run)));
	enters(4, 70);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	pk_barrier(&kit, 1001);
	close_kit();
}

static void fill(uint64_t page)
{
	static uint8_t bytes[PAGE];

	page_fill(bytes, page, 1);
	assert_int_equal(pwrite(kit.guest.region[0].fd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
	assert_int_equal(pf_journal_fill(&kit.guest.journal, 0, page, 1), 1);
}

/* The VMM's mapping cannot be served, and nobody knows when: a vCPU that left before the page came goes on. */
static void a_mapping_that_is_stuck_holds_up_no_vcpu(void **state)
{
	(void)state;
	open_kit();
	atomic_store(&stuck, 70);
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, 70, 1), 1);
	leave_for(4, 70);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 1);
	fill(70);
	enters(4, 70);
	atomic_store(&stuck, NO_PAGE);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	close_kit();
}

/* The same for one whose page is pushed, before the source has answered. */
static void a_pushed_page_whose_mapping_is_stuck_holds_up_no_vcpu(void **state)
{
	(void)state;
	open_kit();
	pk_connect_bulk(&kit, 0, true);
	leave_for(4, 71);
	assert_int_equal(pk_request(&kit), 71);
	atomic_store(&stuck, 71);
	pk_pages(kit.push[0], 71, 1);
	enters(4, 71);
	atomic_store(&stuck, NO_PAGE);
	pk_pages(kit.urgent, 71, 1);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == 0);
	close_kit();
}

/* The window is full of what a vCPU has asked for, and left again: the other's page is asked for behind it. */
static void who_finds_the_window_full_is_asked_for_when_it_has_room(void **state)
{
	(void)state;
	open_held(0, true);
	pk_give(&kit);
	for (uint64_t page = 0; page < PF_REQUESTS_OPEN_MAX; page++)
		leave_for(0, page);
	WAIT_UNTIL(atomic_load(&kit.pager.count.open) == PF_REQUESTS_OPEN_MAX);
	pf_slots_set(&kit.guest.slots, 7, GPA + 5000 * PAGE);
	pk_connect(&kit);
	for (uint64_t page = 0; page < PF_REQUESTS_OPEN_MAX; page++)
		assert_true(pk_request(&kit) < PF_REQUESTS_OPEN_MAX);
	pk_pages(kit.urgent, 17, 1);
	assert_int_equal(pk_request(&kit), 5000);
	pk_pages(kit.urgent, 5000, 1);
	enters(7, 5000);
	close_kit();
}

/* One vCPU has asked, a bulk thread is filling it, another vCPU comes: the source's answer is owed still. */
static void a_page_that_is_owed_and_being_filled_stays_owed(void **state)
{
	static uint8_t bytes[PAGE];
	struct pf_run run = {.region = 0, .first = 70, .count = 1};

	(void)state;
	open_kit();
	leave_for(1, 70);
	assert_int_equal(pk_request(&kit), 70);
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, 70, 1), 1);
	leave_for(2, 70);
	pk_barrier(&kit, 1000);
	pk_pages(kit.urgent, 70, 1);
	pk_barrier(&kit, 1001); /* the connection stands */
	assert_true(nobody_enters());
	page_fill(bytes, 70, 1);
	assert_int_equal(pwrite(kit.guest.region[0].fd, bytes, PAGE, 70 * PAGE), PAGE);
	assert_int_equal(pf_journal_fill(&kit.guest.journal, 0, 70, 1), 1);
	assert_true(pf_mail_post(&kit.pager.maps, 0, PF_MAIL_ANSWER, 0, &run, sizeof(run)));
	enters(1, 70);
	enters(2, 70);
	WAIT_UNTIL(slots_are_empty() && atomic_load(&kit.pager.count.open) == 0);
	close_kit();
}

/* The new fault says that the old one is over, whatever became of its answer. */
static void a_vcpu_waits_for_its_last_page_only(void **state)
{
	(void)state;
	open_kit();
	leave_for(5, 80);
	assert_int_equal(pk_request(&kit), 80);
	leave_for(5, 81);
	assert_int_equal(pk_request(&kit), 81);
	pk_pages(kit.urgent, 80, 1);
	pk_barrier(&kit, 1000);
	assert_true(nobody_enters());
	pk_pages(kit.urgent, 81, 1);
	enters(5, 81);
	close_kit();
}

static void a_fault_outside_is_told_and_answered(void **state)
{
	struct pf_vmm_fault fault;
	struct pf_mail mail;

	(void)state;
	open_kit();
	leave(6, GPA + PAGES * PAGE);
	fault = next_answer();
	assert_int_equal(fault.vcpu, 6);
	mail = pk_mail(&kit, PF_MAIL_OUTSIDE);
	assert_int_equal(*(uint64_t *)mail.data, GPA + PAGES * PAGE);
	free(mail.data);
	leave(6, GPA - 1);
	assert_int_equal(next_answer().gpa, GPA - PAGE);
	WAIT_UNTIL(slots_are_empty());
	close_kit();
}

/* Mixed guests: it waits there for userfaultfd alone, and whoever fills the page would not think of the vCPU. */
static void a_fault_for_memory_that_stops_no_vcpu_is_told_and_answered(void **state)
{
	struct pf_mail mail;

	(void)state;
	open_held(0, false);
	kit.guest.region[0].has_bitmap = false;
	pk_give(&kit);
	leave_for(6, 30);
	assert_int_equal(next_answer().gpa, GPA + 30 * PAGE);
	mail = pk_mail(&kit, PF_MAIL_OUTSIDE);
	assert_int_equal(*(uint64_t *)mail.data, GPA + 30 * PAGE);
	free(mail.data);
	WAIT_UNTIL(slots_are_empty());
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 0);
	kit.guest.region[0].has_bitmap = true;
	close_kit();
}

/* The urgent thread stands, and its box takes no more; everything that the test has there means nothing. */
static void fill_box(void)
{
	struct pf_run nothing = {.region = 0, .first = PAGES - 1, .count = 1};
	struct pf_run page = {.region = 0, .first = 9, .count = 1};

	pthread_mutex_lock(&gate_lock);
	atomic_store(&at_gate, false);
	atomic_store(&gate, page.first);
	pf_requests_map_begin(&kit.pager.requests, page.count);
	pf_requests_overbook(&kit.pager.requests, page.count);
	assert_true(pf_mail_post(&kit.pager.maps, 0, PF_MAIL_MAP, 0, &page, sizeof(page)));
	WAIT_UNTIL(atomic_load(&at_gate));
	while (!pf_mailbox_half_full(&kit.pager.maps))
		assert_true(pf_mail_post(&kit.pager.maps, 0, PF_MAIL_ANSWER, 0, &nothing,
					 sizeof(nothing)));
}

/* A session is lost: its bulk thread ends, whatever it has still to say, and the urgent one drops its connection. */
static void lose_session(void)
{
	pf_link_stop(&kit.bulk[0], false);
	pf_pager_tell(&kit.pager, PF_MAIL_DETACH, NULL, 0);
	pthread_mutex_unlock(&gate_lock);
}

/* The page is here: nobody has to wait for it until the network is back. */
static void who_waits_for_a_page_that_came_as_the_session_was_lost_goes_on(void **state)
{
	(void)state;
	open_kit();
	pk_barrier(&kit, 9);
	pk_connect_bulk(&kit, 0, true);
	leave_for(4, 70);
	assert_int_equal(pk_request(&kit), 70);
	fill_box();
	pk_pages(kit.push[0], 70, 1);
	pk_await_state(&kit, 70, PF_PAGE_FILLED);
	lose_session();
	enters(4, 70);
	close_kit();
}

static void a_thread_that_waits_for_such_a_page_goes_on_too(void **state)
{
	(void)state;
	open_kit();
	pk_barrier(&kit, 9);
	pk_connect_bulk(&kit, 0, true);
	vmm_tell(&kit.vmm, VMM_READ, 0, 70, 0);
	assert_int_equal(pk_request(&kit), 70);
	atomic_store(&busy, 70);
	fill_box();
	pk_pages(kit.push[0], 70, 1);
	pk_await_state(&kit, 70, PF_PAGE_FILLED);
	lose_session();
	pk_reply_word(&kit, 70, page_word(70));
	close_kit();
}

/* Nothing is lost, and nobody else waits for a VMM that does not read its answers. */
static void answers_that_find_no_room_are_given_later(void **state)
{
	static uint8_t answered[PF_SLOTS];
	uint32_t vcpu;

	(void)state;
	open_kit();
	pk_barrier(&kit, 9);
	for (vcpu = 0; vcpu < PF_SLOTS; vcpu++)
		leave_for(vcpu, 9);
	pk_barrier(&kit, 1000);
	assert_false(slots_are_empty());
	for (vcpu = 0; vcpu < PF_SLOTS; vcpu++)
		answered[next_answer().vcpu]++;
	for (vcpu = 0; vcpu < PF_SLOTS; vcpu++)
		assert_int_equal(answered[vcpu], 1);
	WAIT_UNTIL(slots_are_empty());
	assert_true(nobody_enters());
	close_kit();
}

static void what_is_no_fault_is_told_and_hanging_up_is_not(void **state)
{
	struct pf_mail mail;

	(void)state;
	open_kit();
	assert_int_equal(send(vcpus_end, "\x22\0", 2, 0), 2);
	mail = pk_mail(&kit, PF_MAIL_VMM_WRONG);
	assert_string_equal(((struct pf_err *)mail.data)->text,
			    "a READY message on the fault socket");
	free(mail.data);
	pk_barrier(&kit, 1000);
	close_kit();
	open_kit();
	assert_int_equal(send(vcpus_end, "", 0, 0), 0); /* which reads as the end of the stream */
	mail = pk_mail(&kit, PF_MAIL_VMM_WRONG);
	assert_non_null(strstr(((struct pf_err *)mail.data)->text, "a message of 0 bytes on the fault"));
	free(mail.data);
	close_kit();
	open_kit();
	shutdown(vcpus_end, SHUT_RDWR);
	pk_barrier(&kit, 1000);
	close_kit();
}

/* Whoever was before this process had taken them off the socket. */
static void a_new_process_answers_or_asks_for_who_waits(void **state)
{
	uint8_t bytes[PAGE];

	(void)state;
	open_held(0, false);
	page_fill(bytes, 11, 1);
	assert_int_equal(pf_journal_claim(&kit.guest.journal, 0, 11, 1), 1);
	assert_int_equal(pwrite(kit.guest.region[0].fd, bytes, PAGE, 11 * PAGE), PAGE);
	pf_journal_fill(&kit.guest.journal, 0, 11, 1);
	pf_slots_set(&kit.guest.slots, 20, GPA + 11 * PAGE);
	pf_slots_set(&kit.guest.slots, 21, GPA + 12 * PAGE);
	assert_true(pf_slots_count(&kit.guest.slots, 21, GPA + 12 * PAGE));
	pf_slots_set(&kit.guest.slots, 22, GPA + 13 * PAGE);
	pk_give(&kit);
	enters(20, 11);
	assert_int_equal(pk_request(&kit), 13); /* the latest first */
	assert_int_equal(pk_request(&kit), 12);
	pk_pages(kit.urgent, 12, 2);
	enters(21, 12);
	enters(22, 13);
	/* The process before it has counted one of them, and died before it had come so far with the other. */
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 1);
	close_kit();
}

static void slots_outlive_their_process_and_damage_is_refused(void **state)
{
	struct pf_slots again;
	struct pf_err err = {0};
	uint32_t vcpu = 0;
	uint64_t gpa;

	(void)state;
	open_held(0, false);
	pf_slots_set(&kit.guest.slots, 1023, UINT64_MAX - 4095);
	assert_int_equal(pf_slots_open(&again, kit.dirfd, &err), 0);
	assert_true(pf_slots_next(&again, &vcpu, &gpa));
	assert_int_equal(vcpu, 1023);
	assert_int_equal(gpa, UINT64_MAX - 4095);
	assert_false(pf_slots_clear(&again, 1023, 0));
	/* That it is counted stays so with the page, and goes with it. */
	assert_false(pf_slots_count(&again, 1023, 0));
	assert_true(pf_slots_count(&again, 1023, UINT64_MAX - 4095));
	pf_slots_close(&again);
	assert_int_equal(pf_slots_open(&again, kit.dirfd, &err), 0);
	pf_slots_set(&again, 1023, UINT64_MAX - 4095);
	assert_false(pf_slots_count(&again, 1023, UINT64_MAX - 4095));
	assert_true(pf_slots_clear(&again, 1023, UINT64_MAX - 4095));
	assert_true(slots_are_empty());
	atomic_store(&again.slot[3], 0x1002);
	pf_slots_close(&again);
	assert_int_equal(pf_slots_open(&again, kit.dirfd, &err), -1);
	assert_string_equal(err.text, "vcpu.slots in the state directory is damaged at vCPU 3: "
				      "0x0000000000001002");
	assert_int_equal(err.class, PF_ERR_CONFIG);
	atomic_store(&kit.guest.slots.slot[3], 0);
	close_kit();
}

/* The source starts again: the journal forgets who waits, the slots do not. */
static void after_a_reset_who_waits_is_asked_for_again(void **state)
{
	(void)state;
	open_kit();
	leave_for(8, 90);
	assert_int_equal(pk_request(&kit), 90);
	pf_pager_tell(&kit.pager, PF_MAIL_RESET, NULL, 0);
	pf_channel_free(kit.urgent);
	pk_connect(&kit);
	assert_int_equal(pk_request(&kit), 90);
	/* It is the same fault, as if its VMM were to say it again. */
	leave_for(8, 90);
	pk_pages(kit.urgent, 90, 1);
	enters(8, 90);
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 1);
	assert_int_equal(atomic_load(&kit.pager.count.faults), 1);
	close_kit();
}

/* The VMM has shrunk its bitmap: told, tried again, and never a page that is lost. */
static void who_cannot_be_let_in_waits_until_he_can(void **state)
{
	struct pf_mail mail;

	(void)state;
	open_kit();
	atomic_store(&broken, EIO);
	leave_for(9, 95);
	assert_int_equal(pk_request(&kit), 95);
	pk_pages(kit.urgent, 95, 1);
	mail = pk_mail(&kit, PF_MAIL_TROUBLE);
	assert_int_equal(((struct pf_mail_page *)mail.data)->sys, EIO);
	free(mail.data);
	assert_true(nobody_enters());
	atomic_store(&broken, 0);
	enters(9, 95);
	close_kit();
}

/* Its vCPU goes on into what is poisoned; `lost` is for those who have said that they know it. */
static void who_has_not_declared_it_is_not_told_that_a_page_is_lost(void **state)
{
	struct pf_vmm_fault fault;

	(void)state;
	open_held(0, false);
	kit.guest.region[0].machine_checks = false;
	pk_give(&kit);
	leave_for(1, 300);
	assert_int_equal(pk_request(&kit), 300);
	pk_page_error(kit.urgent, 300, EIO);
	fault = next_answer();
	assert_int_equal(fault.gpa, GPA + 300 * PAGE);
	assert_false(fault.lost);
	close_kit();
}

/* Its VMM has declared that it tells vCPUs: pk_open() has armed memory that is poisoned. */
static void who_leaves_for_a_page_that_is_lost_is_told(void **state)
{
	struct pf_err err = {0};

	(void)state;
	open_kit();
	pk_connect_bulk(&kit, 0, true);
	leave_for(1, 300);
	assert_int_equal(pk_request(&kit), 300);
	pk_page_error(kit.urgent, 300, EIO);
	is_told_lost(1, 300);
	leave_for(2, 300);
	is_told_lost(2, 300);
	leave_for(3, 301);
	assert_int_equal(pk_request(&kit), 301);
	pk_page_error(kit.push[0], 301, EIO);
	is_told_lost(3, 301);
	pk_pages(kit.urgent, 301, 1); /* owed, and too late */
	leave_for(3, 302);
	assert_int_equal(pk_request(&kit), 302);
	pk_pages(kit.urgent, 302, 1);
	enters(3, 302);
	WAIT_UNTIL(slots_are_empty() && atomic_load(&kit.pager.count.open) == 0);
	/* At the end only these hold anybody. */
	assert_int_equal(pf_guest_disarm(&kit.guest, &err), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(atomic_load(&traps[page]), page == 300 || page == 301);
	pf_slots_set(&kit.guest.slots, 4, GPA + 300 * PAGE);
	pf_exits_answer_all(&kit.guest);
	is_told_lost(4, 300);
	close_kit();
}

static void at_the_end_everybody_is_answered(void **state)
{
	(void)state;
	open_held(0, false);
	pf_slots_set(&kit.guest.slots, 1, GPA);
	pf_slots_set(&kit.guest.slots, 1000, GPA + PAGE);
	pf_exits_answer_all(&kit.guest);
	assert_int_equal(next_answer().vcpu, 1);
	assert_int_equal(next_answer().vcpu, 1000);
	assert_true(slots_are_empty());
	close_kit();
}

/* ---- who faulted ---- */

static void faults_are_counted_by_who_waited(void **state)
{
	(void)state;
	open_held(UFFD_FEATURE_THREAD_ID, false);
	pk_give(&kit);
	pk_barrier(&kit, 100);
	assert_int_equal(atomic_load(&kit.pager.count.vmm), 1);
	leave_for(0, 101);
	assert_int_equal(pk_request(&kit), 101);
	pk_pages(kit.urgent, 101, 1);
	enters(0, 101);
	assert_int_equal(atomic_load(&kit.pager.count.vcpu), 1);
	assert_int_equal(atomic_load(&kit.pager.count.kvm), 0);
	assert_int_equal(atomic_load(&kit.pager.count.faults), 2);
	close_kit();
}

static void a_vcpu_s_thread_that_faults_in_the_mapping_is_kvm(void **state)
{
	struct uffd_msg event = {.event = UFFD_EVENT_PAGEFAULT};
	const struct pf_run page = {.first = 5, .count = 1};
	const uint32_t tids[] = {900, 17, 300};

	(void)state;
	open_held(0, false);
	pf_pager_know_vcpus(&kit.pager, tids, 3);
	pf_pager_stop(&kit.pager, false); /* its counts are then this thread's to make */
	event.arg.pagefault.feat.ptid = 17;
	kit.pager.guest = &kit.guest;
	pf_blocked_by_uffd(&kit.pager, 0, &page, &event, true); /* nobody knows: no THREAD_ID */
	kit.guest.uffd[0].features = UFFD_FEATURE_THREAD_ID;
	pf_blocked_by_uffd(&kit.pager, 0, &page, &event, true);
	event.arg.pagefault.feat.ptid = 18;
	pf_blocked_by_uffd(&kit.pager, 0, &page, &event, true);
	kit.guest.region[0].has_bitmap = false; /* a memfd: the vCPU's own accesses come this way */
	event.arg.pagefault.feat.ptid = 900;
	pf_blocked_by_uffd(&kit.pager, 0, &page, &event, true);
	assert_int_equal(kit.pager.count.kvm, 1);
	assert_int_equal(kit.pager.count.vmm, 1);
	assert_int_equal(kit.pager.count.vcpu, 1);
	kit.guest.region[0].has_bitmap = true;
	/* By their places in HELLO: 17 was the second, 900 the first. */
	assert_true(pf_pager_blocked(&kit.pager, &kit.guest, 0) > 0);
	assert_true(pf_pager_blocked(&kit.pager, &kit.guest, 1) > 0);
	assert_int_equal(pf_pager_blocked(&kit.pager, &kit.guest, 2), 0);
	close_kit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vcpu_that_left_is_asked_for_let_in_and_answered),
		cmocka_unit_test(who_leaves_for_a_page_that_is_here_is_answered_at_once),
		cmocka_unit_test(one_request_answers_all_vcpus_and_threads_that_wait),
		cmocka_unit_test(a_page_that_is_pushed_answers_who_waits_for_it),
		cmocka_unit_test(a_page_that_is_given_up_half_way_is_asked_for),
		cmocka_unit_test(a_page_that_was_being_filled_is_answered_when_it_is),
		cmocka_unit_test(a_page_that_is_owed_and_being_filled_stays_owed),
		cmocka_unit_test(a_mapping_that_is_stuck_holds_up_no_vcpu),
		cmocka_unit_test(a_pushed_page_whose_mapping_is_stuck_holds_up_no_vcpu),
		cmocka_unit_test(who_finds_the_window_full_is_asked_for_when_it_has_room),
		cmocka_unit_test(a_vcpu_waits_for_its_last_page_only),
		cmocka_unit_test(a_fault_outside_is_told_and_answered),
		cmocka_unit_test(a_fault_for_memory_that_stops_no_vcpu_is_told_and_answered),
		cmocka_unit_test(who_waits_for_a_page_that_came_as_the_session_was_lost_goes_on),
		cmocka_unit_test(a_thread_that_waits_for_such_a_page_goes_on_too),
		cmocka_unit_test(answers_that_find_no_room_are_given_later),
		cmocka_unit_test(what_is_no_fault_is_told_and_hanging_up_is_not),
		cmocka_unit_test(a_new_process_answers_or_asks_for_who_waits),
		cmocka_unit_test(slots_outlive_their_process_and_damage_is_refused),
		cmocka_unit_test(after_a_reset_who_waits_is_asked_for_again),
		cmocka_unit_test(who_cannot_be_let_in_waits_until_he_can),
		cmocka_unit_test(who_leaves_for_a_page_that_is_lost_is_told),
		cmocka_unit_test(who_has_not_declared_it_is_not_told_that_a_page_is_lost),
		cmocka_unit_test(at_the_end_everybody_is_answered),
		cmocka_unit_test(faults_are_counted_by_who_waited),
		cmocka_unit_test(a_vcpu_s_thread_that_faults_in_the_mapping_is_kvm),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
