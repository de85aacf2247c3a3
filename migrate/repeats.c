/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/repeats.c - see migrate/repeats.h. */
#include "migrate/repeats.h"

#include <string.h>

/* FNV-1a.  Whoever makes two reasons alike hides one of them, which was his to keep to himself anyway. */
static uint64_t hash_on(uint64_t value, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		value = (value ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return value;
}

static uint64_t hash(const char *text, size_t length)
{
	return hash_on(UINT64_C(0xcbf29ce484222325), text, length);
}

/* Many reasons name the address, which is another one each time by its port. */
static uint64_t reason_of(const char *address, const char *what)
{
	const char *named = address[0] ? strstr(what, address) : NULL;
	const char *rest = named ? named + strlen(address) : "";

	return hash_on(hash(what, named ? (size_t)(named - what) : strlen(what)), rest,
		       strlen(rest));
}

/* Of "HOST:PORT"; each of its connections has another port. */
static uint64_t host_of(const char *address)
{
	const char *port = strrchr(address, ':');

	return hash(address, port ? (size_t)(port - address) : strlen(address));
}

bool pf_repeats_is_told(const struct pf_repeats *repeats, const char *address, const char *what,
			uint64_t state, uint64_t now_ns)
{
	uint64_t host = host_of(address), which = reason_of(address, what);
	uint64_t told_ns = 0, last_ns = 0;

	for (uint32_t i = 0; i < PF_REPEATS; i++) {
		uint64_t then_ns = repeats->told[i].told_ns;

		if (then_ns == 0 || repeats->told[i].host != host)
			continue;
		last_ns = then_ns > last_ns ? then_ns : last_ns;
		if (repeats->told[i].what == which && repeats->told[i].state == state)
			told_ns = then_ns;
	}
	if (told_ns == 0)
		return false;
	return now_ns - told_ns < PF_REPEATS_NS || (state != 0 && told_ns == last_ns);
}

void pf_repeats_told(struct pf_repeats *repeats, const char *address, const char *what,
		     uint64_t state, uint64_t now_ns)
{
	uint64_t host = host_of(address), which = reason_of(address, what);
	uint32_t place = 0;

	for (uint32_t i = 0; i < PF_REPEATS; i++) {
		if (repeats->told[i].host == host && repeats->told[i].what == which) {
			place = i;
			break;
		}
		if (repeats->told[i].told_ns < repeats->told[place].told_ns)
			place = i;
	}
	repeats->told[place].host = host;
	repeats->told[place].what = which;
	repeats->told[place].state = state;
	repeats->told[place].told_ns = now_ns;
}
