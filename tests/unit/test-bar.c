/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-bar.c - behind what was a lost page there is nothing, whatever becomes of its file's page tables.
 *
 * The memory is this process's, with traps of its own; the agent is played by the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "memhelp.h"
#include "memory/uffd.h"
#include "tests/unit/vmm_scene.h"
#include "vmm/bar.h"

#define PAGES 1024u
#define LOST 1016u /* and the next one */
#define LONE 3u	   /* lost too */
#define MAPPINGS 2u

struct memory {
	int fd, uffd[MAPPINGS];
	uint8_t *base[MAPPINGS];
};

static uint64_t address(const struct memory *memory, uint32_t mapping, uint64_t page)
{
	return (uintptr_t)memory->base[mapping] + page * PAGE;
}

static uint64_t word_at(const struct memory *memory, uint32_t mapping, uint64_t page)
{
	return read_or_sigbus(memory->base[mapping] + page * PAGE);
}

/* ---- memory all of whose pages have come, or are lost ---- */

static bool is_lost(uint64_t page)
{
	return page == LONE || page == LOST || page == LOST + 1;
}

/* Every page is in the file; the lost ones as they are of tmpfs where a neighbour was written. */
static void fill(const struct memory *memory)
{
	uint8_t bytes[PAGE];

	for (uint64_t page = 0; page < PAGES; page++) {
		page_fill(bytes, page, 1);
		memset(bytes, 0, is_lost(page) ? PAGE : 0);
		assert_int_equal(pwrite(memory->fd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
	}
	break_up(memory->fd, LONE);
	break_up(memory->fd, LOST);
}

static int new_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &(struct uffdio_api){.api = UFFD_API}), 0);
	return fd;
}

/* AGAIN while khugepaged has the page table in hand. */
static void place(const struct memory *memory, uint32_t m, uint64_t page)
{
	uint64_t deadline = wait_deadline(), at = address(memory, m, page), mapped;
	enum pf_map_result result;

	do {
		assert_true(pf_now_ns() < deadline);
		result = is_lost(page) ? pf_uffd_poison(memory->uffd[m], at, PAGE)
				       : pf_uffd_continue(memory->uffd[m], at, PAGE, &mapped);
	} while (result == PF_MAP_AGAIN);
	assert_int_equal(result, PF_MAP_DONE);
}

static void map(struct memory *memory, uint32_t m)
{
	struct pf_err err = {0};

	memory->base[m] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
	assert_true(memory->base[m] != MAP_FAILED);
	/* By the kernel, of tmpfs with huge=always; elsewhere no page table would be taken away. */
	assert_int_equal((uintptr_t)memory->base[m] % (2 * MIB), 0);
	memory->uffd[m] = new_uffd();
	if (pf_uffd_register_for(memory->uffd[m], address(memory, m, 0), PAGES * PAGE,
				 UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR, 0, &err))
		fail_msg("%s", err.text);
	for (uint64_t page = 0; page < PAGES; page++)
		place(memory, m, page);
}

static void need_poison(void)
{
	int uffd = new_uffd();
	bool poisons = pf_uffd_can_poison(uffd);

	close(uffd);
	if (poisons)
		return;
	fprintf(stderr, "skip barring lost pages: this kernel has no UFFDIO_POISON\n");
	skip();
}

static void memory_open(struct memory *memory)
{
	need_poison();
	need_collapse();
	memory->fd = tmpfs_file("huge=always");
	assert_int_equal(ftruncate(memory->fd, PAGES * PAGE), 0);
	fill(memory);
	for (uint32_t m = 0; m < MAPPINGS; m++)
		map(memory, m);
}

static void close_uffds(struct memory *memory)
{
	for (uint32_t m = 0; m < MAPPINGS; m++)
		pf_close_fd(&memory->uffd[m]);
}

static void memory_close(struct memory *memory)
{
	close_uffds(memory);
	for (uint32_t m = 0; m < MAPPINGS; m++)
		munmap(memory->base[m], PAGES * PAGE);
	close(memory->fd);
}

