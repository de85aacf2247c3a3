/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-guest.c - what is armed, what is refused before it, and what stays behind. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "memhelp.h"
#include "memory/guest.h"
#include "memory/place.h"

#define PAGES 64u
#define HALF (PAGES / 2)

static int dirfd = -1;
static struct vmm vmm;
static struct pf_guest guest;

static int set_up(void **state)
{
	(void)state;
	dirfd = dir_make();
	vmm_start(&vmm, PAGES, 2, 0, -1);
	guest_fill(&guest, &vmm, PAGES);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	dir_remove(dirfd);
	return 0;
}

static void arm(void)
{
	struct pf_err err = {0};

	if (pf_guest_arm(&guest, dirfd, &err))
		fail_msg("%s", err.text);
}

/* Whatever was registered is not any more: a page that was never touched comes at once. */
static void assert_nothing_traps(uint64_t page)
{
	vmm_tell(&vmm, VMM_READ, 0, page, 0);
	vmm_reply(&vmm);
	vmm_tell(&vmm, VMM_READ, 1, page, 0);
	vmm_reply(&vmm);
}

static void assert_refused(const char *why)
{
	struct pf_err err = {0};

	assert_int_equal(pf_guest_arm(&guest, dirfd, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	assert_null(guest.journal.map);
	assert_null(guest.uffd[0].ring.slot);
}

/* The memory as two regions that share the file and the userfaultfds. */
static void split(void)
{
	guest.table.count = 2;
	guest.table.region[0].size = HALF * PAGE;
	guest.table.region[1] = guest.table.region[0];
	guest.table.region[1].gpa = UINT64_C(1) << 32;
	guest.region[1] = guest.region[0];
	guest.region[1].id = 8;
	guest.region[1].offset = HALF * PAGE;
	guest.region[1].fd = fcntl(vmm.memfd, F_DUPFD_CLOEXEC, 0);
	assert_true(guest.region[1].fd >= 0);
	for (uint32_t m = 0; m < guest.region[1].mappings; m++)
		guest.region[1].mapping[m].base += HALF * PAGE;
}

static void an_armed_guest_traps_in_every_mapping(void **state)
{
	bool minor;

	(void)state;
	arm();
	assert_int_equal(guest.journal.total, PAGES);
	assert_ptr_equal(guest.region[0].placer, &pf_placer_memfd);
	vmm_tell(&vmm, VMM_READ, 0, 3, 0);
	vmm_tell(&vmm, VMM_WRITE, 1, 4, 1);
	assert_int_equal(guest_fault(&guest, 0, &minor), 3);
	assert_false(minor);
	assert_int_equal(guest_fault(&guest, 1, &minor), 4);
	assert_true(vmm_is_silent(&vmm));
}

static void an_address_is_found_in_its_region_and_nowhere_else(void **state)
{
	uint32_t region;
	uint64_t page;

	(void)state;
	split();
	arm();
	assert_true(pf_guest_find(&guest, 0, vmm.base[0], &region, &page));
	assert_int_equal(region, 0);
	assert_int_equal(page, 0);
	assert_true(pf_guest_find(&guest, 1, vmm.base[1] + PAGES * PAGE - 1, &region, &page));
	assert_int_equal(region, 1);
	assert_int_equal(page, HALF - 1);
	assert_true(pf_guest_find(&guest, 0, vmm.base[0] + HALF * PAGE, &region, &page));
	assert_int_equal(region, 1);
	assert_int_equal(page, 0);
	assert_false(pf_guest_find(&guest, 1, vmm.base[0], &region, &page));
	assert_false(pf_guest_find(&guest, 0, vmm.base[0] - 1, &region, &page));
	assert_false(pf_guest_find(&guest, 0, vmm.base[0] + PAGES * PAGE, &region, &page));
	assert_false(pf_guest_find(&guest, 0, 0, &region, &page));
	assert_false(pf_guest_find(&guest, 0, UINT64_MAX, &region, &page));
}

static void assert_traps_in(uint32_t uffd, uint32_t mapping, uint32_t region, uint64_t page)
{
	const struct uffd_msg *event;
	uint32_t at;
	uint64_t found;

	vmm_tell(&vmm, VMM_READ, mapping, region * HALF + page, 0);
	wait_readable(guest.uffd[uffd].fd);
	assert_int_equal(pf_guest_read(&guest, uffd), PF_RING_EVENTS);
	event = pf_ring_peek(&guest.uffd[uffd].ring);
	assert_true(pf_guest_find(&guest, uffd, event->arg.pagefault.address, &at, &found));
	assert_int_equal(at, region);
	assert_int_equal(found, page);
	pf_ring_pop(&guest.uffd[uffd].ring);
}

/* As by a VMM that sends it beside each region: SCM_RIGHTS makes two descriptors of it. */
static void a_userfaultfd_that_comes_twice_is_one(void **state)
{
	(void)state;
	split();
	guest.uffd[3] = guest.uffd[1];
	guest.uffd[1].fd = fcntl(vmm.uffd[0], F_DUPFD_CLOEXEC, 0);
	guest.uffd[2].fd = fcntl(vmm.uffd[0], F_DUPFD_CLOEXEC, 0);
	guest.uffds = 4;
	guest.region[0].mapping[1].uffd = guest.region[1].mapping[1].uffd = 3;
	guest.region[1].mapping[0].uffd = 2;
	arm();
	assert_int_equal(guest.uffds, 2);
	assert_traps_in(0, 0, 1, 3);
	assert_traps_in(0, 0, 0, 4);
	assert_traps_in(1, 1, 1, 5);
	assert_true(vmm_is_silent(&vmm));
}

/* As in a container: for this process from here on, so it is the last test. */
static void refuse_kcmp(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	assert_return_code(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), errno);
	assert_return_code(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), errno);
	assert_int_equal(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0), -1);
}

