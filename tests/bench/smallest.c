/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/bench/smallest.c - see smallest.h. */
#include "tests/bench/smallest.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES ((size_t)1 << 15)
#define WARM 100u
#define REQUEST_BYTES 32u

struct resolver {
	struct trapped memory; /* the destination's */
	int source;	       /* memfd of the source's pages */
	struct tls_pair tls;
	bool spin, local;
	_Atomic bool stop;
};

static void *resolve(void *argument)
{
	struct resolver *resolver = argument;
	uint8_t bytes[PAGE_BYTES];
	uint64_t request[REQUEST_BYTES / 8] = {0};
	size_t page;

	memset(bytes, 1, sizeof(bytes));
	while (trapped_wait(&resolver->memory, resolver->spin, &resolver->stop, &page)) {
		request[0] = page;
		if (!resolver->local) {
			tls_write(resolver->tls.client, request, sizeof(request));
			if (!tls_read(resolver->tls.client, bytes, sizeof(bytes), &resolver->stop))
				break;
		}
		trapped_place(&resolver->memory, page, 1, bytes);
	}
	return NULL;
}

static void *answer(void *argument)
{
	struct resolver *resolver = argument;
	uint64_t request[REQUEST_BYTES / 8];
	uint8_t bytes[PAGE_BYTES];

	while (tls_read(resolver->tls.server, request, sizeof(request), &resolver->stop)) {
		if (pread(resolver->source, bytes, sizeof(bytes),
			  (off_t)(request[0] * PAGE_BYTES)) != sizeof(bytes))
			fail("reading a page");
		tls_write(resolver->tls.server, bytes, sizeof(bytes));
	}
	return NULL;
}

static void prepare(struct resolver *resolver)
{
	uint8_t bytes[PAGE_BYTES];

	trapped_make(&resolver->memory, PAGES);
	if (resolver->local)
		return;
	tls_pair_make(&resolver->tls);
	if (resolver->spin) {
		(void)fcntl(resolver->tls.client_fd, F_SETFL, O_NONBLOCK);
		(void)fcntl(resolver->tls.server_fd, F_SETFL, O_NONBLOCK);
	}
	resolver->source = memfd_create("source", MFD_CLOEXEC);
	memset(bytes, 7, sizeof(bytes));
	for (size_t page = 0; page < PAGES; page++)
		if (pwrite(resolver->source, bytes, sizeof(bytes), (off_t)(page * PAGE_BYTES)) < 0)
			fail("filling the source");
}

static void measure(struct resolver *resolver, unsigned faults, struct smallest_result *out)
{
	static const unsigned threads[] = {1, 4, 16};
	struct times times;
	size_t next = WARM + faults / 2;

	times_make(&times, faults / 2);
	touch_all(&resolver->memory, 0, WARM, 1, NULL);
	touch_all(&resolver->memory, WARM, faults / 2, 1, &times);
	out->p50_us = times_us(&times, 500);
	out->p99_us = times_us(&times, 990);
	times_free(&times);
	for (unsigned i = 0; i < 3; i++, next += faults)
		out->rate[i] = faults / touch_all(&resolver->memory, next, faults, threads[i], NULL);
}

void smallest_measure(bool spin, bool local, unsigned faults, struct smallest_result *out)
{
	struct resolver resolver = {.spin = spin, .local = local};
	pthread_t destination, source;

	prepare(&resolver);
	if (pthread_create(&destination, NULL, resolve, &resolver) != 0 ||
	    (!local && pthread_create(&source, NULL, answer, &resolver) != 0))
		fail("starting a thread");
	measure(&resolver, faults, out);
	atomic_store(&resolver.stop, true);
	pthread_join(destination, NULL);
	if (!local) {
		shutdown(resolver.tls.client_fd, SHUT_RDWR);
		pthread_join(source, NULL);
		tls_pair_free(&resolver.tls);
		close(resolver.source);
	}
	trapped_free(&resolver.memory);
}
