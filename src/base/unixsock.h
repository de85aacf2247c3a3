/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/unixsock.h - AF_UNIX sockets: listening, connecting, messages that carry descriptors.
 *
 * Any thread; only pf_unix_connect() of a busy listener can block, and then not for long.
 */
#ifndef PF_BASE_UNIXSOCK_H
#define PF_BASE_UNIXSOCK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define PF_UNIX_FDS_MAX 128 /* below the kernel's SCM_MAX_FD of 253 */

/*
 * Listens on path with mode 0600; type is SOCK_STREAM or SOCK_SEQPACKET.  A socket that is in the
 * way is unlinked only if nobody answers on it.  Returns a non-blocking, close-on-exec fd or -1.
 */
PF_MUST_USE int pf_unix_listen(const char *path, int type, struct pf_err *err);
/* Returns a blocking, close-on-exec fd, or -1: PF_ERR_UNREACHABLE if nobody listens there. */
PF_MUST_USE int pf_unix_connect(const char *path, int type, struct pf_err *err);
/* The same, and waits so long for a place among those that are not accepted yet (0: for ever); then sys
 * is EAGAIN. */
PF_MUST_USE int pf_unix_connect_within(const char *path, int type, uint64_t wait_ns,
				       struct pf_err *err);
/* The peer's credentials by SO_PEERCRED; refuses (PF_ERR_SYSTEM) any user but ours and root. */
PF_MUST_USE int pf_unix_check_peer(int fd, pid_t *out_pid, struct pf_err *err);

/* An errno of send(2): at the limit of the control group there is no memory for a message.  That passes. */
static inline bool pf_unix_no_memory(int sys)
{
	return sys == ENOBUFS || sys == ENOMEM;
}

/* One message with its descriptors (borrowed); -1 with PF_ERR_UNREACHABLE if the peer is gone. */
PF_MUST_USE int pf_unix_send(int fd, const void *data, size_t length, const int *fds,
			     size_t fd_count, struct pf_err *err);
/*
 * One message.  Returns its length; 0: the peer is gone; -1 with errno EAGAIN and err untouched:
 * nothing there (non-blocking fd or MSG_DONTWAIT in flags); -1 else with err filled.  Descriptors
 * arrive close-on-exec in fds, *fd_count is their number, and they are the caller's.  A message
 * longer than size or with more than PF_UNIX_FDS_MAX descriptors is PF_ERR_PROTOCOL, its
 * descriptors are closed.  fds has PF_UNIX_FDS_MAX places.
 */
PF_MUST_USE ssize_t pf_unix_recv(int fd, void *data, size_t size, int flags, int *fds,
				 size_t *fd_count, struct pf_err *err);
/* Those of a message, -1 where none is. */
void pf_unix_close_fds(int fds[PF_UNIX_FDS_MAX]);

#endif
