/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/programs.c - see tests/netfault/programs.h; fork(2), prctl(2), setns(2). */
#include "tests/netfault/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"

/* In the child, which shares nothing but the pipe by which it tells what failed. */
static int become(const struct pf_room *room, char *const argv[], pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	sigemptyset(&none);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
	    setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return errno;
	if (getppid() != parent) /* who died before the prctl would never be noticed */
		return ESRCH;
	if (setns(room->fd, CLONE_NEWNET) != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0)
		return errno;
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	return errno;
}

/* The pipe closes at the exec; before it, an errno comes. */
static int await_exec(int from, const char *program, struct pf_err *err)
{
	int failed = 0;
	ssize_t got;

	do {
		got = read(from, &failed, sizeof(failed));
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return 0;
	errno = failed;
	pf_err_sys(err, "running %.100s", program);
	return pf_err_hint(err, "a program is looked for in PATH, as a shell would");
}

int nf_programs_start(struct nf_programs *programs, const struct pf_room *room,
		      const struct nf_statement *statement, pid_t *out_pid, struct pf_err *err)
{
	char text[NF_LINE_MAX + 1], *argv[NF_WORDS_MAX + 1] = {NULL};
	pf_auto_fd int from = -1, to = -1;
	pid_t child, self = getpid();
	int pipe[2], failed;

	if (programs->count == NF_PROGRAMS_MAX)
		return pf_err_set(err, PF_ERR_SYSTEM, "%u programs run already", NF_PROGRAMS_MAX);
	memcpy(text, statement->text, sizeof(text));
	for (unsigned i = 0; i < statement->words; i++)
		argv[i] = text + statement->word[i];
	if (pipe2(pipe, O_CLOEXEC) != 0)
		return pf_err_sys(err, "making a pipe");
	from = pipe[0];
	to = pipe[1];
	child = fork();
	if (child < 0)
		return pf_err_sys(err, "starting a process");
	if (child == 0) {
		failed = become(room, argv, self);
		(void)!write(to, &failed, sizeof(failed));
		_exit(127);
	}
	pf_close_fd(&to);
	if (await_exec(from, argv[0], err)) {
		waitpid(child, NULL, 0);
		return -1;
	}
	programs->pid[programs->count++] = child;
	*out_pid = child;
	return 0;
}

pid_t nf_programs_reap(struct nf_programs *programs, int *out_status)
{
	for (unsigned i = 0; i < programs->count; i++) {
		pid_t pid = programs->pid[i];

		if (waitpid(pid, out_status, WNOHANG) != pid)
			continue;
		programs->pid[i] = programs->pid[--programs->count];
		return pid;
	}
	return 0;
}

void nf_programs_end(struct nf_programs *programs)
{
	while (programs->count) {
		pid_t pid = programs->pid[--programs->count];

		kill(-pid, SIGKILL); /* its group, which has its number until it is reaped */
		waitpid(pid, NULL, 0);
	}
}

int nf_programs_become(const char *path, char *const argv[], struct pf_err *err)
{
	pf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
		pf_err_sys(err, "entering the network namespace %s", path);
		return pf_err_hint(err,
				   "take the path that `namespace` was answered with, while that "
				   "pageferry-netfault runs");
	}
	execvp(argv[0], argv);
	return pf_err_sys(err, "running %s", argv[0]);
}
