/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-proof.c - mappings that show their file, or something else; and no page that is left behind. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "memhelp.h"
#include "memory/place.h"
#include "memory/proof.h"

#define PAGES 2048u /* 8 MiB: whole pieces of 2 MiB, wherever it begins */
#define LAST (PAGES - 1)

static struct vmm vmm;
static struct pf_guest guest;
static int dirfd_;

static void open_vmm_of(int file)
{
	dirfd_ = dir_make();
	vmm_start(&vmm, PAGES, 2, UFFD_FEATURE_EVENT_REMOVE, file);
	guest_fill(&guest, &vmm, PAGES);
}

static int open_vmm(void **state)
{
	(void)state;
	open_vmm_of(-1);
	return 0;
}

static int close_vmm(void **state)
{
	(void)state;
	vmm_stop(&vmm);
	pf_guest_done(&guest);
	dir_remove(dirfd_);
	return 0;
}

static blkcnt_t blocks(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

static void arm(void)
{
	struct pf_err err = {0};

	if (pf_guest_arm(&guest, dirfd_, &err))
		fail_msg("%s", err.text);
}

static void assert_refused(const char *says)
{
	struct pf_err err = {0};

	assert_int_equal(pf_guest_arm(&guest, dirfd_, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	if (!strstr(err.text, says) || !strstr(err.hint, "where this file is mapped shared"))
		fail_msg("%s (%s)", err.text, err.hint);
}

static void assert_traps(uint32_t mapping, uint64_t page, bool minor)
{
	bool was_minor;

	vmm_tell(&vmm, VMM_READ, mapping, page, 0);
	assert_int_equal(guest_fault(&guest, mapping, &was_minor), page);
	assert_int_equal(was_minor, minor);
	assert_true(vmm_is_silent(&vmm));
}

/* Something else is mapped than what is said to be: the region's file is another one. */
static int use_other_file(void)
{
	int other = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(other, (off_t)PAGES * PAGE), 0);
	assert_int_equal(dup2(other, guest.region[0].fd), guest.region[0].fd);
	return other;
}

static void after_the_proof_no_page_is_there_and_each_traps(void **state)
{
	(void)state;
	arm();
	assert_int_equal(blocks(vmm.memfd), 0);
	for (uint32_t mapping = 0; mapping < 2; mapping++) {
		assert_traps(mapping, 0, false);
		assert_traps(mapping, LAST, false);
	}
}

static void a_mapping_of_another_file_is_refused_and_nothing_stays(void **state)
{
	int other = use_other_file();

	(void)state;
	assert_refused("mapping 0 does not show page 0, which its memory file has");
	assert_int_equal(blocks(vmm.memfd), 0);
	assert_int_equal(blocks(other), 0);
	close(other);
}

/* Its page is shown where the region's file has none. */
static void another_file_that_has_the_page_is_refused_too(void **state)
{
	int other = use_other_file();
	uint8_t byte = 1;

	(void)state;
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, 0), 1);
	assert_refused("mapping 0 shows a page 0, which its memory file has not");
	assert_int_equal(blocks(other), 0);
	close(other);
}

static void a_mapping_of_another_part_of_the_file_is_refused(void **state)
{
	(void)state;
	guest.table.region[0].size = (uint64_t)PAGES / 2 * PAGE;
	guest.region[0].offset = (uint64_t)PAGES / 2 * PAGE;
	assert_refused("mapping 0 does not show page 0");
	assert_int_equal(blocks(vmm.memfd), 0);
}

/* In the VMM. */
static uint64_t map_private(const struct vmm_memory *memory, uint64_t pages)
{
	return mmap(memory->base, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, memory->fd,
		    0) == MAP_FAILED
		       ? (uint64_t)errno
		       : 0;
}

