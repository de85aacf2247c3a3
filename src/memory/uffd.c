/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/uffd.c - see memory/uffd.h. */
#include "memory/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/uffd_abi.h"
#include "memory/uffd_open.h"

/* fs/userfaultfd.c: set in ctx->features, and shown by fdinfo, once UFFDIO_API has succeeded. */
#define FEATURE_INITIALIZED (UINT64_C(1) << 31)

#define UNWANTED_FEATURES                                                                          \
	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP)

/* The API line of /proc/self/fdinfo/N is "API:\t<api>:<features>:<ioctls>", all of it hex. */
static int read_features(int fd, uint64_t *out_features, struct pf_err *err)
{
	char path[48], line[160];
	FILE *info;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	if (!info)
		return pf_err_sys(err, "reading %s for the userfaultfd's features", path);
	while (!found && fgets(line, sizeof(line), info))
		found = sscanf(line, "API: %*x:%" SCNx64 ":", out_features) == 1;
	fclose(info);
	if (!found) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "descriptor %d is not a userfaultfd: %s has no API line", fd, path);
		return pf_err_hint(err, "send the userfaultfd of each mapping beside its region");
	}
	return 0;
}

static int check_features(uint64_t features, struct pf_err *err)
{
	if (!(features & FEATURE_INITIALIZED)) {
		pf_err_set(err, PF_ERR_PROTOCOL, "UFFDIO_API was not called on the userfaultfd");
		return pf_err_hint(err,
				   "the VMM calls UFFDIO_API before it hands the userfaultfd over");
	}
	if (features & UNWANTED_FEATURES) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "the userfaultfd has %s%s%s(features 0x%" PRIx64
			   "), which would block the VMM's own fork, mremap or munmap on us",
			   features & UFFD_FEATURE_EVENT_FORK ? "EVENT_FORK " : "",
			   features & UFFD_FEATURE_EVENT_REMAP ? "EVENT_REMAP " : "",
			   features & UFFD_FEATURE_EVENT_UNMAP ? "EVENT_UNMAP " : "",
			   features & ~FEATURE_INITIALIZED);
		return pf_err_hint(err, "call UFFDIO_API without these features");
	}
	if (features & UFFD_FEATURE_SIGBUS) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "the userfaultfd has FEATURE_SIGBUS (features 0x%" PRIx64
			   "): whoever touches an absent page would die of it instead of waiting",
			   features & ~FEATURE_INITIALIZED);
		return pf_err_hint(err, "call UFFDIO_API without UFFD_FEATURE_SIGBUS");
	}
	return 0;
}

int pf_uffd_unblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int pf_uffd_adopt(int fd, uint64_t *out_features, struct pf_err *err)
{
	uint64_t features = 0;

	if (read_features(fd, &features, err) || check_features(features, err))
		return -1;
	if (pf_uffd_unblock(fd))
		return pf_err_sys(err, "making the userfaultfd non-blocking");
	*out_features = features & ~FEATURE_INITIALIZED;
	return 0;
}

/* The flags of one open file are seen through all its descriptors; nobody appends to a userfaultfd. */
static bool share_flags(int fd, int other)
{
	int flags = fcntl(fd, F_GETFL), before = fcntl(other, F_GETFL), after;

	if (flags < 0 || before < 0 || fcntl(fd, F_SETFL, flags ^ O_APPEND) < 0)
		return false;
	after = fcntl(other, F_GETFL);
	(void)fcntl(fd, F_SETFL, flags);
	return after >= 0 && (after ^ before) & O_APPEND;
}

bool pf_uffd_same(int fd, int other)
{
	pid_t self = getpid();
	long order = syscall(SYS_kcmp, self, self, KCMP_FILE, fd, other);

	/* Containers refuse it (seccomp), and a kernel can be built without it. */
	return order < 0 ? share_flags(fd, other) : order == 0;
}

int pf_uffd_open_own(struct pf_err *err)
{
	pf_auto_fd int fd = pf_uffd_open(PF_UFFD_USER_ONLY, err);
	struct uffdio_api api = {.api = UFFD_API};

	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api))
		return pf_err_sys(err, "UFFDIO_API of a userfaultfd of the agent's own");
	return pf_steal_fd(&fd);
}

static int refused(struct pf_err *err, const char *what, uint64_t start, uint64_t length)
{
	int sys = errno;

	pf_err_sys(err, "%s 0x%" PRIx64 " (%" PRIu64 " bytes) of the VMM", what, start, length);
	err->class = PF_ERR_PROTOCOL;
	switch (sys) {
	case EBUSY:
		return pf_err_hint(err, "another userfaultfd is registered there: close it first");
	case EINVAL:
		return pf_err_hint(err,
				   "nothing suitable is mapped there, or the kernel cannot trap "
				   "this kind of memory; a memfd must be mapped MAP_SHARED");
	case EPERM:
		return pf_err_hint(err,
				   "map the memory with PROT_WRITE, from a writable descriptor");
	case ENOMEM: /* fs/userfaultfd.c: mmget_not_zero() failed, besides being out of memory */
	case ESRCH:
		return pf_err_hint(err, "the process that made the userfaultfd may have ended");
	}
	return -1;
}

