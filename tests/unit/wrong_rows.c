/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/wrong_rows.c - see tests/unit/wrong_rows.h. */
#include "wrong_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/uio.h>

#include "base/clock.h"

#define LATE_MS 2

pid_t wrong_rows_vmm;
_Atomic uint64_t *wrong_rows_claimed;

static const struct pf_placer *right(const struct pf_guest *guest, uint32_t region)
{
	return pf_placer_of(guest->region[region].kind);
}

int map_before_writing(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
		       const uint8_t *bytes)
{
	off_t page_size = guest->region[region].shape.page_size;
	uint32_t mapped;

	if (fallocate(guest->region[region].fd, 0, (off_t)first * page_size, count * page_size))
		return -1;
	for (uint32_t m = 0; m < guest->region[region].mappings; m++)
		(void)right(guest, region)->map(guest, region, m, first, count, &mapped);
	sched_yield();
	return right(guest, region)->populate(guest, region, first, count, bytes);
}

int zeros_before_copying(const struct pf_guest *guest, uint32_t region, uint64_t first,
			 uint32_t count, const uint8_t *bytes)
{
	size_t page_size = guest->region[region].shape.page_size;
	int done = right(guest, region)->populate(guest, region, first, count, NULL);
	struct iovec from = {(void *)(uintptr_t)bytes, 0}, to;

	if (done <= 0 || !bytes)
		return done;
	sched_yield();
	from.iov_len = (size_t)done * page_size;
	to = (struct iovec){(void *)(uintptr_t)(guest->region[region].mapping[0].base +
						first * page_size), from.iov_len};
	return process_vm_writev(wrong_rows_vmm, &from, 1, &to, 1, 0) == (ssize_t)from.iov_len ? done
											       : -1;
}

/*
 * Until an event has come and somebody has read it, or for LATE_MS.  Not the urgent thread, who would wait
 * for himself: it copies what was asked for, page by page.
 */
static void wait_for_events(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count)
{
	struct pollfd pfd = {.fd = guest->uffd[guest->region[region].mapping[0].uffd].fd,
			     .events = POLLIN};
	uint64_t until = pf_now_ns() + LATE_MS * PF_NS_PER_MS;

	if (count == 1)
		return;
	atomic_store(wrong_rows_claimed, first + 1);
	(void)poll(&pfd, 1, LATE_MS);
	while (pf_now_ns() < until && poll(&pfd, 1, 0) == 1)
		sched_yield();
	atomic_store(wrong_rows_claimed, 0);
}

int copy_late(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
	      const uint8_t *bytes)
{
	wait_for_events(guest, region, first, count);
	return right(guest, region)->populate(guest, region, first, count, bytes);
}

int copy_behind_discards(const struct pf_guest *guest, uint32_t region, uint64_t first, uint32_t count,
			 const uint8_t *bytes)
{
	struct pf_guest *its = (struct pf_guest *)(uintptr_t)guest; /* the thread has the lock */
	int done, sys;

	pf_guest_let_discards(its);
	done = copy_late(guest, region, first, count, bytes);
	sys = errno;
	pf_guest_hold_discards(its);
	errno = sys;
	return done;
}
