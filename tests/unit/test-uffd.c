/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-uffd.c - what is adopted, and what each ioctl's answer means. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/uffd.h"

#define PAGES 16u
#define BOTH (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR)

static int make_uffd(uint64_t features, int flags)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static void assert_adopt_refused(int fd, const char *why)
{
	struct pf_err err = {0};
	uint64_t features;

	assert_int_equal(pf_uffd_adopt(fd, &features, &err), -1);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void an_adopted_uffd_does_not_block_and_tells_its_features(void **state)
{
	int fd = make_uffd(UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MINOR_SHMEM, 0);
	struct pf_err err = {0};
	uint64_t features = 0;

	(void)state;
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	if (pf_uffd_adopt(fd, &features, &err))
		fail_msg("%s", err.text);
	assert_int_equal(features, UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MINOR_SHMEM);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	fd = make_uffd(0, O_NONBLOCK);
	assert_int_equal(pf_uffd_adopt(fd, &features, &err), 0);
	assert_int_equal(features, 0);
	close(fd);
}

static void what_cannot_be_served_is_not_adopted(void **state)
{
	static const struct {
		uint64_t feature;
		const char *name;
	} unwanted[] = {{UFFD_FEATURE_EVENT_FORK, "EVENT_FORK"},
			{UFFD_FEATURE_EVENT_REMAP, "EVENT_REMAP"},
			{UFFD_FEATURE_EVENT_UNMAP, "EVENT_UNMAP"}};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	(void)state;
	assert_adopt_refused(fd, "UFFDIO_API was not called");
	close(fd);
	fd = memfd_create("no-uffd", MFD_CLOEXEC);
	assert_adopt_refused(fd, "not a userfaultfd");
	close(fd);
	assert_adopt_refused(fd, "/proc/self/fdinfo/");
	for (unsigned i = 0; i < 3; i++) {
		fd = make_uffd(unwanted[i].feature, O_NONBLOCK);
		assert_adopt_refused(fd, unwanted[i].name);
		close(fd);
	}
}

/* A memfd mapped here and registered; nobody touches the mapping, so nothing blocks. */
struct mapped {
	int memfd, uffd;
	uint8_t *base;
	uint64_t at;
};

static void map_memfd(struct mapped *mapped)
{
	struct pf_err err = {0};

	mapped->memfd = memfd_create("guest", MFD_CLOEXEC);
	mapped->uffd = make_uffd(0, O_NONBLOCK);
	assert_int_equal(ftruncate(mapped->memfd, PAGES * PAGE), 0);
	mapped->base = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped->memfd,
			    0);
	assert_true(mapped->base != MAP_FAILED);
	mapped->at = (uint64_t)(uintptr_t)mapped->base;
	if (pf_uffd_register(mapped->uffd, mapped->at, PAGES * PAGE, BOTH, &err))
		fail_msg("%s", err.text);
}

static void unmap_memfd(struct mapped *mapped)
{
	munmap(mapped->base, PAGES * PAGE);
	close(mapped->uffd);
	close(mapped->memfd);
}

static void put_pages(const struct mapped *mapped, uint64_t first, uint32_t count)
{
	uint8_t bytes[PAGES * PAGE];

	page_fill(bytes, first, count);
	assert_int_equal(pwrite(mapped->memfd, bytes, count * PAGE, (off_t)(first * PAGE)),
			 count * PAGE);
}

static void continue_stops_where_it_must_and_says_why(void **state)
{
	struct mapped mapped;
	uint64_t done = 99;

	(void)state;
	map_memfd(&mapped);
	put_pages(&mapped, 0, 3);
	/* Three are there, the fourth is not. */
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, 8 * PAGE, &done), PF_MAP_ABSENT);
	assert_int_equal(done, 3 * PAGE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, PAGE, &done), PF_MAP_EXISTS);
	assert_int_equal(done, 0);
	/* Page 3 is new, page 4 is mapped already. */
	put_pages(&mapped, 3, 3);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 4 * PAGE, PAGE, &done),
			 PF_MAP_DONE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 3 * PAGE, 3 * PAGE, &done),
			 PF_MAP_EXISTS);
	assert_int_equal(done, PAGE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 5 * PAGE, PAGE, &done),
			 PF_MAP_DONE);
	assert_int_equal(done, PAGE);
	assert_int_equal(mapped.base[5 * PAGE], (uint8_t)page_word(5));
	unmap_memfd(&mapped);
}

