/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/sandbox.c - see migrate/sandbox.h; capabilities(7), prctl(2), core(5), seccomp(2).
 *
 * The tables below are what glibc, OpenSSL, sd-event and this program call from here on, and what
 * their newer versions may; a call with a range of uses is let through for the uses that are ours.
 */
#include "migrate/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/uffd_abi.h"

/* Allowed whatever the arguments are. */
static const int plain[] = {
	/* the way of a page, and of a frame */
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write),
	SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(fallocate),
	SCMP_SYS(lseek), SCMP_SYS(mincore),
	/* connections */
	SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(shutdown),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	/* the event loop and the mailboxes */
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime),
	/* files: the state directory, certificates, the device state */
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(fcntl),
	SCMP_SYS(flock), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(fstatfs), SCMP_SYS(access),
	SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(ftruncate), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2),
	SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(memfd_create),
	/* memory and threads; mmap, mprotect and clone are below */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
	SCMP_SYS(munlock), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(membarrier), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(sched_yield), SCMP_SYS(sched_getattr),
	SCMP_SYS(sched_setattr), SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu),
	/* signals, clocks, and who and where we are */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(getrusage),
	SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(getppid),
#ifdef PF_SANDBOX_LOOSE
	/* LeakSanitizer stops this process from a child of it, and looks into it. */
	SCMP_SYS(clone), SCMP_SYS(ptrace), SCMP_SYS(wait4), SCMP_SYS(getdents), SCMP_SYS(prctl),
	SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(prlimit64),
#endif
};

/* Allowed if an argument is as it should be: (argument & mask) == value. */
static const struct limited {
	int call;
	unsigned argument;
	uint64_t mask, value;
} limited[] = {
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_CONTINUE},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_WAKE},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_COPY},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_ZEROPAGE},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, PF_UFFDIO_POISON},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_API},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_REGISTER},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, UFFDIO_UNREGISTER},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS}, /* isatty(3), also by stdio */
	{SCMP_SYS(ioctl), 1, UINT32_MAX, TIOCGWINSZ},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO},
	{SCMP_SYS(socket), 0, UINT32_MAX, AF_INET},
	{SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6},
	{SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX},    /* nscd, systemd-resolved */
	{SCMP_SYS(socket), 0, UINT32_MAX, AF_NETLINK}, /* getaddrinfo(3), links and routes */
	{SCMP_SYS(mmap), 2, PROT_EXEC, 0}, /* and allow_code() */
	{SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
	/* A thread; not a process.  clone3(2) hides its flags from a filter: see refused[]. */
	{SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
	/* Only for this process's own memory: what a kind of it can do, and which pages it has. */
	{SCMP_SYS(userfaultfd), 0, UFFD_USER_MODE_ONLY, UFFD_USER_MODE_ONLY},
	{SCMP_SYS(kcmp), 2, UINT32_MAX, KCMP_FILE}, /* was a userfaultfd handed over twice? */
	{SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
	{SCMP_SYS(prctl), 0, UINT32_MAX, PR_GET_DUMPABLE},
	{SCMP_SYS(prlimit64), 2, UINT64_MAX, 0}, /* getrlimit(2) */
};

/*
 * What neither a keeper nor a worker ever calls.  A filter is inherited by what is executed behind it, so that of a
 * keeper that listed what it allows would have to list all that a program needs to be loaded and an agent to
 * open its files and sockets, that is, next to everything: the other way round it says something.
 */
static const int never[] = {
	/* other processes, and who this one is */
#ifndef PF_SANDBOX_LOOSE
	SCMP_SYS(ptrace),
#endif
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise),
	SCMP_SYS(pidfd_getfd), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid),
	SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid),
	/* another view of the system */
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen),
	SCMP_SYS(fsmount), SCMP_SYS(mount_setattr), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns),
	SCMP_SYS(unshare), SCMP_SYS(open_by_handle_at), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	/* the kernel itself */
	SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(add_key), SCMP_SYS(request_key),
	SCMP_SYS(keyctl), SCMP_SYS(fanotify_init), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(modify_ldt),
	SCMP_SYS(syslog), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(reboot), SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex), SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
};

/* Not EPERM but ENOSYS: glibc then does without it, by a call that can be looked into. */
static const int absent[] = {SCMP_SYS(clone3)};

static int check(int failed, const char *what, struct pf_err *err)
{
	if (failed == 0)
		return 0;
	if (failed < -1)
		errno = -failed; /* as libseccomp tells it */
	pf_err_sys(err, "%s", what);
	return pf_err_hint(err, "the agent does not serve without its sandbox; a container's own "
				"filter must let it set one up");
}

