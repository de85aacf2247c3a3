/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/backend.c - see migrate/demo/backend.h. */
#include "migrate/demo/backend.h"

#include <linux/userfaultfd.h>
#include <string.h>

#include "base/cleanup.h"

#define ON_SHMEM (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)
#define ON_HUGETLBFS (UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_HUGETLBFS)

const struct pf_demo_backend pf_demo_memfd = {
	.name = "memfd",
	.page_bytes = 4096,
	.features = ON_SHMEM,
	.offers = "MISSING and MINOR faults on shared memory",
};

static const struct pf_demo_backend hugetlb = {
	.name = "hugetlb",
	.page_bytes = 2 << 20,
	.features = ON_HUGETLBFS,
	.offers = "MISSING and MINOR faults on hugetlbfs",
};

/* What a kernel has of it cannot be asked of userfaultfd. */
static const struct pf_demo_backend guest_memfd = {
	.name = "guest_memfd",
	.page_bytes = 4096,
	.guest_memfd = true,
};

const struct pf_demo_backend *pf_demo_backend_find(const char *name)
{
	static const struct pf_demo_backend *const all[] = {&pf_demo_memfd, &hugetlb, &guest_memfd};

	for (size_t i = 0; i < PF_ARRAY_LEN(all); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
