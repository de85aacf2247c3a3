/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/guest.c - see memory/guest.h. */
#include "memory/guest.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "memory/lost.h"
#include "memory/memfile.h"
#include "memory/proof.h"
#include "memory/row.h"
#include "memory/stock.h"

/* A page's number is below 2^52, since its region is smaller than 2^64 bytes. */
#define UNEXPECTED (UINT64_C(1) << 63)
#define UNEXPECTED_SHIFT 53

bool pf_guest_find(const struct pf_guest *guest, uint32_t uffd, uint64_t address,
		   uint32_t *out_region, uint64_t *out_page)
{
	for (uint32_t r = 0; r < guest->table.count; r++) {
		const struct pf_region_shape *shape = &guest->table.region[r];
		const struct pf_guest_region *region = &guest->region[r];

		for (uint32_t m = 0; m < region->mappings; m++) {
			uint64_t at = address - region->mapping[m].base;

			/* Below the base, at wraps around and is larger than any region. */
			if (region->mapping[m].uffd != uffd || at >= shape->size)
				continue;
			*out_region = r;
			*out_page = at / shape->page_size;
			return true;
		}
	}
	return false;
}

bool pf_guest_find_gpa(const struct pf_guest *guest, uint64_t gpa, uint32_t *out_region,
		       uint64_t *out_page)
{
	uint32_t low = 0, high = guest->table.count;

	/* The last region that begins at or below it; the table is sorted. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (guest->table.region[middle].gpa <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || gpa - guest->table.region[low - 1].gpa >= guest->table.region[low - 1].size)
		return false;
	*out_region = low - 1;
	*out_page = (gpa - guest->table.region[low - 1].gpa) / guest->table.region[low - 1].page_size;
	return true;
}

static int refuse(const struct pf_guest *guest, uint32_t region, struct pf_err *err)
{
	return pf_err_prefix(err, "region %" PRIu32 " (id %" PRIu32 ")", region,
			     guest->region[region].id);
}

static void rename_uffd(struct pf_guest *guest, uint32_t from, uint32_t to)
{
	for (uint32_t r = 0; r < guest->table.count; r++)
		for (uint32_t m = 0; m < guest->region[r].mappings && m < PF_MAPPINGS_MAX; m++)
			if (guest->region[r].mapping[m].uffd == from)
				guest->region[r].mapping[m].uffd = to;
}

/*
 * A userfaultfd that was handed over twice, once for each region say, is one: its events come to
 * whichever descriptor is read first, and would be looked for in the mappings of that one only.
 */
static void merge_uffds(struct pf_guest *guest)
{
	for (uint32_t u = 1; u < guest->uffds; u++) {
		uint32_t same = 0;

		while (same < u && !pf_uffd_same(guest->uffd[u].fd, guest->uffd[same].fd))
			same++;
		if (same == u)
			continue;
		close(guest->uffd[u].fd);
		rename_uffd(guest, u, same);
		rename_uffd(guest, --guest->uffds, u);
		guest->uffd[u].fd = guest->uffd[guest->uffds].fd;
		guest->uffd[guest->uffds].fd = -1;
		u--;
	}
}

static int check_mapping(const struct pf_guest *guest, uint32_t r, uint32_t m, struct pf_err *err)
{
	const struct pf_region_shape *shape = &guest->table.region[r];
	uint64_t base = guest->region[r].mapping[m].base, end;

	if (guest->region[r].mapping[m].uffd >= guest->uffds)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "mapping %" PRIu32 " names userfaultfd %" PRIu32 " of %" PRIu32,
				  m, guest->region[r].mapping[m].uffd, guest->uffds);
	if (base % shape->page_size != 0 || __builtin_add_overflow(base, shape->size, &end))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "mapping %" PRIu32 " at 0x%" PRIx64
				  " is not aligned to a page, or wraps around",
				  m, base);
	return 0;
}

