/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/netns.c - see migrate/demo/netns.h; network_namespaces(7), veth(4), libnl-route. */
#include "migrate/demo/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <sched.h>

#include "base/cleanup.h"

#define LINK_NAME "veth0"

/* One namespace while it is being furnished: a netlink socket stays in the one it was made in. */
struct room {
	bool entered; /* the thread has left the namespace it was in */
	int fd;
	struct nl_sock *rtnl;
	const char *who, *address;
};

static int nl_fail(struct pf_err *err, int code, const char *what, const struct room *room)
{
	pf_err_set(err, PF_ERR_SYSTEM, "%s in the %s's network namespace: %s", what, room->who,
		   nl_geterror(code));
	return code == -NLE_PERM || code == -NLE_OPNOTSUPP ? 1 : -1;
}

static int room_enter(struct room *room, struct pf_err *err)
{
	int code;

	if (unshare(CLONE_NEWNET) != 0) {
		pf_err_sys(err, "making a network namespace");
		return err->sys == EPERM || err->sys == EINVAL || err->sys == ENOSPC ? 1 : -1;
	}
	room->entered = true;
	room->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (room->fd < 0)
		return pf_err_sys(err, "opening /proc/thread-self/ns/net");
	room->rtnl = nl_socket_alloc();
	if (!room->rtnl)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a netlink socket");
	code = nl_connect(room->rtnl, NETLINK_ROUTE);
	return code < 0 ? nl_fail(err, code, "opening rtnetlink", room) : 0;
}

/* Makes both ends where they belong at once: neither is ever seen outside. */
static int join_rooms(struct room *a, const struct room *b, struct pf_err *err)
{
	struct rtnl_link *veth = rtnl_link_veth_alloc(), *peer;
	int code;

	if (!veth)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a veth pair");
	peer = rtnl_link_veth_get_peer(veth);
	rtnl_link_set_name(veth, LINK_NAME);
	rtnl_link_set_name(peer, LINK_NAME);
	rtnl_link_set_ns_fd(peer, b->fd);
	code = rtnl_link_add(a->rtnl, veth, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
	rtnl_link_put(veth);
	return code < 0 ? nl_fail(err, code, "making a veth pair", a) : 0;
}

static int link_up(struct room *room, const char *name, int *out_index, struct pf_err *err)
{
	struct rtnl_link *link = NULL, *change;
	int code = rtnl_link_get_kernel(room->rtnl, 0, name, &link);

	if (code < 0)
		return nl_fail(err, code, "finding a link", room);
	change = rtnl_link_alloc();
	if (change) {
		rtnl_link_set_flags(change, IFF_UP);
		code = rtnl_link_change(room->rtnl, link, change, 0);
		rtnl_link_put(change);
	} else {
		code = -NLE_NOMEM;
	}
	*out_index = rtnl_link_get_ifindex(link);
	rtnl_link_put(link);
	return code < 0 ? nl_fail(err, code, "setting a link up", room) : 0;
}

static int give_address(struct room *room, int index, struct pf_err *err)
{
	struct rtnl_addr *address = rtnl_addr_alloc();
	struct nl_addr *local = NULL;
	int code = nl_addr_parse(room->address, AF_INET, &local);

	if (!address)
		code = -NLE_NOMEM;
	if (code >= 0) {
		nl_addr_set_prefixlen(local, 30);
		rtnl_addr_set_ifindex(address, index);
		code = rtnl_addr_set_local(address, local);
	}
	if (code >= 0)
		code = rtnl_addr_add(room->rtnl, address, 0);
	nl_addr_put(local);
	rtnl_addr_put(address);
	return code < 0 ? nl_fail(err, code, "setting an address", room) : 0;
}

static int furnish(struct room *room, struct pf_err *err)
{
	int index, failed;

	failed = link_up(room, "lo", &index, err);
	if (!failed)
		failed = link_up(room, LINK_NAME, &index, err);
	return failed ? failed : give_address(room, index, err);
}

static int build(struct room *source, struct room *destination, struct pf_err *err)
{
	int failed;

	failed = room_enter(source, err);
	if (!failed)
		failed = room_enter(destination, err);
	if (!failed)
		failed = join_rooms(source, destination, err);
	if (!failed)
		failed = furnish(source, err);
	return failed ? failed : furnish(destination, err);
}

int pf_netns_make(struct pf_netns *out, struct pf_err *err)
{
	struct room source = {.fd = -1, .who = "source", .address = PF_NETNS_SOURCE};
	struct room destination = {.fd = -1, .who = "destination", .address = PF_NETNS_DESTINATION};
	pf_auto_fd int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int failed;

	*out = (struct pf_netns){.source = -1, .destination = -1};
	if (home < 0)
		return pf_err_sys(err, "opening /proc/thread-self/ns/net");
	failed = build(&source, &destination, err);
	if (source.entered && setns(home, CLONE_NEWNET) != 0)
		failed = pf_err_sys(err, "returning to the machine's network namespace");
	nl_socket_free(source.rtnl);
	nl_socket_free(destination.rtnl);
	out->source = source.fd;
	out->destination = destination.fd;
	if (failed)
		pf_netns_done(out);
	return failed;
}

void pf_netns_done(struct pf_netns *netns)
{
	pf_close_fd(&netns->source);
	pf_close_fd(&netns->destination);
}
