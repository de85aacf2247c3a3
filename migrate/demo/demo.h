/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/demo.h - `pageferry demo`: the main job on one machine; returns the exit code. */
#ifndef PF_MIGRATE_DEMO_DEMO_H
#define PF_MIGRATE_DEMO_DEMO_H

/* argv[0] is "demo"; self is the path of this program, for starting the agents. */
int pf_demo_main(int argc, char **argv, const char *self);

#endif
