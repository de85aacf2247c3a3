/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/bench/ground.h - what the limits stand on: memory that traps, times that are sorted, a TLS pair.
 *
 * Nothing of pageferry's own is in here: a limit that shared our code would share its slowness.
 * Every helper that fails ends the program with the reason: there is nothing to measure then.
 */
#ifndef PF_BENCH_GROUND_H
#define PF_BENCH_GROUND_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

/* Says what failed, and why by errno, and exits with 71. */
void fail(const char *what) __attribute__((noreturn));
uint64_t now_ns(void);
/* User and system time of the whole process so far. */
double cpu_seconds(void);

/* Latencies of a run, in the order in which they were measured. */
struct times {
	uint64_t *ns;
	size_t count, size;
};

void times_make(struct times *times, size_t size);
void times_add(struct times *times, uint64_t ns);
/* Sorts. */
double times_us(struct times *times, unsigned permille);
void times_free(struct times *times);

/* A memfd of content, and one that traps: mapped and registered MISSING | MINOR. */
struct trapped {
	size_t pages;
	int fd, uffd;
	volatile uint8_t *base;
};

/* The latter not registered yet: that is for an agent to do. */
void trapped_map(struct trapped *memory, size_t pages);
void trapped_make(struct trapped *memory, size_t pages);
void trapped_free(struct trapped *memory);
/* Another userfaultfd of this process, for a part of the memory, not registered. */
int trapped_uffd(void);
/* Waits (or spins) for a fault; false: *stop was set. */
bool trapped_wait(struct trapped *memory, bool spin, const _Atomic bool *stop, size_t *out_page);
/* pwrite + UFFDIO_CONTINUE. */
void trapped_place(struct trapped *memory, size_t page, size_t pages, const void *bytes);

/* The n-th page of a walk over all of them that a prefetcher cannot guess; pages: a power of two. */
size_t walk(size_t n, size_t pages);

/* Threads that each touch their share of `touches` pages; returns the seconds it took. */
double touch_all(struct trapped *memory, size_t first, size_t touches, unsigned threads,
		 struct times *out_times);

/* Two ends of a TLS 1.3 connection over loopback, AES-128-GCM as ours, blocking, TCP_NODELAY. */
struct tls_pair {
	SSL *client, *server;
	int client_fd, server_fd;
};

void tls_pair_make(struct tls_pair *pair);
void tls_pair_free(struct tls_pair *pair);
/* All of it; on a socket that does not block it spins.  false: *stop was set, or the end. */
bool tls_read(SSL *ssl, void *buffer, size_t length, const _Atomic bool *stop);
void tls_write(SSL *ssl, const void *bytes, size_t length);

#endif
