/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-gmem-refused.c - guest_memfd that cannot be taken, in the kernel of tests/kernel: nothing is
 * trapped or dropped then, and the words say what is wrong.  As root: /dev/kvm, and files of other users.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "base/uffd_abi.h"
#include "gmem_bench.h"
#include "memory/gmem.h"

static void drop_bitmap(struct gmem_bench *gmem)
{
	close(gmem->bench.guest.region[REGION].bitmap_fd);
	gmem->bench.guest.region[REGION].has_bitmap = false;
}

static void short_bitmap(struct gmem_bench *gmem)
{
	assert_int_equal(ftruncate(gmem->bitmap_fd, PAGES / 8 - 1), 0);
}

static void sealed_bitmap(struct gmem_bench *gmem)
{
	munmap(gmem->bitmap, PAGE);
	assert_int_equal(fcntl(gmem->bitmap_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	gmem->bitmap = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, gmem->bitmap_fd, 0);
}

static void another_bitmap(struct gmem_bench *gmem)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(dup3(fd, gmem->bench.guest.region[REGION].bitmap_fd, O_CLOEXEC),
			 gmem->bench.guest.region[REGION].bitmap_fd);
	close(fd);
}

static void memory_as_bitmap(struct gmem_bench *gmem)
{
	const struct pf_guest_region *region = &gmem->bench.guest.region[REGION];

	assert_int_equal(dup3(region->fd, region->bitmap_fd, O_CLOEXEC), region->bitmap_fd);
}

static void clear_bit(struct gmem_bench *gmem)
{
	gmem->bitmap[3] &= ~(1ul << 5);
}

static void present_page(struct gmem_bench *gmem)
{
	gmem_write_page(gmem, 9, 1);
}

static void missing_only(struct gmem_bench *gmem)
{
	(void)gmem;
	kvm_set_parameter("gmem_uffd_minor", "0");
}

static void missing_only_preallocated(struct gmem_bench *gmem)
{
	missing_only(gmem);
	gmem->bench.guest.region[REGION].fill_atomic = true;
	gmem->bench.guest.region[REGION].populated = PF_POPULATED_PREALLOCATED;
}

static void missing_only_atomic(struct gmem_bench *gmem)
{
	missing_only(gmem);
	gmem->bench.guest.region[REGION].fill_atomic = true;
}

static void minor_only(struct gmem_bench *gmem)
{
	(void)gmem;
	kvm_set_parameter("gmem_uffd_missing", "0");
}

/* mincore(2) would say that every page is there. */
static void of_another_user(struct gmem_bench *gmem)
{
	const struct pf_guest_region *region = &gmem->bench.guest.region[REGION];
	int fd = gmem_create_as(PF_GUEST_MEMFD_WRITE, 12345);

	assert_int_equal(dup3(fd, region->fd, O_CLOEXEC), region->fd);
	close(fd);
}

static const struct refusal {
	void (*spoil)(struct gmem_bench *gmem);
	uint64_t flags;
	enum pf_err_class class;
	const char *text;
} refusals[] = {
	{drop_bitmap, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "region 0 (id 7): it has no userfault bitmap: its vCPUs' accesses could not be trapped"},
	{short_bitmap, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "its userfault bitmap has 31 bytes, too short for a bit for each of its 256 pages (32 bytes)"},
	{sealed_bitmap, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "its userfault bitmap is not a memfd that can be written"},
	{another_bitmap, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "its userfault bitmap is not a memfd that can be written"},
	{memory_as_bitmap, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "its userfault bitmap is not a memfd that can be written"},
	{clear_bit, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "the bit of page 197 in its userfault bitmap is clear: a vCPU would read zeros there"},
	{present_page, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "1 pages of its memory file are present already and nobody declared them"},
	{missing_only, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "traps MISSING only on guest_memfd: a page can be seen as soon as the file has it, and its VMM "
	 "does not declare that it then has all of it"},
	{missing_only_preallocated, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "a page can be seen as soon as the file has it, and this one is preallocated"},
	{minor_only, PF_GUEST_MEMFD_WRITE, PF_ERR_SYSTEM,
	 "this kernel's userfaultfd traps MINOR, but not MISSING, on guest_memfd"},
	{of_another_user, PF_GUEST_MEMFD_WRITE, PF_ERR_PROTOCOL,
	 "its memory file belongs to user 12345, and this agent runs as user 0, so that it may not look "
	 "which pages are there"},
	{missing_only_atomic, 0, PF_ERR_SYSTEM,
	 "traps MISSING only on guest_memfd, and the file has no write(2): half a page could be seen"},
};