/* Two mappings of private memory would be two memories. */
static int check_private(const struct pf_guest_region *region, const struct pf_region_shape *shape,
			 struct pf_err *err)
{
	if (region->fd >= 0 || region->offset != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "it is private anonymous memory, and comes with a memory file");
	if (shape->page_size != 4096) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "pages of %" PRIu32
			   " bytes, but private anonymous memory has pages of 4096",
			   shape->page_size);
		return pf_err_hint(err, "transparent huge pages are no concern of the page size");
	}
	if (region->mappings != 1) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "%" PRIu32 " mappings, but private anonymous memory is mapped once",
			   region->mappings);
		return pf_err_hint(err, "a guest that is mapped several times needs a memfd");
	}
	return 0;
}

static int check_region(struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	struct pf_guest_region *region = &guest->region[r];

	if (region->kind == PF_MEMORY_PRIVATE
		    ? check_private(region, &guest->table.region[r], err)
		    : pf_memfile_check(region->fd, region->kind, region->offset,
				       &guest->table.region[r], true, err))
		return -1;
	if (region->has_bitmap && pf_memfile_check_bitmap(region->bitmap_fd, err))
		return -1;
	if (region->has_lost &&
	    pf_lost_check(region->lost_fd, pf_region_pages(&guest->table.region[r]), err))
		return -1;
	region->shape = guest->table.region[r];
	region->file = r;
	region->placer = pf_placer_of(region->kind); /* the checks let no other through */
	if (region->mappings == 0 || region->mappings > PF_MAPPINGS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "%" PRIu32 " mappings; 1 to %u are allowed",
				  region->mappings, PF_MAPPINGS_MAX);
	for (uint32_t m = 0; m < region->mappings; m++)
		if (check_mapping(guest, r, m, err))
			return -1;
	return pf_stock_declared(guest, r, err);
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static bool mappings_overlap(const struct pf_guest *guest, uint32_t a, uint32_t b)
{
	const struct pf_guest_region *x = &guest->region[a], *y = &guest->region[b];

	for (uint32_t i = 0; i < x->mappings; i++)
		for (uint32_t j = 0; j < y->mappings; j++)
			if (!(a == b && i == j) && x->mapping[i].uffd == y->mapping[j].uffd &&
			    ranges_overlap(x->mapping[i].base, guest->table.region[a].size,
					   y->mapping[j].base, guest->table.region[b].size))
				return true;
	return false;
}

/*
 * A page of a file in two regions would have two lives in the journal: when its second copy
 * arrives, the guest may have written to it through the first.
 */
static int check_pair(struct pf_guest *guest, uint32_t a, uint32_t b, struct pf_err *err)
{
	struct stat x, y;

	if (mappings_overlap(guest, a, b))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "one of its mappings overlaps one of region %" PRIu32, b);
	if (a == b || guest->region[a].fd < 0 || guest->region[b].fd < 0)
		return 0;
	if (fstat(guest->region[a].fd, &x) || fstat(guest->region[b].fd, &y))
		return pf_err_sys(err, "looking at its memory file");
	if (x.st_dev != y.st_dev || x.st_ino != y.st_ino)
		return 0;
	if (guest->region[a].file == a)
		guest->region[a].file = guest->region[b].file;
	if (ranges_overlap(guest->region[a].offset, guest->table.region[a].size,
			   guest->region[b].offset, guest->table.region[b].size))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "it shares pages of its memory file with region %" PRIu32, b);
	return 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* The one that its VMM has handed over, whatever it is for; -1. */
static int bitmap_of(const struct pf_guest_region *region, const char **out_name)
{
	*out_name = region->has_lost ? "bitmap of lost pages" : "userfault bitmap";
	return region->has_lost ? region->lost_fd : region->has_bitmap ? region->bitmap_fd : -1;
}

