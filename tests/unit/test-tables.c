/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-tables.c - the two state tables are total, and say who owns the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/fsm.h"
#include "core/switchover.h"

#define STATES_MAX 32

static const struct pf_machine *const machines[] = {&pf_source_machine, &pf_destination_machine};

static unsigned rows_for(const struct pf_machine *machine, uint8_t state, uint8_t event)
{
	unsigned found = 0;

	for (size_t i = 0; i < machine->rows; i++)
		found += machine->row[i].from == state && machine->row[i].event == event;
	return found;
}

static unsigned reasons_for(const struct pf_machine *machine, uint8_t state, uint8_t event)
{
	unsigned found = 0;

	for (size_t i = 0; i < machine->ignoreds; i++)
		found += machine->ignored[i].event == event &&
			 (machine->ignored[i].states >> state & 1);
	return found;
}

static void every_pair_is_listed_or_ignored_exactly_once(void **unused)
{
	unsigned wrong = 0;

	(void)unused;
	for (unsigned m = 0; m < 2; m++) {
		const struct pf_machine *machine = machines[m];

		for (uint8_t s = 0; s < machine->states; s++) {
			for (uint8_t e = 0; e < machine->events; e++) {
				unsigned rows = rows_for(machine, s, e);
				unsigned reasons = reasons_for(machine, s, e);

				if (rows + reasons == 1)
					continue;
				print_error("%s: (%s, %s): %u rows, %u reasons\n", machine->name,
					    machine->state_name[s], machine->event_name[e], rows,
					    reasons);
				wrong++;
			}
		}
	}
	assert_int_equal(wrong, 0);
}

static void looking_up_gives_the_row_or_the_reason(void **unused)
{
	const char *why = NULL;
	const struct pf_transition *row;

	(void)unused;
	row = pf_machine_look(&pf_source_machine, PF_S_SENDING, PF_SE_READY, &why);
	assert_non_null(row);
	assert_int_equal(row->to, PF_S_OFFERED);
	assert_null(pf_machine_look(&pf_source_machine, PF_S_SERVING, PF_SE_CANCEL, &why));
	assert_non_null(strstr(why, "--lose-guest"));
}

static void every_state_can_be_reached(void **unused)
{
	(void)unused;
	for (unsigned m = 0; m < 2; m++) {
		const struct pf_machine *machine = machines[m];
		uint32_t reached = 0, before = 1;

		for (size_t i = 0; i < machine->starts; i++)
			reached |= UINT32_C(1) << machine->start[i].state;
		while (reached != before) {
			before = reached;
			for (size_t i = 0; i < machine->rows; i++)
				if (reached >> machine->row[i].from & 1)
					reached |= UINT32_C(1) << machine->row[i].to;
		}
		for (uint8_t s = 0; s < machine->states; s++) {
			if (!(reached >> s & 1))
				print_error("%s: %s\n", machine->name, machine->state_name[s]);
			assert_true(reached >> s & 1);
		}
	}
}

static void nothing_leaves_a_final_state(void **unused)
{
	(void)unused;
	for (unsigned m = 0; m < 2; m++)
		for (size_t i = 0; i < machines[m]->rows; i++)
			if (pf_machine_final(machines[m], machines[m]->row[i].from))
				assert_int_equal(machines[m]->row[i].from, machines[m]->row[i].to);
}

/*
 * Follows every path through a table with the record that its actions write, and checks each write
 * against the records' own rules.  A record of 0 in the result: the state was not reached with it.
 */
static void walk(const struct pf_machine *machine, enum pf_side side,
		 bool seen[STATES_MAX][PF_RECORD_COUNT_], uint8_t state, enum pf_record record)
{
	if (seen[state][record])
		return;
	seen[state][record] = true;
	for (size_t i = 0; i < machine->rows; i++) {
		const struct pf_transition *row = &machine->row[i];
		enum pf_record next = machine->action_record[row->action];

		if (row->from != state)
			continue;
		if (next == 0 || next == record) {
			walk(machine, side, seen, row->to, record);
			continue;
		}
		if (!pf_record_may_follow(side, record, next))
			print_error("%s: (%s, %s) writes %s over %s\n", machine->name,
				    machine->state_name[state], machine->event_name[row->event],
				    pf_record_name(next), pf_record_name(record));
		assert_true(pf_record_may_follow(side, record, next));
		walk(machine, side, seen, row->to, next);
	}
}

/* From every state that a process can begin in, with the record that it finds there. */
static void walk_all(const struct pf_machine *machine, enum pf_side side,
		     bool seen[STATES_MAX][PF_RECORD_COUNT_])
{
	for (size_t i = 0; i < machine->starts; i++)
		walk(machine, side, seen, machine->start[i].state, machine->start[i].record);
}

static void only_check(const struct pf_machine *machine, bool seen[STATES_MAX][PF_RECORD_COUNT_],
		       uint8_t state, unsigned allowed)
{
	for (enum pf_record r = PF_RECORD_NONE; r < PF_RECORD_COUNT_; r++) {
		if (seen[state][r] && !(allowed >> r & 1))
			print_error("%s: %s with record %s\n", machine->name,
				    machine->state_name[state], pf_record_name(r));
		assert_true(!seen[state][r] || allowed >> r & 1);
	}
}

