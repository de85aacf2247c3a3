/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/memory.c - subjects: what userfaultfd really does on each kind of memory.
 *
 * Each attempt has a page of its own, one access to it and the ioctl in question.  What counts is
 * what the thread that waits sees afterwards, not what an ioctl returns.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/uffd_abi.h"
#include "memory/uffd_open.h"
#include "migrate/probe/access.h"
#include "migrate/probe/area.h"
#include "migrate/probe/subjects.h"

#define MISSING UFFDIO_REGISTER_MODE_MISSING
#define MINOR UFFDIO_REGISTER_MODE_MINOR
#define PATTERN 0x5a

/* One page, its userfaultfd, and the access to it. */
struct bench {
	struct pf_area area;
	int uffd;
	uint64_t modes; /* that are registered */
	struct pf_access access;
};

static struct uffdio_range range_of(const struct bench *bench)
{
	return (struct uffdio_range){(uintptr_t)bench->area.at, bench->area.kind->page_bytes};
}

/* ---- the steps that attempts are made of ---- */

static int open_uffd(struct bench *bench, struct pf_err *err)
{
	struct uffdio_api api = {.api = UFFD_API};

	bench->uffd = pf_uffd_open(PF_UFFD_FULL | PF_UFFD_USER_ONLY, err);
	if (bench->uffd < 0)
		return 1;
	return ioctl(bench->uffd, UFFDIO_API, &api) == 0 ? 0 : pf_err_sys(err, "UFFDIO_API");
}

static bool can_arm(struct bench *bench, uint64_t modes)
{
	struct uffdio_register reg = {.range = range_of(bench), .mode = modes};

	if (ioctl(bench->uffd, UFFDIO_REGISTER, &reg) != 0)
		return false;
	bench->modes = modes;
	return true;
}

static int arm(struct bench *bench, uint64_t modes, struct pf_err *err)
{
	const struct pf_area_kind *kind = bench->area.kind;

	if (can_arm(bench, modes))
		return 0;
	pf_err_sys(err, "registering it for %s",
		   modes == MISSING ? "MISSING" : "MISSING and MINOR");
	if (modes != MISSING && kind->without_minor && can_arm(bench, MISSING))
		return pf_err_hint(err, "%s", kind->without_minor);
	return pf_err_hint(err, "%s", kind->hint);
}

static int populate(struct bench *bench, struct pf_err *err)
{
	size_t length = bench->area.kind->page_bytes;
	pf_auto_free uint8_t *page = NULL;

	if (!bench->area.kind->populate) {
		pf_err_set(err, PF_ERR_SYSTEM, "only its own process can fill it, by COPY");
		return pf_err_hint(err, "%s", bench->area.kind->hint);
	}
	page = malloc(length);
	if (!page)
		return pf_err_sys(err, "allocating a page's bytes");
	memset(page, PATTERN, length);
	return bench->area.kind->populate(&bench->area, page, err);
}

static int touch(struct bench *bench, struct pf_err *err)
{
	return pf_access_start(&bench->access, bench->area.at, false, err);
}

/* The access is trapped now, and the kernel says so by this kind of event. */
static int expect_trap(struct bench *bench, bool minor, struct pf_err *err)
{
	struct uffd_msg event;
	int trapped = pf_access_await(&bench->access, bench->uffd, &event, err);
	bool is_minor;

	if (trapped < 0)
		return -1;
	if (trapped == 0) {
		pf_err_set(err, PF_ERR_SYSTEM,
			   "the access was not trapped: it %s, and no event told of it",
			   bench->access.sys ? "failed" : "read a byte");
		return pf_err_hint(err, "%s", bench->area.kind->hint);
	}
	is_minor = event.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR;
	if (is_minor == minor && event.arg.pagefault.address == (uintptr_t)bench->area.at)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "the event is %s at 0x%llx, not %s at %p",
			  is_minor ? "MINOR" : "MISSING",
			  (unsigned long long)event.arg.pagefault.address,
			  minor ? "MINOR" : "MISSING", (void *)bench->area.at);
}

