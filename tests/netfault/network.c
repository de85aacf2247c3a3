/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/network.c - see tests/netfault/network.h; libnl-route. */
#include "tests/netfault/network.h"

#include <fcntl.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/netfault/value.h"

#define BURST_DEFAULT (32u << 10)
#define QUEUE_DEFAULT (50 * PF_NS_PER_MS)

/* Where a statement's interface is. */
struct place {
	struct pf_room *room;
	struct nf_interface *interface;
	const char *name;
};

static struct place place_of(struct nf_network *network, unsigned interface)
{
	return (struct place){
		.room = &network->room[network->plan.interface[interface].space],
		.interface = &network->interface[interface],
		.name = network->plan.interface[interface].port.interface,
	};
}

void nf_network_open(struct nf_network *network, uint64_t seed)
{
	memset(network, 0, sizeof(*network));
	network->seed = seed;
	for (unsigned i = 0; i < NF_SPACES_MAX; i++)
		network->room[i] = PF_ROOM_NONE;
}

void nf_network_close(struct nf_network *network)
{
	for (unsigned i = 0; i < NF_SPACES_MAX; i++)
		pf_room_done(&network->room[i]);
}

/* An IPv6 address stays when its link goes down, as IPv4's do; Documentation/networking/ip-sysctl.
 */
static int keep_addresses(struct pf_err *err)
{
	static const char path[] = "/proc/sys/net/ipv6/conf/all/keep_addr_on_down";
	pf_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) /* a kernel without IPv6 has no such addresses */
		return 0;
	return fd >= 0 && write(fd, "1", 1) == 1 ? 0 : pf_err_sys(err, "writing %s", path);
}

static int make_space(struct nf_network *network, unsigned space, char *detail, struct pf_err *err)
{
	struct pf_room *room = &network->room[space];
	int home, failed, made = pf_room_make(network->plan.space[space], room, err);

	if (made == 1)
		pf_err_hint(err, "run it as root, or in a user namespace: unshare -Urn");
	if (made)
		return -1;
	if (pf_room_visit(room, &home, err)) {
		pf_room_done(room);
		return -1;
	}
	failed = keep_addresses(err);
	if (pf_room_leave(&home, err) || failed) {
		pf_room_done(room);
		return -1;
	}
	snprintf(detail, NF_DETAIL_MAX, "/proc/%d/fd/%d", getpid(), room->fd);
	return 0;
}

static int found(struct nf_network *network, unsigned interface, struct pf_err *err)
{
	struct place at = place_of(network, interface);

	return pf_room_switch(at.room, at.name, true, err) ||
			       pf_room_index(at.room, at.name, &at.interface->index, err)
		       ? -1
		       : 0;
}

static int make_link(struct nf_network *network, const struct nf_target *target, struct pf_err *err)
{
	struct place a = place_of(network, target->interface[0]);
	struct place b = place_of(network, target->interface[1]);

	return pf_room_join(a.room, a.name, b.room, b.name, err) ||
			       found(network, target->interface[0], err) ||
			       found(network, target->interface[1], err)
		       ? -1
		       : 0;
}

static int make_bridge(struct nf_network *network, const struct nf_statement *statement,
		       const struct nf_target *target, struct pf_err *err)
{
	struct place at = place_of(network, target->interface[0]);
	int code = rtnl_link_bridge_add(at.room->rtnl, at.name);

	if (code < 0) {
		pf_room_fail(at.room, code, "making a bridge", err);
		return pf_err_hint(err, "the kernel needs CONFIG_BRIDGE");
	}
	if (found(network, target->interface[0], err))
		return -1;
	for (unsigned i = 1; i < statement->ports; i++) {
		struct place port = place_of(network, target->interface[i]);

		code = rtnl_link_enslave_ifindex(at.room->rtnl, at.interface->index,
						 port.interface->index);
		if (code < 0)
			return pf_room_fail(at.room, code, "giving the bridge a port", err);
	}
	return 0;
}

static int set_mtu(const struct place *at, unsigned mtu, struct pf_err *err)
{
	struct rtnl_link *link = NULL, *change = NULL;
	int code = rtnl_link_get_kernel(at->room->rtnl, at->interface->index, NULL, &link);

	if (code >= 0) {
		change = rtnl_link_alloc();
		code = change ? 0 : -NLE_NOMEM;
	}
	if (code >= 0) {
		rtnl_link_set_mtu(change, mtu);
		code = rtnl_link_change(at->room->rtnl, link, change, 0);
	}
	rtnl_link_put(change);
	rtnl_link_put(link);
	return code < 0 ? pf_room_fail(at->room, code, "setting an MTU", err) : 0;
}

static int give_address(const struct place *at, const struct nf_statement *statement,
			struct pf_err *err)
{
	char text[NF_VALUE_TEXT_MAX];

