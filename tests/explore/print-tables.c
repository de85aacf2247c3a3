/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/explore/print-tables.c - the diagrams of the two state machines, for ARCHITECTURE.md.
 *
 * Plain text, since it is read in a terminal as often as on a page: for each state where it leads,
 * by which events, and with which action.  "*" marks an action that begins with the record.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/fsm.h"

#define COLUMNS 104
#define INDENT 34 /* where the events of a line begin */

/* The events of one line, wrapped. */
struct line {
	int at;
	bool first;
};

static void print_piece(struct line *line, const char *piece)
{
	int length = (int)strlen(piece);

	if (!line->first && line->at + 2 + length > COLUMNS) {
		printf(",\n%*s%s", INDENT, "", piece);
		line->at = INDENT + length;
	} else {
		printf("%s%s", line->first ? "" : ", ", piece);
		line->at += length + (line->first ? 0 : 2);
	}
	line->first = false;
}

/* All events that lead from one state to another with this action, as one piece. */
static void print_action(const struct pf_machine *machine, uint8_t from, uint8_t to, uint8_t action,
			 struct line *line)
{
	char piece[512] = "";
	size_t at = 0;

	for (size_t i = 0; i < machine->rows; i++) {
		const struct pf_transition *row = &machine->row[i];

		if (row->from == from && row->to == to && row->action == action && at < sizeof(piece))
			at += (size_t)snprintf(piece + at, sizeof(piece) - at, "%s%s", at ? " " : "",
					       machine->event_name[row->event]);
	}
	if (at == 0)
		return;
	if (action != 0 && at < sizeof(piece))
		snprintf(piece + at, sizeof(piece) - at, " / %s%s", machine->action_name[action],
			 machine->action_record[action] ? "*" : "");
	print_piece(line, piece);
}

static bool leads_to(const struct pf_machine *machine, uint8_t from, uint8_t to)
{
	for (size_t i = 0; i < machine->rows; i++)
		if (machine->row[i].from == from && machine->row[i].to == to)
			return true;
	return false;
}

static void print_edge(const struct pf_machine *machine, uint8_t from, uint8_t to, bool *named)
{
	struct line line = {.at = INDENT, .first = true};

	if (!leads_to(machine, from, to))
		return;
	printf("    %-13s %s %-12s", *named ? "" : machine->state_name[from],
	       from == to ? "   " : "-->", from == to ? "stays" : machine->state_name[to]);
	*named = true;
	for (uint8_t action = 0; action < machine->actions; action++)
		print_action(machine, from, to, action, &line);
	printf("\n");
}

static void print_starts(const struct pf_machine *machine)
{
	for (size_t i = 0; i < machine->starts; i++) {
		const struct pf_start *start = &machine->start[i];

		printf("    %-13s --> %s%s\n", pf_record_name(start->record),
		       machine->state_name[start->state],
		       start->marks & PF_MARK_TOLD ? ", if the VMM has been told COMPLETE" :
		       start->marks & PF_MARK_COMPLETE ?
						     ", if it may have been told COMPLETE or RELEASE" :
		       start->marks & PF_MARK_SEEN ? ", if a VMM has come before" : "");
	}
}

static void print_machine(const struct pf_machine *machine)
{
	printf("The %s, by what its state directory holds when its process begins:\n\n",
	       machine->name);
	print_starts(machine);
	printf("\nand then:\n\n");
	for (uint8_t from = 0; from < machine->states; from++) {
		bool named = false;

		for (uint8_t to = 0; to < machine->states; to++)
			if (from != to)
				print_edge(machine, from, to, &named);
		print_edge(machine, from, from, &named);
	}
}

int main(void)
{
	print_machine(&pf_source_machine);
	printf("\n");
	print_machine(&pf_destination_machine);
	return 0;
}