/* In a process of its own: a kernel that knows no UFFDIO_POISON, as those before Linux 6.6. */
static void without_poison(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PF_UFFDIO_POISON, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = PF_ARRAY_LEN(filter), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(2);
}

static void machine_checks_need_poison_for_whoever_is_no_vcpu(void **state)
{
	struct gmem_bench gmem;
	struct pf_err err = {0};
	int status;
	pid_t pid;

	(void)state;
	gmem_open(&gmem, PF_GUEST_MEMFD_WRITE, 1);
	gmem.bench.guest.region[REGION].machine_checks = true;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		without_poison();
		if (pf_guest_arm(&gmem.bench.guest, gmem.bench.dirfd, &err) == 0)
			_exit(3);
		_exit(err.class != PF_ERR_SYSTEM || !strstr(err.text, "has no UFFDIO_POISON"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	gmem_arm(&gmem);
	gmem_close(&gmem);
}

/* Each leaves memory that can be armed once it is mended: nothing is registered, nothing dropped. */
static void what_cannot_be_trapped_or_kept_whole_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(refusals); i++) {
		struct gmem_bench gmem;

		gmem_open(&gmem, refusals[i].flags, 1);
		refusals[i].spoil(&gmem);
		gmem_assert_refused(&gmem, refusals[i].class, refusals[i].text);
		assert_int_equal(uffd_blocked(gmem.bench.vmm.uffd[0]), 0);
		gmem_close(&gmem);
	}
}

/* Two regions of one file, with a bitmap for both. */
static void open_halves(struct gmem_bench *gmem)
{
	struct pf_guest *guest = &gmem->bench.guest;

	gmem_open(gmem, PF_GUEST_MEMFD_WRITE, 1);
	guest->table.count = 2;
	guest->table.region[0].size = guest->table.region[1].gpa = PAGES / 2 * PAGE;
	guest->table.region[1].size = PAGES / 2 * PAGE;
	guest->table.region[1].page_size = PAGE;
	guest->region[1] = guest->region[0];
	guest->region[1].id = 8;
	guest->region[1].fd = fcntl(guest->region[0].fd, F_DUPFD_CLOEXEC, 3);
	guest->region[1].bitmap_fd = fcntl(guest->region[0].bitmap_fd, F_DUPFD_CLOEXEC, 3);
	guest->region[1].offset = PAGES / 2 * PAGE;
	guest->region[1].mapping[0].base += PAGES / 2 * PAGE;
}

static void two_regions_with_one_bitmap_are_refused(void **state)
{
	struct gmem_bench gmem;

	(void)state;
	open_halves(&gmem);
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
			    "region 1 (id 8): it shares its userfault bitmap with region 0");
	gmem_close(&gmem);
}

