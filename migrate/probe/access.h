/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/access.h - an access to memory that may be trapped, by a thread of its own.
 *
 * The trial's thread starts it, waits for the trap or for its end, and lets it go on.
 */
#ifndef PF_MIGRATE_PROBE_ACCESS_H
#define PF_MIGRATE_PROBE_ACCESS_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>

#include "base/err.h"

struct pf_access {
	const uint8_t *at;
	bool by_kernel; /* write(2) to a pipe reads it */
	bool started;
	pthread_t thread;
	int ended_fd; /* eventfd */
	_Atomic bool ended; /* released by its thread, with what is below */
	int sys; /* 0, or why there is no byte: EHWPOISON, EFAULT, ... */
	uint8_t byte;
};

/* Reads the byte at `at`, in a new thread. */
PF_MUST_USE int pf_access_start(struct pf_access *access, const uint8_t *at, bool by_kernel,
				struct pf_err *err);
/*
 * 1: it is trapped, *out is the event.  0: it has ended.  -1: neither in time, or something that is
 * no page fault.
 */
PF_MUST_USE int pf_access_await(struct pf_access *access, int uffd, struct uffd_msg *out,
				struct pf_err *err);
/* After whatever made it go on: its thread ends within the deadline, or -1 and it is left alone. */
int pf_access_done(struct pf_access *access);

#endif