static void a_userfaultfd_that_comes_twice_is_one_also_without_kcmp(void **state)
{
	int flags = fcntl(vmm.uffd[0], F_GETFL);

	refuse_kcmp();
	a_userfaultfd_that_comes_twice_is_one(state);
	assert_int_equal(fcntl(vmm.uffd[0], F_GETFL), flags | O_NONBLOCK);
}

static void mappings_that_overlap_on_a_userfaultfd_that_comes_twice_are_refused(void **state)
{
	(void)state;
	split();
	guest.uffd[2].fd = fcntl(vmm.uffd[0], F_DUPFD_CLOEXEC, 0);
	guest.uffds = 3;
	guest.region[1].mapping[0].uffd = 2;
	guest.region[1].mapping[0].base -= PAGE;
	assert_refused("region 1 (id 8): one of its mappings overlaps one of region 0");
}

static void pages_that_nobody_declared_are_refused_with_count_and_range(void **state)
{
	char byte = 1;

	(void)state;
	split();
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, (HALF + 5) * PAGE + 17), 1);
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, (HALF + 6) * PAGE), 1);
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, (PAGES - 1) * PAGE), 1);
	assert_int_equal(lseek(vmm.memfd, 12345, SEEK_SET), 12345);
	assert_refused("region 1 (id 8): 3 pages of its memory file are present already");
	assert_refused("the first range is pages 5 to 6");
	/* The VMM shares the file position. */
	assert_int_equal(lseek(vmm.memfd, 0, SEEK_CUR), 12345);
	assert_nothing_traps(20);
}

static void a_vmm_that_touched_a_page_is_refused_until_it_punches_it(void **state)
{
	(void)state;
	vmm_tell(&vmm, VMM_READ, 0, 9, 0);
	vmm_reply(&vmm);
	assert_refused("1 pages of its memory file are present already");
	vmm_tell(&vmm, VMM_REMOVE, 0, 9, 0);
	vmm_reply(&vmm);
	arm();
}

static void memory_that_is_only_reserved_is_accepted(void **state)
{
	bool minor;

	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, PAGES * PAGE), 0);
	arm();
	vmm_tell(&vmm, VMM_READ, 0, 3, 0);
	assert_int_equal(guest_fault(&guest, 0, &minor), 3);
	assert_true(minor);
}

