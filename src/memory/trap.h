/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory/trap.h - what a trapped access means: the table of DESIGN.md section 3.2.
 *
 * The trap's kind never decides alone, the journal does: a fallocated page traps MINOR and holds
 * zeros; a MISSING event can be older than the page it asks for.  Pure; no I/O.
 */
#ifndef PF_MEMORY_TRAP_H
#define PF_MEMORY_TRAP_H

#include "memory/journal.h"

enum pf_trap { PF_TRAP_MINOR, PF_TRAP_MISSING, PF_TRAP_EXIT, PF_TRAP_COUNT_ };

enum pf_trap_action {
	PF_TRAP_REQUEST, /* ask the source for it */
	PF_TRAP_WAIT,	 /* being written: whoever writes it maps it, and that wakes the waiter */
	PF_TRAP_MAP,	 /* it is here: CONTINUE, WAKE on EEXIST; for an exit, let in and answer */
	PF_TRAP_MAP_OR_HOLE, /* it is here; if CONTINUE says EFAULT it was punched: place zeros */
};

enum pf_trap_action pf_trap_decide(enum pf_trap trap, enum pf_page_state state);

#endif
