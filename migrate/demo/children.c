/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/children.c - see migrate/demo/children.h; pidfd_open(2), signalfd(2), prctl(2). */
#include "migrate/demo/children.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sysfile.h"

#define GRACE_NS (2 * PF_NS_PER_S)
#define LOG_TAIL 2048
#define LOG_LINES 8
#define FDS_MAX 8u

int pf_children_open(struct pf_children *children, const char *dir, struct pf_err *err)
{
	sigset_t set;

	memset(children, 0, sizeof(*children));
	children->dir = dir;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &children->before);
	children->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (children->signals < 0) {
		pf_err_sys(err, "making a signalfd");
		sigprocmask(SIG_SETMASK, &children->before, NULL);
		return -1;
	}
	return 0;
}

/* The four descriptors of a child before its program runs, and where it says what went wrong. */
struct plumbing {
	int in[2], out[2], log, failure[2];
};

static void plumbing_close(struct plumbing *p)
{
	pf_close_fd(&p->in[0]);
	pf_close_fd(&p->in[1]);
	pf_close_fd(&p->out[0]);
	pf_close_fd(&p->out[1]);
	pf_close_fd(&p->log);
	pf_close_fd(&p->failure[0]);
	pf_close_fd(&p->failure[1]);
}

static int plumbing_open(struct plumbing *p, const struct pf_child *child, bool pipes,
			 struct pf_err *err)
{
	*p = (struct plumbing){{-1, -1}, {-1, -1}, -1, {-1, -1}};
	p->log = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (p->log < 0)
		return pf_err_sys(err, "creating %s", child->log);
	if (pipe2(p->failure, O_CLOEXEC) != 0)
		return pf_err_sys(err, "making a pipe");
	if (pipes) {
		if (pipe2(p->in, O_CLOEXEC) != 0 || pipe2(p->out, O_CLOEXEC) != 0)
			return pf_err_sys(err, "making a pipe");
		return 0;
	}
	p->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	p->out[1] = fcntl(p->log, F_DUPFD_CLOEXEC, 0);
	if (p->in[0] < 0 || p->out[1] < 0)
		return pf_err_sys(err, "opening /dev/null");
	return 0;
}

/* What a child that could not become its program writes to its parent. */
struct failure {
	int sys;
	char step[60];
};

static void child_fail(int fd, const char *step)
{
	struct failure failure = {.sys = errno};

	snprintf(failure.step, sizeof(failure.step), "%s", step);
	if (write(fd, &failure, sizeof(failure)) != sizeof(failure))
		_exit(126);
	_exit(127);
}

static void child_run(const struct pf_spawn *spawn, const struct plumbing *p, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL); /* an ignored signal stays ignored across execve(2) */
	/* SIGKILL: an agent that owns the guest does not end on SIGTERM. */
	if (setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		child_fail(p->failure[1], "leaving the terminal's process group");
	/* The parent may have died before prctl(2): nobody would kill us then. */
	if (getppid() != parent)
		_exit(126);
	if (spawn->netns >= 0 && setns(spawn->netns, CLONE_NEWNET) != 0)
		child_fail(p->failure[1], "entering the network namespace");
	if (dup2(p->in[0], 0) < 0 || dup2(p->out[1], 1) < 0 || dup2(p->log, 2) < 0)
		child_fail(p->failure[1], "connecting its standard streams");
	/* execv(3) takes char *const [] for historical reasons and changes nothing. */
	execv(spawn->argv[0], (char *const *)(uintptr_t)spawn->argv);
	child_fail(p->failure[1], "running it");
}

/* End of file means that the program runs: the pipe is close-on-exec. */
static int wait_for_exec(const struct pf_spawn *spawn, int fd, struct pf_err *err)
{
	struct failure failure;
	ssize_t got;

	do {
		got = read(fd, &failure, sizeof(failure));
	} while (got < 0 && errno == EINTR);
	if (got == 0)
		return 0;
	if (got != sizeof(failure))
		return pf_err_set(err, PF_ERR_SYSTEM, "starting %s (%s): it died at once",
				  spawn->name, spawn->argv[0]);
	failure.step[sizeof(failure.step) - 1] = '\0';
	errno = failure.sys;
	return pf_err_sys(err, "starting %s (%s): %s", spawn->name, spawn->argv[0], failure.step);
}

static int set_nonblocking(int fd, struct pf_err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return pf_err_sys(err, "making a pipe non-blocking");
	return 0;
}