/* Makes both huge pages; the poison is in neither mapping then. */
static void collapse_all(const struct memory *memory)
{
	for (uint64_t at = 0; at < PAGES * PAGE; at += 2 * MIB)
		assert_true(collapse(memory->fd, at));
}

static void assert_barred(const struct memory *memory)
{
	for (uint32_t m = 0; m < MAPPINGS; m++)
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(word_at(memory, m, page), is_lost(page) ? GOT_SIGBUS : page_word(page));
}

static unsigned bars(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:pageferry-lost ") != NULL;
	fclose(maps);
	return count;
}

/* ---- what the VMM's library does ---- */

static int describe_memory(struct scene *scene, const struct memory *memory, int lost)
{
	const struct pageferry_mapping more = {memory->uffd[1], address(memory, 1, 0)};
	const struct pageferry_region region = {
		.id = 5, .size = PAGES * PAGE, .page_size = PAGE, .kind = PAGEFERRY_MEMFD, .fd = memory->fd,
		.uffd = memory->uffd[0], .base = address(memory, 0, 0), .more = &more, .more_count = 1,
		.bitmap_fd = lost, .lost_bitmap = lost >= 0};

	return pageferry_vmm_regions(scene->vmm, &region, 1);
}

/* Up to what comes before COMPLETE. */
static void begin_with(struct scene *scene, const struct memory *memory, int lost)
{
	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(describe_memory(scene, memory, lost), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "regions_accepted load resume ");
}

static int agents_bitmap(const struct scene *scene)
{
	assert_int_not_equal(scene->heard.regions.region[0].bitmap_fd, PF_VMM_NO_FD);
	return scene->fds[scene->heard.regions.region[0].bitmap_fd];
}

/* As the agent does before COMPLETE; and it closes what it was given. */
static void note_losses(struct scene *scene)
{
	int bitmap = agents_bitmap(scene);
	unsigned long words[PAGES / 64] = {0};

	for (uint64_t page = 0; page < PAGES; page++)
		words[page / 64] |= is_lost(page) ? 1ul << page % 64 : 0;
	assert_int_equal(pwrite(bitmap, words, sizeof(words), 0), sizeof(words));
	while (scene->fd_count > 0)
		close(scene->fds[--scene->fd_count]);
}

/* bitmap: of lost pages, the VMM's; -1. */
static void complete_with(struct scene *scene, int bitmap)
{
	struct memory memory;

	memory_open(&memory);
	begin_with(scene, &memory, bitmap);
	note_losses(scene);
	collapse_all(&memory);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "complete ");
	close_uffds(&memory);
	assert_barred(&memory);
	collapse_all(&memory);
	assert_barred(&memory);
	assert_int_equal(bars(), 2 * MAPPINGS);
	assert_string_equal(pageferry_vmm_error(scene->vmm), "");
	memory_close(&memory);
	assert_int_equal(bars(), 0);
}

static void lost_pages_are_barred_before_complete(void **state)
{
	complete_with(*state, -1);
}

static void a_bitmap_of_the_vmms_own_says_what_to_bar(void **state)
{
	pf_auto_fd int bitmap = memfd_create("lost", MFD_CLOEXEC);

	assert_int_equal(ftruncate(bitmap, PAGES / 8), 0);
	complete_with(*state, bitmap);
}

static void *touch_lost(void *opaque)
{
	const struct memory *memory = opaque;

	return (void *)(uintptr_t)word_at(memory, 1, LOST);
}

/* Its poison is gone, and the agent that would poison it again too. */
static void who_waits_for_a_lost_page_gets_sigbus_when_it_is_barred(void **state)
{
	struct scene *scene = *state;
	struct memory memory;
	pthread_t thread;
	void *found;

	memory_open(&memory);
	begin_with(scene, &memory, -1);
	note_losses(scene);
	collapse_all(&memory);
	assert_int_equal(pthread_create(&thread, NULL, touch_lost, &memory), 0);
	WAIT_UNTIL(uffd_pending(memory.uffd[1]) == 1);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "complete ");
	assert_int_equal(pthread_join(thread, &found), 0);
	assert_int_equal((uintptr_t)found, GOT_SIGBUS);
	memory_close(&memory);
}