static void assert_private_is_refused(void)
{
	blkcnt_t before = blocks(vmm.memfd);
	struct pf_err err = {0};

	vmm_call(&vmm, map_private, 1, PAGES);
	assert_int_equal(vmm_reply(&vmm).value, 0);
	assert_int_equal(pf_guest_arm(&guest, dirfd_, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_string_equal(err.hint, "map the memory file with MAP_SHARED");
	assert_non_null(strstr(err.text, "mapping 1 is private"));
	assert_int_equal(blocks(vmm.memfd), before);
}

/* The first is shared, and right. */
static void a_private_mapping_of_the_file_is_refused(void **state)
{
	(void)state;
	assert_private_is_refused();
}

static void a_private_mapping_of_what_is_preallocated_is_refused(void **state)
{
	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	assert_private_is_refused();
}

/* In the VMM: a page of another file, mapped shared, in place of this one. */
static uint64_t replace_page(const struct vmm_memory *memory, uint64_t page)
{
	int other = memfd_create("other", MFD_CLOEXEC);

	if (ftruncate(other, PAGE))
		return (uint64_t)errno;
	return mmap(memory->base + page * PAGE, PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, other, 0) == MAP_FAILED
		       ? (uint64_t)errno
		       : 0;
}

/* The first of two mappings is right, and the beginning of the second. */
static void a_mapping_whose_end_is_something_else_is_refused(void **state)
{
	(void)state;
	vmm_call(&vmm, replace_page, 1, LAST);
	assert_int_equal(vmm_reply(&vmm).value, 0);
	assert_refused("mapping 1 does not show page 2047");
	assert_int_equal(blocks(vmm.memfd), 0);
}

static void what_is_preallocated_stays_so_and_traps(void **state)
{
	blkcnt_t before;

	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	before = blocks(vmm.memfd);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm();
	assert_int_equal(blocks(vmm.memfd), before);
	assert_traps(0, 0, true);
	assert_traps(1, LAST, true);
}

static void preallocated_memory_that_is_not_mapped_there_is_refused(void **state)
{
	int other = use_other_file();
	blkcnt_t before;

	(void)state;
	assert_int_equal(fallocate(other, 0, 0, (off_t)PAGES * PAGE), 0);
	before = blocks(other);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	assert_refused("mapping 0 does not show page 0");
	assert_int_equal(blocks(other), before);
	close(other);
}

static void place_zeros(uint64_t first)
{
	const struct pf_run run = {.first = first, .count = 4};
	struct pf_err err = {0};
	uint32_t placed;

	assert_int_equal(pf_place_run(&guest, &run, NULL, &placed, &err), PF_PLACE_OK);
}

static void what_is_preallocated_stays_so_when_the_source_starts_again(void **state)
{
	struct pf_err err = {0};
	blkcnt_t before;

	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	before = blocks(vmm.memfd);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm();
	place_zeros(10);
	if (pf_guest_reset(&guest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(blocks(vmm.memfd), before);
	assert_traps(0, 10, true);
	assert_traps(1, LAST, true);
}

/* Somebody takes the room that the VMM had reserved, page by page. */
static void room_that_is_gone_when_the_source_starts_again_is_an_error(void **state)
{
	struct pf_err err = {0};

	(void)state;
	open_vmm_of(tmpfs_file("size=8m"));
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm();
	assert_int_equal(fallocate(vmm.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
	assert_int_equal(fallocate(vmm.memfd, 0, (off_t)PAGES * PAGE, PAGE), 0);
	assert_int_equal(pf_guest_reset(&guest, &err), -1);
	assert_int_equal(err.sys, ENOSPC);
	assert_non_null(strstr(err.text, "reserving the 8388608 preallocated bytes of region 0 again"));
	assert_non_null(strstr(err.hint, "make room for the guest"));
	close_vmm(state);
}

/* Reserved and not declared: no data, so that it is no refusal, and stays reserved. */
static void an_undeclared_reservation_is_no_other_file(void **state)
{
	blkcnt_t before;

	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	before = blocks(vmm.memfd);
	arm();
	assert_int_equal(blocks(vmm.memfd), before);
	assert_traps(0, 0, true);
	assert_traps(0, LAST, true);
}

/* One page comes with its 511 neighbours. */
static void with_huge_always_nothing_stays_either(void **state)
{
	(void)state;
	open_vmm_of(tmpfs_file("huge=always"));
	arm();
	assert_int_equal(blocks(vmm.memfd), 0);
	assert_traps(0, 0, false);
	assert_traps(1, LAST, false);
	close_vmm(state);
}

static void with_huge_always_what_is_preallocated_stays_so(void **state)
{
	blkcnt_t before;

	(void)state;
	open_vmm_of(tmpfs_file("huge=always"));
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	before = blocks(vmm.memfd);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm();
	assert_int_equal(blocks(vmm.memfd), before);
	assert_traps(0, 0, true);
	assert_traps(1, LAST, true);
	close_vmm(state);
}

/* The commit would be followed by a guest that can have no page. */
static void a_file_system_without_room_is_refused(void **state)
{
	int file = tmpfs_file("size=4k");
	struct pf_err err = {0};

	(void)state;
	/* A page behind the region takes all the room that there is. */
	assert_int_equal(fallocate(file, 0, (off_t)PAGES * PAGE, PAGE), 0);
	open_vmm_of(file);
	assert_int_equal(pf_guest_arm(&guest, dirfd_, &err), -1);
	assert_int_equal(err.class, PF_ERR_SYSTEM);
	assert_int_equal(err.sys, ENOSPC);
	assert_non_null(strstr(err.hint, "make room for the guest"));
	close_vmm(state);
}

/* Who touches it before he may is not let in to the page that is there for a moment. */
static void who_waits_already_waits_on(void **state)
{
	(void)state;
	arm();
	assert_traps(0, 0, false);
	assert_int_equal(pf_proof_check(&guest, 0, &(struct pf_err){0}), 0);
	assert_true(vmm_is_silent(&vmm));
	assert_int_equal(uffd_blocked(vmm.uffd[0]), 1);
}

/* Until its event is read, and it has gone on, nothing can be mapped there (EAGAIN). */
static void a_discard_holds_the_proof_up_for_a_moment_only(void **state)
{
	(void)state;
	arm();
	vmm_tell(&vmm, VMM_REMOVE, 0, 1, 1);
	wait_readable(vmm.uffd[0]);
	assert_false(pf_guest_let_discard(&guest, 0, pf_now_ns() - 1));
	assert_null(pf_ring_peek(&guest.uffd[0].ring));
	assert_int_equal(pf_proof_check(&guest, 0, &(struct pf_err){0}), 0);
	assert_int_equal(pf_ring_peek(&guest.uffd[0].ring)->event, UFFD_EVENT_REMOVE);
	assert_int_equal(vmm_reply(&vmm).op, VMM_REMOVE);
}

/* ---- a process that dies in it ---- */

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* The kernel kills the process when it calls this with that second argument, before anything is done. */
static void die_at(uint32_t call, uint32_t second)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(1);
}

static void arm_and_die(uint32_t call, uint32_t second)
{
	pid_t pid = fork();
	struct pf_err err;
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		die_at(call, second);
		(void)!pf_guest_arm(&guest, dirfd_, &err);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* Twice with a page that is shown: also in the middle of taking it back.  Then with one that is reserved. */
static void arm_behind_the_dead(void)
{
	blkcnt_t before = blocks(vmm.memfd);
	bool minor = before > 0;

	arm_and_die(SYS_fallocate, PUNCH);
	assert_true(blocks(vmm.memfd) > 0);
	arm_and_die(SYS_fallocate, PUNCH);
	arm_and_die(SYS_ioctl, (uint32_t)UFFDIO_CONTINUE);
	arm();
	assert_int_equal(blocks(vmm.memfd), before);
	assert_traps(0, 0, minor);
	assert_traps(1, LAST, minor);
}

static void what_a_process_that_died_has_left_is_taken_back(void **state)
{
	(void)state;
	arm_behind_the_dead();
}

static void what_it_has_left_of_a_reservation_is_reserved_again(void **state)
{
	(void)state;
	assert_int_equal(fallocate(vmm.memfd, 0, 0, (off_t)PAGES * PAGE), 0);
	guest.region[0].populated = PF_POPULATED_PREALLOCATED;
	arm_behind_the_dead();
}

static void with_huge_always_what_it_has_left_is_a_whole_piece(void **state)
{
	open_vmm_of(tmpfs_file("huge=always"));
	arm_behind_the_dead();
	close_vmm(state);
}

/* Its page is no page of this file. */
static void what_it_has_left_elsewhere_is_no_reason_to_punch_here(void **state)
{
	int other = use_other_file();
	struct pf_err err = {0};
	uint8_t byte = 1;

	(void)state;
	arm_and_die(SYS_fallocate, PUNCH);
	assert_int_equal(dup2(vmm.memfd, guest.region[0].fd), guest.region[0].fd);
	assert_int_equal(pwrite(vmm.memfd, &byte, 1, 0), 1);
	assert_int_equal(pf_guest_arm(&guest, dirfd_, &err), -1);
	assert_true(file_has_page(vmm.memfd, 0));
	close(other);
}

int main(void)
{
#define PROOF(test) cmocka_unit_test_setup_teardown(test, open_vmm, close_vmm)
	const struct CMUnitTest tests[] = {
		PROOF(after_the_proof_no_page_is_there_and_each_traps),
		PROOF(a_mapping_of_another_file_is_refused_and_nothing_stays),
		PROOF(another_file_that_has_the_page_is_refused_too),
		PROOF(a_mapping_of_another_part_of_the_file_is_refused),
		PROOF(a_mapping_whose_end_is_something_else_is_refused),
		PROOF(a_private_mapping_of_the_file_is_refused),
		PROOF(a_private_mapping_of_what_is_preallocated_is_refused),
		PROOF(what_is_preallocated_stays_so_and_traps),
		PROOF(preallocated_memory_that_is_not_mapped_there_is_refused),
		PROOF(what_is_preallocated_stays_so_when_the_source_starts_again),
		cmocka_unit_test(room_that_is_gone_when_the_source_starts_again_is_an_error),
		PROOF(an_undeclared_reservation_is_no_other_file),
		PROOF(who_waits_already_waits_on),
		PROOF(a_discard_holds_the_proof_up_for_a_moment_only),
		PROOF(what_a_process_that_died_has_left_is_taken_back),
		PROOF(what_it_has_left_of_a_reservation_is_reserved_again),
		PROOF(what_it_has_left_elsewhere_is_no_reason_to_punch_here),
		cmocka_unit_test(with_huge_always_what_it_has_left_is_a_whole_piece),
		cmocka_unit_test(a_file_system_without_room_is_refused),
		cmocka_unit_test(with_huge_always_nothing_stays_either),
		cmocka_unit_test(with_huge_always_what_is_preallocated_stays_so),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