	nf_address_print(statement->address.family, statement->address.bytes,
			 statement->address.prefix, text);
	return pf_room_address(at->room, at->name, text, err) ? -1 : 0;
}

/* What the statement makes of the shape. */
static struct nf_shape reshape(struct nf_shape shape, const struct nf_statement *statement)
{
	unsigned given = statement->given;

	switch (statement->verb) {
	case NF_CUT:
		shape.cut = true;
		break;
	case NF_RATE:
		shape.bits = statement->number;
		shape.burst =
			given & (1u << NF_BURST) ? statement->option[NF_BURST] : BURST_DEFAULT;
		shape.queue_ns =
			given & (1u << NF_QUEUE) ? statement->option[NF_QUEUE] : QUEUE_DEFAULT;
		break;
	case NF_NETEM:
		shape.netem.on = true;
		memcpy(shape.netem.option, statement->option, sizeof(shape.netem.option));
		break;
	default: /* heal */
		if (!statement->heal || statement->heal & (1u << NF_CUT))
			shape.cut = false;
		if (!statement->heal || statement->heal & (1u << NF_RATE))
			shape.bits = 0;
		if (!statement->heal || statement->heal & (1u << NF_NETEM))
			shape.netem.on = false;
		break;
	}
	return shape;
}

/* On -1 what was there before is there again. */
static int shape(const struct place *at, const struct nf_statement *statement, struct pf_err *err)
{
	struct nf_shape wanted = reshape(at->interface->shape, statement);
	struct pf_err other;

	if (nf_shape_set(at->room, at->interface->index, &wanted, err) == 0) {
		at->interface->shape = wanted;
		return 0;
	}
	if (nf_shape_set(at->room, at->interface->index, &at->interface->shape, &other)) {
		pf_err_prefix(err, "and what was there before is gone (%.100s)", other.text);
		at->interface->shape = (struct nf_shape){0};
	}
	return -1;
}

static int drop(struct nf_network *network, const struct place *at, uint64_t ppm,
		struct pf_err *err)
{
	if (!ppm && !at->interface->drops)
		return 0;
	if (nf_drop_set(at->room, at->interface->index, ppm, network->seed, err))
		return -1;
	at->interface->drops = ppm != 0;
	return 0;
}

static int heal(struct nf_network *network, const struct place *at,
		const struct nf_statement *statement, struct pf_err *err)
{
	bool drops = !statement->heal || statement->heal & (1u << NF_DROP);

	if (drops && drop(network, at, 0, err))
		return -1;
	return statement->heal == 1u << NF_DROP ? 0 : shape(at, statement, err);
}

static int reset(struct nf_network *network, const struct nf_statement *statement,
		 const struct nf_target *target, char *detail, struct pf_err *err)
{
	unsigned count = 0;
	int failed = nf_reset(&network->room[target->space], (uint16_t)statement->option[NF_PORT],
			      &count, err);

	if (!failed)
		snprintf(detail, NF_DETAIL_MAX, "%u connections", count);
	return failed;
}

static int act(struct nf_network *network, const struct nf_statement *statement,
	       const struct nf_target *target, char *detail, struct pf_err *err)
{
	struct place at = place_of(network, target->interface[0]);

	switch (statement->verb) {
	case NF_SEED:
		network->seed = statement->number;
		return 0;
	case NF_NAMESPACE:
		return make_space(network, target->space, detail, err);
	case NF_LINK:
		return make_link(network, target, err);
	case NF_BRIDGE:
		return make_bridge(network, statement, target, err);
	case NF_ADDRESS:
		return give_address(&at, statement, err);
	case NF_MTU:
		return set_mtu(&at, (unsigned)statement->number, err);
	case NF_DOWN:
	case NF_UP:
		return pf_room_switch(at.room, at.name, statement->verb == NF_UP, err) ? -1 : 0;
	case NF_CUT:
	case NF_RATE:
	case NF_NETEM:
		return shape(&at, statement, err);
	case NF_DROP:
		return drop(network, &at, statement->number, err);
	case NF_HEAL:
		return heal(network, &at, statement, err);
	case NF_RESET:
		return reset(network, statement, target, detail, err);
	default: /* relays and programs */
		return 0;
	}
}

int nf_network_do(struct nf_network *network, const struct nf_statement *statement,
		  struct nf_target *out_target, char detail[NF_DETAIL_MAX], struct pf_err *err)
{
	struct nf_plan before = network->plan;

	detail[0] = '\0';
	if (nf_plan_take(&network->plan, statement, out_target, err))
		return -1;
	if (act(network, statement, out_target, detail, err) == 0)
		return 0;
	network->plan = before;
	return pf_err_prefix(err, "%s", nf_verb_name(statement->verb));
}