/* Whether these modes alone would do; leaves nothing registered. */
static bool can_trap(int fd, uint64_t start, uint64_t length, uint64_t modes)
{
	struct uffdio_register reg = {.range = {.start = start, .len = length}, .mode = modes};
	struct pf_err ignored;

	return ioctl(fd, UFFDIO_REGISTER, &reg) == 0 &&
	       pf_uffd_unregister(fd, start, length, &ignored) == 0;
}

/* EINVAL for both modes at once: which of them is it? */
static int explain_modes(int fd, uint64_t start, uint64_t length, struct pf_err *err)
{
	bool missing = can_trap(fd, start, length, UFFDIO_REGISTER_MODE_MISSING);
	bool minor = can_trap(fd, start, length, UFFDIO_REGISTER_MODE_MINOR);

	errno = EINVAL;
	if (missing && !minor) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "registering traps for 0x%" PRIx64 " (%" PRIu64
			   " bytes) of the VMM: it can trap MISSING there, but not MINOR",
			   start, length);
		err->sys = EINVAL;
		return pf_err_hint(err, "no memory file is mapped there (MAP_SHARED), or the kernel is older "
					"than 5.13; private memory is a kind of its own");
	}
	if (minor && !missing) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "registering traps for 0x%" PRIx64 " (%" PRIu64
			   " bytes) of the VMM: it can trap MINOR there, but not MISSING, and "
			   "absent pages would read zeros without an event",
			   start, length);
		err->sys = EINVAL;
		return pf_err_hint(err, "use a kernel, or a kind of memory, that traps both");
	}
	return refused(err, "registering traps for", start, length);
}

int pf_uffd_register(int fd, uint64_t start, uint64_t length, uint64_t modes, struct pf_err *err)
{
	return pf_uffd_register_for(fd, start, length, modes,
				    modes & UFFDIO_REGISTER_MODE_MINOR
					    ? UINT64_C(1) << _UFFDIO_CONTINUE
					    : UINT64_C(1) << _UFFDIO_COPY |
						      UINT64_C(1) << _UFFDIO_ZEROPAGE,
				    err);
}

int pf_uffd_register_for(int fd, uint64_t start, uint64_t length, uint64_t modes, uint64_t ioctls,
			 struct pf_err *err)
{
	const uint64_t both = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR;
	const uint64_t wanted = UINT64_C(1) << _UFFDIO_WAKE | ioctls;
	struct uffdio_register reg = {.range = {.start = start, .len = length}, .mode = modes};
	struct pf_err ignored;

	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return errno == EINVAL && (modes & both) == both
			       ? explain_modes(fd, start, length, err)
			       : refused(err, "registering traps for", start, length);
	if ((reg.ioctls & wanted) == wanted)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "the kernel traps accesses at 0x%" PRIx64 " (%" PRIu64
		   " bytes) of the VMM, but offers not all that it takes to place their pages "
		   "(ioctls 0x%" PRIx64 ", wanted 0x%" PRIx64 ")",
		   start, length, (uint64_t)reg.ioctls, wanted);
	/* The refusal above is what the caller must hear of, whatever this one says. */
	(void)!pf_uffd_unregister(fd, start, length, &ignored);
	return -1;
}

int pf_uffd_unregister(int fd, uint64_t start, uint64_t length, struct pf_err *err)
{
	struct uffdio_range range = {.start = start, .len = length};

	if (ioctl(fd, UFFDIO_UNREGISTER, &range))
		return refused(err, "removing the traps from", start, length);
	return 0;
}

static enum pf_map_result map_result(int sys)
{
	switch (sys) {
	case EEXIST:
		return PF_MAP_EXISTS;
	case EFAULT:
		return PF_MAP_ABSENT;
	case EAGAIN:
		return PF_MAP_AGAIN;
	case ENOENT: /* mm/userfaultfd.c, uffd_mfill_lock(): asked before any page is touched */
		return PF_MAP_UNMAPPED;
	case ESRCH:
		return PF_MAP_GONE;
	}
	return PF_MAP_FAILED;
}

