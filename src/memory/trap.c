/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/trap.c - see memory/trap.h. */
#include "memory/trap.h"

enum pf_trap_action pf_trap_decide(enum pf_trap trap, enum pf_page_state state)
{
	static const enum pf_trap_action action[PF_TRAP_COUNT_][PF_PAGE_FILLED + 1] = {
		[PF_TRAP_MINOR] = {
			[PF_PAGE_ABSENT] = PF_TRAP_REQUEST,
			[PF_PAGE_FILLING] = PF_TRAP_WAIT,
			[PF_PAGE_FILLED] = PF_TRAP_MAP,
		},
		[PF_TRAP_MISSING] = {
			[PF_PAGE_ABSENT] = PF_TRAP_REQUEST,
			[PF_PAGE_FILLING] = PF_TRAP_WAIT,
			[PF_PAGE_FILLED] = PF_TRAP_MAP_OR_HOLE,
		},
		[PF_TRAP_EXIT] = {
			[PF_PAGE_ABSENT] = PF_TRAP_REQUEST,
			[PF_PAGE_FILLING] = PF_TRAP_WAIT,
			[PF_PAGE_FILLED] = PF_TRAP_MAP,
		},
	};

	return action[trap][state];
}