#define R(record) (1u << PF_RECORD_##record)

static void each_source_state_has_its_record(void **unused)
{
	bool seen[STATES_MAX][PF_RECORD_COUNT_] = {{0}};
	static const unsigned allowed[PF_S_STATES_] = {
		[PF_S_NEW] = R(NONE),	       [PF_S_RETRACTING] = R(OFFERED),
		[PF_S_KEPT] = R(KEPT),
		[PF_S_SETUP] = R(NONE),	       [PF_S_ACTIVE] = R(NONE),
		[PF_S_PAUSING] = R(NONE),      [PF_S_SENDING] = R(NONE),
		[PF_S_OFFERED] = R(OFFERED),   [PF_S_ABORTING] = R(OFFERED),
		[PF_S_IN_DOUBT] = R(OFFERED),  [PF_S_SERVING] = R(GONE),
		[PF_S_OUTAGE] = R(GONE),       [PF_S_COMPLETED] = R(GONE) | R(OFFERED),
		[PF_S_FAILED] = R(NONE) | R(OFFERED) | R(GONE) | R(KEPT),
		[PF_S_CANCELLED] = R(NONE) | R(KEPT),
	};

	(void)unused;
	walk_all(&pf_source_machine, PF_SOURCE, seen);
	for (uint8_t s = 0; s < PF_S_STATES_; s++)
		only_check(&pf_source_machine, seen, s, allowed[s]);
}

static void each_destination_state_has_its_record(void **unused)
{
	bool seen[STATES_MAX][PF_RECORD_COUNT_] = {{0}};
	static const unsigned allowed[PF_D_STATES_] = {
		[PF_D_NEW] = R(NONE),	       [PF_D_TOMBSTONE] = R(ABORTED) | R(REFUSED),
		[PF_D_AWAY_READY] = R(READY),  [PF_D_AWAY_READY_UP] = R(READY),
		[PF_D_AWAY_RUN] = R(RUN),      [PF_D_AWAY_RUN_UP] = R(RUN),
		[PF_D_SETUP] = R(NONE),	       [PF_D_ACTIVE] = R(NONE),
		[PF_D_DEVICE] = R(NONE),       [PF_D_LOADING] = R(NONE),
		[PF_D_READY] = R(READY),       [PF_D_WAITING] = R(READY),
		[PF_D_GRANTED] = R(RUN),       [PF_D_CUT] = R(RUN),
		[PF_D_SERVING] = R(RUN),
		[PF_D_AWAY_DONE] = R(RUN),
		[PF_D_OUTAGE] = R(RUN),	       [PF_D_LINGERING] = R(RUN),
		[PF_D_COMPLETED] = R(RUN),     [PF_D_FAILED] = R(NONE) | R(ABORTED) | R(REFUSED) | R(RUN),
		[PF_D_CANCELLED] = R(ABORTED) | R(REFUSED),
	};

	(void)unused;
	walk_all(&pf_destination_machine, PF_DESTINATION, seen);
	for (uint8_t s = 0; s < PF_D_STATES_; s++)
		only_check(&pf_destination_machine, seen, s, allowed[s]);
}

static void the_source_resumes_only_where_it_may(void **unused)
{
	(void)unused;
	assert_true(pf_source_may_run(PF_RECORD_KEPT, false));
	assert_true(pf_source_may_run(PF_RECORD_NONE, true));
	assert_false(pf_source_may_run(PF_RECORD_NONE, false));
	assert_false(pf_source_may_run(PF_RECORD_OFFERED, true));
	assert_false(pf_source_may_run(PF_RECORD_GONE, true));
	for (enum pf_record r = PF_RECORD_NONE; r < PF_RECORD_COUNT_; r++)
		assert_int_equal(pf_destination_may_run(r), r == PF_RECORD_RUN);
}