/* A memfd like any other, so that only the pair tells: pages that come would be bits of the other region. */
static void a_bitmap_that_is_the_memory_of_another_region_is_refused(void **state)
{
	struct gmem_bench gmem;
	struct pf_guest_region *first = gmem.bench.guest.region, *second = first + 1;

	(void)state;
	open_halves(&gmem);
	close(second->fd);
	second->fd = second->bitmap_fd;
	second->has_bitmap = false;
	second->kind = PF_MEMORY_MEMFD;
	assert_int_equal(ftruncate(second->fd, PAGES * PAGE), 0);
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
			    "region 1 (id 8): its memory is the userfault bitmap of region 0");
	/* And the other way round. */
	first->fd = dup3(second->fd, first->fd, O_CLOEXEC);
	first->has_bitmap = false;
	close(first->bitmap_fd);
	first->kind = PF_MEMORY_MEMFD;
	second->fd = gmem_create(PF_GUEST_MEMFD_WRITE);
	second->has_bitmap = true;
	second->bitmap_fd = fcntl(first->fd, F_DUPFD_CLOEXEC, 3);
	second->kind = PF_MEMORY_GUEST_MEMFD;
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
			    "region 1 (id 8): its userfault bitmap is the memory of region 0");
	gmem_close(&gmem);
}

static void a_memfd_said_to_be_a_guest_memfd_is_refused(void **state)
{
	struct gmem_bench gmem;
	const struct pf_guest_region *region = &gmem.bench.guest.region[REGION];
	pf_auto_fd int other = memfd_create("other", MFD_CLOEXEC);

	(void)state;
	gmem_open(&gmem, PF_GUEST_MEMFD_WRITE, 1);
	assert_int_equal(ftruncate(other, PAGES * PAGE), 0);
	assert_int_equal(dup3(other, region->fd, O_CLOEXEC), region->fd);
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL, "is said to be a guest_memfd, but is /memfd:other");
	gmem_close(&gmem);
}

/* Through write(2), and where there is none, through the agent's own mapping. */
static void a_mapping_of_another_file_is_refused(void **state)
{
	for (unsigned writes = 0; writes < 2; writes++) {
		uint64_t flags = writes ? PF_GUEST_MEMFD_WRITE : 0;
		struct gmem_bench gmem;
		const struct pf_guest_region *region = &gmem.bench.guest.region[REGION];
		pf_auto_fd int other = gmem_create(flags);

		(void)state;
		gmem_open(&gmem, flags, 1);
		assert_int_equal(dup3(other, region->fd, O_CLOEXEC), region->fd);
		gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
				    "mapping 0 does not show page 0, which its memory file has");
		assert_false(file_has_page(other, 0));
		assert_false(file_has_page(gmem.bench.vmm.memfd, 0));
		assert_false(gmem_lets_in(&gmem, 0));
		gmem_close(&gmem);
	}
}

static void what_is_private_to_the_guest_is_refused(void **state)
{
	struct pf_kvm_guest_memfd create = {.size = PAGES * (uint64_t)PAGE};
	pf_auto_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1, fd = -1;
	struct pf_err err = {0};

	(void)state;
	/* Of a machine whose memory can be private: KVM_X86_SW_PROTECTED_VM. */
	vm = ioctl(kvm, KVM_CREATE_VM, 1ul);
	if (vm < 0)
		vm = ioctl(kvm, KVM_CREATE_VM, 0ul);
	fd = ioctl(vm, PF_KVM_CREATE_GUEST_MEMFD, &create);
	assert_true(fd >= 0);
	assert_null(pf_gmem_map(fd, 0, PAGES * PAGE, true, &err));
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.hint, "GUEST_MEMFD_FLAG_MMAP"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_cannot_be_trapped_or_kept_whole_is_refused),
		cmocka_unit_test(two_regions_with_one_bitmap_are_refused),
		cmocka_unit_test(a_bitmap_that_is_the_memory_of_another_region_is_refused),
		cmocka_unit_test(a_memfd_said_to_be_a_guest_memfd_is_refused),
		cmocka_unit_test(a_mapping_of_another_file_is_refused),
		cmocka_unit_test(what_is_private_to_the_guest_is_refused),
		cmocka_unit_test(machine_checks_need_poison_for_whoever_is_no_vcpu),
	};

	if (uffd_refused() || gmem_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
