/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/room.c - see net/room.h. */
#include "net/room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <sched.h>

#include "base/cleanup.h"

static int open_here(struct pf_err *err)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		pf_err_sys(err, "opening /proc/thread-self/ns/net");
	return fd;
}

int pf_room_fail(const struct pf_room *room, int code, const char *what, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_SYSTEM, "%s in the network namespace of %s: %s", what, room->name,
		   nl_geterror(code));
	return code == -NLE_PERM || code == -NLE_OPNOTSUPP ? 1 : -1;
}

int pf_room_visit(const struct pf_room *room, int *out_home, struct pf_err *err)
{
	pf_auto_fd int home = open_here(err);

	if (home < 0)
		return -1;
	if (setns(room->fd, CLONE_NEWNET) != 0)
		return pf_err_sys(err, "entering the network namespace of %s", room->name);
	*out_home = pf_steal_fd(&home);
	return 0;
}

int pf_room_leave(int *home, struct pf_err *err)
{
	int failed = setns(*home, CLONE_NEWNET);

	if (failed)
		pf_err_sys(err, "returning to the machine's network namespace");
	pf_close_fd(home);
	return failed;
}

/* In the new namespace, which the caller leaves again. */
static int open_room(struct pf_room *room, struct pf_err *err)
{
	int code;

	room->fd = open_here(err);
	if (room->fd < 0)
		return -1;
	room->rtnl = nl_socket_alloc();
	if (!room->rtnl)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a netlink socket");
	code = nl_connect(room->rtnl, NETLINK_ROUTE);
	return code < 0 ? pf_room_fail(room, code, "opening rtnetlink", err) : 0;
}

int pf_room_make(const char *name, struct pf_room *out, struct pf_err *err)
{
	struct pf_room room = {.fd = -1, .name = name};
	pf_auto_fd int home = open_here(err);
	int failed;

	*out = PF_ROOM_NONE;
	if (home < 0)
		return -1;
	if (unshare(CLONE_NEWNET) != 0) {
		pf_err_sys(err, "making a network namespace for %s", name);
		return err->sys == EPERM || err->sys == EINVAL || err->sys == ENOSPC ? 1 : -1;
	}
	failed = open_room(&room, err);
	if (pf_room_leave(&home, err))
		failed = -1;
	if (!failed)
		failed = pf_room_switch(&room, "lo", true, err);
	if (failed)
		pf_room_done(&room);
	else
		*out = room;
	return failed;
}

int pf_room_join(struct pf_room *a, const char *a_link, const struct pf_room *b, const char *b_link,
		 struct pf_err *err)
{
	struct rtnl_link *veth = rtnl_link_veth_alloc(), *peer;
	int code;

	if (!veth)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for a veth pair");
	peer = rtnl_link_veth_get_peer(veth);
	rtnl_link_set_name(veth, a_link);
	rtnl_link_set_name(peer, b_link);
	rtnl_link_set_ns_fd(peer, b->fd);
	code = rtnl_link_add(a->rtnl, veth, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
	rtnl_link_put(veth);
	return code < 0 ? pf_room_fail(a, code, "making a veth pair", err) : 0;
}

int pf_room_switch(struct pf_room *room, const char *name, bool up, struct pf_err *err)
{
	struct rtnl_link *link = NULL, *change;
	int code = rtnl_link_get_kernel(room->rtnl, 0, name, &link);

	if (code < 0)
		return pf_room_fail(room, code, "finding a link", err);
	change = rtnl_link_alloc();
	if (change) {
		if (up)
			rtnl_link_set_flags(change, IFF_UP);
		else
			rtnl_link_unset_flags(change, IFF_UP);
		code = rtnl_link_change(room->rtnl, link, change, 0);
		rtnl_link_put(change);
	} else {
		code = -NLE_NOMEM;
	}
	rtnl_link_put(link);
	return code < 0 ? pf_room_fail(room, code, "setting a link up or down", err) : 0;
}

int pf_room_index(struct pf_room *room, const char *name, int *out, struct pf_err *err)
{
	struct rtnl_link *link = NULL;
	int code = rtnl_link_get_kernel(room->rtnl, 0, name, &link);

	if (code < 0)
		return pf_room_fail(room, code, "finding a link", err);
	*out = rtnl_link_get_ifindex(link);
	rtnl_link_put(link);
	return 0;
}

int pf_room_address(struct pf_room *room, const char *link, const char *text, struct pf_err *err)
{
	struct rtnl_addr *address = rtnl_addr_alloc();
	struct nl_addr *local = NULL;
	int code = nl_addr_parse(text, AF_UNSPEC, &local), index;

	if (!address)
		code = -NLE_NOMEM;
	if (code >= 0 && pf_room_index(room, link, &index, err)) {
		nl_addr_put(local);
		rtnl_addr_put(address);
		return -1;
	}
	if (code >= 0) {
		rtnl_addr_set_ifindex(address, index);
		if (nl_addr_get_family(local) == AF_INET6)
			rtnl_addr_set_flags(address, IFA_F_NODAD);
		code = rtnl_addr_set_local(address, local);
	}
	if (code >= 0)
		code = rtnl_addr_add(room->rtnl, address, 0);
	nl_addr_put(local);
	rtnl_addr_put(address);
	return code < 0 ? pf_room_fail(room, code, "setting an address", err) : 0;
}

void pf_room_done(struct pf_room *room)
{
	pf_close_fd(&room->fd);
	nl_socket_free(room->rtnl);
	room->rtnl = NULL;
}
