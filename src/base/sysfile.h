/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/sysfile.h - numbers that the kernel tells in files of /proc, /sys and of control groups.
 *
 * PF_ERR_SYSTEM with errno where the file cannot be opened.  Any thread; does not block.
 */
#ifndef PF_BASE_SYSFILE_H
#define PF_BASE_SYSFILE_H

#include <stdint.h>

#include "base/err.h"

/* A number alone in the file; "max" is UINT64_MAX. */
PF_MUST_USE int pf_sysfile_number(const char *path, uint64_t *out, struct pf_err *err);
/* The number on the line that begins with this name and a ':' or a blank; an error if none does. */
PF_MUST_USE int pf_sysfile_field(const char *path, const char *name, uint64_t *out,
				 struct pf_err *err);

/*
 * The same in two steps: who has opened a file, and has read it once, needs no memory to read it again (the kernel
 * keeps what it needs for that with the descriptor).  path: for what is said of it.
 */
PF_MUST_USE int pf_sysfile_open(const char *path, struct pf_err *err);
PF_MUST_USE int pf_sysfile_read_number(int fd, const char *path, uint64_t *out, struct pf_err *err);
PF_MUST_USE int pf_sysfile_read_field(int fd, const char *path, const char *name, uint64_t *out,
				      struct pf_err *err);

/* The pool of huge pages of 2 MiB, which is the whole host's. */
struct pf_hugepages {
	uint64_t total, free, reserved; /* pages; what is reserved is part of free */
	uint64_t surplus_limit;		/* more that the kernel may make when asked */
};
PF_MUST_USE int pf_sysfile_hugepages(struct pf_hugepages *out, struct pf_err *err);

#endif
