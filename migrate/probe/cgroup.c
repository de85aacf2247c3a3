/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/cgroup.c - see migrate/probe/cgroup.h; cgroups(7), proc(5). */
#include "migrate/probe/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sysfile.h"

/* cgroup v1 says "no limit" by the largest number of pages that its counters hold. */
#define UNLIMITED (UINT64_C(1) << 60)
#define FILE_BYTES_MAX (1u << 20)

const struct pf_cgroup_resource pf_cgroup_memory = {
	.controller = "memory",
	.file = {{"memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "memory.stat",
		  "total_inactive_file"},
		 {"memory.max", "memory.high", "memory.current", "memory.stat", "inactive_file"}},
};

const struct pf_cgroup_resource pf_cgroup_hugetlb = {
	.controller = "hugetlb",
	.file = {{"hugetlb.2MB.limit_in_bytes", NULL, "hugetlb.2MB.usage_in_bytes", NULL, NULL},
		 {"hugetlb.2MB.max", NULL, "hugetlb.2MB.current", NULL, NULL}},
};

/* ---- where ---- */

/* A word of `list`, which has commas between its words. */
static bool has_word(const char *list, size_t length, const char *name)
{
	size_t wanted = strlen(name);

	while (length >= wanted) {
		size_t word = 0;

		while (word < length && list[word] != ',')
			word++;
		if (word == wanted && memcmp(list, name, wanted) == 0)
			return true;
		if (word >= length)
			break;
		list += word + 1;
		length -= word + 1;
	}
	return false;
}

/* "4:memory:/a/b" or, of version 2, "0::/a/b": the group's path. */
static int find_path(const char *cgroups, const char *controller, char out[PF_CGROUP_PATH_MAX])
{
	for (const char *line = cgroups; *line;
	     line += strcspn(line, "\n"), line += *line == '\n') {
		size_t number = strcspn(line, ":\n"), names;
		const char *list = line + number + 1;

		if (line[number] != ':')
			continue;
		names = strcspn(list, ":\n");
		if (list[names] != ':' ||
		    (controller[0] ? !has_word(list, names, controller) : names != 0))
			continue;
		snprintf(out, PF_CGROUP_PATH_MAX, "%.*s", (int)strcspn(list + names + 1, "\n"),
			 list + names + 1);
		return 0;
	}
	return -1;
}

/* A line of mountinfo: proc(5). */
struct mount {
	char root[PF_CGROUP_PATH_MAX], point[PF_CGROUP_PATH_MAX];
	char type[32], options[512];
};

static bool parse_mount(const char *line, struct mount *out)
{
	char whole[4 * PF_CGROUP_PATH_MAX];
	const char *rest;

	snprintf(whole, sizeof(whole), "%.*s", (int)strcspn(line, "\n"), line);
	rest = strstr(whole, " - ");
	return rest && sscanf(whole, "%*s %*s %*s %1023s %1023s", out->root, out->point) == 2 &&
	       sscanf(rest, " - %31s %*s %511s", out->type, out->options) == 2;
}

static int find_mount(const char *mounts, const char *controller, struct mount *out)
{
	for (const char *line = mounts; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (!parse_mount(line, out))
			continue;
		if (controller[0] ? strcmp(out->type, "cgroup") == 0 &&
					    has_word(out->options, strlen(out->options), controller)
				  : strcmp(out->type, "cgroup2") == 0)
			return 0;
	}
	return -1;
}

/* What of the group's path lies below the mount; NULL: the group cannot be seen from here. */
static const char *below(const char *root, const char *path)
{
	size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, "/..", 3) == 0 || strncmp(path, root, length) != 0 ||
	    (path[length] != '/' && path[length] != '\0'))
		return NULL;
	return path[length + (path[length] == '/')] == '\0' ? "" : path + length;
}

int pf_cgroup_find(const char *cgroups, const char *mounts, const char *controller,
		   struct pf_cgroup_place *out, struct pf_err *err)
{
	const char *version = controller[0] ? "1" : "2", *rest;
	char path[PF_CGROUP_PATH_MAX];
	struct mount mount;

	*out = (struct pf_cgroup_place){.version = controller[0] ? 1 : 2};
	if (find_path(cgroups, controller, path))
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "this process is in no group of cgroup v%s %s", version,
				  controller);
	if (find_mount(mounts, controller, &mount))
		return pf_err_set(err, PF_ERR_SYSTEM, "cgroup v%s %s is not mounted", version,
				  controller);
	rest = below(mount.root, path);
	out->partial = !rest || strcmp(mount.root, "/") != 0;
	snprintf(out->mount, sizeof(out->mount), "%s", mount.point);
	if ((size_t)snprintf(out->group, sizeof(out->group), "%s%s", mount.point,
			     rest ? rest : "") >= sizeof(out->group))
		return pf_err_set(err, PF_ERR_SYSTEM, "the path of its group is too long");
	return 0;
}

