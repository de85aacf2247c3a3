/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/sandbox.h - an agent gives up what it does not need, before it hears from anybody.
 *
 * The agent parses what a network sends it, holds keys and sees all of a guest's memory.  Whoever
 * takes it over shall find a process that can start no program, become nobody else, debug nobody,
 * run no memory that it can write, and leave no core dump.  Main thread, once, before the first
 * thread is started: what is set here is a thread's own and is inherited by those that it starts.
 * Blocks for file I/O only.
 */
#ifndef PF_MIGRATE_SANDBOX_H
#define PF_MIGRATE_SANDBOX_H

#include "base/err.h"

/* The runtime of a sanitizer looks into its own process, and needs more than the agent does. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PF_SANDBOX_LOOSE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PF_SANDBOX_LOOSE 1
#endif
#endif

/*
 * The keeper, before its first worker: no new privileges, no core dump, not dumpable; of the capabilities those alone by
 * which files are found and a port is listened on, which a worker may need to start; and a filter that refuses
 * what neither of them ever does.  All of it is a worker's from its first instruction on.
 */
PF_MUST_USE int pf_sandbox_keep(struct pf_err *err);
/*
 * No new privileges, no capabilities, no core dump with anything in it, not dumpable (which refuses
 * ptrace(2) and process_vm_readv(2) to others of the same user too), and a filter of system calls:
 * what is not listed in sandbox.c is refused with EPERM.  Refused, not fatal: a guest depends on
 * this process.  PF_ERR_SYSTEM if the kernel cannot do one of them.
 */
PF_MUST_USE int pf_sandbox_enter(struct pf_err *err);

#endif
