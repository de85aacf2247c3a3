/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/wait.c - see net/wait.h. */
#include "net/wait.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

int pf_wait_fd(int fd, short events, uint64_t deadline_ns, int cancel_fd)
{
	for (;;) {
		/* poll(2) ignores a negative fd. */
		struct pollfd watch[2] = {
			{.fd = fd, .events = events},
			{.fd = cancel_fd, .events = POLLIN},
		};
		uint64_t now = pf_now_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		struct timespec timeout = {
			.tv_sec = (time_t)(left / PF_NS_PER_S),
			.tv_nsec = (long)(left % PF_NS_PER_S),
		};
		int ready = ppoll(watch, 2, &timeout, NULL);

		if (ready < 0 && errno != EINTR)
			return errno;
		if (ready > 0 && watch[1].revents)
			return ECANCELED;
		/* Before the result: who sends a byte at a time must not live for ever. */
		if (left == 0)
			return ETIMEDOUT;
		if (ready > 0)
			return 0;
	}
}