static void nonsense_fails_with_its_errno(void **state)
{
	struct mapped mapped;
	uint64_t done;

	(void)state;
	map_memfd(&mapped);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 1, PAGE, &done), PF_MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(pf_uffd_wake(mapped.uffd, mapped.at, 1), PF_MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(pf_uffd_wake(mapped.uffd, mapped.at, PAGE), PF_MAP_DONE);
	assert_int_equal(pf_uffd_continue(-1, mapped.at, PAGE, &done), PF_MAP_FAILED);
	assert_int_equal(errno, EBADF);
	unmap_memfd(&mapped);
}

static void a_mapping_that_is_gone_is_told_from_a_process_that_is_gone(void **state)
{
	struct mapped mapped;
	uint64_t done;

	(void)state;
	map_memfd(&mapped);
	put_pages(&mapped, 0, 1);
	munmap(mapped.base, PAGES * PAGE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, PAGE, &done), PF_MAP_UNMAPPED);
	assert_int_equal(done, 0);
	assert_int_equal(pf_uffd_wake(mapped.uffd, mapped.at, PAGE), PF_MAP_DONE);
	close(mapped.uffd);
	close(mapped.memfd);
}

/* Also a page that is still there, but traps no more, is not ours to map. */
static void a_border_within_the_mapping_stops_a_run_and_each_side_of_it_can_be_mapped(void **state)
{
	struct pf_err err = {0};
	struct mapped mapped;
	uint64_t done = 99;

	(void)state;
	map_memfd(&mapped);
	put_pages(&mapped, 0, 8);
	assert_int_equal(madvise(mapped.base + 3 * PAGE, PAGE, MADV_DONTDUMP), 0);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, 4 * PAGE, &done),
			 PF_MAP_UNMAPPED);
	assert_int_equal(done, 0);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, 3 * PAGE, &done), PF_MAP_DONE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 3 * PAGE, PAGE, &done),
			 PF_MAP_DONE);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at + 4 * PAGE, 4 * PAGE, &done),
			 PF_MAP_DONE);
	assert_int_equal(mapped.base[3 * PAGE], (uint8_t)page_word(3));
	assert_int_equal(pf_uffd_unregister(mapped.uffd, mapped.at, PAGE, &err), 0);
	assert_int_equal(pf_uffd_continue(mapped.uffd, mapped.at, PAGE, &done), PF_MAP_UNMAPPED);
	/* What was cut is unregistered in one piece. */
	assert_int_equal(pf_uffd_unregister(mapped.uffd, mapped.at, PAGES * PAGE, &err), 0);
	unmap_memfd(&mapped);
}

static void a_process_that_is_gone_is_told_from_a_failure(void **state)
{
	struct pf_err err = {0};
	struct vmm vmm;
	uint64_t done;

	(void)state;
	vmm_start(&vmm, PAGES, 1, 0, -1);
	assert_int_equal(pf_uffd_register(vmm.uffd[0], vmm.base[0], PAGES * PAGE, BOTH, &err), 0);
	vmm_kill(&vmm);
	assert_int_equal(pf_uffd_continue(vmm.uffd[0], vmm.base[0], PAGE, &done), PF_MAP_GONE);
	assert_int_equal(done, 0);
	assert_int_equal(pf_uffd_wake(vmm.uffd[0], vmm.base[0], PAGE), PF_MAP_DONE);
	assert_int_equal(pf_uffd_unregister(vmm.uffd[0], vmm.base[0], PAGES * PAGE, &err), -1);
	assert_non_null(strstr(err.hint, "may have ended"));
	vmm_stop(&vmm);
}

