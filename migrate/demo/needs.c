/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/needs.c - see migrate/demo/needs.h; userfaultfd(2), proc(5). */
#include "migrate/demo/needs.h"

#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/sysfile.h"
#include "memory/gmem_probe.h"
#include "memory/uffd_open.h"

/* Both agents and both guests beside the guests' memory. */
#define OVERHEAD (UINT64_C(128) << 20)

/* " NAME (why)" for each feature that is missing; "": none is. */
static void list_missing(const struct pf_gmem_probe *found, char *out, size_t size)
{
	bool each = found->feature[PF_GMEM_FILE].works; /* else they all have one reason */
	size_t used = 0;

	out[0] = '\0';
	for (enum pf_gmem_feature i = 0; i < PF_GMEM_FEATURES; i++) {
		if (found->feature[i].works)
			continue;
		used += (size_t)snprintf(out + used, size - used, each ? "%s %s (%.100s)" : "%s %s",
					 used > 0 ? "," : "", pf_gmem_feature_name(i),
					 found->feature[i].why.text);
		if (used >= size)
			return;
	}
	if (used > 0 && !each)
		snprintf(out + used, size - used, ": %.240s", found->feature[PF_GMEM_FILE].why.text);
}

static int needs_guest_memfd(const struct pf_demo_backend *backend, struct pf_err *err)
{
	const uint64_t both = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR;
	struct pf_gmem_probe found;
	char missing[sizeof(err->text)];

	pf_gmem_probe(&found);
	list_missing(&found, missing, sizeof(missing));
	if (missing[0] == '\0' && found.modes == both)
		return 0;
	pf_err_set(err, PF_ERR_SYSTEM, "--backend %s: here is no%s", backend->name,
		   missing[0] != '\0' ? missing
				      : " userfaultfd MINOR on guest_memfd, only MISSING");
	return pf_err_hint(err, "tests/kernel/run runs it in a kernel that has all of them; "
				"--backend memfd and hugetlb need no such kernel");
}

int pf_needs_kernel(const struct pf_demo_backend *backend, struct pf_err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	pf_auto_fd int fd = -1;

	if (backend->guest_memfd)
		return needs_guest_memfd(backend, err);
	fd = pf_uffd_open(PF_UFFD_FULL, err); /* KVM's accesses must trap too */
	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "asking userfaultfd for its features");
	if ((api.features & backend->features) != backend->features) {
		pf_err_set(err, PF_ERR_SYSTEM, "userfaultfd does not offer %s", backend->offers);
		return pf_err_hint(err, "Linux 5.14 or later on x86-64 or arm64 has them");
	}
	return 0;
}

static int needs_room(uint64_t bytes, const char *what, struct pf_err *err)
{
	uint64_t available_kb;

	if (pf_sysfile_field("/proc/meminfo", "MemAvailable", &available_kb, err))
		return -1;
	if (available_kb << 10 >= bytes)
		return 0;
	pf_err_set(err, PF_ERR_SYSTEM, "%s, %" PRIu64 " MiB in all, and %" PRIu64 " MiB are free",
		   what, bytes >> 20, available_kb >> 10);
	return pf_err_hint(err, "give a smaller --memory");
}

/* The pool of 2 MiB pages is the machine's, beside all other memory; what is reserved is not free.
 */
static int needs_huge_pages(uint64_t pages, struct pf_err *err)
{
	struct pf_hugepages pool;
	uint64_t free_pages;

	if (pf_sysfile_hugepages(&pool, err))
		return -1;
	free_pages = pool.free - (pool.reserved < pool.free ? pool.reserved : pool.free);
	if (free_pages >= pages)
		return 0;
	pf_err_set(err, PF_ERR_SYSTEM,
		   "the guest's memory is needed twice, %" PRIu64
		   " huge pages of 2 MiB in all, and %" PRIu64 " are free",
		   pages, free_pages);
	return pf_err_hint(err,
			   "as root: echo %" PRIu64
			   " > /proc/sys/vm/nr_hugepages; or give a smaller --memory",
			   pool.total + pages - free_pages);
}

int pf_needs_memory(const struct pf_demo_backend *backend, uint64_t memory, struct pf_err *err)
{
	if (backend->page_bytes == 4096)
		return needs_room(2 * memory + OVERHEAD, "the guest's memory is needed twice", err);
	if (needs_room(OVERHEAD, "the demo needs memory beside the guest's", err))
		return -1;
	return needs_huge_pages(2 * memory / backend->page_bytes, err);
}