/* A bit is one page's: clearing it for another one would let a vCPU in too early. */
static int check_bitmaps(const struct pf_guest *guest, uint32_t a, uint32_t b, struct pf_err *err)
{
	const struct pf_guest_region *x = &guest->region[a], *y = &guest->region[b];
	const char *x_name, *y_name;
	int x_bits = bitmap_of(x, &x_name), y_bits = bitmap_of(y, &y_name);

	if (a != b && x_bits >= 0 && y_bits >= 0 && same_file(x_bits, y_bits))
		pf_err_set(err, PF_ERR_PROTOCOL, "it shares its %s with region %" PRIu32, x_name,
			   b);
	else if (x_bits >= 0 && y->fd >= 0 && same_file(x_bits, y->fd))
		pf_err_set(err, PF_ERR_PROTOCOL, "its %s is the memory of region %" PRIu32, x_name,
			   b);
	else if (y_bits >= 0 && x->fd >= 0 && same_file(y_bits, x->fd))
		pf_err_set(err, PF_ERR_PROTOCOL, "its memory is the %s of region %" PRIu32, y_name,
			   b);
	else
		return 0;
	return pf_err_hint(err, "give each region a bitmap in a memfd of its own");
}

static int check_all(struct pf_guest *guest, struct pf_err *err)
{
	if (pf_table_check(&guest->table, err))
		return -1;
	if (guest->uffds == 0 || guest->uffds > PF_UFFDS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "%" PRIu32 " userfaultfds; 1 to %u are allowed",
				  guest->uffds, PF_UFFDS_MAX);
	merge_uffds(guest);
	for (uint32_t a = 0; a < guest->table.count; a++) {
		if (check_region(guest, a, err))
			return refuse(guest, a, err);
		for (uint32_t b = 0; b <= a; b++)
			if (check_pair(guest, a, b, err) || check_bitmaps(guest, a, b, err))
				return refuse(guest, a, err);
	}
	return 0;
}

/* A page that is discarded before it has come must not come: without the event nobody would know. */
static int check_discards(struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];
	bool told = guest->uffd[region->mapping[0].uffd].features & UFFD_FEATURE_EVENT_REMOVE;

	if (region->kind != PF_MEMORY_PRIVATE)
		return 0;
	guest->tells_discards = guest->tells_discards || told;
	if (told || !region->discards)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "it declares discards of private memory, and its userfaultfd (features 0x%" PRIx64
		   ") has no EVENT_REMOVE to tell of them",
		   guest->uffd[region->mapping[0].uffd].features);
	pf_err_hint(err, "call UFFDIO_API with UFFD_FEATURE_EVENT_REMOVE");
	return refuse(guest, r, err);
}

/* A vCPU would be told by its VMM, and whoever else touches the page could not be: then it is not lost, it waits. */
static int check_machine_checks(struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	if (!guest->region[r].machine_checks || guest->region[r].poisons)
		return 0;
	pf_err_set(err, PF_ERR_SYSTEM,
		   "it declares machine_checks, and this kernel has no UFFDIO_POISON to tell whoever is "
		   "no vCPU that a page is lost");
	pf_err_hint(err, "leave it out, and lost pages are waited for; or use Linux 6.6 or later");
	return refuse(guest, r, err);
}

static int adopt_all(struct pf_guest *guest, struct pf_err *err)
{
	for (uint32_t u = 0; u < guest->uffds; u++)
		if (pf_uffd_adopt(guest->uffd[u].fd, &guest->uffd[u].features, err))
			return pf_err_prefix(err, "userfaultfd %" PRIu32, u);
	/* One kernel, one answer; but no kernel can tell a vCPU that leaves for a page: its VMM must. */
	for (uint32_t r = 0; r < guest->table.count; r++)
		guest->region[r].poisons =
			(!guest->region[r].has_bitmap || guest->region[r].machine_checks) &&
			pf_uffd_can_poison(guest->uffd[0].fd);
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (check_discards(guest, r, err) || check_machine_checks(guest, r, err))
			return -1;
	return 0;
}

static void close_state(struct pf_guest *guest)
{
	for (uint32_t r = 0; r < guest->table.count; r++)
		pf_row_detach(guest, r);
	if (guest->journal.map)
		pthread_rwlock_destroy(&guest->discards);
	for (uint32_t u = 0; u < guest->uffds; u++)
		pf_ring_close(&guest->uffd[u].ring);
	pf_slots_close(&guest->slots);
	pf_probing_close(&guest->probing);
	pf_journal_close(&guest->journal);
	pf_snapshot_done(&guest->snapshot);
}

