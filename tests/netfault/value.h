/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/netfault/value.h - times, percentages, rates and addresses as they are typed in a scenario.
 *
 * Decimal, with a unit that must be there: 1.5s, 20ms, 0.1%, 10mbit.  What a unit cannot hold
 * exactly is refused and not rounded.  Pure, any thread; refusals are PF_ERR_USAGE.
 */
#ifndef PF_TESTS_NETFAULT_VALUE_H
#define PF_TESTS_NETFAULT_VALUE_H

#include <stdint.h>

#include "base/err.h"

#define NF_VALUE_TEXT_MAX 64u
#define NF_PPM UINT64_C(1000000)

enum nf_unit {
	NF_TIME,    /* nanoseconds, up to an hour */
	NF_PERCENT, /* parts per million, up to 100 % */
	NF_BITRATE, /* bits a second, 8 kbit to 16 gbit */
};

PF_MUST_USE int nf_value_parse(enum nf_unit unit, const char *text, uint64_t *out,
			       struct pf_err *err);
void nf_value_print(enum nf_unit unit, uint64_t value, char out[NF_VALUE_TEXT_MAX]);

/* "192.0.2.1/24", "2001:db8::1/64". */
PF_MUST_USE int nf_address_parse(const char *text, int *out_family, uint8_t out_bytes[16],
				 unsigned *out_prefix, struct pf_err *err);
void nf_address_print(int family, const uint8_t bytes[16], unsigned prefix,
		      char out[NF_VALUE_TEXT_MAX]);

#endif
