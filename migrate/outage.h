/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/outage.h - since when there has been no connection, and who is told: OUTAGE, OUTAGE_DEADLINE, RECOVERED.
 *
 * Since when survives the process, in file `outage` of the state directory: who waits for a page waits no less long
 * because a worker has died meanwhile.  It is of one epoch, and says nothing about a later one: who died between the
 * end of an outage and the file's has left it.  Nor does he wait less long because of a link that came and brought
 * nothing: when that is lost, the outage that it ended goes on.  Main thread; file system I/O.
 */
#ifndef PF_MIGRATE_OUTAGE_H
#define PF_MIGRATE_OUTAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct pf_agent;

struct pf_outage {
	uint64_t since_ns, since_real_us; /* when the connection was lost; 0: it stands */
	uint32_t kept_epoch;		  /* and of which epoch that is kept; 0: of none */
	struct {
		uint64_t ns, real_us, over_ns;
	} before; /* the one before, and when it was over; over_ns 0: none */
	uint64_t deadline_ms; /* parameter; 0: never */
	sd_event_source *timer;
};

/* The link is lost, at this moment, if it was not before; in_vain: somebody waited for what it has not brought. */
void pf_outage_begin(struct pf_agent *agent, bool in_vain);
/* After RUN, behind it: OUTAGE with the reason in agent->why, outcome `paused`, and OUTAGE_DEADLINE when it is as
 * old as --outage-deadline: at once, where a link in vain was between.  vcpus: who is blocked; taken over. */
void pf_outage_tell(struct pf_agent *agent, json_t *vcpus);
/* No deadline any more, until it is told again: the agent's phase is another one, or it ends. */
void pf_outage_unwatch(struct pf_agent *agent);
/* The parameter; in an outage too, which may be over it already. */
void pf_outage_set_deadline(struct pf_agent *agent, uint64_t ms);
/* The session was taken up again: RECOVERED, if its loss mattered to anybody. */
void pf_outage_end(struct pf_agent *agent);
/* A session has begun, and not been taken up: what was lost before it is over, and of no state directory's later. */
void pf_outage_forget(struct pf_agent *agent);

#endif
