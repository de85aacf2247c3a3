/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/needs.c - see migrate/demo/needs.h; userfaultfd(2), proc(5). */
#include "migrate/demo/needs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#define FEATURES (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)
/* Both agents and both guests beside the guests' memory. */
#define OVERHEAD (UINT64_C(128) << 20)

/* Faults of the kernel too, since KVM's are: UFFD_USER_MODE_ONLY would not do. */
static int open_userfaultfd(void)
{
	pf_auto_fd int device = -1;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), sys = errno;

	if (fd >= 0)
		return fd;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0)
		return ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
	errno = sys; /* the system call's reason is the better one */
	return -1;
}

int pf_needs_kernel(struct pf_err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	pf_auto_fd int fd = open_userfaultfd();

	if (fd < 0) {
		pf_err_sys(err, "opening a userfaultfd");
		if (err->sys == EPERM)
			return pf_err_hint(err, "be root, or have access to /dev/userfaultfd, or "
						"set the sysctl vm.unprivileged_userfaultfd to 1; "
						"a container's seccomp profile must allow it too");
		return pf_err_hint(err, "the kernel needs CONFIG_USERFAULTFD");
	}
	if (ioctl(fd, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "asking userfaultfd for its features");
	if ((api.features & FEATURES) != FEATURES) {
		pf_err_set(err, PF_ERR_SYSTEM,
			   "userfaultfd does not offer MISSING and MINOR faults on shared memory");
		return pf_err_hint(err, "Linux 5.14 or later on x86-64 or arm64 has them");
	}
	return 0;
}

int pf_needs_memory(uint64_t memory, struct pf_err *err)
{
	FILE *info = fopen("/proc/meminfo", "re");
	uint64_t available_kb = UINT64_MAX >> 10;
	char line[128];

	if (!info)
		return pf_err_sys(err, "opening /proc/meminfo");
	while (fgets(line, sizeof(line), info))
		if (sscanf(line, "MemAvailable: %" SCNu64, &available_kb) == 1)
			break;
	fclose(info);
	if (memory < UINT64_MAX / 4 && available_kb << 10 >= 2 * memory + OVERHEAD)
		return 0;
	pf_err_set(err, PF_ERR_SYSTEM,
		   "the guest's memory is needed twice, %" PRIu64 " MiB in all, and %" PRIu64
		   " MiB are free",
		   (2 * (memory >> 20)) + (OVERHEAD >> 20), available_kb >> 10);
	return pf_err_hint(err, "give a smaller --memory");
}
