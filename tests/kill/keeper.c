/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kill/keeper.c - see tests/kill/keeper.h. */
#include "keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "machine.h"
#include "tests/unit/memhelp.h"
#include "migrate/demo/pki.h"
#include "vmm/bar.h"

#define TICK_MS 5 /* a thread that is done tells nobody: looked for so often, while any is not */

extern char **environ;

/* ---- memory ---- */

static int new_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

/* Through a mapping, since hugetlbfs has no write(2). */
static void write_source(const struct stage *stage, uint32_t region)
{
	uint64_t bytes = stage->table.region[region].size;
	uint64_t *word = row_map(stage_source_row(stage, region), stage->region[region].source_fd,
				 bytes), *at = word;

	assert_true(word != MAP_FAILED);
	for (uint64_t page = 0; page < pf_region_pages(&stage->table.region[region]); page++)
		for (size_t i = 0; i < stage_words(stage, region); i++)
			*at++ = stage_word(stage, region, page, i);
	munmap(word, bytes);
}

/* Every bit of it is set. */
static void open_bitmap(struct stage *stage, uint32_t r, uint64_t pages)
{
	stage->region[r].bitmap_fd = row_file(&memory_rows[ROW_MEMFD], pages / 8);
	stage->region[r].bitmap = mmap(NULL, pages / 8, PROT_READ | PROT_WRITE, MAP_SHARED,
				       stage->region[r].bitmap_fd, 0);
	assert_true(stage->region[r].bitmap != MAP_FAILED);
	memset(stage->region[r].bitmap, 0xff, pages / 8);
}

static void open_region(struct stage *stage, uint32_t r, const struct layout *layout, uint64_t gpa)
{
	const struct memory_row *row = &memory_rows[layout->region[r].row];
	uint64_t bytes = layout->region[r].pages * row->page_size;

	stage->table.region[r] = (struct pf_region_shape){
		.gpa = gpa, .size = bytes, .page_size = row->page_size};
	stage->region[r].row = layout->region[r].row;
	stage->region[r].source_fd = row_file(stage_source_row(stage, r), bytes);
	stage->region[r].fd = row_file(row, bytes);
	stage->region[r].mappings = layout->region[r].mappings;
	assert_true(stage->region[r].mappings <= row->mappings);
	for (uint32_t m = 0; m < stage->region[r].mappings; m++) {
		void *at = row_map(row, stage->region[r].fd, bytes);

		assert_true(at != MAP_FAILED);
		stage->region[r].uffd[m] = m;
		stage->region[r].base[m] = (uint64_t)(uintptr_t)at;
	}
	stage->region[r].bitmap_fd = -1;
	if (row->kind == PF_MEMORY_GUEST_MEMFD)
		open_bitmap(stage, r, layout->region[r].pages);
	write_source(stage, r);
}

static void make_pki(int dirfd)
{
	const struct pf_pki_names names = {.server.sans = "DNS:destination",
					   .client.sans = "DNS:source"};
	char path[32];
	struct pf_err err;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	if (pf_pki_make(path, &names, &err))
		fail_msg("%s", err.text);
}

void scene_open(struct scene *scene, const struct layout *layout, uint64_t seed)
{
	uint64_t gpa = 0;
	struct stage *stage;

	for (uint32_t r = 0; r < layout->regions; r++) /* a page at each side */
		row_needs(&memory_rows[layout->region[r].row], 2 * layout->region[r].pages);
	memset(scene, 0, sizeof(*scene));
	scene->handler.pid = scene->source.pid = -1;
	scene->source.pidfd = -1;
	scene->stage_fd = row_file(&memory_rows[ROW_MEMFD], sizeof(*stage));
	stage = scene->stage = stage_map(scene->stage_fd);
	assert_non_null(stage);
	stage->seed = seed;
	stage->table.count = layout->regions;
	/* Discards through the one are told, and hold mapping up meanwhile; through the other not. */
	stage->uffd[0] = new_uffd(UFFD_FEATURE_EVENT_REMOVE);
	stage->uffd[1] = new_uffd(0);
	for (uint32_t r = 0; r < layout->regions; r++) {
		open_region(stage, r, layout, gpa);
		gpa += stage->table.region[r].size;
	}
	scene->machine = machine_open(stage, VCPUS);
	stage->state_dir = dir_make();
	stage->tls_dir = dir_make();
	make_pki(stage->tls_dir);
}

/* ---- processes ---- */