static void memory_that_cannot_be_trapped_is_refused_in_words(void **state)
{
	int uffd = make_uffd(0, O_NONBLOCK), other = make_uffd(0, O_NONBLOCK);
	struct pf_err err = {0};
	struct mapped mapped;
	void *private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(private != MAP_FAILED);
	assert_int_equal(pf_uffd_register(uffd, (uint64_t)(uintptr_t)private, PAGES * PAGE, BOTH,
					  &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(err.sys, EINVAL);
	assert_non_null(strstr(err.text, "registering traps for 0x"));
	assert_non_null(strstr(err.hint, "MAP_SHARED"));
	map_memfd(&mapped);
	assert_int_equal(pf_uffd_register(other, mapped.at, PAGES * PAGE, BOTH, &err), -1);
	assert_int_equal(err.sys, EBUSY);
	assert_non_null(strstr(err.hint, "another userfaultfd"));
	unmap_memfd(&mapped);
	munmap(private, PAGES * PAGE);
	close(uffd);
	close(other);
}

static void unregistering_lets_a_blocked_thread_go_on(void **state)
{
	struct pf_err err = {0};
	struct vmm vmm;

	(void)state;
	vmm_start(&vmm, PAGES, 1, 0, -1);
	assert_int_equal(pf_uffd_register(vmm.uffd[0], vmm.base[0], PAGES * PAGE, BOTH, &err), 0);
	vmm_tell(&vmm, VMM_READ, 0, 3, 0);
	wait_readable(vmm.uffd[0]);
	assert_true(vmm_is_silent(&vmm));
	assert_int_equal(pf_uffd_unregister(vmm.uffd[0], vmm.base[0], PAGES * PAGE, &err), 0);
	assert_int_equal(vmm_reply(&vmm).value, 0);
	vmm_stop(&vmm);
}

/* One WAKE makes a thread whose event was read by somebody who forgot it fault again. */
static void waking_a_region_brings_its_faults_back(void **state)
{
	struct uffd_msg event;
	struct pf_err err = {0};
	struct vmm vmm;

	(void)state;
	vmm_start(&vmm, PAGES, 1, 0, -1);
	assert_int_equal(pf_uffd_register(vmm.uffd[0], vmm.base[0], PAGES * PAGE, BOTH, &err), 0);
	vmm_tell(&vmm, VMM_READ, 0, 3, 0);
	for (int i = 0; i < 3; i++) {
		wait_readable(vmm.uffd[0]);
		assert_int_equal(read(vmm.uffd[0], &event, sizeof(event)), sizeof(event));
		assert_int_equal(event.arg.pagefault.address, vmm.base[0] + 3 * PAGE);
		assert_int_equal(pf_uffd_wake(vmm.uffd[0], vmm.base[0], PAGES * PAGE),
				 PF_MAP_DONE);
	}
	assert_true(vmm_is_silent(&vmm));
	vmm_stop(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_adopted_uffd_does_not_block_and_tells_its_features),
		cmocka_unit_test(what_cannot_be_served_is_not_adopted),
		cmocka_unit_test(continue_stops_where_it_must_and_says_why),
		cmocka_unit_test(nonsense_fails_with_its_errno),
		cmocka_unit_test(a_mapping_that_is_gone_is_told_from_a_process_that_is_gone),
		cmocka_unit_test(
			a_border_within_the_mapping_stops_a_run_and_each_side_of_it_can_be_mapped),
		cmocka_unit_test(a_process_that_is_gone_is_told_from_a_failure),
		cmocka_unit_test(memory_that_cannot_be_trapped_is_refused_in_words),
		cmocka_unit_test(unregistering_lets_a_blocked_thread_go_on),
		cmocka_unit_test(waking_a_region_brings_its_faults_back),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
