/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/guest.h - the destination's guest memory: memory files, mappings, userfaultfds.
 *
 * Owns every descriptor it is given.  Set up by the main thread, then read only: the urgent thread
 * and the bulk threads share it without locks; what changes is in the journal (atomics), the rings
 * (urgent thread only) and the counters (atomics).
 */
#ifndef PF_MEMORY_GUEST_H
#define PF_MEMORY_GUEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/page.h"
#include "memory/journal.h"
#include "memory/probing.h"
#include "memory/ring.h"
#include "memory/slots.h"
#include "memory/snapshot.h"
#include "memory/uffd.h"

#define PF_MAPPINGS_MAX 4u
#define PF_UFFDS_MAX 64u

struct pf_placer; /* memory/row.h: how a row populates and maps */

struct pf_guest_region {
	struct pf_region_shape shape; /* set by pf_guest_arm() after the table */
	uint32_t id; /* the VMM's name for it */
	enum pf_memory_kind kind;
	const struct pf_placer *placer; /* set by pf_guest_arm() after kind */
	int fd;				/* owned, and no other region's: dup(2) a shared file's;
					   -1: private memory */
	uint64_t offset; /* of the region within fd */
	uint32_t file;	 /* the first region of this very file; set by pf_guest_arm() */
	uint8_t *map;	 /* of the rows that need one: the agent's own mapping of the region */
	bool has_bitmap; /* of guest_memfd: where its vCPUs trap, a bit a page */
	int bitmap_fd;	 /* owned, where there is one */
	bool fill_atomic; /* declared: a page of the file becomes visible whole */
	bool machine_checks; /* declared: its VMM tells a vCPU that a page is lost */
	unsigned long *bits; /* the agent's mapping of the bitmap; only under memory/touch.h */
	size_t bits_bytes;
	bool has_lost; /* of other memory: where the VMM is told which pages are lost (memory/lost.h) */
	int lost_fd;   /* owned, where there is one */
	enum pf_populated populated;
	uint32_t populated_first, populated_count; /* into pf_guest.populated, PF_POPULATED_LIST */
	bool poisons;	 /* all who touch a page can be told that it is lost; set by pf_guest_arm() */
	bool discards;	 /* the VMM may discard pages of it */
	uint32_t mappings; /* private memory: one */
	struct {
		uint32_t uffd; /* index into pf_guest.uffd */
		uint64_t base; /* HVA in the VMM's process */
	} mapping[PF_MAPPINGS_MAX];
};

struct pf_guest {
	struct pf_region_table table; /* sorted by GPA, the agreed order */
	struct pf_guest_region region[PF_REGIONS_MAX];
	struct pf_run populated[PF_POPULATED_RANGES_MAX]; /* their .region is not used */
	uint32_t uffds;
	struct {
		int fd; /* owned */
		uint64_t features; /* as the VMM asked for them; set by pf_guest_arm() */
		struct pf_ring ring;
	} uffd[PF_UFFDS_MAX];
	struct pf_journal journal;
	struct pf_probing probing; /* open from pf_guest_arm() on */
	struct pf_snapshot snapshot; /* what was here when the session was last taken up */
	bool has_faults; /* some region has a bitmap */
	int fault_fd;	 /* owned, if so: stage-2 exits come and are answered there */
	struct pf_slots slots; /* if so: who waits there */
	/*
	 * Some private memory tells of discards: copying a page (shared) and reading events
	 * (exclusive) then exclude each other, see memory/row_private.c.  No other guest locks.
	 */
	bool tells_discards;
	pthread_rwlock_t discards;
	_Atomic uint64_t unexpected; /* the last one that nobody has taken: packed, 0: none */
	struct {
		_Atomic uint64_t duplicates; /* pages that arrived and were here already */
		_Atomic uint64_t resent;     /* of these, pages that the source had been told of */
		_Atomic uint64_t mapped;     /* pages mapped by CONTINUE, each mapping counts */
		_Atomic uint64_t woken;	     /* EEXIST answered with WAKE */
		/* Of these, pages that somebody had mapped, without an event, between their being
		 * written and their being mapped: in the row that allows it */
		_Atomic uint64_t unasked;
		_Atomic uint64_t holes;	     /* FILLED pages that were punched and came as zeros */
		_Atomic uint64_t unmapped;   /* pages that a mapping no longer has, each counts */
		_Atomic uint64_t discarded;  /* REMOVE events of private memory */
		_Atomic uint64_t unexpected; /* pages that were there and nobody declared */
	} count;
};

