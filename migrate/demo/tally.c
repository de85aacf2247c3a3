/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/tally.c - see migrate/demo/tally.h. */
#include "migrate/demo/tally.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

static const struct {
	const char *outer, *name; /* outer NULL: at the top */
	bool largest;		  /* else the sum */
} counts[] = {
	{"pages", "requested", false},
	{"pages", "pushed", false},
	{"pages", "zero", false},
	{"pages", "duplicates", false},
	{"pages", "resent-after-resume", false},
	{"faults", "count", false},
	{"faults", "vcpu", false},
	{"faults", "kvm", false},
	{"faults", "vmm", false},
	{"latency-us", "max", true},
	{NULL, "downtime-us", true},
};

static json_t *joined(const json_t *late, const json_t *early, bool largest)
{
	if (largest)
		return json_deep_copy(json_number_value(late) < json_number_value(early) ? early
											 : late);
	return json_integer(json_integer_value(late) + json_integer_value(early));
}

void pf_tally_add(json_t *status, const json_t *earlier)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(counts); i++) {
		const char *outer = counts[i].outer;
		json_t *group = outer ? json_object_get(status, outer) : status;
		const json_t *before = outer ? json_object_get(earlier, outer) : earlier;
		const json_t *late = json_object_get(group, counts[i].name);
		const json_t *early = json_object_get(before, counts[i].name);

		if (!json_is_number(late) || !json_is_number(early))
			continue;
		json_object_set_new(group, counts[i].name, joined(late, early, counts[i].largest));
	}
}
