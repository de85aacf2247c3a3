/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-sandbox.c - what a confined process is refused, what it keeps, what it leaves.
 *
 * A sandbox is for good, so each attempt is made in a child of its own.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/sandbox.h"
#include "net/watch.h"

#define DID_NOT_ENTER 200

/* Runs in a child that has entered a sandbox: 0, or the errno of what it tried; returns that. */
static int inside(int (*enter)(struct pf_err *err), int (*attempt)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct pf_err err;

		if (enter(&err)) {
			fprintf(stderr, "%s\n", err.text);
			_exit(DID_NOT_ENTER);
		}
		_exit(attempt());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), DID_NOT_ENTER);
	return WEXITSTATUS(status);
}

static int confined(int (*attempt)(void))
{
	return inside(pf_sandbox_enter, attempt);
}

static int failure(long result)
{
	return result < 0 ? errno : 0;
}

static int start_a_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return failure(pid);
}

static int run_a_program(void)
{
	char path[] = "/bin/true", *argv[] = {path, NULL};

	return failure(execve(path, argv, argv + 1));
}

static int be_debugged(void)
{
	return failure(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int read_another_process(void)
{
	char byte;
	struct iovec mine = {&byte, 1}, theirs = {&byte, 1};

	return failure(process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0));
}

static int signal_another_process(void)
{
	return failure(kill(getppid(), 0));
}

static int run_anonymous_memory(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? errno : 0;
}

static int run_what_was_written(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return failure(mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

static int run_what_can_be_written(void)
{
	int fd = memfd_create("code", MFD_CLOEXEC);
	void *at = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, 4096) == 0)
		at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
	return at == MAP_FAILED ? errno : 0;
}

static int read_every_packet(void)
{
	return failure(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int wait_for_connections(void)
{
	return failure(listen(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1));
}

static int become_dumpable(void)
{
	return failure(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int allow_core_dumps(void)
{
	struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};

	return failure(setrlimit(RLIMIT_CORE, &most));
}

static int become_somebody_else(void)
{
	return failure(syscall(SYS_setuid, 1));
}

static int make_a_namespace(void)
{
	return failure(unshare(CLONE_NEWUSER));
}

static int mount_something(void)
{
	return failure(mount("none", "/nonexistent", "tmpfs", 0, NULL));
}

static int change_modes(void)
{
	return failure(syscall(SYS_fchmodat, AT_FDCWD, "/nonexistent", 0700));
}

static int trap_accesses_of_the_kernel(void)
{
	return failure(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static int load_a_program_into_the_kernel(void)
{
	return failure(syscall(SYS_bpf, 0, NULL, 0));
}

static int queue_calls_past_the_filter(void)
{
	return failure(syscall(SYS_io_uring_setup, 1, NULL));
}

static int push_into_a_terminal(void)
{
	char byte = '\n';

	return failure(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, &byte));
}

static void what_an_agent_never_does_is_refused(void **unused)
{
	static const struct {
		const char *name;
		int (*attempt)(void);
		bool needed_by_sanitizers;
	} forbidden[] = {
		{"start a process", start_a_process, true},
		{"run a program", run_a_program, false},
		{"be debugged", be_debugged, true},
		{"read another process", read_another_process, false},
		{"signal another process", signal_another_process, false},
		{"run anonymous memory", run_anonymous_memory, true},
		{"run what was written", run_what_was_written, true},
		{"run what can be written", run_what_can_be_written, true},
		{"read every packet", read_every_packet, false},
		{"wait for connections", wait_for_connections, false},
		{"become dumpable", become_dumpable, true},
		{"allow core dumps", allow_core_dumps, true},
		{"become somebody else", become_somebody_else, false},
		{"make a namespace", make_a_namespace, false},
		{"mount something", mount_something, false},
		{"change modes", change_modes, false},
		{"trap accesses of the kernel", trap_accesses_of_the_kernel, false},
		{"load a program into the kernel", load_a_program_into_the_kernel, false},
		{"queue calls past the filter", queue_calls_past_the_filter, false},
		{"push into a terminal", push_into_a_terminal, false},
	};

	(void)unused;
	for (size_t i = 0; i < PF_ARRAY_LEN(forbidden); i++) {
#ifdef PF_SANDBOX_LOOSE
		if (forbidden[i].needed_by_sanitizers)
			continue;
#endif
		print_message("%s\n", forbidden[i].name);
		assert_int_equal(confined(forbidden[i].attempt), EPERM);
	}
}

static void *add_one(void *counter)
{
	++*(int *)counter;
	return NULL;
}

/* With a file, a thread, a name to resolve. */
static int work_on(void)
{
	struct addrinfo *found = NULL;
	pthread_t thread;
	int counter = 0, fd = memfd_create("work", MFD_CLOEXEC);

	if (fd < 0 || write(fd, "x", 1) != 1)
		return errno;
	if (pthread_create(&thread, NULL, add_one, &counter) || pthread_join(thread, NULL))
		return EAGAIN;
	if (getaddrinfo("localhost", "1", NULL, &found))
		return ENOENT;
	freeaddrinfo(found);
	return counter == 1 ? 0 : EIO;
}

static void what_an_agent_does_goes_on(void **unused)
{
	(void)unused;
	assert_int_equal(confined(work_on), 0);
}

/* Opened there, too: what was opened before needs less. */
static int watch_the_network(void)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct pf_flow flow = {0};
	struct pf_path path = {0};
	struct pf_watch *watch;
	struct pf_err err;

	memcpy(&flow.peer, &loopback, sizeof(loopback));
	if (pf_watch_open(&watch, &err))
		return err.sys ? err.sys : EIO;
	pf_watch_drain(watch);
	pf_watch_look(watch, &flow, &path);
	pf_watch_close(watch);
	return path.state == PF_PATH_UNKNOWN ? EIO : 0;
}

static void the_network_is_watched(void **unused)
{
	(void)unused;
	assert_int_equal(confined(watch_the_network), 0);
}

/* The value of a line of /proc/self/status. */
static int status_says(const char *name, const char *value)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256], wanted[64];
	bool found = false;

	snprintf(wanted, sizeof(wanted), "%s:\t%s\n", name, value);
	while (status && fgets(line, sizeof(line), status))
		found |= strcmp(line, wanted) == 0;
	if (status)
		fclose(status);
	return found ? 0 : EINVAL;
}

static int look_at_itself(void)
{
	static const char *const none = "0000000000000000";

	return status_says("CapEff", none) | status_says("CapPrm", none) |
	       status_says("CapInh", none) | status_says("CapAmb", none) |
	       status_says("NoNewPrivs", "1") | status_says("Seccomp", "2");
}

static void no_capability_stays(void **unused)
{
	(void)unused;
	assert_int_equal(confined(look_at_itself), 0);
}

static int look_at_its_cores(void)
{
	char filter[16] = "";
	struct rlimit core;
	pf_auto_fd int fd = open("/proc/self/coredump_filter", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && (read(fd, filter, sizeof(filter) - 1) < 8 || strcmp(filter, "00000000\n")))
		return EINVAL;
	if (getrlimit(RLIMIT_CORE, &core) || core.rlim_cur != 0 || core.rlim_max != 0)
		return ERANGE;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : EBUSY;
}

static void nothing_goes_into_a_core_dump(void **unused)
{
	(void)unused;
	assert_int_equal(confined(look_at_its_cores), 0);
}

/* ---- the keeper's */

static void what_a_keeper_never_does_is_refused(void **unused)
{
	static int (*const forbidden[])(void) = {
		read_another_process, become_somebody_else, make_a_namespace, mount_something,
		load_a_program_into_the_kernel, queue_calls_past_the_filter, allow_core_dumps,
#ifndef PF_SANDBOX_LOOSE
		be_debugged,
#endif
	};

	(void)unused;
	for (size_t i = 0; i < PF_ARRAY_LEN(forbidden); i++)
		assert_int_equal(inside(pf_sandbox_keep, forbidden[i]), EPERM);
}

/* Without capabilities these fail for what is wrong with their arguments, or do not: the filter
 * alone refuses them. */
static const struct unguarded {
	const char *name;
	long argument[3];
} unguarded[] = {
	{"process_vm_readv", {-1, 0, 0}},
	{"process_vm_writev", {-1, 0, 0}},
	{"process_madvise", {-1, 0, 0}},
	{"pidfd_getfd", {-1, 0, 0}},
	{"setuid", {-1, 0, 0}},
	{"setgid", {-1, 0, 0}},
	{"setreuid", {-1, -1, 0}},
	{"setregid", {-1, -1, 0}},
	{"setresuid", {-1, -1, -1}},
	{"setresgid", {-1, -1, -1}},
	{"setfsuid", {-1, 0, 0}},
	{"setfsgid", {-1, 0, 0}},
	{"open_tree", {-1, 0, 0}},
	{"chroot", {0, 0, 0}},
	{"setns", {-1, 0, 0}},
	{"unshare", {0, 0, 0}},
	{"mknod", {0, 0, 0}},
	{"mknodat", {-1, 0, 0}},
	{"perf_event_open", {0, 0, 0}},
	{"io_uring_setup", {1, 0, 0}},
	{"io_uring_enter", {-1, 0, 0}},
	{"io_uring_register", {-1, 0, 0}},
	{"add_key", {0, 0, 0}},
	{"request_key", {0, 0, 0}},
	{"keyctl", {-1, 0, 0}},
	{"iopl", {4, 0, 0}},
	{"ioperm", {0, 0, 0}},
	{"modify_ldt", {99, 0, 0}},
	{"quotactl", {-1, 0, 0}},
	{"settimeofday", {1, 0, 0}},
	{"clock_settime", {0, 0, 0}},
	{"clock_adjtime", {0, 0, 0}},
	{"adjtimex", {0, 0, 0}},
};
static const struct unguarded *now;

static int call_it(void)
{
	return failure(syscall(seccomp_syscall_resolve_name(now->name), now->argument[0],
			       now->argument[1], now->argument[2], 0, 0, 0));
}

static int shed_capabilities_alone(struct pf_err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	return syscall(SYS_capset, &header, none) == 0 ? 0
						       : pf_err_sys(err, "shedding capabilities");
}

static void a_keepers_filter_refuses_what_no_capability_guards(void **unused)
{
	size_t refused = 0;

	(void)unused;
	for (now = unguarded; now < unguarded + PF_ARRAY_LEN(unguarded); now++) {
		/* Another processor's, or closed to all who are not privileged here (sysctl). */
		if (seccomp_syscall_resolve_name(now->name) < 0 ||
		    inside(shed_capabilities_alone, call_it) == EPERM)
			continue;
		print_message("%s\n", now->name);
		assert_int_equal(inside(pf_sandbox_keep, call_it), EPERM);
		refused++;
	}
	assert_in_range(refused, PF_ARRAY_LEN(unguarded) / 2, PF_ARRAY_LEN(unguarded));
}

/* A worker is a program that is executed, and confines itself further. */
static int start_a_worker(void)
{
	char path[] = "/bin/true", *argv[] = {path, NULL};
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execve(path, argv, argv + 1);
		_exit(errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int confine_further(void)
{
	struct pf_err err;

	return pf_sandbox_enter(&err) ? EIO : look_at_itself();
}

static void what_a_keeper_does_goes_on(void **unused)
{
	(void)unused;
	assert_int_equal(inside(pf_sandbox_keep, start_a_worker), 0);
	assert_int_equal(inside(pf_sandbox_keep, confine_further), 0);
	assert_int_equal(inside(pf_sandbox_keep, look_at_its_cores), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_agent_never_does_is_refused),
		cmocka_unit_test(what_an_agent_does_goes_on),
		cmocka_unit_test(the_network_is_watched),
		cmocka_unit_test(no_capability_stays),
		cmocka_unit_test(nothing_goes_into_a_core_dump),
		cmocka_unit_test(what_a_keeper_never_does_is_refused),
		cmocka_unit_test(a_keepers_filter_refuses_what_no_capability_guards),
		cmocka_unit_test(what_a_keeper_does_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
