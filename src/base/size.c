/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/size.c - see base/size.h. */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* strtoull() alone takes signs, blanks and an empty string; users would not expect any of them. */
static int parse_digits(const char *text, uint64_t *out, const char **end)
{
	char *stop;

	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	*out = strtoull(text, &stop, 10);
	*end = stop;
	return errno ? -1 : 0;
}

static int unit_shift(const char *unit)
{
	if (unit[0] == '\0')
		return 0;
	if (unit[1] != '\0')
		return -1;
	switch (unit[0]) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	default:
		return -1;
	}
}

int pf_size_parse(const char *text, uint64_t *out_bytes, struct pf_err *err)
{
	const char *unit = "";
	uint64_t number;
	int shift;

	if (parse_digits(text, &number, &unit))
		return pf_err_set(err, PF_ERR_USAGE, "'%s' is not a size; write 4096, 64K, 512M or 1G",
				  text);
	shift = unit_shift(unit);
	if (shift < 0)
		return pf_err_set(err, PF_ERR_USAGE, "'%s' is not a size: the unit is K, M or G",
				  text);
	if (number > UINT64_MAX >> shift)
		return pf_err_set(err, PF_ERR_USAGE, "'%s' is more than 64 bits hold", text);
	*out_bytes = number << shift;
	return 0;
}

void pf_size_print(uint64_t bytes, char out[PF_SIZE_TEXT_MAX])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t tenths;
	unsigned unit = 0, shift;

	if (bytes == UINT64_MAX) {
		snprintf(out, PF_SIZE_TEXT_MAX, "no limit");
		return;
	}
	while (unit < 6 && bytes >> (10 * (unit + 1)) != 0)
		unit++;
	shift = 10 * unit;
	/* Cut, not rounded: what is said to be there is there. */
	tenths = unit == 0 ? 0 : (((bytes >> (shift - 10)) & 1023) * 10) >> 10;
	if (tenths == 0)
		snprintf(out, PF_SIZE_TEXT_MAX, "%" PRIu64 " %s", bytes >> shift, units[unit]);
	else
		snprintf(out, PF_SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", bytes >> shift, tenths,
			 units[unit]);
}

int pf_number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *out,
		    struct pf_err *err)
{
	const char *end = "";
	uint64_t number;

	if (parse_digits(text, &number, &end) || *end != '\0' || number < low || number > high)
		return pf_err_set(err, PF_ERR_USAGE,
				  "'%s' is not a whole number from %" PRIu64 " to %" PRIu64, text, low,
				  high);
	*out = number;
	return 0;
}
