/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/path.c - see migrate/path.h; proto/CONTROL.md, section 5. */
#include "migrate/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"

/* Between two looks.  Routes can change thousands of times a second, where a routing daemon learns them
 * all; the first change is looked at when it is told. */
#define CALM_US 10000u

struct pf_paths {
	sd_event *loop;
	struct pf_watch *watch; /* NULL: it could not be opened; path.why */
	sd_event_source *io, *timer; /* timer: a look is due */
	uint64_t looked_ns;
	pf_paths_listener listener;
	void *opaque;
	bool following; /* there was a connection */
	struct pf_flow flow;
	struct pf_path path;
};

static void look(struct pf_paths *paths)
{
	struct pf_path before = paths->path;
	unsigned news;

	paths->looked_ns = pf_now_ns();
	if (!paths->following || !paths->watch)
		return;
	pf_watch_look(paths->watch, &paths->flow, &paths->path);
	news = pf_path_compare(&before, &paths->path);
	if (news)
		paths->listener(paths->opaque, news, &paths->path);
}

static int on_calm(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_paths *paths = opaque;

	(void)source, (void)usec;
	paths->timer = sd_event_source_disable_unref(paths->timer);
	look(paths);
	return 0;
}

/* Not now: the listener may end the connection that the caller is about to begin. */
static void look_soon(struct pf_paths *paths, uint64_t after_us)
{
	if (paths->timer)
		return;
	if (sd_event_add_time_relative(paths->loop, &paths->timer, CLOCK_MONOTONIC, after_us, 1, on_calm,
				       paths) < 0)
		fprintf(stderr, "pageferry: no timer to look at the way to the peer\n");
}

static int on_change(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
	struct pf_paths *paths = opaque;

	(void)source, (void)fd, (void)events;
	if (!pf_watch_drain(paths->watch))
		return 0;
	if (pf_now_ns() - paths->looked_ns >= CALM_US * PF_NS_PER_US)
		look(paths);
	else
		look_soon(paths, CALM_US);
	return 0;
}

static void start(struct pf_paths *paths)
{
	struct pf_err err = {0};

	if (pf_watch_open(&paths->watch, &err) == 0 &&
	    sd_event_add_io(paths->loop, &paths->io, pf_watch_fd(paths->watch), EPOLLIN, on_change,
			    paths) >= 0)
		return;
	if (paths->watch)
		pf_err_set(&err, PF_ERR_SYSTEM, "watching for changes of the network failed");
	pf_watch_close(paths->watch);
	paths->watch = NULL;
	snprintf(paths->path.why, sizeof(paths->path.why), "%.120s", err.text);
	fprintf(stderr, "pageferry: %s: a link or route that is gone will not be noticed\n", err.text);
}

struct pf_paths *pf_paths_open(sd_event *loop, pf_paths_listener listener, void *opaque)
{
	struct pf_paths *paths = calloc(1, sizeof(*paths));

	if (!paths)
		return NULL;
	paths->loop = loop;
	paths->listener = listener;
	paths->opaque = opaque;
	start(paths);
	return paths;
}

void pf_paths_close(struct pf_paths *paths)
{
	if (!paths)
		return;
	sd_event_source_disable_unref(paths->timer);
	sd_event_source_disable_unref(paths->io);
	pf_watch_close(paths->watch);
	free(paths);
}

void pf_paths_follow(struct pf_paths *paths, int fd)
{
	socklen_t local = sizeof(paths->flow.local), peer = sizeof(paths->flow.peer);

	memset(&paths->flow, 0, sizeof(paths->flow));
	/* One that is gone already has no peer: there is nothing to look at. */
	if (getsockname(fd, (struct sockaddr *)&paths->flow.local, &local) != 0 ||
	    getpeername(fd, (struct sockaddr *)&paths->flow.peer, &peer) != 0)
		return;
	paths->following = true;
	if (paths->watch)
		paths->path = (struct pf_path){0};
	look_soon(paths, 0);
}

void pf_paths_part(struct pf_paths *paths)
{
	paths->flow.local.ss_family = AF_UNSPEC;
	look_soon(paths, 0);
}

json_t *pf_paths_json(const struct pf_paths *paths)
{
	const struct pf_interface *interface;
	char route[3 * PF_ROUTE_ADDR_MAX];
	bool known;

	if (!paths || !paths->following)
		return json_null();
	interface = &paths->path.interface;
	known = paths->path.state != PF_PATH_UNKNOWN && interface->name[0];
	pf_route_print(&paths->flow, &paths->path.route, route, sizeof(route));
	return json_pack("{s:s?, s:s, s:o, s:o, s:s, s:s}", "interface", known ? interface->name : NULL,
			 "state", pf_path_state_name(paths->path.state), "carrier",
			 known ? json_boolean(interface->carrier) : json_null(), "mtu",
			 known ? json_integer(interface->mtu) : json_null(), "route", route, "reason",
			 paths->path.why);
}
