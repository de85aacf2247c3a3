/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_names.c - where the names of --connect have led, for the process after this one.
 *
 * Main thread; does not block.  A worker can die in an outage that its name server is in too: what is in the state
 * directory is what net/names.h goes on with.  A damaged file costs that, and is said.
 */
#include "migrate/source_engine.h"

#include <string.h>

#include "base/cleanup.h"
#include "migrate/report.h"
#include "net/names.h"
#include "net/tcp.h"

#define NAMES_FILE "names"
#define NAMES (2 * PF_CONNECTS_MAX) /* those of --connect, and those of a `recover` */
#define NAMES_BYTES 16384u

_Static_assert(NAMES * (PF_HOST_MAX + PF_ENDPOINT_TEXT_MAX) <= NAMES_BYTES, "they fit");

static int know(const char *host, const json_t *value, struct pf_err *err)
{
	const char *text = json_string_value(value);
	struct sockaddr_storage address;
	struct pf_endpoint endpoint;
	uint32_t count;

	if (!text || pf_endpoint_parse(text, &endpoint, err) || !pf_endpoint_is_number(&endpoint) ||
	    pf_tcp_resolve(&endpoint, &address, 1, &count, err))
		return pf_err_set(err, PF_ERR_CONFIG, "%.64s: no address is known of it", host);
	pf_names_know(host, &address);
	return 0;
}

static int take_up(struct source *source, const char *text, size_t length, struct pf_err *err)
{
	const char *host;
	json_t *value;

	source->names = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(source->names))
		return pf_err_set(err, PF_ERR_CONFIG, "it is no JSON object");
	json_object_foreach(source->names, host, value)
		if (know(host, value, err))
			return -1;
	return 0;
}

void pf_source_recall_names(struct source *source)
{
	struct pf_statedir *dir = &source->agent.dir;
	char text[NAMES_BYTES];
	size_t length = 0;
	struct pf_err err;
	int found = pf_statedir_read_most(dir, NAMES_FILE, text, sizeof(text), &length, &err);

	if (found == 1 || (found == 0 && take_up(source, text, length, &err) == 0))
		return;
	json_decref(pf_steal(&source->names));
	pf_err_prefix(&err, "%s/" NAMES_FILE, dir->path);
	pf_report("source", &err);
}

static void save(struct source *source)
{
	pf_auto_free char *text = json_dumps(source->names, JSON_COMPACT);
	struct pf_err err;

	/* Else the next process asks the name server, and waits for it. */
	if (text && pf_statedir_write(&source->agent.dir, NAMES_FILE, text, strlen(text), &err))
		pf_report("source", &err);
}

void pf_source_note_name(struct source *source, int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer);
	char text[PF_ENDPOINT_TEXT_MAX];
	struct pf_endpoint endpoint;
	const char *before;
	struct pf_err err;

	if (pf_endpoint_parse(source->address, &endpoint, &err) || pf_endpoint_is_number(&endpoint) ||
	    getpeername(fd, (struct sockaddr *)&peer, &length) != 0)
		return;
	pf_sockaddr_print(&peer, text);
	if (!source->names)
		source->names = json_object();
	before = json_string_value(json_object_get(source->names, endpoint.host));
	if (before && strcmp(before, text) == 0)
		return;
	/* Where one `recover` follows another, with other names each time. */
	if (!before && json_object_size(source->names) >= NAMES)
		json_object_clear(source->names);
	json_object_set_new(source->names, endpoint.host, json_string(text));
	save(source);
}