static int allow(scmp_filter_ctx filter)
{
	int failed = 0;

	for (size_t i = 0; !failed && i < PF_ARRAY_LEN(plain); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain[i], 0);
	for (size_t i = 0; !failed && i < PF_ARRAY_LEN(limited); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, limited[i].call, 1,
					  SCMP_CMP(limited[i].argument, SCMP_CMP_MASKED_EQ,
						   limited[i].mask, limited[i].value));
	for (size_t i = 0; !failed && i < PF_ARRAY_LEN(absent); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), absent[i], 0);
	return failed;
}

/*
 * No mapping that can be written is ever run.  Code comes from files, mapped privately as dlopen(3)
 * does: getaddrinfo(3) loads its modules when it needs them.  (A memfd is a file too: this makes an
 * attack longer, it does not end it.)
 */
static int allow_code(scmp_filter_ctx filter)
{
	return seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
		SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC),
		SCMP_CMP(3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS | MAP_SHARED, 0));
}

/* abort(3) and raise(3) signal this process, and nobody else is to be signalled. */
static int allow_own_signals(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp own = SCMP_CMP(0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0);
	int failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, own);

	return failed ? failed : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1, own);
}

static int refuse_calls(struct pf_err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int failed = 0;

	if (!filter)
		return pf_err_set(err, PF_ERR_SYSTEM, "no memory for the filter of system calls");
	for (size_t i = 0; !failed && i < PF_ARRAY_LEN(never); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), never[i], 0);
	if (!failed)
		failed = seccomp_load(filter);
	seccomp_release(filter);
	return check(failed, "filtering system calls (seccomp)", err);
}

static int filter_calls(struct pf_err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int failed;

	if (!filter)
		return pf_err_set(err, PF_ERR_SYSTEM, "no memory for the filter of system calls");
	failed = allow(filter);
	if (!failed)
		failed = allow_code(filter);
	if (!failed)
		failed = allow_own_signals(filter);
	/* A binary tree: the calls of a page's way are found in a few steps. */
	if (!failed)
		failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!failed)
		failed = seccomp_load(filter);
	seccomp_release(filter);
	return check(failed, "filtering system calls (seccomp)", err);
}

/* Files of whoever owns them, and a port below 1024. */
static const unsigned kept_capabilities[] = {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
					     CAP_NET_BIND_SERVICE};

static int shed_most_capabilities(struct pf_err *err)
{
	const capng_type_t all = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE;
	capng_type_t mine[PF_ARRAY_LEN(kept_capabilities)] = {0};

	if (capng_get_caps_process() != 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "reading its capabilities: libcap-ng refused");
	for (size_t i = 0; i < PF_ARRAY_LEN(mine); i++)
		for (capng_type_t set = CAPNG_EFFECTIVE; set <= CAPNG_INHERITABLE; set <<= 1)
			if (capng_have_capability(set, kept_capabilities[i]))
				mine[i] |= set;
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < PF_ARRAY_LEN(mine); i++)
		if (mine[i] & all)
			capng_update(CAPNG_ADD, mine[i], kept_capabilities[i]);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "giving up capabilities: libcap-ng refused");
	return 0;
}

static int shed_capabilities(struct pf_err *err)
{
	/* The bounding set may stay: without new privileges nothing comes out of it. */
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "giving up capabilities: libcap-ng refused");
	return 0;
}

/* core(5): a dump that is made after all (fs.suid_dumpable) then has no memory in it. */
static int empty_cores(struct pf_err *err)
{
	pf_auto_fd int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
	struct rlimit none = {0, 0};

	if (fd >= 0 && write(fd, "0", 1) != 1)
		return pf_err_sys(err, "writing /proc/self/coredump_filter");
	if (fd < 0 && errno != ENOENT) /* a kernel without core dumps */
		return pf_err_sys(err, "opening /proc/self/coredump_filter");
	return check(setrlimit(RLIMIT_CORE, &none), "forbidding core dumps", err);
}

int pf_sandbox_keep(struct pf_err *err)
{
	if (check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "giving up new privileges", err) ||
	    shed_most_capabilities(err) || empty_cores(err) ||
	    check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "becoming non-dumpable", err))
		return -1;
	return refuse_calls(err);
}

int pf_sandbox_enter(struct pf_err *err)
{
	if (check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "giving up new privileges", err) ||
	    shed_capabilities(err) || empty_cores(err) ||
	    check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "becoming non-dumpable", err))
		return -1;
	return filter_calls(err);
}
