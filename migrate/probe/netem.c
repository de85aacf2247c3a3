/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/netem.c - subject: can a bad network be made here, for tests?
 *
 * In a network namespace that the trial's process makes and that ends with it; where the process
 * may make none, in one of a user namespace, which takes no privilege where users may have those.
 */
#include <errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/netem.h>
#include <netlink/route/tc.h>
#include <sched.h>

#include "base/cleanup.h"
#include "migrate/probe/subjects.h"

#define LOOPBACK_INDEX 1 /* the only link of a new namespace, drivers/net/loopback.c */
#define DELAY_US 1000

static int try_namespace(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	static const char made;

	if (unshare(CLONE_NEWNET) == 0) {
		trial->state = (void *)&made;
		return 0;
	}
	pf_err_sys(err, "making a network namespace");
	if (err->sys == EPERM && unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
		trial->state = (void *)&made;
		pf_check_says(out, "in a user namespace");
		return 0;
	}
	return err->sys == EPERM ? 1 : -1;
}

static struct rtnl_qdisc *make_netem(void)
{
	struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();

	if (!qdisc)
		return NULL;
	rtnl_tc_set_ifindex(TC_CAST(qdisc), LOOPBACK_INDEX);
	rtnl_tc_set_parent(TC_CAST(qdisc), TC_H_ROOT);
	if (rtnl_tc_set_kind(TC_CAST(qdisc), "netem") < 0) {
		rtnl_qdisc_put(qdisc);
		return NULL;
	}
	rtnl_netem_set_delay(qdisc, DELAY_US);
	return qdisc;
}

static int try_netem(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct nl_sock *rtnl = nl_socket_alloc();
	struct rtnl_qdisc *qdisc = make_netem();
	int code = -NLE_NOMEM;

	(void)out;
	if (trial->state && rtnl && qdisc)
		code = nl_connect(rtnl, NETLINK_ROUTE);
	if (trial->state && rtnl && qdisc && code >= 0)
		code = rtnl_qdisc_add(rtnl, qdisc, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_qdisc_put(qdisc);
	nl_socket_free(rtnl);
	if (!trial->state)
		return pf_check_untried(err, "it takes a network namespace to try it in");
	if (code == -NLE_OBJ_NOTFOUND)
		return pf_check_no(err, "the kernel has no qdisc netem");
	return code < 0 ? pf_check_no(err, "adding a qdisc netem: %s", nl_geterror(code)) : 0;
}

static const struct pf_check rows[] = {
	{"network-namespace", "network namespace", try_namespace,
	 "be root, or allow user namespaces; without it the demo uses loopback", "CAP_SYS_ADMIN"},
	{"netem", "qdisc netem", try_netem,
	 "load sch_netem, or a kernel with CONFIG_NET_SCH_NETEM; only tests of bad networks need "
	 "it",
	 NULL},
};

const struct pf_subject pf_subject_netem = {
	.name = "network-tests",
	.title = "Networks for tests",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
};
