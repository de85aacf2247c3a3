/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/connect.c - see net/connect.h; connect(2), tcp(7). */
#include "net/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define APART_NS (250 * PF_NS_PER_MS)
#define ALL_BEGUN_NS PF_NS_PER_S

struct running {
	int fd[PF_NAMES_ADDRESSES]; /* -1: it has failed */
	uint32_t begun, open;
	uint64_t next_ns; /* when the next one begins */
	int failure;	  /* of the latest that has failed, and which that was */
	uint32_t failed;
};

/*
 * A connect to a port from which the kernel also picks ephemeral ports can meet itself when nobody
 * listens there (TCP simultaneous open, RFC 9293 section 3.5); who tries again for ever will hit
 * it.
 */
static bool is_self_connected(int fd)
{
	struct sockaddr_storage mine = {0}, theirs = {0};
	socklen_t mine_length = sizeof(mine), theirs_length = sizeof(theirs);

	return getsockname(fd, (struct sockaddr *)&mine, &mine_length) == 0 &&
	       getpeername(fd, (struct sockaddr *)&theirs, &theirs_length) == 0 &&
	       mine_length == theirs_length && memcmp(&mine, &theirs, mine_length) == 0;
}

/* Of a socket that has become writable: 0 or an errno. */
static int outcome(int fd)
{
	int result = 0;
	socklen_t length = sizeof(result);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &length) != 0)
		return errno;
	return result == 0 && is_self_connected(fd) ? ECONNREFUSED : result;
}

static void fail(struct running *running, uint32_t i, int failure)
{
	if (running->fd[i] >= 0) {
		close(running->fd[i]);
		running->open--;
	}
	running->fd[i] = -1;
	running->failure = failure;
	running->failed = i;
	running->next_ns = 0;
}

static void begin_next(struct running *running, const struct pf_addresses *addresses, uint64_t now)
{
	uint32_t i = running->begun++;
	const struct sockaddr_storage *at = &addresses->address[i];
	socklen_t length = at->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
						       sizeof(struct sockaddr_in);

	running->next_ns = now + pf_sooner_ns(APART_NS, ALL_BEGUN_NS / addresses->count);
	running->fd[i] = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (running->fd[i] < 0) {
		fail(running, i, errno);
		return;
	}
	running->open++;
	if (connect(running->fd[i], (const struct sockaddr *)at, length) != 0 &&
	    errno != EINPROGRESS && errno != EINTR)
		fail(running, i, errno);
}

/* true: *out_fd is connected. */
static bool take(struct running *running, const struct pollfd *pfd, int *out_fd)
{
	for (uint32_t i = 0; i < running->begun; i++) {
		int failure;

		if (running->fd[i] < 0 || !pfd[i].revents)
			continue;
		failure = outcome(running->fd[i]);
		if (failure == 0) {
			*out_fd = running->fd[i];
			running->fd[i] = -1;
			return true;
		}
		fail(running, i, failure);
	}
	return false;
}

/* As pf_connect_first(); what is open still is the caller's to close. */
static int run(struct running *running, const struct pf_addresses *addresses, uint64_t deadline_ns,
	       int cancel_fd, int *out_fd)
{
	for (;;) {
		struct pollfd pfd[PF_NAMES_ADDRESSES + 1];
		uint64_t now = pf_now_ns(), until = deadline_ns;
		struct timespec left;

		while (running->begun < addresses->count && running->next_ns <= now)
			begin_next(running, addresses, now);
		if (running->open == 0 && running->begun == addresses->count)
			return running->failure;
		if (running->begun < addresses->count && running->next_ns < until)
			until = running->next_ns;
		/* poll(2) ignores a negative fd. */
		for (uint32_t i = 0; i < running->begun; i++)
			pfd[i] = (struct pollfd){.fd = running->fd[i], .events = POLLOUT};
		pfd[running->begun] = (struct pollfd){.fd = cancel_fd, .events = POLLIN};
		left = pf_left_until(until, now);
		if (ppoll(pfd, running->begun + 1, &left, NULL) < 0 && errno != EINTR)
			return errno;
		if (pfd[running->begun].revents)
			return ECANCELED;
		if (take(running, pfd, out_fd))
			return 0;
		if (now >= deadline_ns)
			return ETIMEDOUT;
	}
}

int pf_connect_first(const struct pf_addresses *addresses, uint64_t deadline_ns, int cancel_fd,
		     int *out_fd, uint32_t *out_which)
{
	struct running running = {.failure = EHOSTUNREACH};
	int failure = run(&running, addresses, deadline_ns, cancel_fd, out_fd);

	*out_which = failure == running.failure || running.begun == 0 ? running.failed
								      : running.begun - 1;
	for (uint32_t i = 0; i < running.begun; i++)
		if (running.fd[i] >= 0)
			close(running.fd[i]);
	return failure;
}
