/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/subjects.h - the tables of rows, each with what it tries in a file of its own. */
#ifndef PF_MIGRATE_PROBE_SUBJECTS_H
#define PF_MIGRATE_PROBE_SUBJECTS_H

#include "migrate/probe/check.h"

extern const struct pf_subject pf_subject_userfaultfd; /* userfaultfd.c */
extern const struct pf_subject pf_subject_memfd, pf_subject_tmpfs, pf_subject_hugetlbfs,
	pf_subject_private, pf_subject_guest_memfd; /* memory.c */
extern const struct pf_subject pf_subject_kvm;	    /* kvm.c */
extern const struct pf_subject pf_subject_room;	    /* room.c */
extern const struct pf_subject pf_subject_netem;    /* netem.c */
extern const struct pf_subject pf_subject_tls;	    /* tls.c */
extern const struct pf_subject pf_subject_peer;	    /* peer.c */

#endif
