/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/vmm_saved.c - see migrate/vmm_saved.h. */
#include "migrate/vmm_saved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "migrate/vmm_match.h"

#define HELLO_FILE "vmm-hello"
#define REGIONS_FILE "vmm-regions"
#define FILES_FILE "vmm-files" /* written first: REGIONS that are there have theirs */
#define ARMED_FILE "armed"

static int save(struct pf_statedir *dir, const char *name, const struct pf_vmm_message *message,
		struct pf_err *err)
{
	pf_auto_free uint8_t *bytes = malloc(PF_VMM_MESSAGE_MAX);
	size_t length = bytes ? pf_vmm_msg_pack(message, bytes) : 0;

	if (!bytes || length == 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for %s", name);
	return pf_statedir_write(dir, name, bytes, length, err);
}

static int recall(struct pf_statedir *dir, const char *name, enum pf_vmm_type type,
		  struct pf_vmm_message *out, struct pf_err *err)
{
	pf_auto_free uint8_t *bytes = malloc(PF_VMM_MESSAGE_MAX);
	size_t length = 0;
	int found;

	if (!bytes)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for %s", name);
	found = pf_statedir_read_most(dir, name, bytes, PF_VMM_MESSAGE_MAX, &length, err);
	if (found)
		return found;
	found = pf_vmm_msg_unpack(bytes, length, false,
				  type == PF_VMM_REGIONS ? PF_UNIX_FDS_MAX : 0, out, err);
	if (found == 0 && out->type == type)
		return 0;
	if (found == 0)
		pf_err_set(err, PF_ERR_CONFIG, "it is %s", pf_vmm_type_name(out->type));
	err->class = PF_ERR_CONFIG;
	return pf_err_prefix(err, "%s/%s is damaged", dir->path, name);
}

int pf_vmm_save_hello(struct pf_statedir *dir, const struct pf_vmm_hello *hello,
		      struct pf_err *err)
{
	struct pf_vmm_message message = {.type = PF_VMM_HELLO, .hello = *hello};

	return save(dir, HELLO_FILE, &message, err);
}

int pf_vmm_recall_hello(struct pf_statedir *dir, struct pf_vmm_hello *out, struct pf_err *err)
{
	struct pf_vmm_message message = {.type = 0};
	int found = recall(dir, HELLO_FILE, PF_VMM_HELLO, &message, err);

	if (found == 0)
		*out = message.hello;
	return found;
}

/* ---- regions ---- */

static void note(bool *named, uint32_t fd)
{
	if (fd < PF_UNIX_FDS_MAX)
		named[fd] = true;
}

static void find_named(const struct pf_vmm_regions *regions, bool named[PF_UNIX_FDS_MAX])
{
	memset(named, 0, PF_UNIX_FDS_MAX);
	for (uint32_t r = 0; r < regions->count; r++) {
		const struct pf_vmm_region *region = &regions->region[r];

		note(named, region->fd);
		note(named, region->bitmap_fd);
		for (uint32_t m = 0; m < region->mapping_count; m++)
			note(named, region->mapping[m].uffd);
	}
	if (regions->has_fault_socket)
		note(named, regions->fault_socket);
}

static void name_fd(unsigned i, char out[PF_FDSTORE_NAME_MAX + 1])
{
	snprintf(out, PF_FDSTORE_NAME_MAX + 1, "regions-%u", i);
}

int pf_vmm_keep_regions(struct pf_kept *kept, const struct pf_vmm_regions *regions, const int *fds,
			struct pf_err *err)
{
	bool named[PF_UNIX_FDS_MAX];

	find_named(regions, named);
	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++) {
		char name[PF_FDSTORE_NAME_MAX + 1];

		name_fd(i, name);
		if (named[i] && pf_kept_store(kept, name, fds[i], err))
			return -1;
	}
	return 0;
}

int pf_vmm_save_regions(struct pf_statedir *dir, const struct pf_vmm_regions *regions,
			const int *fds, struct pf_err *err)
{
	struct pf_vmm_message message = {.type = PF_VMM_REGIONS, .regions = *regions};
	struct pf_file_id ids[PF_UNIX_FDS_MAX] = {0};
	bool named[PF_UNIX_FDS_MAX];

	find_named(regions, named);
	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		if (named[i] && pf_file_identify(fds[i], &ids[i], err))
			return -1;
	if (pf_statedir_write(dir, FILES_FILE, ids, sizeof(ids), err))
		return -1;
	return save(dir, REGIONS_FILE, &message, err);
}

static bool take_fds(struct pf_kept *kept, const bool *named, int *fds)
{
	bool all = true;

	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++) {
		char name[PF_FDSTORE_NAME_MAX + 1];

		name_fd(i, name);
		fds[i] = named[i] ? pf_kept_take(kept, name) : -1;
		all = all && (!named[i] || fds[i] >= 0);
	}
	if (!all)
		pf_unix_close_fds(fds);
	return all;
}

int pf_vmm_recall_regions(struct pf_statedir *dir, struct pf_kept *kept,
			  struct pf_vmm_regions *out, int *fds, struct pf_err *err)
{
	struct pf_vmm_message message = {.type = 0};
	bool named[PF_UNIX_FDS_MAX];
	int found = recall(dir, REGIONS_FILE, PF_VMM_REGIONS, &message, err);

	if (found)
		return found;
	find_named(&message.regions, named);
	if (!take_fds(kept, named, fds))
		return 1;
	*out = message.regions;
	return 0;
}

int pf_vmm_match_saved(struct pf_statedir *dir, const struct pf_vmm_regions *regions, const int *fds,
		       struct pf_vmm_regions *out, int *out_fds, struct pf_err *err)
{
	struct pf_vmm_message then = {.type = 0};
	struct pf_file_id ids[PF_UNIX_FDS_MAX];
	int found = recall(dir, REGIONS_FILE, PF_VMM_REGIONS, &then, err);

	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		out_fds[i] = -1;
	if (found)
		return found;
	found = pf_statedir_read(dir, FILES_FILE, ids, sizeof(ids), err);
	if (found > 0)
		return pf_err_set(err, PF_ERR_CONFIG, "%s/%s is missing", dir->path, FILES_FILE);
	if (found < 0)
		return -1;
	*out = then.regions;
	return pf_vmm_match(out, ids, regions, fds, out_fds, err);
}

int pf_vmm_save_armed(struct pf_statedir *dir, bool armed, struct pf_err *err)
{
	return pf_statedir_write(dir, ARMED_FILE, armed ? "1" : "0", 1, err);
}

int pf_vmm_recall_armed(struct pf_statedir *dir, bool *out, struct pf_err *err)
{
	char word = '0';
	int found = pf_statedir_read(dir, ARMED_FILE, &word, 1, err);

	*out = word == '1';
	return found < 0 ? -1 : 0;
}
