/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/size.h - numbers and sizes as users type them; any thread, never blocks. */
#ifndef PF_BASE_SIZE_H
#define PF_BASE_SIZE_H

#include <stdint.h>

#include "base/err.h"

/* "512", "64K", "1G": decimal with an optional K, M or G (powers of 1024).  PF_ERR_USAGE. */
PF_MUST_USE int pf_size_parse(const char *text, uint64_t *out_bytes, struct pf_err *err);
#define PF_SIZE_TEXT_MAX 32u
/* For people: "512 bytes", "64 KiB", "1.5 GiB"; "no limit" for UINT64_MAX. */
void pf_size_print(uint64_t bytes, char out[PF_SIZE_TEXT_MAX]);
/* A decimal number in [low, high].  PF_ERR_USAGE names what was given and what is allowed. */
PF_MUST_USE int pf_number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *out,
				struct pf_err *err);

#endif