/* The urgent thread is the writer: the bulk threads must not keep it from a fault. */
static int create_lock(struct pf_guest *guest, struct pf_err *err)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	errno = pthread_rwlock_init(&guest->discards, &attr);
	pthread_rwlockattr_destroy(&attr);
	return errno ? pf_err_sys(err, "making the lock between copies and discards") : 0;
}

static int create_state(struct pf_guest *guest, int dirfd, struct pf_err *err)
{
	int failed;

	if (pf_journal_create(&guest->journal, dirfd, &guest->table, err))
		return -1;
	failed = create_lock(guest, err);
	if (!failed)
		failed = pf_snapshot_init(&guest->snapshot, &guest->table, err);
	for (uint32_t u = 0; !failed && u < guest->uffds; u++)
		failed = pf_ring_create(&guest->uffd[u].ring, dirfd, u, err);
	if (!failed && guest->has_faults)
		failed = pf_slots_create(&guest->slots, dirfd, err);
	if (!failed)
		failed = pf_probing_open(&guest->probing, dirfd, err);
	if (failed)
		close_state(guest);
	return failed;
}

static int attach_all(struct pf_guest *guest, struct pf_err *err)
{
	for (uint32_t r = 0; r < guest->table.count; r++) {
		const struct pf_placer *placer = guest->region[r].placer;

		if (placer->attach && placer->attach(guest, r, err))
			return refuse(guest, r, err);
	}
	return 0;
}

static int open_state(struct pf_guest *guest, int dirfd, struct pf_err *err)
{
	int failed;

	if (pf_journal_open(&guest->journal, dirfd, &guest->table, err))
		return -1;
	failed = create_lock(guest, err);
	if (!failed)
		failed = pf_snapshot_init(&guest->snapshot, &guest->table, err);
	for (uint32_t u = 0; !failed && u < guest->uffds; u++)
		failed = pf_ring_open(&guest->uffd[u].ring, dirfd, u, err);
	if (!failed && guest->has_faults)
		failed = pf_slots_open(&guest->slots, dirfd, err);
	if (failed)
		close_state(guest);
	return failed;
}

static int unregister_region(struct pf_guest *guest, uint32_t r, uint32_t mappings,
			     struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];
	int failed = 0;

	for (uint32_t m = 0; m < mappings; m++) {
		struct pf_err this;

		if (pf_uffd_unregister(guest->uffd[region->mapping[m].uffd].fd,
				       region->mapping[m].base, guest->table.region[r].size,
				       &this) &&
		    !failed) {
			*err = this;
			failed = refuse(guest, r, err);
		}
	}
	return failed;
}

static int unregister_regions(struct pf_guest *guest, uint32_t regions, struct pf_err *err)
{
	int failed = 0;

	for (uint32_t r = 0; r < regions; r++) {
		struct pf_err this;

		if (unregister_region(guest, r, guest->region[r].mappings, &this) && !failed) {
			*err = this;
			failed = -1;
		}
	}
	return failed;
}

/*
 * UFFDIO_REGISTER takes a range whose end is not mapped (fs/userfaultfd.c looks for a first mapping
 * only), and every page there would fail later: so the last page is registered once more by itself.
 */
static int register_mapping(struct pf_guest *guest, uint32_t r, uint32_t m, struct pf_err *err)
{
	const struct pf_guest_region *region = &guest->region[r];
	const struct pf_placer *placer = region->placer;
	int uffd = guest->uffd[region->mapping[m].uffd].fd;
	uint64_t base = region->mapping[m].base, size = region->shape.size;
	uint64_t last = base + size - region->shape.page_size;
	struct pf_err ignored;

	if (pf_uffd_register_for(uffd, base, size, placer->modes, placer->ioctls, err))
		return -1;
	if (pf_uffd_register_for(uffd, last, region->shape.page_size, placer->modes, placer->ioctls,
				 err) == 0)
		return 0;
	/* Why it could not be armed matters, not that a dead process cannot be disarmed. */
	(void)!pf_uffd_unregister(uffd, base, size, &ignored);
	return -1;
}

