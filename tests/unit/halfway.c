/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/halfway.c - see tests/unit/halfway.h. */
#include "halfway.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "memhelp.h"
#include "memory/uffd.h"

static const char *punch(struct halfway *halfway)
{
	struct pollfd pfd = {.fd = halfway->uffd, .events = POLLIN};
	struct uffd_msg fault;

	if (poll(&pfd, 1, DEADLINE_MS) != 1 ||
	    read(halfway->uffd, &fault, sizeof(fault)) != sizeof(fault))
		return "nobody came to the stop";
	return fallocate(halfway->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, halfway->page_at,
			 halfway->page_size)
		       ? "the page cannot be punched"
		       : NULL;
}

/* Whatever has become of it: the reader is let go, or the test would stand. */
static void *punch_behind_a_reader(void *opaque)
{
	struct halfway *halfway = opaque;
	const char *failed = punch(halfway);
	uint64_t placed;

	if (pf_uffd_place(halfway->uffd, (uintptr_t)halfway->stop, PAGE, halfway->rest, &placed) != PF_MAP_DONE)
		failed = "who was stopped cannot go on";
	return (void *)(uintptr_t)failed;
}

/* Before it is filled: nothing is there yet, and no huge page of its neighbours reaches into a VMA that traps. */
static void set_the_stop(struct halfway *halfway)
{
	struct pf_err err = {0};

	halfway->uffd = pf_uffd_open_own(&err);
	if (halfway->uffd < 0 || pf_uffd_unblock(halfway->uffd) ||
	    pf_uffd_register(halfway->uffd, (uintptr_t)halfway->stop, PAGE, UFFDIO_REGISTER_MODE_MISSING, &err))
		fail_msg("%s", err.text);
}

void halfway_open(struct halfway *halfway, const uint8_t *bytes, size_t length, size_t stop, int fd,
		  off_t page_at)
{
	size_t skew = (PAGE - stop % PAGE) % PAGE;

	*halfway = (struct halfway){
		.fd = fd, .page_at = page_at, .page_size = (off_t)length, .length = length + 2 * PAGE};
	halfway->map = mmap(NULL, halfway->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(halfway->map != MAP_FAILED);
	halfway->rest = calloc(1, PAGE);
	assert_non_null(halfway->rest);
	halfway->bytes = halfway->map + skew;
	halfway->stop = halfway->map + skew + stop;
	set_the_stop(halfway);
	memcpy(halfway->map + skew, bytes, stop);
	memcpy(halfway->rest, bytes + stop, length - stop < PAGE ? length - stop : PAGE);
	if (stop + PAGE < length)
		memcpy(halfway->stop + PAGE, bytes + stop + PAGE, length - stop - PAGE);
	assert_int_equal(pthread_create(&halfway->thread, NULL, punch_behind_a_reader, halfway), 0);
}

void halfway_close(struct halfway *halfway)
{
	void *failed;

	assert_int_equal(pthread_join(halfway->thread, &failed), 0);
	if (failed)
		fail_msg("%s", (const char *)failed);
	close(halfway->uffd);
	free(halfway->rest);
	munmap(halfway->map, halfway->length);
}
