/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/halfway.h - bytes whose reader is stopped on his way through them, while a page of a file is punched.
 *
 * Whoever copies them to that page has then put the first part into a page that is gone, and puts the rest into
 * another.  The stop is a userfaultfd's, so that it is always there and only once.  Any thread may read
 * them; failures end the test.
 */
#ifndef PF_TESTS_UNIT_HALFWAY_H
#define PF_TESTS_UNIT_HALFWAY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct halfway {
	const uint8_t *bytes; /* to be read in place of those that were given */
	/* Its own: */
	uint8_t *map, *stop, *rest;
	size_t length;
	int uffd, fd;
	off_t page_at, page_size;
	pthread_t thread;
};

/* A copy of bytes; who reads the one at `stop` goes on once the page of fd at page_at is punched. */
void halfway_open(struct halfway *halfway, const uint8_t *bytes, size_t length, size_t stop, int fd,
		  off_t page_at);
/* It was: somebody was stopped, and the page punched. */
void halfway_close(struct halfway *halfway);

#endif
