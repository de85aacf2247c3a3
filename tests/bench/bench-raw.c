/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/bench/bench-raw.c - this machine's limits: what moving a page costs without pageferry.
 *
 * usage: bench-raw [--quick]     prints one JSON object; microseconds, bytes and seconds
 *
 * Where the scheduler puts the threads is its business, as it is for the agents.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/smallest.h"

#define MIB ((size_t)1 << 20)
#define RECORD ((size_t)16 << 10)

static size_t stream_bytes = 512 * MIB;
static unsigned round_trips = 4000, faults = 8000;

/* pwrite + CONTINUE of runs of so many pages, by one thread, nobody faulting: bytes a second. */
static double place_rate(size_t run, double *out_cpu_per_gib)
{
	struct trapped memory;
	size_t pages = (64 * MIB) / PAGE_BYTES;
	void *bytes = calloc(run, PAGE_BYTES);
	double cpu = cpu_seconds(), took;
	uint64_t began;

	if (!bytes)
		fail("memory");
	memset(bytes, 3, run * PAGE_BYTES);
	trapped_make(&memory, pages);
	began = now_ns();
	cpu = cpu_seconds();
	for (size_t page = 0; page + run <= pages; page += run)
		trapped_place(&memory, page, run, bytes);
	took = (double)(now_ns() - began) / 1e9;
	*out_cpu_per_gib = (cpu_seconds() - cpu) * 1024.0 / 64.0;
	trapped_free(&memory);
	free(bytes);
	return 64.0 * (double)MIB / took;
}

static _Atomic bool never;

static void *echo(void *ssl)
{
	uint8_t request[64], page[PAGE_BYTES] = {1};

	while (tls_read(ssl, request, sizeof(request), &never) && request[0])
		tls_write(ssl, page, sizeof(page));
	return NULL;
}

static void round_trip(struct times *times)
{
	struct tls_pair pair;
	uint8_t request[64] = {1}, page[PAGE_BYTES];
	pthread_t thread;

	tls_pair_make(&pair);
	if (pthread_create(&thread, NULL, echo, pair.server) != 0)
		fail("starting a thread");
	for (unsigned i = 0; i < round_trips; i++) {
		uint64_t began = now_ns();

		tls_write(pair.client, request, sizeof(request));
		if (!tls_read(pair.client, page, sizeof(page), &never))
			fail("TLS round trip");
		times_add(times, now_ns() - began);
	}
	request[0] = 0;
	tls_write(pair.client, request, sizeof(request));
	pthread_join(thread, NULL);
	tls_pair_free(&pair);
}

static void *drain(void *ssl)
{
	static uint8_t buffer[RECORD];

	for (size_t got = 0; got < stream_bytes; got += RECORD)
		if (!tls_read(ssl, buffer, RECORD, &never))
			fail("TLS stream");
	return NULL;
}

static double stream_rate(double *out_cpu_per_gib)
{
	static const uint8_t bytes[RECORD];
	struct tls_pair pair;
	pthread_t thread;
	uint64_t began;
	double cpu, took;

	tls_pair_make(&pair);
	if (pthread_create(&thread, NULL, drain, pair.server) != 0)
		fail("starting a thread");
	began = now_ns();
	cpu = cpu_seconds();
	for (size_t put = 0; put < stream_bytes; put += RECORD)
		tls_write(pair.client, bytes, RECORD);
	pthread_join(thread, NULL);
	took = (double)(now_ns() - began) / 1e9;
	*out_cpu_per_gib = (cpu_seconds() - cpu) * 1024.0 * (double)MIB / (double)stream_bytes;
	tls_pair_free(&pair);
	return (double)stream_bytes / took;
}

static void print_resolver(const char *name, bool spin, bool local)
{
	struct smallest_result result;

	smallest_measure(spin, local, faults, &result);
	printf(" \"%s\": {\"p50_us\": %.1f, \"p99_us\": %.1f, \"rate\": [%.0f, %.0f, %.0f]},\n",
	       name, result.p50_us, result.p99_us, result.rate[0], result.rate[1], result.rate[2]);
}

int main(int argc, char **argv)
{
	static const size_t runs[] = {1, 4, 16, 64};
	struct times times;
	double cpu, rate;

	if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
		stream_bytes = 32 * MIB;
		round_trips = 200;
		faults = 160;
	} else if (argc != 1) {
		fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
		return 64;
	}
	printf("{");
	print_resolver("local", false, true);
	print_resolver("local_spinning", true, true);
	print_resolver("blocking", false, false);
	print_resolver("spinning", true, false);
	for (unsigned i = 0; i < 4; i++) {
		rate = place_rate(runs[i], &cpu);
		printf(" \"place_%zu\": {\"bytes_per_s\": %.0f, \"cpu_s_per_gib\": %.3f},\n",
		       runs[i], rate, cpu);
	}
	times_make(&times, round_trips);
	round_trip(&times);
	printf(" \"tls_round_trip\": {\"p50_us\": %.1f, \"p99_us\": %.1f},\n",
	       times_us(&times, 500), times_us(&times, 990));
	rate = stream_rate(&cpu);
	printf(" \"tls_stream\": {\"bytes_per_s\": %.0f, \"cpu_s_per_gib\": %.3f}}\n", rate, cpu);
	times_free(&times);
	return 0;
}
