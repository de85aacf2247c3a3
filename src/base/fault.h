/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/fault.h - fault points: places where a test stops, kills or cuts off the process.
 *
 * For tests alone: `./configure --enable-fault-points`.  Without it every call here compiles to
 * nothing, and the program knows neither the points' names nor PAGEFERRY_FAULT.
 *
 *   PAGEFERRY_FAULT=POINT[:N]=stop|kill|cut|hang[,...]     at the N-th hit (default 1) of the point
 *
 *   stop  SIGSTOP of the whole process; the thread that hit the point is stopped in it
 *   kill  SIGKILL
 *   hang  the thread that hit the point does nothing any more
 *   cut   every connected TCP socket is shut down; what it had been given still arrives, what had
 *         come and was not read is lost
 *
 * Armed once, before threads are started.  From then on any thread and any signal handler: hits are
 * counted with atomics, and nothing here allocates or takes a lock.
 */
#ifndef PF_BASE_FAULT_H
#define PF_BASE_FAULT_H

#include <stdint.h>

#include "base/err.h"

/*
 * The table.  ONE is a point; FRAME is two, NAME-sent at the sender (the kernel has every byte of it)
 * and NAME-heard at the receiver (checked, nothing done about it); WAY is two as well, NAME on the
 * way of a fault and bulk-NAME in the thread of a bulk connection; FRAME_WAY is a FRAME on either.
 */
/* clang-format off: a table */
#define PF_FAULT_TABLE(ONE, FRAME, WAY, FRAME_WAY) \
	ONE(CONNECT,     "connect",     BOTH, "TCP stands, TLS has not begun") \
	ONE(TLS,         "tls",         BOTH, "TLS stands, nothing was said") \
	ONE(DESCRIBED,   "described",   DST,  "the VMM's REGIONS are saved, nothing is trapped") \
	ONE(REGISTERED,  "registered",  DST,  "every range is registered, no stock was taken") \
	ONE(PROBED,      "probed",      DST,  "a page is in the VMM's memory to be looked at, and noted") \
	ONE(ARMED,       "armed",       DST,  "the VMM's memory is trapped, the VMM is not told") \
	ONE(PAUSE,       "pause",       SRC,  "the VMM is about to be asked to pause") \
	ONE(STANDS,      "stands",      SRC,  "the VMM has paused, its state is not sent") \
	ONE(LOAD,        "load",        DST,  "the device state is here, the VMM does not know") \
	ONE(LOADED,      "loaded",      DST,  "the VMM said READY, the record is not written") \
	ONE(RECORDING,   "recording",   BOTH, "a record is about to be written") \
	ONE(READY,       "ready",       DST,  "READY is written, the source not told") \
	ONE(OFFERED,     "offered",     SRC,  "OFFERED is written, COMMIT not sent") \
	ONE(RUN,         "run",         DST,  "RUN is written, RESUME not said to the VMM") \
	ONE(RESUME,      "resume",      DST,  "RESUME is said to the VMM, RUN not to the source") \
	ONE(GONE,        "gone",        SRC,  "GONE is written, push has not begun") \
	ONE(RESUMED,     "resumed",     DST,  "the VMM said that it runs, the source not told") \
	ONE(REFUSED,     "refused",     DST,  "REFUSED is written, the source not told") \
	ONE(ABORTED,     "aborted",     DST,  "ABORTED is written, nobody told") \
	ONE(KEPT,        "kept",        SRC,  "KEPT is written, the VMM not told to go on") \
	ONE(PUSH,        "push",        SRC,  "a run of pages is about to be pushed") \
	ONE(DRAIN,       "drain",       DST,  "every page is here, the traps stand") \
	ONE(DISARMED,    "disarmed",    DST,  "the traps are removed, nobody told") \
	ONE(RELEASE,     "release",     SRC,  "the end is on record, neither COMPLETE_ACK posted nor the VMM told") \
	ONE(ACKED,       "acked",       SRC,  "COMPLETE_ACK is posted, the VMM not told") \
	ONE(GOODBYE,     "goodbye",     BOTH, "the last words are sent, the peer's end awaited") \
	FRAME(HELLO,          "hello",        SRC,  DST) \
	FRAME(WELCOME,        "welcome",      DST,  SRC) \
	FRAME(REGIONS,        "regions",      SRC,  DST) \
	FRAME(REGIONS_OK,     "regions-ok",   DST,  SRC) \
	FRAME(PAUSED,         "paused",       SRC,  DST) \
	FRAME(DEVICE,         "device",       SRC,  DST) \
	FRAME(READY,          "ready",        DST,  SRC) \
	FRAME(COMMIT,         "commit",       SRC,  DST) \
	FRAME(RUN,            "run",          DST,  SRC) \
	FRAME(RESUMED,        "resumed",      DST,  SRC) \
	FRAME(REFUSED,        "refused",      DST,  SRC) \
	FRAME(ABORT,          "abort",        SRC,  DST) \
	FRAME(ABORTED,        "aborted",      DST,  SRC) \
	FRAME(COMPLETE,       "complete",     DST,  SRC) \
	FRAME(COMPLETE_ACK,   "complete-ack", SRC,  DST) \
	FRAME(FAILURE,        "failure",      BOTH, BOTH) \
	FRAME(HEARTBEAT,      "heartbeat",    BOTH, BOTH) \
	FRAME(REQUEST,        "request",      DST,  SRC) \
	FRAME(CREDIT,         "credit",       DST,  SRC) \
	FRAME(RECEIVED,       "received",     DST,  SRC) \
	FRAME_WAY(PAGES,      "pages",        SRC,  DST) \
	FRAME_WAY(ZERO,       "zero",         SRC,  DST) \
	FRAME_WAY(PAGE_ERROR, "page-error",   SRC,  DST) \
	ONE(EVENT_READ,  "event-read",  DST,  "events are in the ring, none is dealt with") \
	ONE(DISCARD_READ, "discard-read", DST, "a discard is in the ring, the journal does not know") \
	ONE(FAULT,       "fault",       DST,  "REQUESTED is set, nobody has asked yet") \
	ONE(LATE_TRAP,   "late-trap",   DST,  "a trap of a page that is FILLED, not mapped yet") \
	WAY(CLAIMED,     "claimed",     DST,  "claimed, not a byte written") \
	WAY(ALLOCATED,   "allocated",   DST,  "a huge page is in the file, not a byte copied") \
	WAY(WRITTEN,     "written",     DST,  "written, not FILLED") \
	WAY(FILLED,      "filled",      DST,  "FILLED, not mapped") \
	WAY(MAPPED,      "mapped",      DST,  "mapped, in one mapping of perhaps several") \
	WAY(HOLE_FILLED, "hole-filled", DST,  "a punched page is allocated, not mapped") \
	WAY(POISONED,    "poisoned",    DST,  "a lost page is poisoned, in one mapping of perhaps several") \
	WAY(LOST,        "lost",        DST,  "LOST is in the journal, who waits since was not woken") \
	WAY(WOKEN,       "woken",       DST,  "whoever was blocked on it was woken") \
	ONE(SLOT_SET,    "slot-set",    DST,  "a vCPU's fault is in its slot, and on the socket still") \
	WAY(LET_IN,      "let-in",      DST,  "the bits of its vCPUs are clear, not mapped") \
	ONE(RESOLVED,    "resolved",    DST,  "a vCPU was told to enter, and is in its slot still") \
	ONE(POPPED,      "popped",      DST,  "the event is dealt with and out of the ring") \
	WAY(PAGE_READ,   "page-read",   SRC,  "read from guest memory, not framed")
