/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/unixsock.c - see base/unixsock.h; unix(7), cmsg(3). */
#include "base/unixsock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int fill_address(const char *path, struct sockaddr_un *addr, struct pf_err *err)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(addr->sun_path)) {
		pf_err_set(err, PF_ERR_USAGE, "the socket path %s is longer than %zu bytes", path,
			   sizeof(addr->sun_path) - 1);
		return pf_err_hint(err, "choose a shorter path; the limit is the kernel's");
	}
	memcpy(addr->sun_path, path, strlen(path));
	return 0;
}

/* A socket file that nobody answers on is a leftover of a dead process. */
static int remove_leftover(const char *path, const struct sockaddr_un *addr, int type,
			   struct pf_err *err)
{
	pf_auto_fd int probe = -1;
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : pf_err_sys(err, "looking at %s", path);
	if (!S_ISSOCK(st.st_mode)) {
		pf_err_set(err, PF_ERR_CONFIG, "%s exists and is not a socket", path);
		return pf_err_hint(err, "it is left alone: give another path");
	}
	probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return pf_err_sys(err, "creating a socket");
	if (connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN) {
		pf_err_set(err, PF_ERR_CONFIG, "another process answers on %s", path);
		return pf_err_hint(err, "give each agent paths of its own");
	}
	if (errno == EPROTOTYPE) {
		pf_err_set(err, PF_ERR_CONFIG, "%s exists and is a socket of another kind", path);
		return pf_err_hint(err, "it is left alone: give another path");
	}
	if (errno != ECONNREFUSED)
		return pf_err_sys(err, "asking who answers on %s", path);
	if (unlink(path) != 0 && errno != ENOENT)
		return pf_err_sys(err, "removing the stale socket %s", path);
	return 0;
}

static int bind_failed(const char *path, struct pf_err *err)
{
	pf_err_sys(err, "binding %s", path);
	if (err->sys != ENOENT && err->sys != ENOTDIR)
		return -1;
	err->class = PF_ERR_CONFIG;
	return pf_err_hint(err, "the folder of a socket is not made: it must be there");
}

int pf_unix_listen(const char *path, int type, struct pf_err *err)
{
	pf_auto_fd int fd = -1;
	struct sockaddr_un addr;

	if (fill_address(path, &addr, err) || remove_leftover(path, &addr, type, err))
		return -1;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pf_err_sys(err, "creating a socket");
	/* Linux creates the socket file with the mode of the socket itself: no moment of 0666. */
	if (fchmod(fd, 0600) != 0)
		return pf_err_sys(err, "setting the mode of %s", path);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0)
		return bind_failed(path, err);
	if (listen(fd, 16) != 0)
		return pf_err_sys(err, "listening on %s", path);
	return pf_steal_fd(&fd);
}

int pf_unix_connect(const char *path, int type, struct pf_err *err)
{
	return pf_unix_connect_within(path, type, 0, err);
}

int pf_unix_connect_within(const char *path, int type, uint64_t wait_ns, struct pf_err *err)
{
	struct timeval wait = {.tv_sec = (time_t)(wait_ns / PF_NS_PER_S),
			       .tv_usec = (suseconds_t)(wait_ns % PF_NS_PER_S / PF_NS_PER_US)};
	pf_auto_fd int fd = -1;
	struct sockaddr_un addr;

	if (fill_address(path, &addr, err))
		return -1;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return pf_err_sys(err, "creating a socket");
	/* net/unix/af_unix.c, unix_stream_connect(): it is the limit of connect(2) too. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0)
		return pf_err_sys(err, "limiting how long %s is waited for", path);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0) {
		pf_err_sys(err, "connecting to %s", path);
		if (err->sys == ENOENT || err->sys == ECONNREFUSED)
			err->class = PF_ERR_UNREACHABLE;
		return -1;
	}
	return pf_steal_fd(&fd);
}

int pf_unix_check_peer(int fd, pid_t *out_pid, struct pf_err *err)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) != 0)
		return pf_err_sys(err, "asking who connected");
	if (cred.uid != 0 && cred.uid != geteuid())
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "process %d of user %u connected; only user %u and root may",
				  (int)cred.pid, cred.uid, geteuid());
	*out_pid = cred.pid;
	return 0;
}

int pf_unix_send(int fd, const void *data, size_t length, const int *fds, size_t fd_count,
		 struct pf_err *err)
{
	char control[CMSG_SPACE(sizeof(int) * PF_UNIX_FDS_MAX)] = {0};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (fd_count > PF_UNIX_FDS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "%zu descriptors in one message; %d fit",
				  fd_count, PF_UNIX_FDS_MAX);
	if (fd_count > 0) {
		struct cmsghdr *head;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(head), fds, sizeof(int) * fd_count);
	}
	do {
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	pf_err_sys(err, "sending a message of %zu bytes", length);
	if (err->sys == EPIPE || err->sys == ECONNRESET)
		err->class = PF_ERR_UNREACHABLE;
	return -1;
}

static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t count = 0;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
		size_t here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + count, CMSG_DATA(head), here * sizeof(int));
		count += here;
	}
	return count;
}

ssize_t pf_unix_recv(int fd, void *data, size_t size, int flags, int *fds, size_t *fd_count,
		     struct pf_err *err)
{
	char control[CMSG_SPACE(sizeof(int) * PF_UNIX_FDS_MAX)];
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t length;

	*fd_count = 0;
	do {
		length = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | flags);
	} while (length < 0 && errno == EINTR);
	/*
	 * The peer closed and had not read everything (net/unix/af_unix.c, unix_release_sock()).  It is
	 * said once, before what the peer had sent, which is its last word and counts.
	 */
	if (length < 0 && errno == ECONNRESET)
		length = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | flags);
	if (length < 0 && errno == ECONNRESET)
		return 0;
	if (length < 0 && errno == EAGAIN)
		return -1;
	if (length < 0)
		return pf_err_sys(err, "receiving a message");
	*fd_count = take_fds(&msg, fds);
	if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return length;
	while (*fd_count > 0)
		close(fds[--*fd_count]);
	errno = EMSGSIZE;
	return pf_err_set(err, PF_ERR_PROTOCOL,
			  "a message of more than %zu bytes or %d descriptors", size,
			  PF_UNIX_FDS_MAX);
}

void pf_unix_close_fds(int fds[PF_UNIX_FDS_MAX])
{
	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		pf_close_fd(&fds[i]);
}