static int register_region(struct pf_guest *guest, uint32_t r, struct pf_err *err)
{
	for (uint32_t m = 0; m < guest->region[r].mappings; m++) {
		struct pf_err ignored;

		if (register_mapping(guest, r, m, err) == 0)
			continue;
		(void)!unregister_region(guest, r, m, &ignored);
		return -1;
	}
	return 0;
}

static int register_all(struct pf_guest *guest, struct pf_err *err)
{
	struct pf_err ignored;

	for (uint32_t r = 0; r < guest->table.count; r++) {
		if (register_region(guest, r, err) == 0)
			continue;
		(void)!unregister_regions(guest, r, &ignored);
		return refuse(guest, r, err);
	}
	return 0;
}

/* Nothing is dropped before all regions were found right: what is refused stays as it was. */
static int take_all_stock(const struct pf_guest *guest, struct pf_err *err)
{
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (pf_stock_check(guest, r, err))
			return refuse(guest, r, err);
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (pf_stock_clear(guest, r, err))
			return refuse(guest, r, err);
	return 0;
}

/* Once nothing is in the files that should not be there. */
static int prove_all(struct pf_guest *guest, struct pf_err *err)
{
	for (uint32_t r = 0; r < guest->table.count; r++)
		if (pf_proof_check(guest, r, err))
			return refuse(guest, r, err);
	return 0;
}

int pf_guest_arm(struct pf_guest *guest, int dirfd, struct pf_err *err)
{
	struct pf_err ignored;

	if (check_all(guest, err) || adopt_all(guest, err) || create_state(guest, dirfd, err))
		return -1;
	if (pf_proof_recover(guest, err) || attach_all(guest, err) || register_all(guest, err)) {
		close_state(guest);
		return -1;
	}
	pf_fault(PF_FAULT_REGISTERED);
	/* After registering: whatever touches a page from then on traps and leaves it absent. */
	if (take_all_stock(guest, err) || prove_all(guest, err)) {
		(void)!unregister_regions(guest, guest->table.count, &ignored);
		close_state(guest);
		return -1;
	}
	return 0;
}

void pf_guest_done(struct pf_guest *guest)
{
	close_state(guest);
	for (uint32_t u = 0; u < guest->uffds; u++)
		if (guest->uffd[u].fd >= 0)
			close(guest->uffd[u].fd);
	for (uint32_t r = 0; r < guest->table.count; r++) {
		if (guest->region[r].fd >= 0)
			close(guest->region[r].fd);
		if (guest->region[r].has_bitmap)
			close(guest->region[r].bitmap_fd);
		if (guest->region[r].has_lost)
			close(guest->region[r].lost_fd);
	}
	if (guest->has_faults)
		close(guest->fault_fd);
	memset(guest, 0, sizeof(*guest));
}

void pf_guest_hold_discards(struct pf_guest *guest)
{
	if (guest->tells_discards)
		pthread_rwlock_rdlock(&guest->discards);
}

void pf_guest_let_discards(struct pf_guest *guest)
{
	if (guest->tells_discards)
		pthread_rwlock_unlock(&guest->discards);
}

void pf_guest_note_unexpected(struct pf_guest *guest, uint32_t region, uint64_t page)
{
	atomic_fetch_add_explicit(&guest->count.unexpected, 1, memory_order_relaxed);
	atomic_store(&guest->unexpected, UNEXPECTED | (uint64_t)region << UNEXPECTED_SHIFT | page);
}

bool pf_guest_take_unexpected(struct pf_guest *guest, uint32_t *out_region, uint64_t *out_page)
{
	uint64_t packed;

	if (atomic_load_explicit(&guest->unexpected, memory_order_relaxed) == 0)
		return false;
	packed = atomic_exchange(&guest->unexpected, 0);
	*out_region = (uint32_t)((packed & ~UNEXPECTED) >> UNEXPECTED_SHIFT);
	*out_page = packed & ((UINT64_C(1) << UNEXPECTED_SHIFT) - 1);
	return packed != 0;
}

