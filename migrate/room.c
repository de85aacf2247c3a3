/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/room.c - see migrate/room.h; cgroups(7). */
#include "migrate/room.h"

#include "migrate/probe/cgroup.h"
#include "migrate/report.h"

/* Which limit counts what the agent writes into it; private memory is charged to its own process. */
static const struct pf_cgroup_resource *resource_of(const struct pf_guest_region *region)
{
	if (region->kind == PF_MEMORY_PRIVATE || region->populated == PF_POPULATED_PREALLOCATED)
		return NULL;
	return region->kind == PF_MEMORY_HUGETLBFS ? &pf_cgroup_hugetlb : &pf_cgroup_memory;
}

static uint64_t needed(const struct pf_guest *guest, const struct pf_cgroup_resource *resource)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < guest->table.count; i++)
		if (resource_of(&guest->region[i]) == resource)
			bytes += guest->table.region[i].size;
	return bytes;
}

static void tell(struct pf_agent *agent, const struct pf_cgroup_resource *resource,
		 const struct pf_cgroup_level *level, uint64_t bytes)
{
	struct pf_err err;
	json_t *data;

	pf_err_set(&err, PF_ERR_CONFIG, "the guest needs %llu MiB, and %.200s leaves this agent %llu MiB",
		   (unsigned long long)(bytes >> 20), level->path,
		   (unsigned long long)(pf_cgroup_room(level) >> 20));
	pf_err_hint(&err, "raise the limit, run the agent in the VMM's control group, or have the VMM "
			  "preallocate the memory");
	pf_report(pf_agent_role(agent), &err);
	data = json_pack("{s:s, s:I, s:I, s:I, s:s}", "controller", resource->controller, "limit",
			 (json_int_t)level->limit, "room", (json_int_t)pf_cgroup_room(level),
			 "needed", (json_int_t)bytes, "hint", err.hint);
	/* Not packed: a path that is no UTF-8 must cost itself alone, and not the event. */
	json_object_set_new(data, "group", json_string(level->path));
	pf_agent_emit(agent, "MEMORY_LIMIT", data);
}

static void check(struct pf_agent *agent, const struct pf_guest *guest,
		  const struct pf_cgroup_resource *resource)
{
	uint64_t bytes = needed(guest, resource);
	struct pf_cgroup_place place;
	struct pf_cgroup_level level;
	struct pf_err err;

	if (bytes == 0)
		return;
	if (pf_cgroup_here(resource, &place, &level, &err))
		pf_report(pf_agent_role(agent), &err);
	else if (bytes > pf_cgroup_room(&level))
		tell(agent, resource, &level, bytes);
}

void pf_room_check(struct pf_agent *agent, const struct pf_guest *guest)
{
	check(agent, guest, &pf_cgroup_memory);
	check(agent, guest, &pf_cgroup_hugetlb);
}
