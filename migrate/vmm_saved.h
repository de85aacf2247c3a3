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

/* The descriptors to the keeper; then which files they are, `vmm-files`, and file `vmm-regions`. */
PF_MUST_USE int pf_vmm_keep_regions(struct pf_kept *kept, const struct pf_vmm_regions *regions,
				    const int *fds, struct pf_err *err);
PF_MUST_USE int pf_vmm_save_regions(struct pf_statedir *dir, const struct pf_vmm_regions *regions,
				    const int *fds, struct pf_err *err);
/* fds: PF_UNIX_FDS_MAX places, -1 where the message names none; the caller's.  1: there are none, or not
 * every descriptor was kept for this process. */
PF_MUST_USE int pf_vmm_recall_regions(struct pf_statedir *dir, struct pf_kept *kept,
				      struct pf_vmm_regions *out, int *fds, struct pf_err *err);
/*
 * REGIONS that were said again, matched with those that were saved (migrate/vmm_match.h).  *out is what was saved, and
 * out_fds, PF_UNIX_FDS_MAX places, the caller's, are its descriptors now; whoever goes on with these needs not care
 * how they are numbered today.  1: nothing was saved, out_fds are all -1.  PF_ERR_PROTOCOL: it is other memory.
 */
PF_MUST_USE int pf_vmm_match_saved(struct pf_statedir *dir, const struct pf_vmm_regions *regions,
				   const int *fds, struct pf_vmm_regions *out, int *out_fds,
				   struct pf_err *err);

/* File `armed`: whether what was saved is trapped and has its files, so that it can be taken up; else a process
 * has died on the way to that, and it is armed once more. */
PF_MUST_USE int pf_vmm_save_armed(struct pf_statedir *dir, bool armed, struct pf_err *err);
PF_MUST_USE int pf_vmm_recall_armed(struct pf_statedir *dir, bool *out, struct pf_err *err);

#endif
