/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/memory.c - see tests/guest/memory.h; memfd_create(2), userfaultfd(2). */
#include "tests/guest/memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define HUGE_PAGE (2u << 20)

const char *pf_backing_name(enum pf_backing backing)
{
	static const char *const names[PF_BACKING_COUNT_] = {
		[PF_BACKING_MEMFD] = "memfd",
		[PF_BACKING_TMPFS] = "tmpfs",
		[PF_BACKING_PRIVATE] = "private",
		[PF_BACKING_HUGETLB] = "hugetlb",
		[PF_BACKING_GMEM] = "guest_memfd",
		[PF_BACKING_GMEM_UNWRITABLE] = "guest_memfd-unwritable",
	};

	return (size_t)backing < PF_ARRAY_LEN(names) ? names[backing] : NULL;
}

bool pf_backing_is_gmem(enum pf_backing backing)
{
	return backing == PF_BACKING_GMEM || backing == PF_BACKING_GMEM_UNWRITABLE;
}

uint32_t pf_backing_page_size(enum pf_backing backing)
{
	return backing == PF_BACKING_HUGETLB ? HUGE_PAGE : PF_GUEST_PAGE;
}

static int open_file(const struct pf_memory_plan *plan, enum pf_backing backing, struct pf_err *err)
{
	unsigned huge = backing == PF_BACKING_HUGETLB ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	int fd = backing == PF_BACKING_TMPFS
			 ? open(plan->tmpfs, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
			 : memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge);

	if (fd < 0)
		return pf_err_sys(err, "creating the guest's memory file (%s)",
				  pf_backing_name(backing));
	return fd;
}

/* Its length is for ever, without a seal. */
static int make_gmem(struct pf_guest_memory *memory, enum pf_backing backing, int vm,
		     struct pf_err *err)
{
	memory->fd[backing] = pf_gmem_create(vm, memory->plan.size, backing == PF_BACKING_GMEM, err);
	return memory->fd[backing] >= 0 ? 0 : -1;
}

