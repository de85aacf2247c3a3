/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/gmem.h - what source and destination both need of guest_memfd: is it one, and what is in it.
 *
 * It has no read(2) and no SEEK_DATA: it is read through a mapping, by copies under the guard of
 * memory/touch.h, and mincore(2) of that mapping says which pages are there, without making any.
 * A page of zeros that a read of it would make is one that somebody pays for.  Any thread; does not
 * block; allocates nothing.
 */
#ifndef PF_MEMORY_GMEM_H
#define PF_MEMORY_GMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PF_GMEM_PAGE 4096u

/* Is it one, by what /proc/self/fd calls it; and, since anybody can give a file a name, by the type of its
 * file system, as fstatfs(2) says. */
bool pf_gmem_is_named(const char *name);
bool pf_gmem_has_type(long magic);
/* For munmap(2) by the caller; kept out of core dumps.  NULL: PF_ERR_PROTOCOL. */
PF_MUST_USE void *pf_gmem_map(int fd, uint64_t offset, uint64_t size, bool writable,
			      struct pf_err *err);
/*
 * Of count pages, from the first on: how many are there, or absent, as the first one is, in one
 * stretch; at most PF_GMEM_STRETCH.  0: errno.
 */
#define PF_GMEM_STRETCH 4096u
uint32_t pf_gmem_stretch(const uint8_t *map, uint64_t first, uint64_t count, bool *out_present);

#endif
