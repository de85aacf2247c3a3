/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/drop.c - a percentage of packets lost, by the seed: see tests/netfault/network.h.
 *
 * tc-bpf(8), direct action, on the egress of a clsact qdisc: beside whatever is at the root, and on
 * kernels without netem too.  The program draws from a generator of its own, whose state is in a
 * map of one element, so that the n-th packet has the same fate in every run with that seed.
 * (Packets sent on two processors at once may draw the same number, which does not change how many
 * are lost.)
 */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "tests/netfault/network.h"
#include "tests/netfault/value.h"

/* Knuth's MMIX: its upper half is good enough to choose packets by. */
#define LCG_TIMES UINT64_C(6364136223846793005)
#define LCG_PLUS UINT64_C(1442695040888963407)

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int make_map(uint64_t seed, struct pf_err *err)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY,
			       .key_size = sizeof(uint32_t),
			       .value_size = sizeof(uint64_t),
			       .max_entries = 1};
	pf_auto_fd int map = bpf(BPF_MAP_CREATE, &attr);
	uint32_t key = 0;

	if (map < 0)
		return pf_err_sys(err, "making a BPF map");
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = (uint64_t)(uintptr_t)&key;
	attr.value = (uint64_t)(uintptr_t)&seed;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr) != 0)
		return pf_err_sys(err, "writing into a BPF map");
	return pf_steal_fd(&map);
}

#define OP(c, d, s, o, i)                                                                          \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define WIDE(d, s, v)                                                                              \
	OP(BPF_LD | BPF_DW | BPF_IMM, d, s, 0, (int32_t)(uint32_t)(v)),                            \
		OP(0, 0, 0, 0, (int32_t)(uint32_t)((uint64_t)(v) >> 32))

static int load(int map, uint64_t ppm, struct pf_err *err)
{
	uint64_t limit = (ppm << 32) / NF_PPM;
	const struct bpf_insn code[] = {
		OP(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0), /* the key: 0 */
		OP(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		OP(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		WIDE(BPF_REG_1, BPF_PSEUDO_MAP_FD, map),
		OP(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		OP(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 12,
		   0), /* the verifier wants it asked */
		OP(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_0, 0, 0),
		WIDE(BPF_REG_2, 0, LCG_TIMES),
		OP(BPF_ALU64 | BPF_MUL | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0),
		WIDE(BPF_REG_2, 0, LCG_PLUS),
		OP(BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0),
		OP(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_0, BPF_REG_1, 0, 0),
		OP(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_1, 0, 0, 32),
		WIDE(BPF_REG_2, 0, limit),
		OP(BPF_JMP | BPF_JLT | BPF_X, BPF_REG_1, BPF_REG_2, 2, 0),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_UNSPEC),
		OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_SHOT),
		OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
			       .insns = (uint64_t)(uintptr_t)code,
			       .insn_cnt = PF_ARRAY_LEN(code),
			       .license = (uint64_t)(uintptr_t) "LGPL"};
	int program = bpf(BPF_PROG_LOAD, &attr);

	return program < 0 ? pf_err_sys(err, "loading a BPF program") : program;
}

/* Adding is no error where it is already, nor is removing where there is none. */
static int set_clsact(struct pf_room *room, int index, bool there, struct pf_err *err)
{
	const struct tcmsg tc = {.tcm_ifindex = index,
				 .tcm_parent = TC_H_CLSACT,
				 .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0)};
	struct nl_msg *message = nf_tc_message(there ? RTM_NEWQDISC : RTM_DELQDISC, &tc, "clsact");
	int code = message ? nl_send_sync(room->rtnl, message) : -NLE_NOMEM;

	if (code >= 0 || code == (there ? -NLE_EXIST : -NLE_OBJ_NOTFOUND))
		return 0;
	pf_room_fail(room, code, "adding or deleting a clsact qdisc", err);
	return pf_err_hint(err, "the kernel needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF");
}

/* libnl-route knows no cls_bpf. */
static struct nl_msg *make_filter(int index, int program)
{
	const struct tcmsg tc = {.tcm_ifindex = index,
				 .tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS),
				 .tcm_handle = 1,
				 .tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL))};
	struct nl_msg *message = nf_tc_message(RTM_NEWTFILTER, &tc, "bpf");
	struct nlattr *options = message ? nla_nest_start(message, TCA_OPTIONS) : NULL;

	if (options && nla_put_u32(message, TCA_BPF_FD, (uint32_t)program) == 0 &&
	    nla_put_string(message, TCA_BPF_NAME, "netfault-drop") == 0 &&
	    nla_put_u32(message, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT) == 0) {
		nla_nest_end(message, options);
		return message;
	}
	nlmsg_free(message);
	return NULL;
}

int nf_drop_set(struct pf_room *room, int index, uint64_t ppm, uint64_t seed, struct pf_err *err)
{
	pf_auto_fd int map = -1, program = -1;
	struct nl_msg *message;
	int code = -NLE_NOMEM;

	if (ppm == 0)
		return set_clsact(room, index, false, err);
	map = make_map(seed + (uint64_t)index, err);
	if (map < 0)
		return -1;
	program = load(map, ppm, err);
	if (program < 0 || set_clsact(room, index, true, err))
		return -1;
	message = make_filter(index, program);
	if (message)
		code = nl_send_sync(room->rtnl, message); /* frees it */
	return code < 0 ? (pf_room_fail(room, code, "adding a classifier", err), -1) : 0;
}