/* ---- how much ---- */

uint64_t pf_cgroup_room(const struct pf_cgroup_level *level)
{
	uint64_t held;

	if (level->limit == UINT64_MAX)
		return UINT64_MAX;
	held = level->usage > level->reclaimable ? level->usage - level->reclaimable : 0;
	return level->limit > held ? level->limit - held : 0;
}

static int read_number(const char *group, const char *name, uint64_t *out, struct pf_err *err)
{
	char path[PF_CGROUP_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", group, name);
	return pf_sysfile_number(path, out, err);
}

/* 1: this group has no such files, as the root of version 2 and groups without the controller. */
static int read_level(const char *group, const struct pf_cgroup_resource *resource, int version,
		      struct pf_cgroup_level *out, struct pf_err *err)
{
	uint64_t high = UINT64_MAX;
	char stat[PF_CGROUP_PATH_MAX + 64];
	struct pf_err ignored;

	*out = (struct pf_cgroup_level){.limit = UINT64_MAX};
	snprintf(out->path, sizeof(out->path), "%s", group);
	if (read_number(group, resource->file[version - 1].limit, &out->limit, err) ||
	    read_number(group, resource->file[version - 1].usage, &out->usage, err))
		return err->sys == ENOENT ? 1 : -1;
	if (resource->file[version - 1].high &&
	    read_number(group, resource->file[version - 1].high, &high, err))
		return -1;
	if (resource->file[version - 1].stat) {
		snprintf(stat, sizeof(stat), "%s/%s", group, resource->file[version - 1].stat);
		if (pf_sysfile_field(stat, resource->file[version - 1].reclaimable,
				     &out->reclaimable, &ignored))
			out->reclaimable = 0; /* the careful answer */
	}
	/* At `high` its tasks are throttled, which a waiting vCPU feels as much. */
	if (high < out->limit)
		out->limit = high;
	if (out->limit >= UNLIMITED)
		out->limit = UINT64_MAX;
	return 0;
}

int pf_cgroup_tightest(const struct pf_cgroup_place *place,
		       const struct pf_cgroup_resource *resource, struct pf_cgroup_level *out,
		       struct pf_err *err)
{
	char at[PF_CGROUP_PATH_MAX];
	bool found = false;

	snprintf(at, sizeof(at), "%s", place->group);
	for (;;) {
		struct pf_cgroup_level level;
		int answer = read_level(at, resource, place->version, &level, err);

		if (answer < 0)
			return -1;
		if (answer == 0 && (!found || pf_cgroup_room(&level) < pf_cgroup_room(out))) {
			*out = level;
			found = true;
		}
		if (strlen(at) <= strlen(place->mount))
			return found ? 0 : 1;
		*strrchr(at, '/') = '\0';
	}
}

/* A text of the kernel's, whole. */
static char *slurp(const char *path, struct pf_err *err)
{
	FILE *file = fopen(path, "re");
	char *text = malloc(FILE_BYTES_MAX);
	size_t got = 0;

	if (!file || !text)
		pf_err_sys(err, "reading %s", path);
	else
		got = fread(text, 1, FILE_BYTES_MAX - 1, file);
	if (file)
		fclose(file);
	if (!file || !text) {
		free(text);
		return NULL;
	}
	text[got] = '\0';
	return text;
}

int pf_cgroup_here(const struct pf_cgroup_resource *resource, struct pf_cgroup_place *out_place,
		   struct pf_cgroup_level *out, struct pf_err *err)
{
	pf_auto_free char *cgroups = slurp("/proc/self/cgroup", err);
	pf_auto_free char *mounts = cgroups ? slurp("/proc/self/mountinfo", err) : NULL;
	const char *const controllers[] = {"", resource->controller};

	if (!mounts)
		return -1;
	for (size_t i = 0; i < PF_ARRAY_LEN(controllers); i++) {
		int answer;

		if (pf_cgroup_find(cgroups, mounts, controllers[i], out_place, err))
			continue;
		answer = pf_cgroup_tightest(out_place, resource, out, err);
		if (answer <= 0)
			return answer;
	}
	*out_place = (struct pf_cgroup_place){0};
	*out = (struct pf_cgroup_level){.limit = UINT64_MAX};
	return 0;
}
