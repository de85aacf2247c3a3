/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/memory.c - see tests/guest/memory.h; memfd_create(2), userfaultfd(2). */
#include "tests/guest/memory.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static void cut_into_regions(struct pf_guest_memory *memory, uint32_t regions)
{
	uint64_t pages = memory->size / PF_GUEST_PAGE;

	memory->region_count = regions;
	for (uint32_t i = 0; i <= regions; i++)
		memory->region_start[i] = pages * i / regions * PF_GUEST_PAGE;
}

int pf_memory_create(struct pf_guest_memory *memory, uint64_t size, uint32_t regions,
		     struct pf_err *err)
{
	*memory = (struct pf_guest_memory){.size = size, .fd = -1, .uffd = -1};
	cut_into_regions(memory, regions);
	memory->fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory->fd < 0)
		return pf_err_sys(err, "creating the guest's memfd");
	if (ftruncate(memory->fd, (off_t)size) != 0)
		return pf_err_sys(err, "making the guest's memfd %llu bytes long",
				  (unsigned long long)size);
	/* A memory file that shrinks is a SIGBUS for whoever touches it. */
	if (fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return pf_err_sys(err, "sealing the size of the guest's memfd");
	memory->base =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
	if (memory->base == MAP_FAILED) {
		memory->base = NULL;
		return pf_err_sys(err, "mapping %llu bytes of guest memory",
				  (unsigned long long)size);
	}
	return 0;
}

void pf_memory_destroy(struct pf_guest_memory *memory)
{
	pf_close_fd(&memory->uffd);
	if (memory->base)
		munmap(memory->base, memory->size);
	memory->base = NULL;
	pf_close_fd(&memory->fd);
}

void pf_memory_fill(struct pf_guest_memory *memory, const struct pf_plan *plan)
{
	static const uint64_t no_visits[PF_GUEST_VCPUS_MAX];
	uint32_t low = PF_GUEST_LOW_END / PF_GUEST_PAGE;
	struct pf_replay replay;

	pf_replay_init(&replay, plan, no_visits);
	for (uint32_t page = 0; page < memory->size / PF_GUEST_PAGE; page++) {
		/* Pages that start as zeros stay holes in the file, as in a guest just booted. */
		if (page < low || !pf_walk_starts_zero(plan->seed, page))
			pf_replay_page(&replay, page, memory->base + (size_t)page * PF_GUEST_PAGE);
	}
}

/*
 * Not user-mode-only: KVM touches guest memory in kernel mode.  Without CAP_SYS_PTRACE the system
 * call may refuse that (vm.unprivileged_userfaultfd), and then the device file decides.
 */
static int open_uffd(struct pf_err *err)
{
	pf_auto_fd int device = -1;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (errno != EPERM)
		return pf_err_sys(err, "creating a userfaultfd");
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0)
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	pf_err_sys(err, "creating a userfaultfd that traps the kernel's accesses too");
	return pf_err_hint(err, "run as root, or give this user access to /dev/userfaultfd");
}

int pf_memory_make_uffd(struct pf_guest_memory *memory, struct pf_err *err)
{
	const uint64_t needed = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
	struct uffdio_api api = {.api = UFFD_API};
	pf_auto_fd int probe = open_uffd(err);

	if (probe < 0)
		return -1;
	/* What there is can only be asked once per descriptor, and asking enables nothing. */
	if (ioctl(probe, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "asking userfaultfd for its features");
	if ((api.features & needed) != needed)
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "userfaultfd here cannot trap shared memory (features 0x%llx)",
				  (unsigned long long)api.features);
	api = (struct uffdio_api){.api = UFFD_API,
				  .features = needed | (api.features & UFFD_FEATURE_THREAD_ID)};
	memory->uffd = open_uffd(err);
	if (memory->uffd < 0)
		return -1;
	if (ioctl(memory->uffd, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "enabling userfaultfd's features");
	return 0;
}

struct pf_walk *pf_memory_walk(const struct pf_guest_memory *memory, uint32_t vcpu)
{
	return (struct pf_walk *)(memory->base + PF_GUEST_WALKS + vcpu * PF_GUEST_WALK_SPACING);
}
