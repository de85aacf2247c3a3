/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/access.c - see migrate/probe/access.h; userfaultfd(2), pipe(7). */
#include "migrate/probe/access.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "memory/touch.h"
#include "net/wait.h"

/* Of one wake-up; the subject's own deadline is behind it (migrate/probe/probe.c). */
#define PATIENCE_NS (5 * PF_NS_PER_S)

static int read_by_kernel(uint8_t *out, const uint8_t *at)
{
	pf_auto_fd int from = -1, to = -1;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	from = ends[0];
	to = ends[1];
	if (write(to, at, 1) != 1)
		return -1;
	return read(from, out, 1) == 1 ? 0 : -1;
}

static void *access_thread(void *opaque)
{
	struct pf_access *access = opaque;
	int failed = access->by_kernel ? read_by_kernel(&access->byte, access->at)
				       : pf_touch_read(&access->byte, access->at, 1);

	access->sys = failed ? errno : 0;
	atomic_store(&access->ended, true);
	(void)eventfd_write(access->ended_fd, 1);
	return NULL;
}

int pf_access_start(struct pf_access *access, const uint8_t *at, bool by_kernel, struct pf_err *err)
{
	*access = (struct pf_access){.at = at, .by_kernel = by_kernel, .ended_fd = -1};
	pf_touch_init();
	access->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (access->ended_fd < 0)
		return pf_err_sys(err, "making an eventfd");
	errno = pthread_create(&access->thread, NULL, access_thread, access);
	if (errno != 0)
		return pf_err_sys(err, "starting a thread");
	access->started = true;
	return 0;
}

static int take_event(int uffd, struct uffd_msg *out, struct pf_err *err)
{
	ssize_t got = read(uffd, out, sizeof(*out));

	if (got == (ssize_t)sizeof(*out) && out->event == UFFD_EVENT_PAGEFAULT)
		return 1;
	if (got < 0)
		return pf_err_sys(err, "reading the event");
	return pf_err_set(err, PF_ERR_SYSTEM, "an event of type 0x%x instead of a page fault",
			  out->event);
}

int pf_access_await(struct pf_access *access, int uffd, struct uffd_msg *out, struct pf_err *err)
{
	uint64_t deadline_ns = pf_now_ns() + PATIENCE_NS;
	struct pollfd watch[2] = {
		{.fd = uffd, .events = POLLIN},
		{.fd = access->ended_fd, .events = POLLIN},
	};
	int ready;

	do {
		uint64_t now = pf_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;

		ready = poll(watch, 2, (int)(left / PF_NS_PER_MS));
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return pf_err_sys(err, "waiting for the access");
	if (watch[0].revents)
		return take_event(uffd, out, err);
	if (atomic_load(&access->ended))
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "the access waits, and no event told of it");
}

int pf_access_done(struct pf_access *access)
{
	if (access->started &&
	    pf_wait_fd(access->ended_fd, POLLIN, pf_now_ns() + PATIENCE_NS, -1) != 0)
		return -1;
	if (access->started)
		pthread_join(access->thread, NULL);
	access->started = false;
	pf_close_fd(&access->ended_fd);
	return 0;
}
