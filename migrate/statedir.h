/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/statedir.h - --state-dir: what must survive the process.
 *
 * Durable here means surviving every process, not the host (DESIGN.md section 4.1): files are
 * replaced by rename(2), which is atomic against a crash of the writer.  Main thread only (the
 * directory fd may be used by others); file system I/O, so it can block for that long.
 */
#ifndef PF_MIGRATE_STATEDIR_H
#define PF_MIGRATE_STATEDIR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/record.h"
#include "base/side.h"

struct pf_statedir {
	int fd;	     /* the directory; -1 while closed */
	int lock_fd; /* flock(2)ed exclusively for our life */
	char path[256];
};

/*
 * Makes the directory 0700 if it is not there, locks it, and checks that what is in it belongs to
 * this side and id (file `identity`).  PF_ERR_CONFIG: in use by another process, of another
 * migration, not a directory, writable by others.
 */
PF_MUST_USE int pf_statedir_open(struct pf_statedir *dir, const char *path, enum pf_side side,
				 const char *id, struct pf_err *err);
/* The same with the lock that a process before had, kept for this one; taken over.  -1: none. */
PF_MUST_USE int pf_statedir_open_kept(struct pf_statedir *dir, const char *path, enum pf_side side,
				      const char *id, int lock_fd, struct pf_err *err);
void pf_statedir_close(struct pf_statedir *dir);

/* File `record`: "RECORD EPOCH\n".  Reading an absent one gives NONE, epoch 0. */
PF_MUST_USE int pf_statedir_write_record(struct pf_statedir *dir, enum pf_record record,
					 uint32_t epoch, struct pf_err *err);
PF_MUST_USE int pf_statedir_read_record(struct pf_statedir *dir, enum pf_record *out_record,
					uint32_t *out_epoch, struct pf_err *err);
/* Any small file, 0600, replaced atomically. */
PF_MUST_USE int pf_statedir_write(struct pf_statedir *dir, const char *name, const void *data,
				  size_t length, struct pf_err *err);
/* 0 also where there is none. */
PF_MUST_USE int pf_statedir_remove(struct pf_statedir *dir, const char *name, struct pf_err *err);
/* Exactly length bytes; 1 if the file is not there, -1 with PF_ERR_CONFIG if its size differs. */
PF_MUST_USE int pf_statedir_read(struct pf_statedir *dir, const char *name, void *out,
				 size_t length, struct pf_err *err);
/* Up to size bytes, and how many there are; 1 likewise, -1 with PF_ERR_CONFIG if there are more. */
PF_MUST_USE int pf_statedir_read_most(struct pf_statedir *dir, const char *name, void *out,
				      size_t size, size_t *out_length, struct pf_err *err);

#endif