/* The access has gone on and seen this byte. */
static int expect_byte(struct bench *bench, uint8_t byte, struct pf_err *err)
{
	struct uffd_msg event;
	int trapped = pf_access_await(&bench->access, bench->uffd, &event, err);

	if (trapped < 0)
		return -1;
	if (trapped > 0)
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "the access was trapped again instead of going on");
	if (bench->access.sys != 0) {
		errno = bench->access.sys;
		return pf_err_sys(err, "the access went on and failed");
	}
	if (bench->access.byte == byte)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM,
			  "the access went on and read 0x%02x instead of 0x%02x",
			  bench->access.byte, byte);
}

/* ---- the attempts ---- */

static int try_missing(struct bench *bench, struct pf_err *err)
{
	return arm(bench, MISSING, err) || touch(bench, err) || expect_trap(bench, false, err) ? -1
											       : 0;
}

static int try_minor(struct bench *bench, struct pf_err *err)
{
	return arm(bench, MISSING | MINOR, err) || populate(bench, err) || touch(bench, err) ||
			       expect_trap(bench, true, err)
		       ? -1
		       : 0;
}

static int call_continue(struct bench *bench, struct pf_err *err)
{
	struct uffdio_continue arg = {.range = range_of(bench)};

	if (ioctl(bench->uffd, UFFDIO_CONTINUE, &arg) == 0)
		return 0;
	pf_err_sys(err, "UFFDIO_CONTINUE");
	return pf_err_hint(err, "%s", bench->area.kind->hint);
}

/* Of a page that waits in a MINOR trap; where there is none, before anybody touches it. */
static int try_continue(struct bench *bench, struct pf_err *err)
{
	bool both = can_arm(bench, MISSING | MINOR);

	if (!both && arm(bench, MISSING, err))
		return -1;
	if (populate(bench, err))
		return -1;
	if (both && (touch(bench, err) || expect_trap(bench, true, err)))
		return -1;
	if (call_continue(bench, err) || (!both && touch(bench, err)))
		return -1;
	return expect_byte(bench, PATTERN, err);
}

static int try_copy(struct bench *bench, struct pf_err *err)
{
	size_t length = bench->area.kind->page_bytes;
	pf_auto_free uint8_t *page = malloc(length);
	struct uffdio_copy arg = {
		.dst = (uintptr_t)bench->area.at, .src = (uintptr_t)page, .len = length};

	if (!page)
		return pf_err_sys(err, "allocating a page's bytes");
	memset(page, PATTERN, length);
	if (try_missing(bench, err))
		return -1;
	if (ioctl(bench->uffd, UFFDIO_COPY, &arg) != 0)
		return pf_err_sys(err, "UFFDIO_COPY");
	return expect_byte(bench, PATTERN, err);
}

static int try_zeropage(struct bench *bench, struct pf_err *err)
{
	struct uffdio_zeropage arg = {.range = range_of(bench)};

	if (try_missing(bench, err))
		return -1;
	if (ioctl(bench->uffd, UFFDIO_ZEROPAGE, &arg) != 0)
		return pf_err_sys(err, "UFFDIO_ZEROPAGE");
	return expect_byte(bench, 0, err);
}

static int try_wake(struct bench *bench, struct pf_err *err)
{
	struct uffdio_range arg = range_of(bench);

	if (try_missing(bench, err))
		return -1;
	if (ioctl(bench->uffd, UFFDIO_WAKE, &arg) != 0)
		return pf_err_sys(err, "UFFDIO_WAKE");
	return expect_trap(bench, false, err) ? pf_err_prefix(err, "after UFFDIO_WAKE") : 0;
}

static int try_poison(struct bench *bench, struct pf_err *err)
{
	struct pf_uffdio_poison arg = {.range = range_of(bench)};
	struct uffd_msg event;
	int trapped;

	if (try_missing(bench, err))
		return -1;
	if (ioctl(bench->uffd, PF_UFFDIO_POISON, &arg) != 0) {
		pf_err_sys(err, "UFFDIO_POISON");
		return pf_err_hint(err,
				   "Linux 6.6 or later has it; without it a vCPU that needs a lost "
				   "page waits");
	}
	trapped = pf_access_await(&bench->access, bench->uffd, &event, err);
	if (trapped < 0)
		return -1;
	/* A SIGBUS of either kind: without CONFIG_MEMORY_FAILURE it does not say what it is of. */
	if (trapped == 0 && (bench->access.sys == EHWPOISON || bench->access.sys == EIO))
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "the access to a poisoned page %s",
			  trapped ? "was trapped again" : "was no error");
}