static void records_that_meet_follow_the_design(void **unused)
{
	static const struct {
		enum pf_record source, destination;
		enum pf_meeting meeting;
	} cases[] = {
		{PF_RECORD_NONE, PF_RECORD_NONE, PF_MEET_FRESH},
		{PF_RECORD_NONE, PF_RECORD_READY, PF_MEET_FRESH},
		{PF_RECORD_NONE, PF_RECORD_ABORTED, PF_MEET_CANCELLED},
		{PF_RECORD_NONE, PF_RECORD_RUN, PF_MEET_REFUSE},
		{PF_RECORD_NONE, PF_RECORD_REFUSED, PF_MEET_REFUSE},
		{PF_RECORD_OFFERED, PF_RECORD_READY, PF_MEET_COMMIT_AGAIN},
		{PF_RECORD_OFFERED, PF_RECORD_RUN, PF_MEET_GONE},
		{PF_RECORD_OFFERED, PF_RECORD_ABORTED, PF_MEET_KEPT},
		{PF_RECORD_OFFERED, PF_RECORD_REFUSED, PF_MEET_KEPT},
		{PF_RECORD_OFFERED, PF_RECORD_NONE, PF_MEET_IN_DOUBT},
		{PF_RECORD_GONE, PF_RECORD_RUN, PF_MEET_GO_ON},
		{PF_RECORD_GONE, PF_RECORD_REFUSED, PF_MEET_KEPT},
		{PF_RECORD_GONE, PF_RECORD_NONE, PF_MEET_CONFLICT},
		{PF_RECORD_GONE, PF_RECORD_READY, PF_MEET_CONFLICT},
		{PF_RECORD_GONE, PF_RECORD_ABORTED, PF_MEET_CONFLICT},
		{PF_RECORD_KEPT, PF_RECORD_NONE, PF_MEET_ABORT_THERE},
		{PF_RECORD_KEPT, PF_RECORD_READY, PF_MEET_ABORT_THERE},
		{PF_RECORD_KEPT, PF_RECORD_ABORTED, PF_MEET_SETTLED},
		{PF_RECORD_KEPT, PF_RECORD_REFUSED, PF_MEET_SETTLED},
		{PF_RECORD_KEPT, PF_RECORD_RUN, PF_MEET_REFUSE_CONFLICT},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(pf_record_meet(cases[i].source, cases[i].destination),
				 cases[i].meeting);
}

static void a_process_begins_where_its_record_says(void **unused)
{
	static const struct {
		const struct pf_machine *machine;
		enum pf_record record;
		unsigned marks;
		uint8_t state;
	} cases[] = {
		{&pf_source_machine, PF_RECORD_NONE, 0, PF_S_NEW},
		{&pf_source_machine, PF_RECORD_NONE, PF_MARK_SEEN, PF_S_SETUP},
		{&pf_source_machine, PF_RECORD_OFFERED, PF_MARK_SEEN, PF_S_IN_DOUBT},
		{&pf_source_machine, PF_RECORD_GONE, PF_MARK_SEEN, PF_S_OUTAGE},
		{&pf_source_machine, PF_RECORD_KEPT, 0, PF_S_KEPT},
		{&pf_destination_machine, PF_RECORD_NONE, 0, PF_D_NEW},
		{&pf_destination_machine, PF_RECORD_NONE, PF_MARK_SEEN, PF_D_SETUP},
		{&pf_destination_machine, PF_RECORD_READY, PF_MARK_SEEN, PF_D_AWAY_READY},
		{&pf_destination_machine, PF_RECORD_RUN, PF_MARK_SEEN, PF_D_AWAY_RUN},
		{&pf_destination_machine, PF_RECORD_RUN, PF_MARK_SEEN | PF_MARK_COMPLETE,
		 PF_D_AWAY_DONE},
		{&pf_destination_machine, PF_RECORD_RUN, PF_MARK_COMPLETE | PF_MARK_TOLD,
		 PF_D_LINGERING},
		{&pf_destination_machine, PF_RECORD_REFUSED, PF_MARK_SEEN, PF_D_TOMBSTONE},
		{&pf_destination_machine, PF_RECORD_ABORTED, 0, PF_D_TOMBSTONE},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(pf_machine_start(cases[i].machine, cases[i].record,
						  cases[i].marks)->state,
				 cases[i].state);
}

/* What cannot prove the session that OFFERED or GONE is of must give nothing back. */
static void a_stranger_never_gives_the_guest_back(void **unused)
{
	(void)unused;
	assert_int_equal(pf_record_meet_stranger(PF_RECORD_OFFERED), PF_MEET_IN_DOUBT);
	assert_int_equal(pf_record_meet_stranger(PF_RECORD_GONE), PF_MEET_CONFLICT);
	assert_int_equal(pf_record_meet_stranger(PF_RECORD_NONE), PF_MEET_REFUSE);
	assert_int_equal(pf_record_meet_stranger(PF_RECORD_KEPT), PF_MEET_SETTLED);
}

static void every_state_says_what_it_waits_for(void **unused)
{
	(void)unused;
	for (unsigned m = 0; m < 2; m++) {
		const struct pf_machine *machine = machines[m];

		for (uint8_t s = 0; s < machine->states; s++) {
			if (!machine->waits_for[s] != pf_machine_final(machine, s))
				print_error("%s: %s\n", machine->name, machine->state_name[s]);
			assert_int_equal(!machine->waits_for[s], pf_machine_final(machine, s));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_is_listed_or_ignored_exactly_once),
		cmocka_unit_test(looking_up_gives_the_row_or_the_reason),
		cmocka_unit_test(every_state_can_be_reached),
		cmocka_unit_test(nothing_leaves_a_final_state),
		cmocka_unit_test(each_source_state_has_its_record),
		cmocka_unit_test(each_destination_state_has_its_record),
		cmocka_unit_test(the_source_resumes_only_where_it_may),
		cmocka_unit_test(records_that_meet_follow_the_design),
		cmocka_unit_test(a_process_begins_where_its_record_says),
		cmocka_unit_test(a_stranger_never_gives_the_guest_back),
		cmocka_unit_test(every_state_says_what_it_waits_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