/* What is said to the next agent is the same bitmap, or what the first has noted in it is lost. */
static void another_agent_is_told_of_the_same_bitmap(void **state)
{
	struct scene *scene = *state;
	struct memory memory;
	struct stat before, after;

	memory_open(&memory);
	begin_with(scene, &memory, -1);
	assert_int_equal(fstat(agents_bitmap(scene), &before), 0);
	assert_true(before.st_blocks > 0);
	pf_close_fd(&scene->agent);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_int_equal(pageferry_vmm_reattach(scene->vmm), 0);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	agent_hears(scene, PF_VMM_HELLO);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(fstat(agents_bitmap(scene), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	memory_close(&memory);
}

/* ---- what goes wrong ---- */

/* The one of this process that is none of the test's. */
static int kept_uffd(void)
{
	for (int fd = 3; fd < 256; fd++) {
		char path[32], what[64];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, what, sizeof(what) - 1);
		what[length > 0 ? length : 0] = '\0';
		if (strstr(what, "[userfaultfd]"))
			return fd;
	}
	return -1;
}

/* The second mapping is where nothing can be mapped. */
static void what_can_not_be_barred_is_told_and_stays_trapped(void **state)
{
	struct scene *scene = *state;
	struct memory memory;
	uint8_t *real;
	int kept;

	memory_open(&memory);
	real = memory.base[1];
	memory.base[1] = (uint8_t *)(UINT64_C(1) << 62);
	begin_with(scene, &memory, -1);
	note_losses(scene);
	agent_says_word(scene, PF_VMM_COMPLETE);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_told(scene, "complete ");
	assert_non_null(strstr(pageferry_vmm_error(scene->vmm), "region with id 5: its lost pages can not all be "
								"barred: mapping over the 4096 bytes at "
								"0x4000000000003000: "));
	memory.base[1] = real;
	close_uffds(&memory);
	for (uint32_t m = 0; m < MAPPINGS; m++) {
		kept = kept_uffd();
		assert_true(kept >= 0);
		close(kept);
	}
	assert_int_equal(kept_uffd(), -1);
	memory_close(&memory);
}

/* A VMM that just fitted fits as before: nothing is refused for what it did not ask for. */
static void no_bitmap_is_added_where_no_descriptor_finds_room(void **state)
{
	struct pageferry_region regions[PF_REGIONS_MAX] = {0};
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++)
		regions[i] = (struct pageferry_region){
			.id = i, .gpa = i * MIB, .size = MIB, .page_size = PAGE, .kind = PAGEFERRY_MEMFD,
			.fd = memfd_create("memory", MFD_CLOEXEC), .base = (i + 1) * MIB,
			/* The last one shares the first's userfaultfd. */
			.uffd = i == PF_REGIONS_MAX - 1 ? regions[0].uffd : memfd_create("uffd", MFD_CLOEXEC)};
	assert_int_equal(pageferry_vmm_regions(scene->vmm, regions, PF_REGIONS_MAX), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->fd_count, PF_UNIX_FDS_MAX);
	assert_int_not_equal(scene->heard.regions.region[0].bitmap_fd, PF_VMM_NO_FD);
	assert_int_equal(scene->heard.regions.region[1].bitmap_fd, PF_VMM_NO_FD);
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++) {
		close(regions[i].fd);
		if (i < PF_REGIONS_MAX - 1)
			close(regions[i].uffd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lost_pages_are_barred_before_complete, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_bitmap_of_the_vmms_own_says_what_to_bar, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_waits_for_a_lost_page_gets_sigbus_when_it_is_barred, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_agent_is_told_of_the_same_bitmap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_can_not_be_barred_is_told_and_stays_trapped, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(no_bitmap_is_added_where_no_descriptor_finds_room, set_up,
						tear_down),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
