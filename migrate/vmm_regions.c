/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm_regions.c - from a VMM's REGIONS message to the memory layer's tables.
 *
 * Main thread; no I/O but dup(2): regions may share one memory file, and each keeps its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "migrate/vmm.h"

/* order[i]: the message's index of the region with the i-th lowest GPA. */
static void sort_by_gpa(const struct pf_vmm_regions *regions, uint32_t *order)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		uint32_t at = i;

		while (at > 0 && regions->region[order[at - 1]].shape.gpa >
					 regions->region[i].shape.gpa) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = i;
	}
}

static int own_file(const struct pf_vmm_region *region, const int *fds, int *out,
		    struct pf_err *err)
{
	if (region->fd == PF_VMM_NO_FD) {
		*out = -1;
		return 0;
	}
	*out = fcntl(fds[region->fd], F_DUPFD_CLOEXEC, 3);
	if (*out < 0)
		return pf_err_sys(err, "keeping the memory file of region %u", region->id);
	return 0;
}

/* The uffd at this index of the message, as an index into guest->uffd; takes it over once. */
static int own_uffd(struct pf_guest *guest, uint32_t *index_of, uint32_t fd, int *fds,
		    uint32_t *out, struct pf_err *err)
{
	if (index_of[fd] == UINT32_MAX) {
		if (guest->uffds == PF_UFFDS_MAX)
			return pf_err_set(err, PF_ERR_PROTOCOL,
					  "more than %u userfaultfds in one guest", PF_UFFDS_MAX);
		index_of[fd] = guest->uffds;
		guest->uffd[guest->uffds++].fd = pf_steal_fd(&fds[fd]);
	}
	*out = index_of[fd];
	return 0;
}

/* Else its bitmap says which pages are lost, and stops nobody. */
static bool traps_vcpus(const struct pf_vmm_region *region)
{
	return region->kind == PF_MEMORY_GUEST_MEMFD && region->bitmap_fd != PF_VMM_NO_FD;
}

static int own_bitmap(const struct pf_vmm_region *region, const int *fds, struct pf_guest_region *to,
		      struct pf_err *err)
{
	int fd;

	to->fill_atomic = region->fill_atomic;
	to->machine_checks = region->machine_checks;
	if (region->bitmap_fd == PF_VMM_NO_FD)
		return 0;
	fd = fcntl(fds[region->bitmap_fd], F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return pf_err_sys(err, "keeping the bitmap of region %u", region->id);
	to->has_bitmap = traps_vcpus(region);
	to->has_lost = !to->has_bitmap;
	*(to->has_bitmap ? &to->bitmap_fd : &to->lost_fd) = fd;
	return 0;
}

static int fill_region(struct pf_guest *guest, uint32_t at, const struct pf_vmm_region *from,
		       int *fds, uint32_t *index_of, struct pf_err *err)
{
	struct pf_guest_region *to = &guest->region[at];

	guest->table.region[at] = from->shape;
	to->id = from->id;
	to->kind = from->kind;
	to->offset = from->offset;
	to->discards = from->discards;
	to->populated = from->populated;
	to->populated_first = from->populated_first;
	to->populated_count = from->populated_count;
	to->mappings = from->mapping_count;
	for (uint32_t i = 0; i < from->mapping_count; i++) {
		if (own_uffd(guest, index_of, from->mapping[i].uffd, fds, &to->mapping[i].uffd,
			     err))
			return -1;
		to->mapping[i].base = from->mapping[i].base;
	}
	return own_bitmap(from, fds, to, err) || own_file(from, fds, &to->fd, err) ? -1 : 0;
}

enum role { NONE, MEMORY, UFFD, BITMAP, FAULTS };

static const char *const role_name[] = {
	[MEMORY] = "the memory",
	[UFFD] = "the userfaultfd",
	[BITMAP] = "the bitmap",
	[FAULTS] = "the fault socket",
};

/* What a descriptor was named as first, and by whom. */
struct named {
	enum role as;
	uint32_t region_id;
};

static int name_role(struct named *named, uint32_t fd, enum role as, uint32_t id, struct pf_err *err)
{
	struct named *before = fd == PF_VMM_NO_FD ? NULL : &named[fd];

	if (!before || before->as == as)
		return 0;
	if (before->as == NONE) {
		*before = (struct named){as, id};
		return 0;
	}
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "one descriptor is both %s of region %u and %s of region %u",
		   role_name[before->as], before->region_id, role_name[as], id);
	return pf_err_hint(err, "send each of them as a descriptor of its own");
}

/* A descriptor that is named as two things would be moved, and then used as the other. */
static int check_roles(const struct pf_vmm_regions *regions, struct pf_err *err)
{
	struct named named[PF_UNIX_FDS_MAX] = {{NONE, 0}};
	const struct pf_vmm_region *last = &regions->region[regions->count - 1];

	for (uint32_t i = 0; i < regions->count; i++)
		if (name_role(named, regions->region[i].fd, MEMORY, regions->region[i].id, err))
			return -1;
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct pf_vmm_region *region = &regions->region[i];

		for (uint32_t m = 0; m < region->mapping_count; m++)
			if (name_role(named, region->mapping[m].uffd, UFFD, region->id, err))
				return -1;
		if (name_role(named, region->bitmap_fd, BITMAP, region->id, err))
			return -1;
	}
	return regions->has_fault_socket
		       ? name_role(named, regions->fault_socket, FAULTS, last->id, err)
		       : 0;
}

/* ---- stage-2 exits ---- */

