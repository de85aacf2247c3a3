/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/bench/bench-vmm.c - a VMM whose "guest" touches pages when it is told to, and times it.
 *
 * usage: bench-vmm source|destination VMM-SOCKET MIB ZERO-PERCENT REGIONS
 *   stdin: touch COUNT THREADS   pages that were not touched before, in a random walk
 *          hunt                  one page after the other that is not there yet, until all are
 *          check                 every page is the source's
 *          own                   how long it was busy itself while its guest stood
 *          quit
 *   stdout: a word for each call of the agent, a JSON object for each command
 *
 * MIB: a power of two, so that the walk comes to every page.  REGIONS: 1, 2 or 4 equal ones, each with a
 * userfaultfd of its own.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/ground.h"
#include "vmm/pageferry-vmm.h"

#define STATE_BYTES ((size_t)64 << 10)
#define HUNTED_MOST ((size_t)1 << 18)
#define REGIONS_MOST 4u

static struct {
	struct pageferry_vmm *agent;
	struct trapped memory;
	unsigned zero_percent, regions;
	int uffd[REGIONS_MOST]; /* of each region, at the destination; the first is memory.uffd */
	uint64_t own_ns; /* LOAD to READY and RESUME to RESUMED, without what their ways here take */
	size_t next; /* of the walk */
	bool leave;
} vmm;

static void say(const char *word)
{
	printf("%s\n", word);
}

static void check_sent(int result)
{
	if (result)
		fail(pageferry_vmm_error(vmm.agent));
}

static void on_accepted(void *unused)
{
	(void)unused;
	say("accepted");
}

static void on_pause(void *unused)
{
	static const uint8_t state[STATE_BYTES];

	(void)unused;
	check_sent(pageferry_vmm_paused(vmm.agent, state, sizeof(state)));
}

static void on_load(void *unused, int state_fd, size_t size)
{
	uint64_t began = now_ns();

	(void)unused, (void)size;
	close(state_fd);
	check_sent(pageferry_vmm_ready(vmm.agent));
	vmm.own_ns += now_ns() - began;
}

static void on_resume(void *unused)
{
	uint64_t began = now_ns();

	(void)unused;
	check_sent(pageferry_vmm_resumed(vmm.agent));
	vmm.own_ns += now_ns() - began;
	say("resumed");
}

static void on_complete(void *unused)
{
	(void)unused;
	say("complete");
}

static void on_release(void *unused)
{
	(void)unused;
	say("released");
}

static void on_error(void *unused, const char *reason)
{
	(void)unused;
	fprintf(stderr, "bench-vmm: the agent says: %s\n", reason);
}

/* Stretches of zero pages, as memory that was freed has them, between pages that all differ. */
static uint64_t word_of(size_t page)
{
	return page / 512 * 61 % 100 < vmm.zero_percent ? 0 : page + 1;
}

static void fill(void)
{
	uint64_t words[PAGE_BYTES / 8];

	for (size_t page = 0; page < vmm.memory.pages; page++) {
		if (word_of(page) == 0)
			continue;
		for (size_t i = 0; i < PAGE_BYTES / 8; i++)
			words[i] = word_of(page) * (i + 1);
		memcpy((void *)(uintptr_t)(vmm.memory.base + page * PAGE_BYTES), words, PAGE_BYTES);
	}
}

static void check(void)
{
	size_t wrong = 0;

	for (size_t page = 0; page < vmm.memory.pages; page++) {
		const volatile uint64_t *words =
			(const volatile uint64_t *)(uintptr_t)(vmm.memory.base +
							       page * PAGE_BYTES);

		wrong += words[0] != word_of(page) || words[511] != word_of(page) * 512;
	}
	printf("{\"wrong\": %zu}\n", wrong);
}

static void print_times(double seconds, struct times *times)
{
	printf("{\"count\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
	       times->count, seconds, times_us(times, 500), times_us(times, 990));
	times_free(times);
}

static void do_touch(size_t count, unsigned threads)
{
	struct times times;
	double seconds;

	times_make(&times, count);
	seconds = touch_all(&vmm.memory, vmm.next, count, threads, &times);
	vmm.next += count;
	print_times(seconds, &times);
}

/* In the page cache of the file, which is what mincore(2) tells of a mapping of it. */
static bool present(size_t page)
{
	unsigned char there = 0;

	if (mincore((void *)(uintptr_t)(vmm.memory.base + page * PAGE_BYTES), PAGE_BYTES, &there))
		fail("mincore");
	return there & 1;
}

