/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/record.h - the switch-over records' names (DESIGN.md section 4.1).
 *
 * What may follow what, and what two records mean together, is core/switchover.h; the words are
 * here because the wire carries them too.
 */
#ifndef PF_BASE_RECORD_H
#define PF_BASE_RECORD_H

enum pf_record {
	PF_RECORD_NONE = 1,
	PF_RECORD_OFFERED, /* source: COMMIT may have been sent; only the destination knows */
	PF_RECORD_GONE,	   /* source: the guest runs there */
	PF_RECORD_KEPT,	   /* source: the guest will never run there */
	PF_RECORD_READY,   /* destination: device state is loaded */
	PF_RECORD_RUN,	   /* destination: the commit point; the guest is ours */
	PF_RECORD_REFUSED, /* destination: the VMM could not run it and has given it up */
	PF_RECORD_ABORTED, /* destination: a tombstone; COMMIT is refused for ever */
	PF_RECORD_COUNT_
};

/* "NONE", "OFFERED", ... for the control socket and the record file; "?" if out of range. */
const char *pf_record_name(enum pf_record record);
/* 0 if there is no record of that name. */
enum pf_record pf_record_parse(const char *name);

#endif
