/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm_saved.h - what a VMM has said of itself and of its memory, for the next process.
 *
 * The messages are in the state directory as the dialect packs them, and are judged like new ones when they are
 * read; their descriptors are kept by name.  Main thread; file system I/O.
 */
#ifndef PF_MIGRATE_VMM_SAVED_H
#define PF_MIGRATE_VMM_SAVED_H

#include "base/unixsock.h"
#include "migrate/kept.h"
#include "migrate/statedir.h"
#include "wire/vmm_msg.h"

/* File `vmm-hello`. */
PF_MUST_USE int pf_vmm_save_hello(struct pf_statedir *dir, const struct pf_vmm_hello *hello,
				  struct pf_err *err);
/* 1: there is none. */
PF_MUST_USE int pf_vmm_recall_hello(struct pf_statedir *dir, struct pf_vmm_hello *out,
				    struct pf_err *err);

/* The descriptors to the keeper; then file `vmm-regions`. */
PF_MUST_USE int pf_vmm_keep_regions(struct pf_kept *kept, const struct pf_vmm_regions *regions,
				    const int *fds, struct pf_err *err);
PF_MUST_USE int pf_vmm_save_regions(struct pf_statedir *dir, const struct pf_vmm_regions *regions,
				    struct pf_err *err);
/* fds: PF_UNIX_FDS_MAX places, -1 where the message names none; the caller's.  1: there are none, or not
 * every descriptor was kept for this process. */
PF_MUST_USE int pf_vmm_recall_regions(struct pf_statedir *dir, struct pf_kept *kept,
				      struct pf_vmm_regions *out, int *fds, struct pf_err *err);
/* Whether they are what was saved, but for the descriptors; 1: nothing was.  PF_ERR_PROTOCOL: they differ. */
PF_MUST_USE int pf_vmm_check_saved(struct pf_statedir *dir, const struct pf_vmm_regions *regions,
				   struct pf_err *err);

/* File `armed`: whether what was saved is trapped and has its files, so that it can be taken up; else a process
 * has died on the way to that, and it is armed once more. */
PF_MUST_USE int pf_vmm_save_armed(struct pf_statedir *dir, bool armed, struct pf_err *err);
PF_MUST_USE int pf_vmm_recall_armed(struct pf_statedir *dir, bool *out, struct pf_err *err);

#endif