static void discard(struct pf_guest *guest, uint32_t uffd, uint32_t r, uint64_t start, uint64_t end)
{
	const struct pf_guest_region *region = &guest->region[r];
	uint64_t base = region->mapping[0].base, last = base + region->shape.size;
	uint64_t from = start > base ? start : base, to = end < last ? end : last;
	uint32_t page_size = region->shape.page_size;

	if (!region->placer->visible_at_once || region->mapping[0].uffd != uffd || from >= to)
		return;
	/* Woken, he traps again, and gets the zeros that he would find without us. */
	if (pf_journal_discard(&guest->journal, r, (from - base) / page_size,
			       (to - from) / page_size))
		(void)pf_uffd_wake(guest->uffd[uffd].fd, from, to - from);
}

static void discard_all(struct pf_guest *guest, uint32_t uffd, const struct uffd_msg *event)
{
	if (event->event != UFFD_EVENT_REMOVE)
		return;
	pf_fault(PF_FAULT_DISCARD_READ);
	atomic_fetch_add_explicit(&guest->count.discarded, 1, memory_order_relaxed);
	for (uint32_t r = 0; r < guest->table.count; r++)
		discard(guest, uffd, r, event->arg.remove.start, event->arg.remove.end);
}

enum pf_ring_read pf_guest_read(struct pf_guest *guest, uint32_t uffd)
{
	struct pf_ring *ring = &guest->uffd[uffd].ring;
	enum pf_ring_read got;
	uint32_t at = ring->head;

	if (!guest->tells_discards)
		return pf_ring_read(ring, guest->uffd[uffd].fd);
	pthread_rwlock_wrlock(&guest->discards);
	got = pf_ring_read(ring, guest->uffd[uffd].fd);
	for (; at != ring->head; at++)
		discard_all(guest, uffd, &ring->slot[at % PF_RING_SLOTS]);
	pthread_rwlock_unlock(&guest->discards);
	return got;
}

bool pf_guest_let_discard(struct pf_guest *guest, uint32_t uffd, uint64_t until_ns)
{
	if (pf_now_ns() > until_ns)
		return false;
	if (pf_guest_read(guest, uffd) == PF_RING_EMPTY)
		(void)sched_yield();
	return true;
}

int pf_guest_wake_all(const struct pf_guest *guest, struct pf_err *err)
{
	for (uint32_t r = 0; r < guest->table.count; r++) {
		const struct pf_guest_region *region = &guest->region[r];

		for (uint32_t m = 0; m < region->mappings; m++)
			if (pf_uffd_wake(guest->uffd[region->mapping[m].uffd].fd,
					 region->mapping[m].base,
					 region->shape.size) == PF_MAP_FAILED)
				return pf_err_sys(err, "waking the waiters of region %" PRIu32, r);
	}
	return 0;
}

/* A discard whose event was read and not heeded: it cannot be read again. */
static void replay_discards(struct pf_guest *guest)
{
	for (uint32_t u = 0; u < guest->uffds; u++) {
		const struct pf_ring *ring = &guest->uffd[u].ring;

		for (uint32_t at = ring->tail; at != ring->head; at++)
			discard_all(guest, u, &ring->slot[at % PF_RING_SLOTS]);
	}
}

int pf_guest_take_up(struct pf_guest *guest, int dirfd, struct pf_err *err)
{
	if (check_all(guest, err) || adopt_all(guest, err) || open_state(guest, dirfd, err))
		return -1;
	/*
	 * What was asked for died with the process before, and an event is out of the ring as soon as
	 * it is asked for: so everybody faults again.  The ring's own events come first, as they did.
	 */
	replay_discards(guest);
	if (attach_all(guest, err) || pf_guest_wake_all(guest, err)) {
		close_state(guest);
		return -1;
	}
	return 0;
}
