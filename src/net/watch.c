/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/watch.c - see net/watch.h; rtnetlink(7), netlink(7). */
#include "net/watch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

/* So many at a time, so that a storm of them leaves the loop its other work. */
#define DRAIN_MAX 256

struct pf_watch {
	struct nl_sock *news;
	struct nl_sock *rtnl; /* for questions */
	uint64_t overruns;
};

/* Whatever can change the answer to the questions below; rules and nexthop objects change routes. */
static const int groups[] = {
	RTNLGRP_LINK,	     RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
	RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,	  RTNLGRP_IPV6_RULE,   RTNLGRP_NEXTHOP,
};

static int subscribe(struct nl_sock *news)
{
	int code = 0;

	for (size_t i = 0; code >= 0 && i < PF_ARRAY_LEN(groups); i++)
		code = nl_socket_add_memberships(news, groups[i], 0);
	return code;
}

int pf_watch_open(struct pf_watch **out, struct pf_err *err)
{
	struct pf_watch *watch = calloc(1, sizeof(*watch));
	int code;

	if (!watch)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for watching the network");
	if (pf_route_open(&watch->rtnl, err) || pf_route_open(&watch->news, err)) {
		pf_watch_close(watch);
		return -1;
	}
	code = subscribe(watch->news);
	if (code < 0) {
		pf_watch_close(watch);
		return pf_err_set(err, PF_ERR_SYSTEM, "subscribing to changes of the network: %s",
				  nl_geterror(code));
	}
	*out = watch;
	return 0;
}

void pf_watch_close(struct pf_watch *watch)
{
	if (!watch)
		return;
	nl_socket_free(watch->news);
	nl_socket_free(watch->rtnl);
	free(watch);
}

int pf_watch_fd(const struct pf_watch *watch)
{
	return nl_socket_get_fd(watch->news);
}

uint64_t pf_watch_overruns(const struct pf_watch *watch)
{
	return watch->overruns;
}

bool pf_watch_drain(struct pf_watch *watch)
{
	bool any = false;
	char ignored[16];

	for (int i = 0; i < DRAIN_MAX; i++) {
		ssize_t got = recv(pf_watch_fd(watch), ignored, sizeof(ignored), MSG_DONTWAIT);

		if (got < 0 && errno != ENOBUFS)
			return any;
		if (got < 0)
			watch->overruns++;
		any = true;
	}
	return any;
}

/* ---- looking ---- */

/* Loopback's whole net is this host's, whichever of it was set; only the routes know. */
static int local_is_ours(struct pf_watch *watch, const struct pf_flow *flow, bool *out,
			 struct pf_err *err)
{
	struct pf_flow itself = {.peer = flow->local};
	struct pf_route route;

	*out = true;
	if (flow->local.ss_family == AF_UNSPEC)
		return 0;
	if (pf_route_ask(watch->rtnl, &itself, &route, err) == 0)
		*out = route.local;
	else if (err->class == PF_ERR_UNREACHABLE)
		*out = false;
	else
		return -1;
	return 0;
}

/* What the kernel says, unjudged. */
struct answers {
	bool routed, linked, ours;
	struct pf_err no_route;
};

static int ask_once(struct pf_watch *watch, const struct pf_flow *flow, struct pf_path *path,
		    struct answers *out, struct pf_err *err)
{
	int index = path->route.index;

	*out = (struct answers){.routed = true, .linked = true};
	if (pf_route_ask(watch->rtnl, flow, &path->route, &out->no_route)) {
		out->routed = false;
		path->route.index = index; /* how is the one that led there? */
		if (out->no_route.class != PF_ERR_UNREACHABLE) {
			*err = out->no_route;
			return -1;
		}
	}
	if (path->route.index &&
	    pf_interface_ask(watch->rtnl, path->route.index, &path->interface, err)) {
		out->linked = false;
		if (err->class != PF_ERR_UNREACHABLE)
			return -1;
	}
	return local_is_ours(watch, flow, &out->ours, err);
}