static void keep_fds(posix_spawn_file_actions_t *actions, const struct scene *scene, bool handler)
{
	const struct stage *stage = scene->stage;
	int fds[5 + 2 * REGIONS_MAX + MAPPINGS], count = 0;

	fds[count++] = scene->stage_fd;
	fds[count++] = stage->tls_dir;
	for (uint32_t r = 0; r < stage->table.count; r++)
		fds[count++] = handler ? stage->region[r].fd : stage->region[r].source_fd;
	for (uint32_t u = 0; handler && u < MAPPINGS; u++)
		fds[count++] = stage->uffd[u];
	if (handler) {
		fds[count++] = stage->state_dir;
		fds[count++] = stage->fault_fd;
		for (uint32_t r = 0; r < stage->table.count; r++)
			fds[count++] = stage->region[r].bitmap_fd;
	}
	/* To itself: close-on-exec is taken off (posix_spawn_file_actions_adddup2(3)). */
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			assert_int_equal(posix_spawn_file_actions_adddup2(actions, fds[i],
									  fds[i]), 0);
}

static void start_child(struct scene *scene, struct child *child, const char *role, const char *fault)
{
	posix_spawn_file_actions_t actions;
	int in[2], out[2];
	char stage_fd[12], *argv[] = {(char *)(uintptr_t)"test-kill", (char *)(uintptr_t)role, stage_fd,
				      (char *)(uintptr_t)fault, NULL};

	snprintf(stage_fd, sizeof(stage_fd), "%d", scene->stage_fd);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO), 0);
	keep_fds(&actions, scene, child == &scene->handler);
	assert_int_equal(posix_spawn(&child->pid, "/proc/self/exe", &actions, NULL, argv, environ),
			 0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	child->in = in[1];
	child->out = out[0];
	child->dies = fault != NULL;
	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	assert_true(child->pidfd >= 0);
}

static int reap(struct child *child)
{
	int status;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	close(child->in);
	close(child->out);
	close(child->pidfd);
	child->pid = child->pidfd = -1;
	return status;
}

static void tell_source(struct scene *scene)
{
	if (scene->port != 0 && scene->source.pid > 0)
		(void)!write(scene->source.in, &scene->port, sizeof(scene->port));
}

void scene_start(struct scene *scene, const char *handler_fault, const char *source_fault)
{
	if (scene->source.pid < 0 && !scene->no_source) {
		start_child(scene, &scene->source, "source", source_fault);
		tell_source(scene);
	}
	if (scene->handler.pid < 0) {
		scene->port = 0;
		scene->handlers++;
		start_child(scene, &scene->handler, "handler", handler_fault);
	}
	if (scene->vcpus)
		vcpus_grant(scene->vcpus);
}

void scene_kill(struct child *child)
{
	if (child->pid < 0)
		return;
	assert_int_equal(kill(child->pid, SIGKILL), 0);
	(void)reap(child);
}

/* ---- waiting ---- */

static void hear_handler(struct scene *scene)
{
	struct said said;

	if (read(scene->handler.out, &said, sizeof(said)) != sizeof(said))
		return; /* it is dying: its pidfd tells */
	if (said.what == SAID_PORT) {
		scene->port = said.port;
		tell_source(scene);
		if (!scene->vcpus) {
			scene->vcpus = vcpus_start(scene->stage, scene->machine);
			vcpus_grant(scene->vcpus);
		}
	} else {
		scene->filled = true;
	}
}

/*
 * Over when every page is here and nobody is blocked; then they walk through all pages, and must not
 * be blocked by that either.  Not earlier: whoever touches a page wakes those that a handler forgot.
 */
static bool is_over(struct scene *scene)
{
	if (!scene->filled || vcpus_idle(scene->vcpus) < VCPUS)
		return false;
	if (scene->walking)
		return true;
	scene->walking = true;
	vcpus_walk(scene->vcpus);
	return false;
}

/* Killed is what may happen to it here, and nothing else. */
static void check_killed(struct child *child, const char *who)
{
	int status = reap(child);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the %s ended by itself: wait status 0x%x", who, (unsigned)status);
}

static void check_complaint(const struct scene *scene)
{
	if (scene->vcpus && vcpus_complaint(scene->vcpus))
		fail_msg("after %u handlers: %s", scene->handlers, vcpus_complaint(scene->vcpus));
}

enum turn scene_wait(struct scene *scene, int limit_ms)
{
	uint64_t begin = pf_now_ns(), limit = limit_ms < 0 ? PATIENCE_MS : (uint64_t)limit_ms;