static void hunt(void)
{
	uint64_t began = now_ns(), start;
	size_t misses = 0;
	struct times times;

	times_make(&times, HUNTED_MOST);
	while (misses < vmm.memory.pages) {
		size_t page = walk(vmm.next++, vmm.memory.pages);

		misses++;
		if (present(page))
			continue;
		misses = 0;
		start = now_ns();
		(void)vmm.memory.base[page * PAGE_BYTES];
		times_add(&times, now_ns() - start);
	}
	print_times((double)(now_ns() - began) / 1e9, &times);
}

static void obey(const char *line)
{
	size_t count;
	unsigned threads;

	if (sscanf(line, "touch %zu %u", &count, &threads) == 2 && threads <= 64)
		do_touch(count, threads);
	else if (strncmp(line, "hunt", 4) == 0)
		hunt();
	else if (strncmp(line, "check", 5) == 0)
		check();
	else if (strncmp(line, "own", 3) == 0)
		printf("{\"own_us\": %.1f}\n", (double)vmm.own_ns / 1e3);
	else
		vmm.leave = true;
}

static struct pageferry_region region_of(unsigned i, bool source)
{
	uint64_t size = vmm.memory.pages * PAGE_BYTES / vmm.regions;

	return (struct pageferry_region){
		.id = i + 1,
		.gpa = i * size,
		.size = size,
		.page_size = PAGE_BYTES,
		.kind = PAGEFERRY_MEMFD,
		.fd = vmm.memory.fd,
		.offset = i * size,
		.uffd = source ? -1 : vmm.uffd[i],
		.base = source ? 0 : (uint64_t)(uintptr_t)vmm.memory.base + i * size,
	};
}

static void connect_agent(const char *socket, bool source)
{
	static const struct pageferry_vmm_ops ops = {
		.regions_accepted = on_accepted,
		.pause = on_pause,
		.load = on_load,
		.resume = on_resume,
		.complete = on_complete,
		.release = on_release,
		.error = on_error,
	};
	struct pageferry_region region[REGIONS_MOST];
	char reason[256];

	vmm.agent = pageferry_vmm_connect(socket, source ? PAGEFERRY_SOURCE : PAGEFERRY_DESTINATION,
					  NULL, 0, &ops, NULL, reason, sizeof(reason));
	if (!vmm.agent)
		fail(reason);
	for (unsigned i = 0; i < vmm.regions; i++)
		region[i] = region_of(i, source);
	check_sent(pageferry_vmm_regions(vmm.agent, region, vmm.regions));
}

static void serve(void)
{
	char line[128];

	while (!vmm.leave) {
		struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
				       {.fd = vmm.agent ? pageferry_vmm_fd(vmm.agent) : -1,
					.events = POLLIN}};

		if (poll(fds, 2, -1) < 0)
			fail("waiting");
		/* The agent leaves when its part is done, and the pages can still be checked. */
		if (fds[1].revents && pageferry_vmm_dispatch(vmm.agent)) {
			pageferry_vmm_close(vmm.agent);
			vmm.agent = NULL;
		}
		if (fds[0].revents && !fgets(line, sizeof(line), stdin))
			vmm.leave = true;
		else if (fds[0].revents)
			obey(line);
	}
}

int main(int argc, char **argv)
{
	bool source = argc == 6 && strcmp(argv[1], "source") == 0;
	size_t mib = argc == 6 ? strtoul(argv[3], NULL, 10) : 0;
	unsigned long regions = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;

	if (mib == 0 || (mib & (mib - 1)) != 0 || regions == 0 || regions > REGIONS_MOST ||
	    REGIONS_MOST % regions != 0) {
		fprintf(stderr,
			"usage: %s source|destination VMM-SOCKET MIB ZERO-PERCENT REGIONS\n",
			argv[0]);
		return 64;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	vmm.zero_percent = (unsigned)strtoul(argv[4], NULL, 10);
	vmm.regions = (unsigned)regions;
	trapped_map(&vmm.memory, mib << 20 >> 12);
	for (unsigned i = 0; i < vmm.regions; i++)
		vmm.uffd[i] = i == 0 ? vmm.memory.uffd : trapped_uffd();
	if (source)
		fill();
	connect_agent(argv[2], source);
	say("running");
	serve();
	pageferry_vmm_close(vmm.agent);
	trapped_free(&vmm.memory);
	return 0;
}