/* How a VMM's mapping address becomes a page.  false: outside of every region. */
PF_MUST_USE bool pf_guest_find(const struct pf_guest *guest, uint32_t uffd, uint64_t address,
			       uint32_t *out_region, uint64_t *out_page);
/* How a guest physical address becomes a page.  false: outside of every region. */
PF_MUST_USE bool pf_guest_find_gpa(const struct pf_guest *guest, uint64_t gpa, uint32_t *out_region,
				   uint64_t *out_page);
/*
 * Takes stock and arms: checks each file against its region (kind by fstatfs and seals, length,
 * alignment, no page of a file in two regions), adopts the userfaultfds, creates journal and rings
 * in dirfd (old ones are replaced), registers every mapping, refuses pages present that nobody
 * declared (PF_ERR_PROTOCOL with count and first range), and drops those that were listed, once
 * nothing is left that could be refused.  On -1 nothing stays registered, journal
 * and rings are closed, and the descriptors are still the guest's.  The struct's table, region and
 * uffd members are filled by the caller, the rest is zero.
 */
PF_MUST_USE int pf_guest_arm(struct pf_guest *guest, int dirfd, struct pf_err *err);
/*
 * Takes up what a process that died had armed, with the descriptors that somebody kept and the state
 * directory it left: checks, opens journal and rings (FILLED stays, the rest is ABSENT again), and
 * WAKEs every mapping.  Events that are in the rings still are dealt with like new ones.  Nothing is
 * registered: the traps are the userfaultfd's and outlived the process, and the VMM may have put
 * other memory into the ranges since.  For a guest that runs; before RUN, pf_guest_reset() follows.
 * On -1 the traps stand, journal and rings are closed, and the descriptors are still the guest's.
 */
PF_MUST_USE int pf_guest_take_up(struct pf_guest *guest, int dirfd, struct pf_err *err);
/*
 * pf_ring_read() of a userfaultfd, and what cannot wait until the event's turn comes: pages of private
 * memory that the VMM discards before they have come are FILLED without data, and whoever waits for
 * one is woken.  The urgent thread's.
 */
PF_MUST_USE enum pf_ring_read pf_guest_read(struct pf_guest *guest, uint32_t uffd);
/*
 * Mapping said EAGAIN: the VMM discards something, and goes on once its event is read; nothing says when it
 * has.  Reads, or lets it run.  false: not until that time.
 */
#define PF_MM_CHANGES_NS UINT64_C(1000000000) /* how long it is waited for, where nobody waits for us */
bool pf_guest_let_discard(struct pf_guest *guest, uint32_t uffd, uint64_t until_ns);
/* Around a claim and the COPY of it: no REMOVE event is read meanwhile.  Any thread. */
void pf_guest_hold_discards(struct pf_guest *guest);
void pf_guest_let_discards(struct pf_guest *guest);
/* A page was there before it came, and nobody had declared that.  Any thread. */
void pf_guest_note_unexpected(struct pf_guest *guest, uint32_t region, uint64_t page);
/* The last such page, once; false: there is none that was not taken yet.  Any thread. */
bool pf_guest_take_unexpected(struct pf_guest *guest, uint32_t *out_region, uint64_t *out_page);
/*
 * Forgets every page that has come, while no vCPU runs: the source starts again, and its guest has
 * changed meanwhile.  Punches the files (mapped pages go too, a later access traps again; what was
 * preallocated is reserved again, and it fails where there is no room for that any more; private
 * memory that has pages, or may have, is refused, PF_ERR_PROTOCOL, since only the VMM can empty it), clears
 * the journal (what was LOST may come after all) and the rings, and wakes whoever is blocked: he traps again, and is REQUESTED again.  The urgent
 * thread's to call, with no bulk thread left.
 */
PF_MUST_USE int pf_guest_reset(struct pf_guest *guest, struct pf_err *err);
/* WAKEs every mapping: whoever is blocked faults again. */
PF_MUST_USE int pf_guest_wake_all(const struct pf_guest *guest, struct pf_err *err);
/*
 * All pages are here: clears every bit of the bitmaps, tells which pages are lost, and unregisters every mapping (a thread that is
 * blocked goes on), but for lost pages of memory that `collapses`: their VMM does, when it has barred them.  Goes through all of them also if one fails (the VMM has unmapped it, or has ended), and reports the first.
 */
PF_MUST_USE int pf_guest_disarm(struct pf_guest *guest, struct pf_err *err);
/* Closes everything; takes a zeroed struct.  Closing a uffd's last reference lets blocked threads
 * go on with zeros: only after disarm, or when the guest is given up. */
void pf_guest_done(struct pf_guest *guest);

#endif