	for (;;) {
		struct pollfd pfd[3] = {{.fd = scene->handler.out, .events = POLLIN},
					{.fd = scene->handler.pidfd, .events = POLLIN},
					{.fd = scene->source.pidfd, .events = POLLIN}};

		(void)poll(pfd, 3, TICK_MS);
		check_complaint(scene);
		if (pfd[0].revents & POLLIN)
			hear_handler(scene);
		else if (pfd[1].revents)
			return check_killed(&scene->handler, "handler"), TURN_HANDLER_KILLED;
		if (pfd[2].revents)
			return check_killed(&scene->source, "source"), TURN_SOURCE_KILLED;
		if (is_over(scene))
			return TURN_OVER;
		if (pf_now_ns() - begin < limit * PF_NS_PER_MS)
			continue;
		if (limit_ms >= 0)
			return TURN_TIME;

		fail_msg("after %u handlers %u of %u threads are blocked, and %s", scene->handlers,
			 VCPUS - (scene->vcpus ? vcpus_idle(scene->vcpus) : 0), VCPUS,
			 scene->filled ? "every page is here" : "pages are missing");
	}
}

/* ---- the end ---- */

static void end_child(struct child *child, const char *who)
{
	struct pollfd pfd = {.fd = child->pidfd, .events = POLLIN};
	int in = child->in, status;

	close(in);
	child->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
	status = reap(child);
	/* What it was to die at may come as late as this. */
	if (child->dies && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	if (status != 0)
		fail_msg("the %s ended with wait status 0x%x", who, (unsigned)status);
}

static void compare_files(const struct scene *scene)
{
	const struct stage *stage = scene->stage;

	for (uint32_t r = 0; r < stage->table.count; r++) {
		uint8_t file[PAGE];

		/* Of guest_memfd there is no read(2). */
		if (stage->region[r].fd < 0 || stage->region[r].bitmap)
			continue;
		for (uint64_t at = 0, end = stage_lost_from(stage, r) * stage->table.region[r].page_size;
		     at < end; at += PAGE) {
			const void *mapped = (const void *)(uintptr_t)(stage->region[r].base[0] + at);

			assert_int_equal(pread(stage->region[r].fd, file, PAGE, (off_t)at), PAGE);
			assert_memory_equal(file, mapped, PAGE);
		}
	}
}

/* Handlers have cleared every bit of it. */
static void close_bitmap(struct stage *stage, uint32_t r)
{
	uint64_t bytes = pf_region_pages(&stage->table.region[r]) / 8;

	if (!stage->region[r].bitmap)
		return;
	for (uint64_t i = 0; i < bytes / sizeof(unsigned long); i++)
		assert_int_equal(stage->region[r].bitmap[i], 0);
	munmap(stage->region[r].bitmap, bytes);
	close(stage->region[r].bitmap_fd);
}

/* As a VMM's library does at COMPLETE: khugepaged may have taken the poison, and nobody would poison it again. */
static void bar_lost_pages(const struct stage *stage)
{
	struct pf_err err = {0};
	int empty = pf_bar_open(&err);

	for (uint32_t r = 0; empty >= 0 && r < stage->table.count; r++) {
		uint64_t page_size = stage->table.region[r].page_size, lost = stage_lost_from(stage, r);
		uint64_t bytes = (pf_region_pages(&stage->table.region[r]) - lost) * page_size;

		for (uint32_t m = 0; stage_row(stage, r)->kind == PF_MEMORY_MEMFD && m < stage->region[r].mappings;
		     m++)
			if (pf_bar_pages(empty, stage->uffd[stage->region[r].uffd[m]],
					 stage->region[r].base[m] + lost * page_size, bytes, &err))
				fail_msg("%s", err.text);
	}
	if (empty < 0)
		fail_msg("%s", err.text);
	close(empty);
}

void scene_close(struct scene *scene)
{
	struct stage *stage = scene->stage;

	end_child(&scene->handler, "handler");
	end_child(&scene->source, "source");
	bar_lost_pages(stage);
	if (vcpus_compare(scene->vcpus))
		fail_msg("%s", vcpus_compare(scene->vcpus));
	compare_files(scene);
	vcpus_end(scene->vcpus);
	machine_close(scene->machine, stage);
	for (uint32_t u = 0; u < MAPPINGS; u++)
		close(stage->uffd[u]);
	for (uint32_t r = 0; r < stage->table.count; r++) {
		for (uint32_t m = 0; m < stage->region[r].mappings; m++)
			munmap((void *)(uintptr_t)stage->region[r].base[m],
			       stage->table.region[r].size);
		close_bitmap(stage, r);
		if (stage->region[r].fd >= 0)
			close(stage->region[r].fd);
		close(stage->region[r].source_fd);
	}
	dir_remove(stage->state_dir);
	dir_remove(stage->tls_dir);
	munmap(stage, sizeof(*stage));
	close(scene->stage_fd);
	row_done();
}
