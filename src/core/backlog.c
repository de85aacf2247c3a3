/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/backlog.c - see core/backlog.h. */
#include "core/backlog.h"

#include <stddef.h>
#include <string.h>

static bool waits(const struct pf_backlog *backlog, uint8_t event)
{
	for (unsigned i = 0; i < backlog->count; i++)
		if (backlog->late[i].event == event)
			return true;
	return false;
}

void pf_backlog_add(struct pf_backlog *backlog, uint8_t event, const struct pf_err *why)
{
	struct pf_late *late = &backlog->late[backlog->count];

	if (waits(backlog, event) || backlog->count == PF_BACKLOG_MAX)
		return;
	*late = (struct pf_late){.event = event, .failed = why != NULL};
	if (why)
		late->why = *why;
	backlog->count++;
}

const struct pf_late *pf_backlog_first(const struct pf_backlog *backlog)
{
	return backlog->count ? &backlog->late[0] : NULL;
}

void pf_backlog_drop_first(struct pf_backlog *backlog)
{
	if (backlog->count == 0)
		return;
	backlog->count--;
	memmove(backlog->late, backlog->late + 1, backlog->count * sizeof(backlog->late[0]));
}
