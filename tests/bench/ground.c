/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/bench/ground.c - see ground.h; userfaultfd(2), ioctl_userfaultfd(2). */
#include "tests/bench/ground.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STOP_LOOK_MS 100 /* how late a blocking wait may see that it is over */

void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(71);
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static double seconds_of(const struct timeval *time)
{
	return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return seconds_of(&usage.ru_utime) + seconds_of(&usage.ru_stime);
}

void times_make(struct times *times, size_t size)
{
	*times = (struct times){.ns = malloc(size * sizeof(*times->ns)), .size = size};
	if (!times->ns)
		fail("memory for latencies");
	memset(times->ns, 0, size * sizeof(*times->ns));
}

void times_add(struct times *times, uint64_t ns)
{
	if (times->count < times->size)
		times->ns[times->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

double times_us(struct times *times, unsigned permille)
{
	if (times->count == 0)
		return 0;
	qsort(times->ns, times->count, sizeof(*times->ns), compare);
	return (double)times->ns[(times->count - 1) * permille / 1000] / 1e3;
}

void times_free(struct times *times)
{
	free(times->ns);
}

int trapped_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM};
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0)
		fail("userfaultfd");
	return uffd;
}

void trapped_map(struct trapped *memory, size_t pages)
{
	size_t bytes = pages * PAGE_BYTES;
	void *base;

	memory->pages = pages;
	memory->fd = memfd_create("bench", MFD_CLOEXEC);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)bytes) != 0)
		fail("creating a memfd");
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
	if (base == MAP_FAILED)
		fail("mapping a memfd");
	memory->base = base;
	memory->uffd = trapped_uffd();
}

void trapped_make(struct trapped *memory, size_t pages)
{
	struct uffdio_register range = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR};

	trapped_map(memory, pages);
	range.range.start = (uint64_t)(uintptr_t)memory->base;
	range.range.len = pages * PAGE_BYTES;
	if (ioctl(memory->uffd, UFFDIO_REGISTER, &range) != 0)
		fail("UFFDIO_REGISTER");
}

void trapped_free(struct trapped *memory)
{
	close(memory->uffd);
	munmap((void *)(uintptr_t)memory->base, memory->pages * PAGE_BYTES);
	close(memory->fd);
}

bool trapped_wait(struct trapped *memory, bool spin, const _Atomic bool *stop, size_t *out_page)
{
	struct pollfd pfd = {.fd = memory->uffd, .events = POLLIN};
	struct uffd_msg msg;

	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		if (!spin && poll(&pfd, 1, STOP_LOOK_MS) <= 0)
			continue;
		if (read(memory->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		*out_page = (size_t)(msg.arg.pagefault.address - (uint64_t)(uintptr_t)memory->base) /
			    PAGE_BYTES;
		return true;
	}
	return false;
}

void trapped_place(struct trapped *memory, size_t page, size_t pages, const void *bytes)
{
	struct uffdio_continue how = {
		.range.start = (uint64_t)(uintptr_t)memory->base + page * PAGE_BYTES,
		.range.len = pages * PAGE_BYTES,
	};

	if (pwrite(memory->fd, bytes, pages * PAGE_BYTES, (off_t)(page * PAGE_BYTES)) !=
	    (ssize_t)(pages * PAGE_BYTES))
		fail("pwrite");
	if (ioctl(memory->uffd, UFFDIO_CONTINUE, &how) != 0 && errno != EEXIST)
		fail("UFFDIO_CONTINUE");
}

size_t walk(size_t n, size_t pages)
{
	/* Odd, so that every page comes once in each round of a power of two. */
	return n * 0x9E3779B1u & (pages - 1);
}

struct toucher {
	struct trapped *memory;
	size_t first, count;
	struct times times;
};

static void *touch(void *argument)
{
	struct toucher *toucher = argument;

	for (size_t i = 0; i < toucher->count; i++) {
		size_t page = walk(toucher->first + i, toucher->memory->pages);
		uint64_t began = now_ns();

		(void)toucher->memory->base[page * PAGE_BYTES];
		times_add(&toucher->times, now_ns() - began);
	}
	return NULL;
}

double touch_all(struct trapped *memory, size_t first, size_t touches, unsigned threads,
		 struct times *out_times)
{
	struct toucher toucher[64];
	pthread_t thread[64];
	uint64_t began = now_ns();

	for (unsigned i = 0; i < threads; i++) {
		toucher[i] = (struct toucher){.memory = memory,
					      .first = first + touches / threads * i,
					      .count = touches / threads};
		times_make(&toucher[i].times, touches / threads);
		if (pthread_create(&thread[i], NULL, touch, &toucher[i]) != 0)
			fail("starting a thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		for (size_t k = 0; out_times && k < toucher[i].times.count; k++)
			times_add(out_times, toucher[i].times.ns[k]);
		times_free(&toucher[i].times);
	}
	return (double)(now_ns() - began) / 1e9;
}
