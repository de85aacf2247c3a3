/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/agent_main.h - the two agents' workers as main.c starts them; each returns the exit code. */
#ifndef PF_MIGRATE_AGENT_MAIN_H
#define PF_MIGRATE_AGENT_MAIN_H

#include "migrate/kept.h"
#include "migrate/options.h"

int pf_source_main(const struct pf_options *options, struct pf_kept *kept);
int pf_destination_main(const struct pf_options *options, struct pf_kept *kept);

#endif
