/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/watchdog.c - see migrate/watchdog.h. */
#include "migrate/watchdog.h"

#include <stdlib.h>

#include "base/clock.h"
#include "migrate/link.h"

#define TURNS 4u /* a thread has that part of the patience for a mail, and main misses two turns at most */

struct pf_watchdog {
	struct pf_kept *kept;
	pf_watchdog_boxes boxes;
	pf_watchdog_late late;
	void *engine;
	sd_event_source *timer;
	uint64_t turn_us;
	size_t count;
	struct {
		struct pf_mailbox *box;
		uint64_t due; /* all until the last turn */
	} asked[PF_WATCHED_MAX];
};

/* Its thread has been replaced since, box and all, if that many were never posted. */
static bool answered(const struct pf_watchdog *watchdog, struct pf_mailbox *box)
{
	for (size_t i = 0; i < watchdog->count; i++)
		if (watchdog->asked[i].box == box)
			return pf_mailbox_taken(box) >= watchdog->asked[i].due ||
			       pf_mailbox_due(box) < watchdog->asked[i].due;
	return true;
}

static void ask(struct pf_watchdog *watchdog, struct pf_mailbox *box)
{
	const struct pf_mail mail = {.kind = PF_MAIL_NOTHING};

	(void)!pf_mailbox_post(box, &mail); /* a full box is asked by what is in it */
	watchdog->asked[watchdog->count].box = box;
	watchdog->asked[watchdog->count++].due = pf_mailbox_due(box);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_watchdog *watchdog = opaque;
	struct pf_mailbox *box[PF_WATCHED_MAX];
	size_t count = watchdog->boxes(watchdog->engine, box);
	bool all = !watchdog->late(watchdog->engine, pf_now_ns());

	for (size_t i = 0; i < count; i++)
		all = answered(watchdog, box[i]) && all;
	/* Who has not answered is not asked anew: it must do what it was asked to. */
	if (all) {
		pf_kept_alive(watchdog->kept);
		watchdog->count = 0;
		for (size_t i = 0; i < count; i++)
			ask(watchdog, box[i]);
	}
	sd_event_source_set_time(source, usec + watchdog->turn_us);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

int pf_watchdog_open(sd_event *loop, struct pf_kept *kept, pf_watchdog_boxes boxes,
		     pf_watchdog_late late, void *engine, struct pf_watchdog **out, struct pf_err *err)
{
	struct pf_watchdog *watchdog;

	*out = NULL;
	if (kept->silence_ns == 0)
		return 0;
	watchdog = calloc(1, sizeof(*watchdog));
	if (!watchdog)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	watchdog->kept = kept;
	watchdog->boxes = boxes;
	watchdog->late = late;
	watchdog->engine = engine;
	watchdog->turn_us = kept->silence_ns / TURNS / PF_NS_PER_US;
	if (sd_event_add_time_relative(loop, &watchdog->timer, CLOCK_MONOTONIC, watchdog->turn_us, 0,
				       on_turn, watchdog) < 0) {
		free(watchdog);
		return pf_err_set(err, PF_ERR_SYSTEM, "no timer for the watchdog");
	}
	*out = watchdog;
	return 0;
}

void pf_watchdog_close(struct pf_watchdog *watchdog)
{
	if (!watchdog)
		return;
	sd_event_source_disable_unref(watchdog->timer);
	free(watchdog);
}
