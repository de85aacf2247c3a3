/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/demo/report.h - what the demo measured, one "name: value" a line.
 *
 * Pure but for the printing; one thread.
 */
#ifndef PF_MIGRATE_DEMO_REPORT_H
#define PF_MIGRATE_DEMO_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "migrate/demo/backend.h"
#include "migrate/demo/guest.h"
#include "migrate/demo/mishaps.h"

/* Of a demo that ended early much is unknown, and not printed. */
struct pf_demo_report {
	const struct pf_demo_backend *backend;
	const char *network;		     /* what joined the two agents; "": nothing yet */
	const char *cipher;		     /* as query-migrate names it; "": not agreed yet */
	const struct pf_guest_answer *guest; /* the destination's, after `finish` */
	const struct pf_mishaps *mishaps;    /* NULL: nothing was to go wrong */
	uint64_t total_ns;    /* from the switchover command to completed; 0: it did not */
	uint64_t postcopy_ns; /* from postcopy-active to completed; 0: it did not */
	uint64_t outages;     /* that nobody has made */
	uint64_t visits_end;  /* of all vCPUs once both agents had ended; 0: unknown */
	bool taken;	      /* from here on: pf_demo_report_take() */
	uint64_t downtime_us;
	uint64_t pages, requested, pushed, zero, duplicates;
	uint64_t resent; /* after a resume, by the side that counted more of them */
	uint64_t faults, faults_vcpu, faults_kvm, faults_vmm;
	double p50_us, p99_us, max_us;
};

/*
 * Takes the numbers that the agents ended with (query-migrate's members): the source knows the
 * whole downtime, the destination the pages and faults.  PF_ERR_PROTOCOL names a member that is
 * missing.
 */
PF_MUST_USE int pf_demo_report_take(struct pf_demo_report *report, const json_t *source,
				    const json_t *destination, struct pf_err *err);
/*
 * Whether what happened was post-copy: the guest worked before, during and after, and waited for
 * pages that came by request.  PF_ERR_STATE names what is 0, or that pages were sent again which
 * were there when a session was taken up.
 */
PF_MUST_USE int pf_demo_report_prove(const struct pf_demo_report *report, struct pf_err *err);
/* The verdict is the last line. */
void pf_demo_report_print(const struct pf_demo_report *report, FILE *out);

#endif
