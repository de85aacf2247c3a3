/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/manager.c - see migrate/manager.h. */
#include "migrate/manager.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/size.h"
#include "base/unixsock.h"
#include "migrate/fdstore.h"

#define TEXT_BYTES 128
#define PATIENCE_US 200000 /* with a manager that does not read */

static int manager_fd = -1; /* the keeper's, which is single-threaded and has one manager */
static bool manager_keeps;

/* unix(7): '@' stands for the zero byte of an abstract name, as in sd_notify(3). */
static int connect_to(const char *path, struct pf_err *err)
{
	struct timeval patience = {.tv_usec = PATIENCE_US};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	pf_auto_fd int fd = -1;

	if (length < 2 || length >= sizeof(address.sun_path))
		return pf_err_set(err, PF_ERR_CONFIG, "NOTIFY_SOCKET is no path of a socket");
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0)
		return pf_err_sys(err, "creating a socket");
	if (connect(fd, (const struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) != 0)
		return pf_err_sys(err, "connecting to the service manager at %s", path);
	manager_fd = pf_steal_fd(&fd);
	return 0;
}

/* sd_notify(3), $FDSTORE; systemd says it from 254 on, and a unit may for it. */
static bool has_room(void)
{
	const char *room = getenv("FDSTORE");
	struct pf_err ignored;
	uint64_t count;

	return room && pf_number_parse(room, PF_FDSTORE_MAX, UINT64_MAX, &count, &ignored) == 0;
}

int pf_manager_begin(uint64_t *out_watchdog_ns, struct pf_err *err)
{
	const char *path = getenv("NOTIFY_SOCKET");
	uint64_t usec = 0;
	int enabled = sd_watchdog_enabled(0, &usec);

	if (enabled < 0) {
		errno = -enabled;
		return pf_err_sys(err, "WATCHDOG_USEC");
	}
	*out_watchdog_ns = enabled > 0 ? usec * PF_NS_PER_US : 0;
	if (path && connect_to(path, err))
		return -1;
	manager_keeps = path && has_room();
	return 0;
}

bool pf_manager_keeps(void)
{
	return manager_keeps;
}

void pf_manager_forget(void)
{
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
}

/* Not sd_notify(3), which waits for a manager that does not read for as long as that takes: the guest
 * needs the keeper all the same. */
static void tell(const char *text, int fd)
{
	struct pf_err err;

	if (manager_fd < 0 ||
	    pf_unix_send(manager_fd, text, strlen(text), &fd, fd < 0 ? 0 : 1, &err) == 0)
		return;
	fprintf(stderr, "pageferry: the service manager: %s\n", err.text);
	if (fd >= 0)
		manager_keeps = false;
}

void pf_manager_ready(void)
{
	tell("READY=1", -1);
}

void pf_manager_stopping(void)
{
	tell("STOPPING=1", -1);
}

void pf_manager_alive(void)
{
	tell("WATCHDOG=1", -1);
}

void pf_manager_store(const char *name, int fd)
{
	char text[TEXT_BYTES];

	/* It keeps several under one name, where we mean the last. */
	pf_manager_remove(name);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	tell(text, fd);
}

void pf_manager_remove(const char *name)
{
	char text[TEXT_BYTES];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	tell(text, -1);
}
