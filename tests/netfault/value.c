/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/value.c - see tests/netfault/value.h; inet_pton(3). */
#include "tests/netfault/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"

#define UNITS_MAX 4u
#define DIGITS_MAX 12u /* before and behind the point together: no product overflows */

struct suffix {
	const char *text;
	uint64_t times;
};

/* The largest first, as nf_value_print() looks for one that fits. */
static const struct kind {
	const char *what, *examples;
	uint64_t low, high;
	struct suffix suffix[UNITS_MAX];
} kinds[] = {
	[NF_TIME] = {"time",
		     "us, ms or s, up to 3600s: 250ms",
		     0,
		     3600 * PF_NS_PER_S,
		     {{"s", PF_NS_PER_S}, {"ms", PF_NS_PER_MS}, {"us", PF_NS_PER_US}}},
	[NF_PERCENT] = {"percentage",
			"%, up to 100%, four decimals: 0.5%",
			0,
			NF_PPM,
			{{"%", NF_PPM / 100}}},
	[NF_BITRATE] = {"rate",
			"kbit, mbit or gbit a second, 8kbit to 16gbit: 10mbit",
			8000,
			UINT64_C(16000000000),
			{{"gbit", 1000000000}, {"mbit", 1000000}, {"kbit", 1000}}},
};

static int refuse(const struct kind *kind, const char *text, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not a %s", text, kind->what);
	return pf_err_hint(err, "write a number and its unit: %s", kind->examples);
}

/* Takes digits off *text, adds their value, counts them; false: more than fit. */
static bool take_digits(const char **text, uint64_t *value, unsigned *count)
{
	unsigned before = *count;

	for (; isdigit((unsigned char)**text); (*text)++, (*count)++) {
		if (*count == DIGITS_MAX)
			return false;
		*value = *value * 10 + (uint64_t)(**text - '0');
	}
	return *count > before;
}

static const struct suffix *find_suffix(const struct kind *kind, const char *text)
{
	for (unsigned i = 0; i < UNITS_MAX && kind->suffix[i].text; i++)
		if (strcmp(kind->suffix[i].text, text) == 0)
			return &kind->suffix[i];
	return NULL;
}

int nf_value_parse(enum nf_unit unit, const char *text, uint64_t *out, struct pf_err *err)
{
	const struct kind *kind = &kinds[unit];
	const struct suffix *suffix;
	unsigned digits = 0, whole;
	const char *at = text;
	uint64_t value = 0;
	uint64_t times;

	if (!take_digits(&at, &value, &digits))
		return refuse(kind, text, err);
	whole = digits;
	if (*at == '.' && (at++, !take_digits(&at, &value, &digits)))
		return refuse(kind, text, err);
	suffix = find_suffix(kind, at);
	if (!suffix)
		return refuse(kind, text, err);
	times = suffix->times;
	for (; digits > whole; digits--) {
		if (times % 10 == 0)
			times /= 10;
		else if (value % 10 == 0)
			value /= 10;
		else
			return refuse(kind, text, err);
	}
	if (value > kind->high / times || value * times < kind->low)
		return refuse(kind, text, err);
	*out = value * times;
	return 0;
}

void nf_value_print(enum nf_unit unit, uint64_t value, char out[NF_VALUE_TEXT_MAX])
{
	const struct suffix *suffix = kinds[unit].suffix;
	uint64_t rest, place;
	int used;

	while (value && value < suffix->times && suffix + 1 < kinds[unit].suffix + UNITS_MAX &&
	       suffix[1].text)
		suffix++;
	used = snprintf(out, NF_VALUE_TEXT_MAX, "%" PRIu64, value / suffix->times);
	rest = value % suffix->times;
	if (rest)
		out[used++] = '.';
	for (place = suffix->times / 10; rest; rest %= place, place /= 10)
		out[used++] = (char)('0' + rest / place);
	snprintf(out + used, NF_VALUE_TEXT_MAX - (size_t)used, "%s", suffix->text);
}

int nf_address_parse(const char *text, int *out_family, uint8_t out_bytes[16], unsigned *out_prefix,
		     struct pf_err *err)
{
	const char *slash = strchr(text, '/');
	char bare[INET6_ADDRSTRLEN] = "";
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;
	uint64_t prefix;

	memset(out_bytes, 0, 16);
	if (slash && (size_t)(slash - text) < sizeof(bare))
		memcpy(bare, text, (size_t)(slash - text));
	if (inet_pton(family, bare, out_bytes) != 1) {
		pf_err_set(err, PF_ERR_USAGE, "'%.60s' is not an address with its prefix", text);
		return pf_err_hint(err, "write 192.0.2.1/24 or 2001:db8::1/64");
	}
	if (pf_number_parse(slash + 1, 1, family == AF_INET ? 32 : 128, &prefix, err))
		return pf_err_prefix(err, "the prefix of '%.60s'", text);
	*out_family = family;
	*out_prefix = (unsigned)prefix;
	return 0;
}

void nf_address_print(int family, const uint8_t bytes[16], unsigned prefix,
		      char out[NF_VALUE_TEXT_MAX])
{
	char bare[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, bytes, bare, sizeof(bare));
	snprintf(out, NF_VALUE_TEXT_MAX, "%s/%u", bare, prefix);
}