static int make_file(struct pf_guest_memory *memory, enum pf_backing backing, int vm,
		     struct pf_err *err)
{
	if (backing == PF_BACKING_PRIVATE || memory->fd[backing] >= 0)
		return 0;
	if (pf_backing_is_gmem(backing))
		return make_gmem(memory, backing, vm, err);
	memory->fd[backing] = open_file(&memory->plan, backing, err);
	if (memory->fd[backing] < 0)
		return -1;
	if (ftruncate(memory->fd[backing], (off_t)memory->plan.size) != 0)
		return pf_err_sys(err, "making the guest's memory file %llu bytes long",
				  (unsigned long long)memory->plan.size);
	/* A memory file that shrinks is a SIGBUS for whoever touches it; a file cannot be sealed.
	 */
	if (backing != PF_BACKING_TMPFS &&
	    fcntl(memory->fd[backing], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return pf_err_sys(err, "sealing the size of the guest's memfd");
	return 0;
}

/* At a multiple of the largest page size; what stands out on either side is given back. */
static int reserve(uint64_t size, unsigned char **out, struct pf_err *err)
{
	unsigned char *at = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (at == MAP_FAILED)
		return pf_err_sys(err, "reserving addresses for %llu bytes of guest memory",
				  (unsigned long long)size);
	before = (HUGE_PAGE - (uintptr_t)at % HUGE_PAGE) % HUGE_PAGE;
	if (before > 0)
		munmap(at, before);
	munmap(at + before + size, HUGE_PAGE - before);
	*out = at + before;
	return 0;
}

static int map_region(struct pf_guest_memory *memory, uint32_t region, unsigned char *base,
		      struct pf_err *err)
{
	uint64_t start = memory->region_start[region];
	enum pf_backing backing = memory->plan.region[region];
	int fd = memory->fd[backing];
	int flags = MAP_FIXED | (backing == PF_BACKING_HUGETLB ? 0 : MAP_NORESERVE) |
		    (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);

	if (mmap(base + start, memory->region_start[region + 1] - start, PROT_READ | PROT_WRITE,
		 flags, fd, fd >= 0 ? (off_t)start : 0) == MAP_FAILED)
		return pf_err_sys(err, "mapping region %u of guest memory (%s)", region,
				  pf_backing_name(backing));
	return 0;
}

static int make_region(struct pf_guest_memory *memory, uint32_t region, int vm, struct pf_err *err)
{
	enum pf_backing backing = memory->plan.region[region];

	if (make_file(memory, backing, vm, err) || map_region(memory, region, memory->base, err))
		return -1;
	if (pf_backing_is_gmem(backing) && map_region(memory, region, memory->witness, err))
		return -1;
	if (!memory->mirror || backing == PF_BACKING_PRIVATE)
		return 0;
	return map_region(memory, region, memory->mirror, err);
}

/* Between pages of every region's size. */
static int cut_into_regions(struct pf_guest_memory *memory, struct pf_err *err)
{
	const struct pf_memory_plan *plan = &memory->plan;
	uint64_t page = PF_GUEST_PAGE, pages;

	for (uint32_t i = 0; i < plan->region_count; i++)
		if (pf_backing_page_size(plan->region[i]) > page)
			page = pf_backing_page_size(plan->region[i]);
	pages = plan->size / page;
	if (plan->size % page != 0 || pages < plan->region_count)
		return pf_err_set(err, PF_ERR_USAGE,
				  "%llu bytes are no %u regions of pages of %llu bytes",
				  (unsigned long long)plan->size, plan->region_count,
				  (unsigned long long)page);
	for (uint32_t i = 0; i <= plan->region_count; i++)
		memory->region_start[i] = pages * i / plan->region_count * page;
	return 0;
}

int pf_memory_create(struct pf_guest_memory *memory, const struct pf_memory_plan *plan, int vm,
		     struct pf_err *err)
{
	*memory = (struct pf_guest_memory){.plan = *plan, .mirror_uffd = -1};
	for (uint32_t i = 0; i < PF_BACKING_COUNT_; i++)
		memory->fd[i] = memory->uffd[i] = -1;
	for (uint32_t i = 0; i < PF_MEMORY_REGIONS_MAX; i++)
		memory->bitmap[i].fd = -1;
	if (cut_into_regions(memory, err) || reserve(plan->size, &memory->base, err) ||
	    reserve(plan->size, &memory->witness, err) ||
	    (plan->mirror && reserve(plan->size, &memory->mirror, err)))
		return -1;
	for (uint32_t i = 0; i < plan->region_count; i++)
		if (make_region(memory, i, vm, err))
			return -1;
	return 0;
}

void pf_memory_close_uffds(struct pf_guest_memory *memory)
{
	for (uint32_t i = 0; i < PF_BACKING_COUNT_; i++)
		pf_close_fd(&memory->uffd[i]);
	pf_close_fd(&memory->mirror_uffd);
}

void pf_memory_destroy(struct pf_guest_memory *memory)
{
	if (!memory->plan.size)
		return;
	pf_memory_close_uffds(memory);
	if (memory->base)
		munmap(memory->base, memory->plan.size);
	if (memory->mirror)
		munmap(memory->mirror, memory->plan.size);
	if (memory->witness)
		munmap(memory->witness, memory->plan.size);
	memory->base = memory->mirror = memory->witness = NULL;
	for (uint32_t i = 0; i < PF_MEMORY_REGIONS_MAX; i++)
		pf_gmem_bitmap_destroy(&memory->bitmap[i]);
	for (uint32_t i = 0; i < PF_BACKING_COUNT_; i++)
		pf_close_fd(&memory->fd[i]);
}

static uint32_t region_of(const struct pf_guest_memory *memory, uint64_t address)
{
	uint32_t region = 0;

	while (address >= memory->region_start[region + 1])
		region++;
	return region;
}

int pf_memory_read(const struct pf_guest_memory *memory, uint32_t page, unsigned char *out,
		   struct pf_err *err)
{
	uint64_t address = (uint64_t)page * PF_GUEST_PAGE;
	enum pf_backing backing = memory->plan.region[region_of(memory, address)];
	int fd = memory->fd[backing];
	ssize_t got;

	if (fd < 0 || pf_backing_is_gmem(backing)) {
		memcpy(out, (fd < 0 ? memory->base : memory->witness) + address, PF_GUEST_PAGE);
		return 0;
	}
	do
		got = pread(fd, out, PF_GUEST_PAGE, (off_t)address);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return pf_err_sys(err, "reading guest memory at 0x%llx",
				  (unsigned long long)address);
	if (got != PF_GUEST_PAGE) /* pread(2) of page cache stops early at the end only */
		return pf_err_set(err, PF_ERR_STATE,
				  "the memory file ends at 0x%llx: somebody cut it",
				  (unsigned long long)address + (unsigned long long)got);
	return 0;
}

const unsigned char *pf_memory_mirrored(const struct pf_guest_memory *memory, uint32_t page)
{
	uint64_t address = (uint64_t)page * PF_GUEST_PAGE;

	if (!memory->mirror ||
	    memory->plan.region[region_of(memory, address)] == PF_BACKING_PRIVATE)
		return NULL;
	return memory->mirror + address;
}

static int prepare_region(struct pf_guest_memory *memory, uint32_t region, struct pf_err *err)
{
	uint64_t start = memory->region_start[region];
	uint64_t size = memory->region_start[region + 1] - start;
	int fd = memory->fd[memory->plan.region[region]];

	if (fd < 0)
		return 0;
	/* A page of guest_memfd that was written to is there for good; an allocated one is not yet. */
	if (memory->plan.prepared == PF_PREPARED_LISTED || !pf_backing_is_gmem(memory->plan.region[region]))
		memset(memory->base + start, 0xa5, PF_PREPARED_PAGES * PF_GUEST_PAGE);
	if (memory->plan.prepared == PF_PREPARED_LISTED)
		return 0;
	/* guest_memfd knows no other mode of allocating; a file of this size already does the same. */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)size) != 0 ||
	    madvise(memory->base + start, size, MADV_DONTNEED) != 0)
		return pf_err_sys(err, "preallocating region %u", region);
	return 0;
}

