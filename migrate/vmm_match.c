/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/vmm_match.c - see migrate/vmm_match.h. */
#include "migrate/vmm_match.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct match {
	const struct pf_file_id *ids;
	const int *fds;
	int *out;
};

/* fstat(2) of a file on FUSE would wait for whoever serves it: the VMM itself, or nobody.  Without AT_STATX_DONT_SYNC so
 * does statx(2); what it may be out of date in is not what a file is. */
int pf_file_identify(int fd, struct pf_file_id *out, struct pf_err *err)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) != 0)
		return pf_err_sys(err, "looking at a descriptor of the VMM's");
	*out = (struct pf_file_id){makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino};
	return 0;
}

static int other_memory(struct pf_err *err, const struct pf_vmm_region *region, const char *what)
{
	pf_err_set(err, PF_ERR_PROTOCOL, "it describes other memory than before: %s of the region at 0x%llx",
		   what, (unsigned long long)region->shape.gpa);
	return pf_err_hint(err, "a VMM that comes back says the same REGIONS again, with descriptors of the same "
				"things");
}

static int take_fd(const struct match *match, uint32_t then, uint32_t now,
		   const struct pf_vmm_region *region, const char *what, struct pf_err *err)
{
	struct pf_file_id id;

	if ((then == PF_VMM_NO_FD) != (now == PF_VMM_NO_FD))
		return other_memory(err, region, what);
	if (then == PF_VMM_NO_FD)
		return 0;
	if (pf_file_identify(match->fds[now], &id, err))
		return -1;
	if (id.dev != match->ids[then].dev || id.ino != match->ids[then].ino)
		return other_memory(err, region, what);
	if (match->out[then] >= 0) /* several have it */
		return 0;
	match->out[then] = fcntl(match->fds[now], F_DUPFD_CLOEXEC, 0);
	return match->out[then] < 0 ? pf_err_sys(err, "keeping a descriptor of the VMM's") : 0;
}

static int take_mappings(const struct match *match, const struct pf_vmm_region *then,
			 const struct pf_vmm_region *now, struct pf_err *err)
{
	for (uint32_t t = 0; t < then->mapping_count; t++) {
		uint32_t n = 0;

		while (n < now->mapping_count && now->mapping[n].base != then->mapping[t].base)
			n++;
		if (n == now->mapping_count)
			return other_memory(err, then, "the mappings");
		if (take_fd(match, then->mapping[t].uffd, now->mapping[n].uffd, then,
			    "the userfaultfd", err))
			return -1;
	}
	return 0;
}

static bool same_populated(const struct pf_vmm_regions *then, const struct pf_vmm_region *a,
			   const struct pf_vmm_regions *now, const struct pf_vmm_region *b)
{
	if (a->populated != b->populated || a->populated_count != b->populated_count)
		return false;
	for (uint32_t i = 0; i < a->populated_count; i++) {
		const struct pf_run *x = &then->range[a->populated_first + i];
		const struct pf_run *y = &now->range[b->populated_first + i];

		if (x->first != y->first || x->count != y->count)
			return false;
	}
	return true;
}

static bool same_region(const struct pf_vmm_region *a, const struct pf_vmm_region *b)
{
	return a->shape.size == b->shape.size && a->shape.page_size == b->shape.page_size &&
	       a->kind == b->kind && a->offset == b->offset &&
	       a->mapping_count == b->mapping_count && a->discards == b->discards &&
	       a->fill_atomic == b->fill_atomic && a->machine_checks == b->machine_checks;
}

static int take_region(const struct match *match, const struct pf_vmm_regions *then,
		       const struct pf_vmm_region *region, const struct pf_vmm_regions *now,
		       struct pf_err *err)
{
	const struct pf_vmm_region *found = now->region, *end = now->region + now->count;

	while (found < end && found->shape.gpa != region->shape.gpa)
		found++;
	if (found == end || !same_region(region, found))
		return other_memory(err, region, "the shape");
	if (!same_populated(then, region, now, found))
		return other_memory(err, region, "what was populated");
	if (take_fd(match, region->fd, found->fd, region, "the file", err) ||
	    take_fd(match, region->bitmap_fd, found->bitmap_fd, region, "the bitmap", err))
		return -1;
	return take_mappings(match, region, found, err);
}

static int take_fault_socket(const struct match *match, const struct pf_vmm_regions *then,
			     const struct pf_vmm_regions *now, struct pf_err *err)
{
	int *out;

	if (!then->has_fault_socket)
		return 0;
	out = &match->out[then->fault_socket];
	*out = fcntl(match->fds[now->fault_socket], F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? pf_err_sys(err, "keeping the VMM's fault socket") : 0;
}

static int match_all(const struct match *match, const struct pf_vmm_regions *then,
		     const struct pf_vmm_regions *now, struct pf_err *err)
{
	if (then->count != now->count || then->has_fault_socket != now->has_fault_socket ||
	    then->no_other_mappings != now->no_other_mappings)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "it describes other memory than before: %u regions instead of %u, or another "
				  "word on a fault socket or on other mappings", now->count, then->count);
	for (uint32_t r = 0; r < then->count; r++)
		if (take_region(match, then, &then->region[r], now, err))
			return -1;
	return take_fault_socket(match, then, now, err);
}

int pf_vmm_match(const struct pf_vmm_regions *then, const struct pf_file_id *ids,
		 const struct pf_vmm_regions *now, const int *fds, int *out_fds, struct pf_err *err)
{
	const struct match match = {.ids = ids, .fds = fds, .out = out_fds};

	for (unsigned i = 0; i < PF_UNIX_FDS_MAX; i++)
		out_fds[i] = -1;
	if (match_all(&match, then, now, err) == 0)
		return 0;
	pf_unix_close_fds(out_fds);
	return -1;
}