static void what_lies_beside_the_region_in_its_file_is_not_its_matter(void **state)
{
	char byte = 1;

	(void)state;
	guest.region[0].offset = 8 * PAGE;
	guest.table.region[0].size = 8 * PAGE;
	guest.region[0].mapping[0].base += 8 * PAGE;
	guest.region[0].mapping[1].base += 8 * PAGE;
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, 8 * PAGE - 1), 1);
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, 16 * PAGE), 1);
	arm();
}

static void a_file_that_is_not_as_said_is_refused(void **state)
{
	(void)state;
	guest.region[0].kind = PF_MEMORY_GUEST_MEMFD;
	assert_refused("region 0 (id 7): its memory file is said to be a guest_memfd, but is /memfd:");
	guest.region[0].kind = PF_MEMORY_PRIVATE;
	assert_refused("it is private anonymous memory, and comes with a memory file");
	guest.region[0].kind = PF_MEMORY_MEMFD;
	guest.region[0].offset = PAGE;
	assert_refused("too short");
	guest.region[0].offset = 17;
	assert_refused("not a multiple");
	guest.region[0].offset = 0;
	assert_int_equal(ftruncate(vmm.memfd, PAGES * PAGE - 1), 0);
	assert_refused("too short");
	assert_int_equal(ftruncate(vmm.memfd, 0), 0);
	assert_refused("too short");
}

