/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/netns.c - see migrate/demo/netns.h; net/room.h makes the namespaces. */
#include "migrate/demo/netns.h"

#include "base/cleanup.h"
#include "net/room.h"

#define LINK_NAME "veth0"

static int furnish(struct pf_room *room, const char *address, struct pf_err *err)
{
	int failed = pf_room_switch(room, LINK_NAME, true, err);

	return failed ? failed : pf_room_address(room, LINK_NAME, address, err);
}

static int build(struct pf_room *source, struct pf_room *destination, struct pf_err *err)
{
	int failed;

	failed = pf_room_make("the source", source, err);
	if (!failed)
		failed = pf_room_make("the destination", destination, err);
	if (!failed)
		failed = pf_room_join(source, LINK_NAME, destination, LINK_NAME, err);
	if (!failed)
		failed = furnish(source, PF_NETNS_SOURCE "/30", err);
	return failed ? failed : furnish(destination, PF_NETNS_DESTINATION "/30", err);
}

int pf_netns_make(struct pf_netns *out, struct pf_err *err)
{
	struct pf_room source = PF_ROOM_NONE, destination = PF_ROOM_NONE;
	int failed = build(&source, &destination, err);

	*out = (struct pf_netns){.source = -1, .destination = -1};
	if (!failed) {
		out->source = pf_steal_fd(&source.fd);
		out->destination = pf_steal_fd(&destination.fd);
		out->rtnl = source.rtnl;
		source.rtnl = NULL;
	}
	pf_room_done(&source);
	pf_room_done(&destination);
	return failed;
}

int pf_netns_switch(const struct pf_netns *netns, bool up, struct pf_err *err)
{
	struct pf_room source = {.fd = netns->source, .rtnl = netns->rtnl, .name = "the source"};

	return pf_room_switch(&source, LINK_NAME, up, err) ? -1 : 0;
}

void pf_netns_done(struct pf_netns *netns)
{
	struct pf_room source = {.fd = netns->source, .rtnl = netns->rtnl};

	pf_room_done(&source);
	*netns = (struct pf_netns){.source = -1, .destination = netns->destination};
	pf_close_fd(&netns->destination);
}
