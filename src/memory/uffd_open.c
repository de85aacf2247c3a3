/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/uffd_open.c - see memory/uffd_open.h; userfaultfd(2). */
#include "memory/uffd_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#define DEVICE "/dev/userfaultfd"
#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK)

static int by_call(void)
{
	return (int)syscall(SYS_userfaultfd, OPEN_FLAGS);
}

static int by_device(void)
{
	pf_auto_fd int device = open(DEVICE, O_RDWR | O_CLOEXEC);

	return device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, OPEN_FLAGS);
}

static int user_only(void)
{
	return (int)syscall(SYS_userfaultfd, OPEN_FLAGS | UFFD_USER_MODE_ONLY);
}

static const struct way {
	enum pf_uffd_way way;
	int (*open)(void);
	const char *doing;
} all[] = {
	{PF_UFFD_CALL, by_call, "userfaultfd(2)"},
	{PF_UFFD_DEVICE, by_device, "opening a userfaultfd by " DEVICE},
	{PF_UFFD_USER_ONLY, user_only, "userfaultfd(2) for accesses by programs only"},
};

static int explain(const struct way *way, struct pf_err *err)
{
	pf_err_sys(err, "%s", way->doing);
	switch (err->sys) {
	case ENOSYS:
		return pf_err_hint(err, "the kernel needs CONFIG_USERFAULTFD; or a seccomp filter "
					"forbids the call: allow it");
	case ENOENT:
	case ENXIO:
		return pf_err_hint(err, "Linux 6.1 or later with CONFIG_USERFAULTFD has it; in a "
					"container it must be passed in");
	case EACCES:
		return pf_err_hint(err, "give this user access: setfacl -m u:USER:rw " DEVICE
					", by a udev rule to make it last");
	case EPERM:
		if (way->way == PF_UFFD_USER_ONLY)
			return pf_err_hint(err,
					   "a seccomp filter forbids it: allow userfaultfd(2)");
		return pf_err_hint(err, "be root, or have access to " DEVICE ", or set the sysctl "
					"vm.unprivileged_userfaultfd to 1; a container's seccomp "
					"profile must allow it too");
	}
	return -1;
}

int pf_uffd_open(unsigned ways, struct pf_err *err)
{
	bool explained = false;
	struct pf_err first;

	for (size_t i = 0; i < PF_ARRAY_LEN(all); i++) {
		int fd;

		if (!(ways & all[i].way))
			continue;
		fd = all[i].open();
		if (fd >= 0)
			return fd;
		if (!explained)
			explain(&all[i], &first);
		explained = true;
	}
	if (!explained)
		return pf_err_set(err, PF_ERR_STATE, "no way to open a userfaultfd is wanted");
	*err = first; /* the system call's reason is the better one */
	return -1;
}
