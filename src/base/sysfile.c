/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/sysfile.c - see base/sysfile.h; proc(5), Documentation/admin-guide/mm/hugetlbpage.rst. */
#include "base/sysfile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define TEXT_BYTES 8192u /* of a file of fields; the longest, memory.stat, has half of that */

/* From its beginning; the kernel makes such a file up for whoever reads it. */
static int read_text(int fd, const char *path, char *text, size_t size, struct pf_err *err)
{
	ssize_t got = pread(fd, text, size - 1, 0);

	if (got < 0)
		return pf_err_sys(err, "reading %s", path);
	text[got] = '\0';
	return 0;
}

int pf_sysfile_open(const char *path, struct pf_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? pf_err_sys(err, "opening %s", path) : fd;
}

int pf_sysfile_read_number(int fd, const char *path, uint64_t *out, struct pf_err *err)
{
	char text[64];

	if (read_text(fd, path, text, sizeof(text), err))
		return -1;
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, "max") == 0) {
		*out = UINT64_MAX;
		return 0;
	}
	if (text[0] != '-' && sscanf(text, "%" SCNu64, out) == 1)
		return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "%s holds no number", path);
}

int pf_sysfile_read_field(int fd, const char *path, const char *name, uint64_t *out,
			  struct pf_err *err)
{
	size_t length = strlen(name);
	char text[TEXT_BYTES];

	if (read_text(fd, path, text, sizeof(text), err))
		return -1;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (strncmp(line, name, length) == 0 &&
		    (line[length] == ':' || line[length] == ' ') &&
		    sscanf(line + length + 1, "%" SCNu64, out) == 1)
			return 0;
	return pf_err_set(err, PF_ERR_SYSTEM, "%s does not say %s", path, name);
}

int pf_sysfile_number(const char *path, uint64_t *out, struct pf_err *err)
{
	pf_auto_fd int fd = pf_sysfile_open(path, err);

	return fd < 0 ? -1 : pf_sysfile_read_number(fd, path, out, err);
}

int pf_sysfile_field(const char *path, const char *name, uint64_t *out, struct pf_err *err)
{
	pf_auto_fd int fd = pf_sysfile_open(path, err);

	return fd < 0 ? -1 : pf_sysfile_read_field(fd, path, name, out, err);
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
