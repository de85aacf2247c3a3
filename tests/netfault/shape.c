/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/shape.c - cut, rate and netem: see tests/netfault/network.h.
 *
 * An interface has one qdisc at its root.  A cut is a blackhole there (net/sched/sch_blackhole.c:
 * what it swallows counts as sent).  Otherwise netem, and the rate's tbf behind it where there are
 * both: what netem lets out waits for its turn there.
 */
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/netem.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/tc.h>

#include "base/clock.h"
#include "tests/netfault/network.h"
#include "tests/netfault/value.h"

#define ROOT_HANDLE TC_H_MAKE(0x10000u, 0)
#define INNER_PARENT TC_H_MAKE(0x10000u, 1)
#define NETEM_LIMIT 10000 /* packets; its own default of 1000 loses some at 50 ms and 1 Gbit/s */

static struct rtnl_qdisc *make(int index, uint32_t parent, const char *kind)
{
	struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();

	if (!qdisc)
		return NULL;
	rtnl_tc_set_ifindex(TC_CAST(qdisc), index);
	rtnl_tc_set_parent(TC_CAST(qdisc), parent);
	if (kind && rtnl_tc_set_kind(TC_CAST(qdisc), kind) < 0) {
		rtnl_qdisc_put(qdisc);
		return NULL;
	}
	return qdisc;
}

struct nl_msg *nf_tc_message(int type, const struct tcmsg *tc, const char *kind)
{
	int flags = type == RTM_NEWQDISC ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE | NLM_F_REPLACE;
	struct nl_msg *message = nlmsg_alloc_simple(type, type == RTM_DELQDISC ? 0 : flags);

	if (message && nlmsg_append(message, (void *)tc, sizeof(*tc), NLMSG_ALIGNTO) == 0 &&
	    nla_put_string(message, TCA_KIND, kind) == 0)
		return message;
	nlmsg_free(message);
	return NULL;
}

static int added(const struct pf_room *room, int code, const char *kind, struct pf_err *err)
{
	if (code >= 0)
		return 0;
	if (code == -NLE_OBJ_NOTFOUND) { /* ENOENT: tc_modify_qdisc() knows no such kind */
		pf_err_set(err, PF_ERR_SYSTEM, "this kernel has no %s", kind);
		return pf_err_hint(err, "it needs CONFIG_NET_SCH_* of that name; tests/kernel/run "
					"has a kernel with it");
	}
	pf_room_fail(room, code, kind, err);
	return pf_err_prefix(err, "adding a qdisc");
}

/* Takes the qdisc over. */
static int add(struct pf_room *room, struct rtnl_qdisc *qdisc, const char *kind, struct pf_err *err)
{
	int code = -NLE_NOMEM;

	if (qdisc)
		code = rtnl_qdisc_add(room->rtnl, qdisc, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_qdisc_put(qdisc);
	return added(room, code, kind, err);
}

/* By hand: libnl-route 3.7 knows a blackhole, and aborts when it is to write its message. */
static int add_blackhole(struct pf_room *room, int index, struct pf_err *err)
{
	const struct tcmsg tc = {.tcm_ifindex = index, .tcm_parent = TC_H_ROOT};
	struct nl_msg *message = nf_tc_message(RTM_NEWQDISC, &tc, "blackhole");
	int code = message ? nl_send_sync(room->rtnl, message) : -NLE_NOMEM;

	return added(room, code, "blackhole", err);
}

static int clear(struct pf_room *room, int index, struct pf_err *err)
{
	struct rtnl_qdisc *qdisc = make(index, TC_H_ROOT, NULL);
	int code = qdisc ? rtnl_qdisc_delete(room->rtnl, qdisc) : -NLE_NOMEM;

	rtnl_qdisc_put(qdisc);
	/* ENOENT and EINVAL: there is only what a new link has, which cannot be deleted. */
	if (code >= 0 || code == -NLE_OBJ_NOTFOUND || code == -NLE_INVAL)
		return 0;
	pf_room_fail(room, code, "deleting a qdisc", err);
	return -1;
}

static int to_us(uint64_t ns)
{
	return (int)(ns / PF_NS_PER_US);
}

/* tc-netem(8): a probability is a fraction of 2^32 - 1, in 32 bits without a sign. */
static int to_probability(uint64_t ppm)
{
	return (int)(uint32_t)(ppm * UINT32_MAX / NF_PPM);
}

static int add_netem(struct pf_room *room, int index, const struct nf_netem *netem,
		     struct pf_err *err)
{
	struct rtnl_qdisc *qdisc = make(index, TC_H_ROOT, "netem");
	const uint64_t *option = netem->option;

	if (!qdisc)
		return add(room, NULL, "netem", err);
	rtnl_tc_set_handle(TC_CAST(qdisc), ROOT_HANDLE);
	rtnl_netem_set_limit(qdisc, NETEM_LIMIT);
	rtnl_netem_set_delay(qdisc, to_us(option[NF_DELAY]));
	rtnl_netem_set_jitter(qdisc, to_us(option[NF_JITTER]));
	rtnl_netem_set_loss(qdisc, to_probability(option[NF_LOSS]));
	rtnl_netem_set_duplicate(qdisc, to_probability(option[NF_DUPLICATE]));
	if (option[NF_CORRUPT])
		rtnl_netem_set_corruption_probability(qdisc, to_probability(option[NF_CORRUPT]));
	if (option[NF_REORDER]) {
		rtnl_netem_set_gap(qdisc, 1);
		rtnl_netem_set_reorder_probability(qdisc, to_probability(option[NF_REORDER]));
	}
	return add(room, qdisc, "netem", err);
}

static int add_tbf(struct pf_room *room, int index, const struct nf_shape *shape,
		   struct pf_err *err)
{
	uint32_t parent = shape->netem.on ? INNER_PARENT : TC_H_ROOT;
	struct rtnl_qdisc *qdisc = make(index, parent, "tbf");

	if (qdisc) {
		rtnl_qdisc_tbf_set_rate(qdisc, (int)(shape->bits / 8), (int)shape->burst, 8);
		rtnl_qdisc_tbf_set_limit_by_latency(qdisc, to_us(shape->queue_ns));
	}
	return add(room, qdisc, "tbf", err);
}

int nf_shape_set(struct pf_room *room, int index, const struct nf_shape *shape, struct pf_err *err)
{
	if (clear(room, index, err))
		return -1;
	if (shape->cut)
		return add_blackhole(room, index, err);
	if (shape->netem.on && add_netem(room, index, &shape->netem, err))
		return -1;
	return shape->bits ? add_tbf(room, index, shape, err) : 0;
}