int pf_memory_prepare(struct pf_guest_memory *memory, struct pf_err *err)
{
	if (memory->plan.prepared == PF_PREPARED_NOT)
		return 0;
	for (uint32_t i = 0; i < memory->plan.region_count; i++)
		if (prepare_region(memory, i, err))
			return -1;
	return 0;
}

void pf_memory_fill(struct pf_guest_memory *memory, const struct pf_plan *plan)
{
	static const uint64_t no_visits[PF_GUEST_VCPUS_MAX];
	uint32_t low = PF_GUEST_LOW_END / PF_GUEST_PAGE;
	struct pf_replay replay;

	pf_replay_init(&replay, plan, no_visits);
	for (uint32_t page = 0; page < memory->plan.size / PF_GUEST_PAGE; page++) {
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

/* What there is can only be asked once per descriptor, and asking enables nothing. */
static int ask_features(uint64_t *out, struct pf_err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	pf_auto_fd int probe = open_uffd(err);

	if (probe < 0)
		return -1;
	if (ioctl(probe, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "asking userfaultfd for its features");
	*out = api.features;
	return 0;
}

static int make_uffd(uint64_t needed, int *out, struct pf_err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	uint64_t have = 0;

	if (*out >= 0)
		return 0;
	if (ask_features(&have, err))
		return -1;
	if ((have & needed) != needed)
		return pf_err_set(err, PF_ERR_SYSTEM,
				  "userfaultfd here cannot trap this memory (features 0x%llx)",
				  (unsigned long long)have);
	api.features = needed | (have & UFFD_FEATURE_THREAD_ID);
	*out = open_uffd(err);
	if (*out < 0)
		return -1;
	if (ioctl(*out, UFFDIO_API, &api) != 0)
		return pf_err_sys(err, "enabling userfaultfd's features");
	return 0;
}

static uint64_t features_of(enum pf_backing backing)
{
	/* There is no feature bit of guest_memfd's: UFFDIO_REGISTER tells. */
	if (backing == PF_BACKING_PRIVATE || pf_backing_is_gmem(backing))
		return 0;
	if (backing == PF_BACKING_HUGETLB)
		return UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_HUGETLBFS;
	return UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
}

static int make_bitmap(struct pf_guest_memory *memory, uint32_t region, struct pf_err *err)
{
	uint64_t bytes = memory->region_start[region + 1] - memory->region_start[region];

	if (!pf_backing_is_gmem(memory->plan.region[region]))
		return 0;
	return pf_gmem_bitmap_create(&memory->bitmap[region], bytes / PF_GUEST_PAGE, err);
}

int pf_memory_make_traps(struct pf_guest_memory *memory, struct pf_err *err)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < memory->plan.region_count; i++) {
		enum pf_backing backing = memory->plan.region[i];

		all |= features_of(backing);
		if (make_uffd(features_of(backing), &memory->uffd[backing], err) ||
		    make_bitmap(memory, i, err))
			return -1;
	}
	return memory->mirror ? make_uffd(all, &memory->mirror_uffd, err) : 0;
}

struct pf_walk *pf_memory_walk(const struct pf_guest_memory *memory, uint32_t vcpu)
{
	return (struct pf_walk *)(memory->base + PF_GUEST_WALKS + vcpu * PF_GUEST_WALK_SPACING);
}
