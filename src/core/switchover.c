/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/switchover.c - see core/switchover.h. */
#include "core/switchover.h"

static const struct {
	enum pf_side side;
	enum pf_record from, to;
} follows[] = {
	{PF_SOURCE, PF_RECORD_NONE, PF_RECORD_OFFERED},
	{PF_SOURCE, PF_RECORD_OFFERED, PF_RECORD_GONE},
	{PF_SOURCE, PF_RECORD_OFFERED, PF_RECORD_KEPT},
	{PF_SOURCE, PF_RECORD_GONE, PF_RECORD_KEPT},
	{PF_DESTINATION, PF_RECORD_NONE, PF_RECORD_READY},
	{PF_DESTINATION, PF_RECORD_NONE, PF_RECORD_ABORTED},
	/* The source took its guest back before it offered it, and starts again. */
	{PF_DESTINATION, PF_RECORD_READY, PF_RECORD_NONE},
	{PF_DESTINATION, PF_RECORD_READY, PF_RECORD_RUN},
	{PF_DESTINATION, PF_RECORD_READY, PF_RECORD_ABORTED},
	{PF_DESTINATION, PF_RECORD_RUN, PF_RECORD_REFUSED},
};

bool pf_record_may_follow(enum pf_side side, enum pf_record from, enum pf_record to)
{
	for (unsigned i = 0; i < sizeof(follows) / sizeof(follows[0]); i++)
		if (follows[i].side == side && follows[i].from == from && follows[i].to == to)
			return true;
	return false;
}

bool pf_source_may_run(enum pf_record record, bool given_up)
{
	return record == PF_RECORD_KEPT || (record == PF_RECORD_NONE && given_up);
}

bool pf_destination_may_run(enum pf_record record)
{
	return record == PF_RECORD_RUN;
}

bool pf_meeting_links(enum pf_meeting meeting)
{
	return meeting == PF_MEET_FRESH || meeting == PF_MEET_COMMIT_AGAIN ||
	       meeting == PF_MEET_GONE || meeting == PF_MEET_GO_ON;
}

enum pf_meeting pf_record_meet(enum pf_record source, enum pf_record destination)
{
	/* Rows: the source's record; columns: the destination's. */
	static const enum pf_meeting table[PF_RECORD_COUNT_][PF_RECORD_COUNT_] = {
		[PF_RECORD_NONE] = {
			[PF_RECORD_NONE] = PF_MEET_FRESH,
			[PF_RECORD_READY] = PF_MEET_FRESH,
			[PF_RECORD_RUN] = PF_MEET_REFUSE,
			[PF_RECORD_REFUSED] = PF_MEET_REFUSE,
			[PF_RECORD_ABORTED] = PF_MEET_CANCELLED,
		},
		[PF_RECORD_OFFERED] = {
			[PF_RECORD_NONE] = PF_MEET_IN_DOUBT,
			[PF_RECORD_READY] = PF_MEET_COMMIT_AGAIN,
			[PF_RECORD_RUN] = PF_MEET_GONE,
			[PF_RECORD_REFUSED] = PF_MEET_KEPT,
			[PF_RECORD_ABORTED] = PF_MEET_KEPT,
		},
		[PF_RECORD_GONE] = {
			[PF_RECORD_NONE] = PF_MEET_CONFLICT,
			[PF_RECORD_READY] = PF_MEET_CONFLICT,
			[PF_RECORD_RUN] = PF_MEET_GO_ON,
			[PF_RECORD_REFUSED] = PF_MEET_KEPT,
			[PF_RECORD_ABORTED] = PF_MEET_CONFLICT,
		},
		[PF_RECORD_KEPT] = {
			[PF_RECORD_NONE] = PF_MEET_ABORT_THERE,
			[PF_RECORD_READY] = PF_MEET_ABORT_THERE,
			[PF_RECORD_RUN] = PF_MEET_REFUSE_CONFLICT,
			[PF_RECORD_REFUSED] = PF_MEET_SETTLED,
			[PF_RECORD_ABORTED] = PF_MEET_SETTLED,
		},
	};

	return table[source][destination];
}

enum pf_meeting pf_record_meet_stranger(enum pf_record source)
{
	static const enum pf_meeting table[PF_RECORD_COUNT_] = {
		[PF_RECORD_NONE] = PF_MEET_REFUSE,
		[PF_RECORD_OFFERED] = PF_MEET_IN_DOUBT,
		[PF_RECORD_GONE] = PF_MEET_CONFLICT,
		[PF_RECORD_KEPT] = PF_MEET_SETTLED,
	};

	return table[source];
}
