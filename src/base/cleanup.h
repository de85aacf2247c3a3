/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/cleanup.h - owners that end with their scope.
 *
 * `pf_auto_fd int fd = -1;` closes, `pf_auto_free char *p = NULL;` frees when the scope is left;
 * pf_steal_fd() and pf_steal() hand the thing over.  Always initialise at the declaration.
 */
#ifndef PF_BASE_CLEANUP_H
#define PF_BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void pf_close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static inline void pf_free_ptr(void *slot)
{
	free(*(void **)slot);
}

static inline int pf_steal_fd(int *fd)
{
	int owned = *fd;

	*fd = -1;
	return owned;
}

#define pf_auto_fd __attribute__((cleanup(pf_close_fd)))
#define pf_auto_free __attribute__((cleanup(pf_free_ptr)))
#define pf_steal(slot)                                                                             \
	({                                                                                         \
		__typeof__(*(slot)) owned_ = *(slot);                                              \
		*(slot) = NULL;                                                                    \
		owned_;                                                                            \
	})
#define PF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
