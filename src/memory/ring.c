/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/ring.c - see memory/ring.h. */
#include "memory/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fault.h"
#include "memory/statefile.h"

#define RING_BYTES (PF_RING_SLOTS * sizeof(struct uffd_msg))

_Static_assert((PF_RING_SLOTS & (PF_RING_SLOTS - 1)) == 0, "positions wrap at 2^32 too");

static struct uffd_msg *slot_at(const struct pf_ring *ring, uint32_t position)
{
	return &ring->slot[position % PF_RING_SLOTS];
}

static bool slot_empty(const struct pf_ring *ring, uint32_t position)
{
	return __atomic_load_n(&slot_at(ring, position)->event, __ATOMIC_ACQUIRE) == 0;
}

/* The full slots must be one stretch, perhaps around the wrap, and leave a gap. */
static int find_ends(struct pf_ring *ring, unsigned index, struct pf_err *err)
{
	uint32_t starts = 0, full = 0;

	ring->head = ring->tail = 0;
	for (uint32_t i = 0; i < PF_RING_SLOTS; i++) {
		if (slot_empty(ring, i))
			continue;
		full++;
		if (slot_empty(ring, i - 1)) {
			starts++;
			ring->tail = i;
		}
	}
	if (starts != (full ? 1 : 0))
		return pf_err_set(err, PF_ERR_CONFIG,
				  "uffd-%u.ring in the state directory is damaged: its events are "
				  "in %u pieces",
				  index, starts);
	ring->head = ring->tail + full;
	return 0;
}

static int map_ring(struct pf_ring *ring, int dirfd, unsigned index, enum pf_statefile_mode mode,
		    struct pf_err *err)
{
	char name[32];

	snprintf(name, sizeof(name), "uffd-%u.ring", index);
	memset(ring, 0, sizeof(*ring));
	ring->slot = pf_statefile_map(dirfd, name, mode, RING_BYTES, err);
	if (!ring->slot)
		return pf_err_prefix(err, "the ring of userfaultfd events");
	return 0;
}

int pf_ring_create(struct pf_ring *ring, int dirfd, unsigned index, struct pf_err *err)
{
	return map_ring(ring, dirfd, index, PF_STATEFILE_NEW, err);
}

int pf_ring_open(struct pf_ring *ring, int dirfd, unsigned index, struct pf_err *err)
{
	if (map_ring(ring, dirfd, index, PF_STATEFILE_EITHER, err))
		return -1;
	if (find_ends(ring, index, err)) {
		pf_ring_close(ring);
		return -1;
	}
	return 0;
}

void pf_ring_close(struct pf_ring *ring)
{
	if (ring->slot)
		munmap(ring->slot, RING_BYTES);
	memset(ring, 0, sizeof(*ring));
}

/* How many slots from head on may be filled by one read: up to the wrap, and leaving the gap. */
static uint32_t room(const struct pf_ring *ring)
{
	uint32_t left = PF_RING_SLOTS - 1 - (ring->head - ring->tail);
	uint32_t to_wrap = PF_RING_SLOTS - ring->head % PF_RING_SLOTS;

	return left < to_wrap ? left : to_wrap;
}

/*
 * The VMM shares the open file, and can make it block again at any time: a read that says for itself that
 * it does not wait does not care (userfaultfd has that from Linux 6.10 on).
 */
static ssize_t read_now(int uffd, void *to, size_t size)
{
	static _Atomic bool cannot;
	struct iovec room = {.iov_base = to, .iov_len = size};

	if (!atomic_load_explicit(&cannot, memory_order_relaxed)) {
		ssize_t got = preadv2(uffd, &room, 1, -1, RWF_NOWAIT);

		if (got >= 0 || errno != EOPNOTSUPP)
			return got;
		atomic_store_explicit(&cannot, true, memory_order_relaxed);
	}
	return read(uffd, to, size);
}

enum pf_ring_read pf_ring_read(struct pf_ring *ring, int uffd)
{
	uint32_t slots = room(ring);
	ssize_t got;

	if (slots == 0)
		return PF_RING_FULL;
	do
		got = read_now(uffd, slot_at(ring, ring->head), slots * sizeof(struct uffd_msg));
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return PF_RING_EMPTY;
	if (got < 0 && errno == ESRCH)
		return PF_RING_GONE;
	if (got < 0)
		return PF_RING_FAILED;
	/* userfaultfd(2) returns whole messages; anything else here is not a userfaultfd. */
	if (got == 0 || (size_t)got % sizeof(struct uffd_msg) != 0) {
		errno = EPROTO;
		return PF_RING_FAILED;
	}
	pf_fault(PF_FAULT_EVENT_READ);
	ring->head += (uint32_t)((size_t)got / sizeof(struct uffd_msg));
	return PF_RING_EVENTS;
}

const struct uffd_msg *pf_ring_peek(const struct pf_ring *ring)
{
	return ring->head == ring->tail ? NULL : slot_at(ring, ring->tail);
}

void pf_ring_pop(struct pf_ring *ring)
{
	if (ring->head == ring->tail)
		return;
	/*
	 * One byte decides whether the slot is empty, so being killed here leaves the event either
	 * there in full or gone; release: what was done about it comes before.
	 */
	__atomic_store_n(&slot_at(ring, ring->tail)->event, 0, __ATOMIC_RELEASE);
	ring->tail++;
	/* From the start again: a ring that is hardly ever long touches one page, and not all of its file. */
	if (ring->head == ring->tail)
		ring->head = ring->tail = 0;
	pf_fault(PF_FAULT_POPPED);
}