static int check_fault_socket(int fd, struct pf_err *err)
{
	int domain = 0, type = 0;
	struct sockaddr_un peer;
	socklen_t length = sizeof(int), peer_length = sizeof(peer);
	bool right = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
		     getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
		     domain == AF_UNIX && type == SOCK_SEQPACKET;

	/* One that listens, or was never connected: nothing would ever come from it, and nobody would know. */
	if (right && getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL, "its fault socket is %s",
		   right ? "connected to nobody" : "no AF_UNIX socket of SOCK_SEQPACKET");
	return pf_err_hint(err, "socketpair(2), and one end of it");
}

static int own_fault_socket(const struct pf_vmm_regions *regions, int *fds, struct pf_guest *out,
			    struct pf_err *err)
{
	const struct pf_vmm_region *traps = NULL;

	for (uint32_t i = 0; i < regions->count; i++)
		if (traps_vcpus(&regions->region[i]))
			traps = &regions->region[i];
	if (!traps) /* a guest_memfd that lacks its bitmap is refused for that */
		return 0;
	if (!regions->has_fault_socket) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "region %u has a userfault bitmap, and there is no fault socket: nobody "
			   "would hear of its vCPUs' faults",
			   traps->id);
		return pf_err_hint(err, "send one end of a socketpair(2) as fault_socket_fd");
	}
	if (check_fault_socket(fds[regions->fault_socket], err))
		return -1;
	out->fault_fd = pf_steal_fd(&fds[regions->fault_socket]);
	out->has_faults = true;
	return 0;
}

/* What this version cannot do is refused, never ignored. */
static int check_region(const struct pf_vmm_region *region, bool destination, struct pf_err *err)
{
	const char *what, *hint;

	if (destination && region->mapping_count == 0) {
		what = "it has no mapping, so that nothing of it could be trapped";
		hint = "name the userfaultfd and the address of every mapping";
	} else if (!destination && region->mapping_count > 0) {
		what = "it has a userfaultfd, and nothing is trapped at the source";
		hint = "name none at the source";
	} else if (!destination && (region->machine_checks || region->fill_atomic)) {
		what = region->machine_checks
			       ? "it declares machine_checks, and at the source nobody waits for a page"
			       : "it declares fill_atomic, and at the source no page is filled";
		hint = "declare that at the destination";
	} else if (region->kind != PF_MEMORY_GUEST_MEMFD && region->fill_atomic) {
		what = "it declares fill_atomic, which is for guest_memfd that traps MISSING only, and "
		       "which no other memory needs";
		hint = "leave it out";
	} else if (region->kind != PF_MEMORY_GUEST_MEMFD && region->machine_checks) {
		what = "it declares machine_checks, which is for guest_memfd: other memory is poisoned";
		hint = "leave it out";
	} else {
		return 0;
	}
	pf_err_set(err, PF_ERR_PROTOCOL, "region %u: %s", region->id, what);
	return pf_err_hint(err, "%s", hint);
}

static int check_all(const struct pf_vmm_regions *regions, bool destination, struct pf_err *err)
{
	for (uint32_t i = 0; i < regions->count; i++)
		if (check_region(&regions->region[i], destination, err))
			return -1;
	if (!destination && regions->has_fault_socket) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "it names a fault socket, and nothing is trapped at the source");
		return pf_err_hint(err, "name none at the source");
	}
	if (destination && !regions->no_other_mappings) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "the VMM does not declare that its memory has no other mapping; "
			   "accesses through one (vhost-user, DMA) would not be trapped");
		return pf_err_hint(err, "list every mapping, then declare no_other_mappings");
	}
	return check_roles(regions, err);
}

int pf_vmm_guest(const struct pf_vmm_regions *regions, int *fds, struct pf_guest *out,
		 struct pf_err *err)
{
	uint32_t order[PF_REGIONS_MAX], index_of[PF_UNIX_FDS_MAX];

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++)
		out->region[i].fd = -1;
	memset(index_of, 0xff, sizeof(index_of));
	if (check_all(regions, true, err))
		return -1;
	sort_by_gpa(regions, order);
	if (own_fault_socket(regions, fds, out, err))
		return -1;
	memcpy(out->populated, regions->range, sizeof(out->populated));
	for (uint32_t i = 0; i < regions->count; i++) {
		out->table.count = i + 1;
		if (fill_region(out, i, &regions->region[order[i]], fds, index_of, err))
			return -1;
	}
	return pf_table_check(&out->table, err);
}

/* At the source a bitmap of any kind of memory has a 1 for each page that is lost already. */
static int own_lost(const struct pf_vmm_region *from, const int *fds, struct pf_reader *out, uint32_t at,
		    struct pf_err *err)
{
	if (from->bitmap_fd == PF_VMM_NO_FD)
		return 0;
	out->region[at].lost_fd = fcntl(fds[from->bitmap_fd], F_DUPFD_CLOEXEC, 3);
	if (out->region[at].lost_fd < 0)
		return pf_err_sys(err, "keeping the bitmap of region %u", from->id);
	out->region[at].has_lost = true;
	return 0;
}

int pf_vmm_reader(const struct pf_vmm_regions *regions, int *fds, struct pf_reader *out,
		  struct pf_err *err)
{
	uint32_t order[PF_REGIONS_MAX];

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++)
		out->region[i].fd = -1;
	if (check_all(regions, false, err))
		return -1;
	sort_by_gpa(regions, order);
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct pf_vmm_region *from = &regions->region[order[i]];

		out->table.count = i + 1;
		out->table.region[i] = from->shape;
		out->region[i].id = from->id;
		out->region[i].kind = from->kind;
		out->region[i].offset = from->offset;
		if (own_file(from, fds, &out->region[i].fd, err) ||
		    own_lost(from, fds, out, i, err))
			return -1;
	}
	return pf_table_check(&out->table, err);
}
