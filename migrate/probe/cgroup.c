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

/* -1: without it, which is an error only where err is no NULL. */
static int open_file(const char *group, const char *name, struct pf_err *err)
{
	char path[PF_CGROUP_PATH_MAX + 64];
	struct pf_err ignored;

	if (!name)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", group, name);
	return pf_sysfile_open(path, err ? err : &ignored);
}

static void close_level(struct pf_cgroup_open *level)
{
	pf_close_fd(&level->limit);
	pf_close_fd(&level->high);
	pf_close_fd(&level->usage);
	pf_close_fd(&level->stat);
}

/* 1: this group has no such files, as the root of version 2 and groups without the controller. */
static int open_level(const char *group, const struct pf_cgroup_resource *resource, int version,
		      struct pf_cgroup_open *out, struct pf_err *err)
{
	const struct pf_cgroup_names *names = &resource->file[version - 1];

	*out = (struct pf_cgroup_open){-1, -1, -1, -1};
	out->limit = open_file(group, names->limit, err);
	if (out->limit >= 0)
		out->usage = open_file(group, names->usage, err);
	if (out->usage >= 0 && names->high)
		out->high = open_file(group, names->high, err);
	if (out->usage >= 0 && (!names->high || out->high >= 0)) {
		out->stat = open_file(group, names->stat, NULL);
		return 0;
	}
	close_level(out);
	return err->sys == ENOENT ? 1 : -1;
}

static int read_level(const struct pf_cgroup_open *open, const struct pf_cgroup_names *names,
		      struct pf_cgroup_level *out, struct pf_err *err)
{
	uint64_t high = UINT64_MAX;
	struct pf_err ignored;

	out->limit = UINT64_MAX;
	if (pf_sysfile_read_number(open->limit, names->limit, &out->limit, err) ||
	    pf_sysfile_read_number(open->usage, names->usage, &out->usage, err) ||
	    (open->high >= 0 && pf_sysfile_read_number(open->high, names->high, &high, err)))
		return -1;
	if (open->stat < 0 || pf_sysfile_read_field(open->stat, names->stat, names->reclaimable,
						    &out->reclaimable, &ignored))
		out->reclaimable = 0; /* the careful answer */
	/* At `high` its tasks are throttled, which a waiting vCPU feels as much. */
	if (high < out->limit)
		out->limit = high;
	if (out->limit >= UNLIMITED)
		out->limit = UINT64_MAX;
	return 0;
}

/* false: that was the outermost that can be seen. */
static bool go_up(const struct pf_cgroup_place *place, char at[PF_CGROUP_PATH_MAX])
{
	if (strlen(at) <= strlen(place->mount))
		return false;
	*strrchr(at, '/') = '\0';
	return true;
}

int pf_cgroup_tightest(const struct pf_cgroup_place *place,
		       const struct pf_cgroup_resource *resource, struct pf_cgroup_level *out,
		       struct pf_err *err)
{
	char at[PF_CGROUP_PATH_MAX];
	bool found = false;

	snprintf(at, sizeof(at), "%s", place->group);
	do {
		struct pf_cgroup_level level = {0};
		struct pf_cgroup_open open;
		int answer = open_level(at, resource, place->version, &open, err);

		if (answer == 0) {
			snprintf(level.path, sizeof(level.path), "%s", at);
			answer = read_level(&open, &resource->file[place->version - 1], &level, err);
			close_level(&open);
		}
		if (answer < 0)
			return -1;
		if (answer == 0 && (!found || pf_cgroup_room(&level) < pf_cgroup_room(out))) {
			*out = level;
			found = true;
		}
	} while (go_up(place, at));
	return found ? 0 : 1;
}

/* ---- kept open ---- */

int pf_cgroup_open(const struct pf_cgroup_place *place, const struct pf_cgroup_resource *resource,
		   struct pf_cgroup_files *out, struct pf_err *err)
{
	char at[PF_CGROUP_PATH_MAX];

	*out = (struct pf_cgroup_files){.resource = resource, .version = place->version};
	snprintf(at, sizeof(at), "%s", place->group);
	do {
		int answer = open_level(at, resource, place->version, &out->at[out->count], err);

		if (answer < 0) {
			pf_cgroup_close(out);
			return -1;
		}
		out->count += answer == 0;
	} while (out->count < PF_CGROUP_LEVELS_MAX && go_up(place, at));
	return 0;
}

int pf_cgroup_read(const struct pf_cgroup_files *files, uint64_t *out_room, struct pf_err *err)
{
	*out_room = UINT64_MAX;
	for (size_t i = 0; i < files->count; i++) {
		struct pf_cgroup_level level;

		if (read_level(&files->at[i], &files->resource->file[files->version - 1], &level,
			       err))
			return -1;
		if (pf_cgroup_room(&level) < *out_room)
			*out_room = pf_cgroup_room(&level);
	}
	return 0;
}

void pf_cgroup_close(struct pf_cgroup_files *files)
{
	while (files->count > 0)
		close_level(&files->at[--files->count]);
}

/* ---- of this process ---- */

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