/* ---- around an attempt ---- */

/* Unregistering wakes who waits (fs/userfaultfd.c); who does not wake is left to the process. */
static void release(struct bench *bench)
{
	struct uffdio_range range = range_of(bench);

	if (bench->modes)
		(void)ioctl(bench->uffd, UFFDIO_UNREGISTER, &range);
	if (pf_access_done(&bench->access) != 0)
		return;
	pf_area_close(&bench->area);
	pf_close_fd(&bench->uffd);
}

/* The rows; the same for every kind. */
enum { ROW_MISSING, ROW_MINOR, ROW_CONTINUE, ROW_COPY, ROW_ZEROPAGE, ROW_WAKE, ROW_POISON, ROWS };

static int (*const attempts[ROWS])(struct bench *, struct pf_err *) = {
	[ROW_MISSING] = try_missing, [ROW_MINOR] = try_minor,	    [ROW_CONTINUE] = try_continue,
	[ROW_COPY] = try_copy,	     [ROW_ZEROPAGE] = try_zeropage, [ROW_WAKE] = try_wake,
	[ROW_POISON] = try_poison,
};

static int try_row(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct bench *bench = calloc(1, sizeof(*bench)); /* a thread that is left alone has it */
	int answer;

	(void)out;
	if (!bench)
		return pf_err_sys(err, "allocating memory");
	bench->uffd = bench->access.ended_fd = -1;
	answer = pf_area_open(trial->subject->kind, &bench->area, err);
	if (answer == 0)
		answer = open_uffd(bench, err);
	if (answer == 0)
		answer = attempts[trial->row](bench, err);
	if (bench->area.at)
		release(bench);
	if (!bench->access.started)
		free(bench);
	return answer;
}

static const struct pf_check rows[ROWS] = {
	[ROW_MISSING] = {"missing", "MISSING", try_row, NULL, NULL},
	[ROW_MINOR] = {"minor", "MINOR", try_row, NULL, NULL},
	[ROW_CONTINUE] = {"continue", "CONTINUE", try_row, NULL, NULL},
	[ROW_COPY] = {"copy", "COPY", try_row, NULL, NULL},
	[ROW_ZEROPAGE] = {"zeropage", "ZEROPAGE", try_row, NULL, NULL},
	[ROW_WAKE] = {"wake", "WAKE", try_row, NULL, NULL},
	[ROW_POISON] = {"poison", "POISON", try_row, NULL, NULL},
};

/* What src/memory/row_*.c cannot do without; POISON is for pages that are lost. */
#define BY_FILE (1u << ROW_MISSING | 1u << ROW_MINOR | 1u << ROW_CONTINUE | 1u << ROW_WAKE)
#define BY_COPY (1u << ROW_MISSING | 1u << ROW_COPY | 1u << ROW_ZEROPAGE | 1u << ROW_WAKE)
#define KIND(text, mask, which)                                                                    \
	{                                                                                          \
		.name = text, .title = text, .check = rows, .checks = ROWS, .needed = (mask),      \
		.column = true, .kind = &(which)                                                   \
	}

const struct pf_subject pf_subject_memfd = KIND("memfd", BY_FILE, pf_area_memfd);
const struct pf_subject pf_subject_tmpfs = KIND("tmpfs", BY_FILE, pf_area_tmpfs);
const struct pf_subject pf_subject_hugetlbfs = KIND("hugetlbfs", BY_FILE, pf_area_hugetlbfs);
const struct pf_subject pf_subject_private = KIND("private", BY_COPY, pf_area_private);
const struct pf_subject pf_subject_guest_memfd = KIND("guest_memfd", BY_FILE, pf_area_guest_memfd);
