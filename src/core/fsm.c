/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/fsm.c - looking a (state, event) pair up; see core/fsm.h. */
#include "core/fsm.h"

const char *pf_phase_name(enum pf_phase phase)
{
	static const char *const names[] = {
		[PF_PHASE_SETUP] = "setup",
		[PF_PHASE_ACTIVE] = "active",
		[PF_PHASE_DEVICE] = "postcopy-device",
		[PF_PHASE_POSTCOPY] = "postcopy-active",
		[PF_PHASE_PAUSED] = "postcopy-paused",
		[PF_PHASE_RECOVER] = "postcopy-recover",
		[PF_PHASE_COMPLETED] = "completed",
		[PF_PHASE_FAILED] = "failed",
		[PF_PHASE_CANCELLED] = "cancelled",
	};

	return names[phase];
}

const struct pf_transition *pf_machine_look(const struct pf_machine *machine, uint8_t state,
					    uint8_t event, const char **out_why)
{
	for (size_t i = 0; i < machine->rows; i++)
		if (machine->row[i].from == state && machine->row[i].event == event)
			return &machine->row[i];
	*out_why = "";
	for (size_t i = 0; i < machine->ignoreds; i++)
		if (machine->ignored[i].event == event &&
		    machine->ignored[i].states & UINT32_C(1) << state)
			*out_why = machine->ignored[i].why;
	return NULL;
}

const struct pf_start *pf_machine_start(const struct pf_machine *machine, enum pf_record record,
					unsigned marks)
{
	for (size_t i = 0; i < machine->starts; i++)
		if (machine->start[i].record == record &&
		    (machine->start[i].marks & ~marks) == 0)
			return &machine->start[i];
	return &machine->start[machine->starts - 1]; /* not reached: every record has a row */
}

bool pf_machine_final(const struct pf_machine *machine, uint8_t state)
{
	return machine->final >> state & 1;
}
