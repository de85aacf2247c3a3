/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/sysfile.c - see base/sysfile.h; proc(5), Documentation/admin-guide/mm/hugetlbpage.rst. */
#include "base/sysfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static FILE *open_file(const char *path, struct pf_err *err)
{
	FILE *file = fopen(path, "re");

	if (!file)
		pf_err_sys(err, "opening %s", path);
	return file;
}

int pf_sysfile_number(const char *path, uint64_t *out, struct pf_err *err)
{
	FILE *file = open_file(path, err);
	char text[64] = "";
	bool known;

	if (!file)
		return -1;
	known = fgets(text, sizeof(text), file) != NULL;
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	if (known && strcmp(text, "max") == 0) {
		*out = UINT64_MAX;
		return 0;
	}
	if (known && text[0] != '-' && sscanf(text, "%" SCNu64, out) == 1)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "%s holds no number", path);
}

int pf_sysfile_field(const char *path, const char *name, uint64_t *out, struct pf_err *err)
{
	FILE *file = open_file(path, err);
	size_t length = strlen(name);
	char line[256];
	bool found = false;

	if (!file)
		return -1;
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, name, length) == 0 &&
			(line[length] == ':' || line[length] == ' ') &&
			sscanf(line + length + 1, "%" SCNu64, out) == 1;
	fclose(file);
	return found ? 0 : pf_err_set(err, PF_ERR_SYSTEM, "%s does not say %s", path, name);
}

int pf_sysfile_hugepages(struct pf_hugepages *out, struct pf_err *err)
{
	const struct {
		const char *path;
		uint64_t *number;
	} all[] = {
		{POOL "nr_hugepages", &out->total},
		{POOL "free_hugepages", &out->free},
		{POOL "resv_hugepages", &out->reserved},
		{POOL "nr_overcommit_hugepages", &out->surplus_limit},
	};

	for (size_t i = 0; i < PF_ARRAY_LEN(all); i++) {
		if (pf_sysfile_number(all[i].path, all[i].number, err)) {
			pf_err_hint(err, "the kernel needs CONFIG_HUGETLBFS, and pages of 2 MiB");
			return -1;
		}
	}
	return 0;
}