enum pf_map_result pf_uffd_continue(int fd, uint64_t start, uint64_t length, uint64_t *out_mapped)
{
	*out_mapped = 0;
	for (;;) {
		struct uffdio_continue arg = {
			.range = {.start = start + *out_mapped, .len = length - *out_mapped},
		};
		int sys;

		if (ioctl(fd, UFFDIO_CONTINUE, &arg) == 0) {
			*out_mapped = length;
			return PF_MAP_DONE;
		}
		sys = errno;
		if (sys != EAGAIN || arg.mapped <= 0)
			return map_result(sys);
		/*
		 * Stopped after some pages, and EAGAIN does not say why (UFFDIO_CONTINUE in
		 * ioctl_userfaultfd(2)): asked again, the page where it stopped tells.
		 */
		*out_mapped += (uint64_t)arg.mapped;
	}
}

enum pf_map_result pf_uffd_try_continue(int fd, uint64_t start, uint64_t length)
{
	struct uffdio_continue arg = {
		.range = {.start = start, .len = length},
		.mode = UFFDIO_CONTINUE_MODE_DONTWAKE,
	};

	return ioctl(fd, UFFDIO_CONTINUE, &arg) == 0 ? PF_MAP_DONE : map_result(errno);
}

enum pf_map_result pf_uffd_try_zeropage(int fd, uint64_t start, uint64_t length)
{
	struct uffdio_zeropage arg = {
		.range = {.start = start, .len = length},
		.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
	};

	return ioctl(fd, UFFDIO_ZEROPAGE, &arg) == 0 ? PF_MAP_DONE : map_result(errno);
}

enum pf_map_result pf_uffd_try_zeros(int fd, uint64_t start, uint64_t length)
{
	void *zeros = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_copy arg = {
		.dst = start,
		.src = (uintptr_t)zeros,
		.len = length,
		.mode = UFFDIO_COPY_MODE_DONTWAKE,
	};
	enum pf_map_result result;
	int sys;

	if (zeros == MAP_FAILED)
		return PF_MAP_FAILED;
	result = ioctl(fd, UFFDIO_COPY, &arg) == 0 ? PF_MAP_DONE : map_result(errno);
	sys = errno; /* of a failure: what the caller says */
	munmap(zeros, length);
	errno = sys;
	return result;
}

/* One call; what was placed, in bytes, or -1 with errno. */
static int64_t place_once(int fd, uint64_t start, uint64_t length, const uint8_t *bytes)
{
	struct uffdio_copy copy = {.dst = start, .src = (uintptr_t)bytes, .len = length};
	struct uffdio_zeropage zero = {.range = {.start = start, .len = length}};
	int failed = bytes ? ioctl(fd, UFFDIO_COPY, &copy) : ioctl(fd, UFFDIO_ZEROPAGE, &zero);
	int64_t placed = bytes ? copy.copy : zero.zeropage;

	if (failed == 0)
		return (int64_t)length;
	/* EAGAIN with a count is progress; without one, the mm is changing (ioctl_userfaultfd(2)). */
	return errno == EAGAIN && placed > 0 ? placed : -1;
}

enum pf_map_result pf_uffd_place(int fd, uint64_t start, uint64_t length, const uint8_t *bytes,
				 uint64_t *out_placed)
{
	*out_placed = 0;
	while (*out_placed < length) {
		int64_t placed = place_once(fd, start + *out_placed, length - *out_placed,
					    bytes ? bytes + *out_placed : NULL);

		if (placed < 0)
			/* EFAULT is about our own bytes here, not about a hole. */
			return errno == EFAULT ? PF_MAP_FAILED : map_result(errno);
		*out_placed += (uint64_t)placed;
	}
	return PF_MAP_DONE;
}

enum pf_map_result pf_uffd_wake(int fd, uint64_t start, uint64_t length)
{
	struct uffdio_range range = {.start = start, .len = length};

	return ioctl(fd, UFFDIO_WAKE, &range) == 0 ? PF_MAP_DONE : PF_MAP_FAILED;
}

enum pf_map_result pf_uffd_poison(int fd, uint64_t start, uint64_t length)
{
	struct pf_uffdio_poison arg = {.range = {.start = start, .len = length}};

	while (ioctl(fd, PF_UFFDIO_POISON, &arg) != 0) {
		if (errno != EAGAIN || arg.updated <= 0)
			return map_result(errno);
		/* As with UFFDIO_CONTINUE: asked again, the page where it stopped tells why. */
		arg.range.start += (uint64_t)arg.updated;
		arg.range.len -= (uint64_t)arg.updated;
	}
	return PF_MAP_DONE;
}

/* fs/userfaultfd.c: a command that it does not know is EINVAL before the argument is looked at. */
bool pf_uffd_can_poison(int fd)
{
	return ioctl(fd, PF_UFFDIO_POISON, NULL) != 0 && (errno == EFAULT || errno == EAGAIN);
}
