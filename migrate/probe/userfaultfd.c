/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/userfaultfd.c - subject: who may open a userfaultfd here, and what it sees. */
#include <cap-ng.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/sysfile.h"
#include "base/uffd_abi.h"
#include "memory/uffd_open.h"
#include "migrate/probe/access.h"
#include "migrate/probe/area.h"
#include "migrate/probe/subjects.h"

#define SYSCTL "/proc/sys/vm/unprivileged_userfaultfd"

static int try_way(enum pf_uffd_way way, struct pf_err *err)
{
	pf_auto_fd int fd = pf_uffd_open(way, err);

	return fd >= 0 ? 0 : -1;
}

static int try_call(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out;
	return try_way(PF_UFFD_CALL, err);
}

static int try_device(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out;
	return try_way(PF_UFFD_DEVICE, err);
}

static int try_user_only(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial, (void)out;
	return try_way(PF_UFFD_USER_ONLY, err);
}

static int try_sysctl(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	uint64_t value;

	(void)trial, (void)out;
	if (pf_sysfile_number(SYSCTL, &value, err))
		return -1;
	return value == 1 ? 0
			  : pf_check_no(err, "it is %llu: the system call takes CAP_SYS_PTRACE",
					(unsigned long long)value);
}

static int try_capability(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)trial;
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_PTRACE))
		return 0;
	out->privilege = "CAP_SYS_PTRACE";
	return pf_check_no(err, "this process does not have it");
}

static int open_with_api(struct uffdio_api *api, unsigned ways, struct pf_err *err)
{
	int fd = pf_uffd_open(ways, err);

	*api = (struct uffdio_api){.api = UFFD_API};
	if (fd >= 0 && ioctl(fd, UFFDIO_API, api) != 0) {
		pf_err_sys(err, "UFFDIO_API");
		pf_close_fd(&fd);
	}
	return fd;
}

/* What it says it has; what works is the next subject's question. */
static int try_features(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	static const struct {
		uint64_t bit;
		const char *name;
		bool needed;
	} all[] = {
		{UFFD_FEATURE_MISSING_SHMEM, "MISSING_SHMEM", true},
		{UFFD_FEATURE_MINOR_SHMEM, "MINOR_SHMEM", true},
		{UFFD_FEATURE_MISSING_HUGETLBFS, "MISSING_HUGETLBFS", false},
		{UFFD_FEATURE_MINOR_HUGETLBFS, "MINOR_HUGETLBFS", false},
		{UFFD_FEATURE_EVENT_REMOVE, "EVENT_REMOVE", false},
		{UFFD_FEATURE_THREAD_ID, "THREAD_ID", false},
		{UFFD_FEATURE_EXACT_ADDRESS, "EXACT_ADDRESS", false},
		{PF_UFFD_FEATURE_POISON, "POISON", false},
	};
	struct uffdio_api api;
	pf_auto_fd int fd = open_with_api(&api, PF_UFFD_FULL | PF_UFFD_USER_ONLY, err);
	const char *lacking = NULL;
	size_t used = 0;

	(void)trial;
	if (fd < 0)
		return 1;
	for (size_t i = 0; i < PF_ARRAY_LEN(all); i++) {
		if (api.features & all[i].bit)
			used += (size_t)snprintf(out->what + used, sizeof(out->what) - used, "%s%s",
						 used ? " " : "", all[i].name);
		else if (all[i].needed && !lacking)
			lacking = all[i].name;
	}
	return lacking ? pf_check_no(err, "it does not have %s", lacking) : 0;
}

static int expect_kernel_trap(int uffd, const struct pf_area *area, struct pf_access *access,
			      struct pf_err *err)
{
	struct uffdio_range range = {(uintptr_t)area->at, area->kind->page_bytes};
	struct uffdio_register reg = {.range = range, .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffd_msg event;
	int trapped;

	if (ioctl(uffd, UFFDIO_REGISTER, &reg) != 0)
		return pf_err_sys(err, "UFFDIO_REGISTER");
	if (pf_access_start(access, area->at, true, err))
		return -1;
	trapped = pf_access_await(access, uffd, &event, err);
	(void)ioctl(uffd, UFFDIO_UNREGISTER, &range); /* lets it go on */
	if (trapped == 0)
		return pf_check_no(err, "write(2) of a trapped page was not trapped: %s",
				   access->sys ? strerror(access->sys) : "it read a byte");
	return trapped > 0 ? 0 : -1;
}

/*
 * KVM reaches guest memory from within the kernel.  A userfaultfd of the way USER_ONLY makes such
 * accesses fail with EFAULT instead, so that a guest that traps by it dies of its first page.
 */
static int try_kernel(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct pf_access *access =
		calloc(1, sizeof(*access)); /* its thread may outlive this call */
	struct pf_area area;
	struct uffdio_api api;
	pf_auto_fd int uffd = open_with_api(&api, PF_UFFD_FULL | PF_UFFD_USER_ONLY, err);
	int answer;

	(void)trial, (void)out;
	if (!access)
		return pf_err_sys(err, "allocating memory");
	access->ended_fd = -1;
	if (uffd < 0 || pf_area_open(&pf_area_private, &area, err) != 0) {
		free(access);
		return 1;
	}
	answer = expect_kernel_trap(uffd, &area, access, err);
	if (pf_access_done(access) != 0)
		return answer;
	pf_area_close(&area);
	free(access);
	return answer;
}

#define FULL_HINT                                                                                  \
	"give the VMM's user access to /dev/userfaultfd (setfacl -m u:USER:rw), or "               \
	"CAP_SYS_PTRACE, "                                                                         \
	"or set the sysctl vm.unprivileged_userfaultfd to 1"

static const struct pf_check rows[] = {
	{"system-call", "system call", try_call, NULL, "CAP_SYS_PTRACE"},
	{"device", "/dev/userfaultfd", try_device, NULL, "access to /dev/userfaultfd"},
	{"user-mode-only", "system call, programs' accesses only", try_user_only, NULL, NULL},
	{"sysctl", "sysctl vm.unprivileged_userfaultfd", try_sysctl,
	 "set it to 1 where the VMM has neither the capability nor the device", NULL},
	{"capability", "capability CAP_SYS_PTRACE", try_capability,
	 "give it to a VMM that has neither the device nor the sysctl", NULL},
	{"features", "features", try_features, "Linux 5.14 or later on x86-64 or arm64 has it",
	 NULL},
	{"kernel-accesses", "traps accesses by the kernel, as KVM's are", try_kernel, FULL_HINT,
	 NULL},
};

const struct pf_subject pf_subject_userfaultfd = {
	.name = "userfaultfd",
	.title = "userfaultfd",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
};