static int child_adopt(struct pf_child *child, struct plumbing *p, bool pipes, struct pf_err *err)
{
	child->pidfd = pidfd_open(child->pid, 0);
	if (child->pidfd < 0)
		return pf_err_sys(err, "opening a pidfd of %s", child->name);
	if (!pipes)
		return 0;
	child->to = pf_steal_fd(&p->in[1]);
	child->from = pf_steal_fd(&p->out[0]);
	return set_nonblocking(child->to, err) || set_nonblocking(child->from, err) ? -1 : 0;
}

int pf_children_start(struct pf_children *children, const struct pf_spawn *spawn,
		      struct pf_child **out, struct pf_err *err)
{
	struct pf_child *child = &children->child[children->count];
	struct plumbing plumbing;
	pid_t parent = getpid();
	int result = -1;

	if (children->count == PF_CHILDREN_MAX)
		return pf_err_set(err, PF_ERR_STATE, "more than %u processes", PF_CHILDREN_MAX);
	*child = (struct pf_child){.name = spawn->name, .pidfd = -1, .to = -1, .from = -1};
	snprintf(child->log, sizeof(child->log), "%s/%s", children->dir, spawn->log);
	if (plumbing_open(&plumbing, child, spawn->pipes, err))
		goto out;
	child->pid = fork();
	if (child->pid < 0) {
		pf_err_sys(err, "starting %s", spawn->name);
		goto out;
	}
	if (child->pid == 0)
		child_run(spawn, &plumbing, parent);
	children->count++; /* from here on pf_children_close() ends it */
	pf_close_fd(&plumbing.failure[1]);
	*out = child;
	if (child_adopt(child, &plumbing, spawn->pipes, err))
		goto out;
	result = wait_for_exec(spawn, plumbing.failure[0], err);
	if (result) /* it ends at once, and is told as ended */
		child->ended = waitid(P_PID, (id_t)child->pid, &child->how, WEXITED) == 0;
out:
	plumbing_close(&plumbing);
	return result;
}

/* The pidfd first: it cannot become another process's between the look and the signal. */
int pf_child_kill_grandchild(const struct pf_child *child, int64_t pid, struct pf_err *err)
{
	pf_auto_fd int pidfd = -1;
	uint64_t parent = 0;
	char path[64];

	if (pid <= 1 || pid > INT_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "pid %" PRId64 " is no process", pid);
	pidfd = pidfd_open((pid_t)pid, 0);
	if (pidfd < 0)
		return pf_err_sys(err, "opening a pidfd of %" PRId64, pid);
	snprintf(path, sizeof(path), "/proc/%" PRId64 "/status", pid);
	if (pf_sysfile_field(path, "PPid", &parent, err))
		return -1;
	if (parent != (uint64_t)child->pid)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "process %" PRId64 " is not the %s's (pid %d), its parent is "
				  "%" PRIu64,
				  pid, child->name, (int)child->pid, parent);
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) != 0)
		return pf_err_sys(err, "killing process %" PRId64, pid);
	return 0;
}

void pf_child_state(const struct pf_child *child, char *out, size_t size)
{
	if (!child->ended)
		snprintf(out, size, "running");
	else if (child->how.si_code == CLD_EXITED)
		snprintf(out, size, "exit %d", child->how.si_status);
	else
		snprintf(out, size, "signal %d (%s)", child->how.si_status,
			 strsignal(child->how.si_status));
}

static bool child_reap(struct pf_child *child)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
		return false;
	child->how = info;
	child->ended = true;
	return true;
}

static int judge_end(const struct pf_child *child, struct pf_err *err)
{
	bool success = child->how.si_code == CLD_EXITED && child->how.si_status == 0;
	char state[64];

	if (child->end == PF_END_ANY || (child->end == PF_END_SUCCESS && success))
		return 0;
	pf_child_state(child, state, sizeof(state));
	/* 71 is the operating system's refusal on the agents' and the guest's side too. */
	return pf_err_set(err,
			  child->how.si_code == CLD_EXITED && child->how.si_status == 71
				  ? PF_ERR_SYSTEM
				  : PF_ERR_STATE,
			  "the %s (pid %d) ended too early or badly: %s", child->name,
			  (int)child->pid, state);
}