static void a_file_that_cannot_be_written_is_refused(void **state)
{
	char path[48];

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", vmm.memfd);
	close(guest.region[0].fd);
	guest.region[0].fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_refused("not open for reading and writing");
	close(guest.region[0].fd);
	guest.region[0].fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
	assert_refused("O_APPEND");
	close(guest.region[0].fd);
	guest.region[0].fd = fcntl(vmm.memfd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(fcntl(vmm.memfd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
	arm();
	pf_guest_done(&guest);
	guest_fill(&guest, &vmm, PAGES);
	assert_int_equal(fcntl(vmm.memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_refused("sealed against writing");
}

static void mappings_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	guest.region[0].mappings = 0;
	assert_refused("0 mappings");
	guest.region[0].mappings = PF_MAPPINGS_MAX + 1;
	assert_refused("5 mappings");
	guest.region[0].mappings = 2;
	guest.region[0].mapping[1].uffd = 2;
	assert_refused("userfaultfd 2 of 2");
	guest.region[0].mapping[1].uffd = 0;
	guest.region[0].mapping[1].base = vmm.base[0] + PAGE;
	assert_refused("overlaps");
	guest.region[0].mapping[1].base = vmm.base[1] + 1;
	assert_refused("not aligned");
	guest.region[0].mapping[1].base = UINT64_MAX - PAGE + 1;
	assert_refused("wraps around");
	guest.region[0].mappings = 1;
	guest.uffds = 0;
	assert_refused("0 userfaultfds");
	guest.uffds = 2;
}

static void a_page_of_a_file_in_two_regions_is_refused(void **state)
{
	(void)state;
	split();
	guest.region[1].offset = (HALF - 1) * PAGE;
	assert_refused("region 1 (id 8): it shares pages of its memory file with region 0");
}

static void a_userfaultfd_that_is_none_is_refused(void **state)
{
	(void)state;
	close(guest.uffd[1].fd);
	guest.uffd[1].fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	assert_refused("userfaultfd 1: UFFDIO_API was not called");
	assert_nothing_traps(1);
}

/* The first mapping registers, the second is not there: the first must be let go again. */
static void a_registration_that_fails_takes_the_others_back(void **state)
{
	(void)state;
	split();
	vmm_tell(&vmm, VMM_UNMAP, 1, PAGES - 1, 0);
	vmm_reply(&vmm);
	assert_refused("region 1 (id 8): registering traps");
	assert_nothing_traps(2);
	assert_nothing_traps(HALF + 2);
}

static void disarming_lets_everything_go_on(void **state)
{
	struct pf_err err = {0};
	bool minor;

	(void)state;
	arm();
	vmm_tell(&vmm, VMM_READ, 1, 3, 0);
	assert_int_equal(guest_fault(&guest, 1, &minor), 3);
	assert_true(vmm_is_silent(&vmm));
	assert_int_equal(pf_guest_disarm(&guest, &err), 0);
	assert_int_equal(vmm_reply(&vmm).value, 0);
	assert_nothing_traps(30);
}

static void disarming_goes_on_behind_a_mapping_that_fails(void **state)
{
	struct pf_err err = {0};

	(void)state;
	arm();
	close(guest.uffd[0].fd);
	guest.uffd[0].fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(pf_guest_disarm(&guest, &err), -1);
	assert_non_null(strstr(err.text, "region 0 (id 7): removing the traps"));
	vmm_tell(&vmm, VMM_READ, 1, 3, 0);
	vmm_reply(&vmm);
}

static void arming_again_forgets_the_first_time(void **state)
{
	struct pf_err err = {0};
	uint32_t placed;
	const struct pf_run run = {.first = 1, .count = 1};

	(void)state;
	arm();
	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	assert_int_equal(pf_guest_disarm(&guest, &err), 0);
	vmm_tell(&vmm, VMM_REMOVE, 0, 1, 0);
	vmm_reply(&vmm);
	pf_guest_done(&guest);
	guest_fill(&guest, &vmm, PAGES);
	arm();
	assert_int_equal(guest.journal.filled, 0);
	assert_int_equal(pf_journal_state(&guest.journal, 0, 1), PF_PAGE_ABSENT);
}

static void a_reset_forgets_what_came_and_brings_waiting_faults_back(void **state)
{
	const struct pf_run run = {.first = 1, .count = 4};
	struct pf_err err = {0};
	uint32_t placed;
	bool minor, first;

	(void)state;
	arm();
	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	vmm_tell(&vmm, VMM_WRITE, 0, 2, 99);
	vmm_reply(&vmm);
	vmm_tell(&vmm, VMM_READ, 1, 20, 0);
	assert_int_equal(guest_fault(&guest, 1, &minor), 20);
	assert_int_equal(pf_journal_request(&guest.journal, 0, 20, &first), PF_PAGE_ABSENT);
	if (pf_guest_reset(&guest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(guest.journal.filled, 0);
	assert_int_equal(guest_fault(&guest, 1, &minor), 20);
	assert_int_equal(pf_journal_request(&guest.journal, 0, 20, &first), PF_PAGE_ABSENT);
	assert_true(first);
	/* Mapped before: traps again, and what was written to it is gone. */
	vmm_tell(&vmm, VMM_READ, 0, 2, 0);
	assert_int_equal(guest_fault(&guest, 0, &minor), 2);
	assert_false(minor);
	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	assert_int_equal(placed, 4);
	assert_int_equal(vmm_reply(&vmm).value, 0);
}

/* ---- pages that are lost, in a file of which huge pages can be made ---- */

#define FILE_PAGES 1024u /* two of them */
#define LOST 700u
#define FIRST_HUGE 0u
#define LOSTS_HUGE (UINT64_C(2) << 20)

/* As what set_up() makes. */
static void start_again_on_tmpfs(void)
{
	need_collapse();
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	vmm_start(&vmm, FILE_PAGES, 2, 0, tmpfs_file("huge=always"));
	guest_fill(&guest, &vmm, FILE_PAGES);
	arm();
	if (guest.region[0].poisons)
		return;
	fprintf(stderr, "skip lost pages: this kernel has no UFFDIO_POISON\n");
	skip();
}

/* As often as the kernel asks for, while khugepaged has the page table in hand. */
static void lose_or_place(uint64_t page)
{
	const struct pf_run run = {.first = page, .count = 1};
	uint64_t deadline = wait_deadline();
	enum pf_place_result result;
	struct pf_err err = {0};
	uint32_t placed;
	bool lost = true;

	do
		result = page == LOST ? pf_lose_page(&guest, 0, page, &lost, &err)
				      : pf_place_run(&guest, &run, NULL, &placed, &err);
	while (result == PF_PLACE_BUSY && pf_now_ns() < deadline);
	while (result == PF_PLACE_AGAIN && pf_now_ns() < deadline)
		result = pf_map_run(&guest, &run, &err);
	assert_int_equal(result, PF_PLACE_OK);
	assert_true(lost);
}

static void lose_one_and_place_the_others(void)
{
	for (uint64_t page = 0; page < FILE_PAGES; page++)
		lose_or_place(page);
	break_up(vmm.memfd, 5);
	break_up(vmm.memfd, LOST + 5);
}

static void disarm(void)
{
	struct pf_err err = {0};

	if (pf_guest_disarm(&guest, &err))
		fail_msg("%s", err.text);
}

static void assert_touched(uint32_t mapping, uint64_t page, uint64_t word)
{
	vmm_call(&vmm, vmm_touch, mapping, page);
	assert_int_equal(vmm_reply(&vmm).value, word);
}

/* The VMM has not barred it yet. */
static void a_lost_page_is_no_zeros_however_its_file_is_collapsed_once_all_is_disarmed(void **state)
{
	(void)state;
	start_again_on_tmpfs();
	lose_one_and_place_the_others();
	disarm();
	assert_true(collapse(vmm.memfd, FIRST_HUGE));
	(void)collapse(vmm.memfd, LOSTS_HUGE);
	for (uint32_t m = 0; m < 2; m++) {
		assert_touched(m, LOST, GOT_SIGBUS);
		assert_touched(m, LOST - 1, 0);
		assert_touched(m, LOST + 1, 0);
	}
}

static void a_lost_page_whose_poison_is_gone_traps_on_once_all_is_disarmed(void **state)
{
	struct pf_err err = {0};

	(void)state;
	start_again_on_tmpfs();
	lose_one_and_place_the_others();
	assert_true(collapse(vmm.memfd, LOSTS_HUGE));
	disarm();
	vmm_call(&vmm, vmm_touch, 0, LOST);
	WAIT_UNTIL(uffd_blocked(vmm.uffd[0]) == 1);
	assert_touched(1, LOST + 1, 0);
	/* As whoever reads that event does. */
	assert_int_equal(pf_map_run(&guest, &(struct pf_run){.first = LOST, .count = 1}, &err), PF_PLACE_OK);
	assert_int_equal(vmm_reply(&vmm).value, GOT_SIGBUS);
}

static void done_closes_what_it_owns(void **state)
{
	int file = guest.region[0].fd, uffd = guest.uffd[1].fd;
	static struct pf_guest nothing;

	(void)state;
	arm();
	pf_guest_done(&guest);
	assert_int_equal(fcntl(file, F_GETFD), -1);
	assert_int_equal(fcntl(uffd, F_GETFD), -1);
	assert_int_equal(faccessat(dirfd, "journal", F_OK, 0), 0);
	assert_int_equal(faccessat(dirfd, "uffd-1.ring", F_OK, 0), 0);
	pf_guest_done(&nothing);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_armed_guest_traps_in_every_mapping),
		CASE(an_address_is_found_in_its_region_and_nowhere_else),
		CASE(a_userfaultfd_that_comes_twice_is_one),
		CASE(mappings_that_overlap_on_a_userfaultfd_that_comes_twice_are_refused),
		CASE(pages_that_nobody_declared_are_refused_with_count_and_range),
		CASE(a_vmm_that_touched_a_page_is_refused_until_it_punches_it),
		CASE(memory_that_is_only_reserved_is_accepted),
		CASE(what_lies_beside_the_region_in_its_file_is_not_its_matter),
		CASE(a_file_that_is_not_as_said_is_refused),
		CASE(a_file_that_cannot_be_written_is_refused),
		CASE(mappings_that_make_no_sense_are_refused),
		CASE(a_page_of_a_file_in_two_regions_is_refused),
		CASE(a_userfaultfd_that_is_none_is_refused),
		CASE(a_registration_that_fails_takes_the_others_back),
		CASE(disarming_lets_everything_go_on),
		CASE(disarming_goes_on_behind_a_mapping_that_fails),
		CASE(arming_again_forgets_the_first_time),
		CASE(a_reset_forgets_what_came_and_brings_waiting_faults_back),
		CASE(a_lost_page_is_no_zeros_however_its_file_is_collapsed_once_all_is_disarmed),
		CASE(a_lost_page_whose_poison_is_gone_traps_on_once_all_is_disarmed),
		CASE(done_closes_what_it_owns),
		CASE(a_userfaultfd_that_comes_twice_is_one_also_without_kcmp), /* the last: no kcmp(2) behind it */
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