/* clang-format on */

#define PF_FAULT_ONE_(id, ...) PF_FAULT_##id,
#define PF_FAULT_FRAME_(id, ...) PF_FAULT_##id##_SENT, PF_FAULT_##id##_HEARD,
#define PF_FAULT_WAY_(id, ...) PF_FAULT_##id, PF_FAULT_BULK_##id,
#define PF_FAULT_FRAME_WAY_(id, ...)                                                               \
	PF_FAULT_##id##_SENT, PF_FAULT_BULK_##id##_SENT, PF_FAULT_##id##_HEARD,                    \
		PF_FAULT_BULK_##id##_HEARD,
enum pf_fault_point {
	PF_FAULT_TABLE(PF_FAULT_ONE_, PF_FAULT_FRAME_, PF_FAULT_WAY_, PF_FAULT_FRAME_WAY_)
	PF_FAULT_COUNT_
};

#ifdef PF_WITH_FAULT_POINTS

/* Points that are hit once a channel's buffer is with the kernel: how often each. */
struct pf_fault_due {
	uint16_t hits[PF_FAULT_COUNT_];
};

struct pf_fault_row {
	const char *name, *side, *meaning;
};
extern const struct pf_fault_row pf_fault_table[PF_FAULT_COUNT_];

/* The process is here. */
void pf_fault(enum pf_fault_point point);
/* The process will be here at the next pf_fault_now(). */
void pf_fault_later(struct pf_fault_due *due, enum pf_fault_point point);
void pf_fault_now(struct pf_fault_due *due);
/* A thread, about itself: its steps are the bulk ones. */
void pf_fault_in_bulk(void);
/* By the text of PAGEFERRY_FAULT; NULL arms nothing.  PF_ERR_USAGE. */
PF_MUST_USE int pf_fault_arm(const char *text, struct pf_err *err);

#else

struct pf_fault_due {};

static inline void pf_fault(enum pf_fault_point point)
{
	(void)point;
}

static inline void pf_fault_later(struct pf_fault_due *due, enum pf_fault_point point)
{
	(void)due, (void)point;
}

static inline void pf_fault_now(struct pf_fault_due *due)
{
	(void)due;
}

static inline void pf_fault_in_bulk(void)
{
}

#endif
#endif
