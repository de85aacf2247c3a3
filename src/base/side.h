/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/side.h - which of the two agents. */
#ifndef PF_BASE_SIDE_H
#define PF_BASE_SIDE_H

enum pf_side { PF_SOURCE = 1, PF_DESTINATION = 2 };

#endif