/*
 * It is told that an interface goes down before its routes are taken away.  Whoever asks for the interface
 * waits until both is done, so that after a bad answer the second is the right one.
 */
static int ask(struct pf_watch *watch, const struct pf_flow *flow, struct pf_path *path,
	       struct answers *out, struct pf_err *err)
{
	if (ask_once(watch, flow, path, out, err))
		return -1;
	if (out->routed && out->linked && out->ours && path->interface.running)
		return 0;
	return ask_once(watch, flow, path, out, err);
}

static void say(struct pf_path *path, enum pf_path_state state, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct pf_path *path, enum pf_path_state state, const char *format, ...)
{
	va_list arguments;

	path->state = state;
	va_start(arguments, format);
	vsnprintf(path->why, sizeof(path->why), format, arguments);
	va_end(arguments);
}

static void judge(struct pf_path *path, const struct answers *answers)
{
	const struct pf_interface *interface = &path->interface;
	bool known = path->route.index != 0;

	if (known && !answers->linked)
		say(path, PF_PATH_DOWN, "interface %s is there no more", interface->name);
	else if (known && !interface->up)
		say(path, PF_PATH_DOWN, "interface %s is set down", interface->name);
	else if (known && !interface->carrier)
		say(path, PF_PATH_NO_CARRIER, "interface %s has no carrier", interface->name);
	else if (known && !interface->running)
		say(path, PF_PATH_NOT_RUNNING, "interface %s is %s", interface->name,
		    interface->operstate);
	else if (!answers->ours)
		say(path, PF_PATH_NO_ADDRESS, "this host has the connection's address no more");
	else if (!answers->routed)
		say(path, PF_PATH_NO_ROUTE, "no route: %s", answers->no_route.text);
	else
		say(path, PF_PATH_UP, "%s", "");
}

void pf_watch_look(struct pf_watch *watch, const struct pf_flow *flow, struct pf_path *path)
{
	char name[PF_ROUTE_NAME_MAX];
	struct answers answers;
	struct pf_err err;

	memcpy(name, path->interface.name, sizeof(name));
	if (ask(watch, flow, path, &answers, &err)) {
		say(path, PF_PATH_UNKNOWN, "%.120s", err.text);
		return;
	}
	if (!answers.linked)
		memcpy(path->interface.name, name, sizeof(name));
	if (path->route.mtu)
		path->interface.mtu = path->route.mtu;
	judge(path, &answers);
}

/* A connection whose way was never seen to be up goes by one that the kernel does not tell (a mark, a
 * program in its hooks): it stands all the same, and nothing is gone. */
static unsigned otherwise(enum pf_path_state before, enum pf_path_state now)
{
	if (before == PF_PATH_UP && now != PF_PATH_UNKNOWN)
		return PF_PATH_GONE;
	if (before != PF_PATH_UNKNOWN && now == PF_PATH_UP)
		return PF_PATH_BACK;
	return PF_PATH_OTHER;
}

unsigned pf_path_compare(const struct pf_path *before, const struct pf_path *now)
{
	unsigned news = 0;

	if (before->state != now->state)
		return otherwise(before->state, now->state);
	if (now->state != PF_PATH_UP)
		return 0;
	if (before->route.index != now->route.index ||
	    strcmp(before->route.gateway, now->route.gateway) != 0 ||
	    strcmp(before->route.source, now->route.source) != 0)
		news |= PF_PATH_MOVED;
	if (before->interface.mtu != now->interface.mtu)
		news |= PF_PATH_MTU;
	return news;
}

const char *pf_path_state_name(enum pf_path_state state)
{
	static const char *const names[PF_PATH_STATES] = {
		[PF_PATH_UNKNOWN] = "unknown",	     [PF_PATH_UP] = "up",
		[PF_PATH_DOWN] = "down",	     [PF_PATH_NO_CARRIER] = "no-carrier",
		[PF_PATH_NOT_RUNNING] = "not-running", [PF_PATH_NO_ADDRESS] = "no-address",
		[PF_PATH_NO_ROUTE] = "no-route",
	};

	return names[state];
}
