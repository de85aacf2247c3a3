/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm/describe.c - see vmm/describe.h. */
#include "vmm/describe.h"

#include <inttypes.h>
#include <string.h>

/* One that finds no room is counted only: put_regions() refuses the list. */
static uint32_t fd_index(struct pf_vmm_description *list, int fd)
{
	size_t i;

	for (i = 0; i < list->fds && i < PF_UNIX_FDS_MAX; i++)
		if (list->fd[i] == fd)
			return (uint32_t)i;
	if (i < PF_UNIX_FDS_MAX)
		list->fd[i] = fd;
	list->fds++;
	return (uint32_t)i;
}

static int put_mappings(const struct pageferry_region *from, struct pf_vmm_description *list,
			struct pf_vmm_region *to, struct pf_err *err)
{
	if (from->more_count >= PF_VMM_MAPPINGS_MAX)
		return pf_err_set(err, PF_ERR_USAGE,
				  "region with id %" PRIu32 ": %zu mappings; 1 to %u are allowed",
				  from->id, from->more_count + 1, PF_VMM_MAPPINGS_MAX);
	to->mapping_count = 1 + (uint32_t)from->more_count;
	to->mapping[0].uffd = fd_index(list, from->uffd);
	to->mapping[0].base = from->base;
	for (size_t i = 0; i < from->more_count; i++) {
		to->mapping[i + 1].uffd = fd_index(list, from->more[i].uffd);
		to->mapping[i + 1].base = from->more[i].base;
	}
	return 0;
}

static int put_ranges(const struct pageferry_region *from, struct pf_vmm_regions *out,
		      struct pf_vmm_region *to, struct pf_err *err)
{
	if (from->range_count > PF_VMM_RANGES_MAX - out->range_count)
		return pf_err_set(err, PF_ERR_USAGE,
				  "region with id %" PRIu32
				  ": %zu populated ranges; %u are allowed in all regions together",
				  from->id, from->range_count, PF_VMM_RANGES_MAX);
	to->populated = (enum pf_populated)((int)from->populated + PF_POPULATED_NONE);
	to->populated_first = out->range_count;
	to->populated_count = (uint32_t)from->range_count;
	for (size_t i = 0; i < from->range_count; i++) {
		if (from->ranges[i].count > UINT32_MAX)
			return pf_err_set(err, PF_ERR_USAGE,
					  "region with id %" PRIu32 ": a populated range of %" PRIu64
					  " pages", from->id, from->ranges[i].count);
		out->range[out->range_count++] =
			(struct pf_run){.first = from->ranges[i].first,
					.count = (uint32_t)from->ranges[i].count};
	}
	return 0;
}

/* Its vCPUs' accesses leave KVM_RUN, and somebody has to hear of that. */
static bool has_exits(enum pageferry_role role, const struct pageferry_region *region)
{
	return role == PAGEFERRY_DESTINATION && region->kind == PAGEFERRY_GUEST_MEMFD;
}

static int put_region(enum pageferry_role role, const struct pageferry_region *from,
		      struct pf_vmm_description *list, struct pf_vmm_region *to, struct pf_err *err)
{
	*to = (struct pf_vmm_region){
		.id = from->id,
		.shape = {from->gpa, from->size, from->page_size},
		.kind = (enum pf_memory_kind)from->kind,
		.fd = from->fd >= 0 ? fd_index(list, from->fd) : PF_VMM_NO_FD,
		.offset = from->offset,
		.bitmap_fd = PF_VMM_NO_FD,
		.discards = from->discards,
	};
	if ((from->uffd >= 0) != (role == PAGEFERRY_DESTINATION))
		return pf_err_set(err, PF_ERR_USAGE, "region with id %" PRIu32 ": the %s", from->id,
				  from->uffd >= 0 ? "source has no userfaultfd"
						  : "destination needs a userfaultfd");
	if (has_exits(role, from)) {
		to->fill_atomic = from->fill_atomic;
		to->machine_checks = from->machine_checks;
	}
	if ((has_exits(role, from) || from->lost_bitmap) && from->bitmap_fd >= 0)
		to->bitmap_fd = fd_index(list, from->bitmap_fd);
	return from->uffd < 0 ? 0 : put_mappings(from, list, to, err);
}

int pf_vmm_describe(enum pageferry_role role, const struct pageferry_region *regions, size_t count,
		    int agents_end, struct pf_vmm_description *out, struct pf_err *err)
{
	struct pf_vmm_regions *to = &out->message.regions;

	memset(out, 0, sizeof(*out));
	if (count == 0 || count > PF_REGIONS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "%zu regions; 1 to %d are allowed", count,
				  PF_REGIONS_MAX);
	out->message.type = PF_VMM_REGIONS;
	to->no_other_mappings = true; /* the header makes the VMM promise it */
	to->count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		if (put_region(role, &regions[i], out, &to->region[i], err) ||
		    put_ranges(&regions[i], to, &to->region[i], err))
			return -1;
		to->has_fault_socket = to->has_fault_socket || has_exits(role, &regions[i]);
	}
	if (to->has_fault_socket)
		to->fault_socket = fd_index(out, agents_end);
	if (out->fds > PF_UNIX_FDS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "%zu descriptors; %d fit in one message",
				  out->fds, PF_UNIX_FDS_MAX);
	return 0;
}