static int take_signal(struct pf_children *children, struct pf_err *err)
{
	struct signalfd_siginfo info;

	if (read(children->signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	children->caught = (int)info.ssi_signo;
	return pf_err_set(err, PF_ERR_STATE, "ended by SIG%s",
			  sigabbrev_np(children->caught) ?: "?");
}

static int poll_until(struct pollfd *polls, nfds_t count, uint64_t deadline_ns)
{
	int ready;

	do {
		uint64_t now = pf_now_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		struct timespec timeout = {.tv_sec = (time_t)(left / PF_NS_PER_S),
					   .tv_nsec = (long)(left % PF_NS_PER_S)};

		ready = ppoll(polls, count, &timeout, NULL);
	} while (ready < 0 && errno == EINTR);
	return ready;
}

int pf_children_wait(struct pf_children *children, const int *fds, size_t fd_count,
		     uint64_t deadline_ns, struct pf_err *err)
{
	struct pollfd polls[1 + PF_CHILDREN_MAX + FDS_MAX];
	nfds_t used = 0;
	int ready;

	if (fd_count > FDS_MAX)
		return pf_err_set(err, PF_ERR_STATE, "waiting for %zu descriptors", fd_count);
	polls[used++] = (struct pollfd){.fd = children->signals, .events = POLLIN};
	for (uint32_t i = 0; i < children->count; i++) /* poll(2) skips negative ones */
		polls[used++] = (struct pollfd){
			.fd = children->child[i].ended ? -1 : children->child[i].pidfd,
			.events = POLLIN};
	for (size_t i = 0; i < fd_count; i++)
		polls[used++] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	ready = poll_until(polls, used, deadline_ns);
	if (ready < 0)
		return pf_err_sys(err, "waiting for the processes of the demo");
	if (ready == 0)
		return 1;
	if (polls[0].revents && take_signal(children, err))
		return -1;
	for (uint32_t i = 0; i < children->count; i++)
		if (polls[1 + i].revents && child_reap(&children->child[i]) &&
		    judge_end(&children->child[i], err))
			return -1;
	return 0;
}

/* The last LOG_LINES lines of the log. */
static void tell_log(const struct pf_child *child, FILE *out)
{
	pf_auto_fd int fd = open(child->log, O_RDONLY | O_CLOEXEC);
	char tail[LOG_TAIL + 1];
	ssize_t length = 0;
	off_t size;
	char *line;
	int lines = 0;

	if (fd >= 0 && (size = lseek(fd, 0, SEEK_END)) > 0)
		length = pread(fd, tail, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
	if (length <= 0)
		return;
	while (length > 0 && tail[length - 1] == '\n')
		length--;
	tail[length] = '\0';
	for (line = tail + length; line > tail; line--)
		if (line[-1] == '\n' && ++lines == LOG_LINES)
			break;
	for (char *next; line; line = next) {
		next = strchr(line, '\n');
		fprintf(out, "    %.*s\n", (int)(next ? next - line : (long)strlen(line)), line);
		next = next ? next + 1 : NULL;
	}
}

/* What it said and nobody has read: often the reason why it ended. */
static void tell_said(const struct pf_child *child, FILE *out)
{
	char said[LOG_TAIL + 1];
	ssize_t length = child->from >= 0 ? read(child->from, said, LOG_TAIL) : 0;
	char *rest = NULL;

	if (length <= 0)
		return;
	said[length] = '\0';
	for (char *line = strtok_r(said, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		fprintf(out, "    %s\n", line);
}

void pf_children_tell(const struct pf_children *children, FILE *out)
{
	for (uint32_t i = 0; i < children->count; i++) {
		const struct pf_child *child = &children->child[i];
		char state[64];

		pf_child_state(child, state, sizeof(state));
		fprintf(out, "  %s (pid %d): %s\n", child->name, (int)child->pid, state);
		tell_said(child, out);
		tell_log(child, out);
	}
}

static void wait_all(struct pf_children *children, uint64_t deadline_ns)
{
	for (uint32_t i = 0; i < children->count; i++) {
		struct pf_child *child = &children->child[i];
		struct pollfd ended = {.fd = child->pidfd, .events = POLLIN};

		if (!child->ended && child->pidfd >= 0)
			poll_until(&ended, 1, deadline_ns);
		if (!child->ended)
			child_reap(child);
	}
}

void pf_children_close(struct pf_children *children)
{
	if (children->count == 0 && children->signals < 0)
		return;
	for (uint32_t i = 0; i < children->count; i++)
		if (!children->child[i].ended)
			kill(children->child[i].pid, SIGTERM);
	wait_all(children, pf_now_ns() + GRACE_NS);
	for (uint32_t i = 0; i < children->count; i++) {
		struct pf_child *child = &children->child[i];

		if (!child->ended) {
			kill(child->pid, SIGKILL);
			waitid(P_PID, (id_t)child->pid, &child->how, WEXITED);
		}
		pf_close_fd(&child->pidfd);
		pf_close_fd(&child->to);
		pf_close_fd(&child->from);
	}
	children->count = 0;
	pf_close_fd(&children->signals);
	sigprocmask(SIG_SETMASK, &children->before, NULL);
}
