/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/trial.c - see migrate/probe/trial.h; fork(2), pidfd_open(2), prctl(2). */
#include "migrate/probe/trial.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "net/wait.h"

int pf_check_no(struct pf_err *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return pf_err_set(err, PF_ERR_SYSTEM, "%s", text);
}

int pf_check_untried(struct pf_err *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pf_err_set(err, PF_ERR_STATE, "%s", text);
	return 1;
}

void pf_check_says(struct pf_found *out, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(out->what, sizeof(out->what), fmt, args);
	va_end(args);
}

static void conclude(const struct pf_check *check, int answer, struct pf_found *out)
{
	bool forbidden = out->why.sys == EPERM || out->why.sys == EACCES;

	if (answer == 0) {
		out->why.text[0] = '\0'; /* a hint may stay: it works, and not for long */
		out->result = PF_CHECK_YES;
		return;
	}
	if (!out->why.hint[0] && check->hint && (answer < 0 || forbidden))
		pf_err_hint(&out->why, "%s", check->hint);
	if (forbidden && check->privilege)
		out->privilege = check->privilege;
	out->result = answer < 0 ? PF_CHECK_NO : PF_CHECK_UNTRIED;
}

static void try_all(const struct pf_subject *subject, const struct pf_probe_options *options,
		    struct pf_found *found)
{
	struct pf_trial trial = {.options = options, .subject = subject};

	for (uint32_t i = 0; i < subject->checks; i++) {
		trial.row = i;
		found[i].result = PF_CHECK_BEGUN;
		conclude(&subject->check[i],
			 subject->check[i].attempt(&trial, &found[i], &found[i].why), &found[i]);
	}
}

/* A parent that died before the prctl would never be noticed. */
static void __attribute__((noreturn))
child(const struct pf_subject *subject, const struct pf_probe_options *options,
      struct pf_found *found, pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
		try_all(subject, options, found);
	_exit(0); /* not exit(3): what stdio holds is the parent's to write */
}

/* How the process ended that should have answered, in words. */
static void explain_end(struct pf_err *err, bool late, const siginfo_t *how)
{
	if (late)
		pf_err_set(err, PF_ERR_SYSTEM, "it did not end in time, and was killed");
	else if (how->si_code == CLD_EXITED)
		pf_err_set(err, PF_ERR_SYSTEM, "the process that tried it ended with status %d",
			   how->si_status);
	else
		pf_err_set(err, PF_ERR_SYSTEM,
			   "the process that tried it was ended by signal %d (%s)", how->si_status,
			   strsignal(how->si_status));
	pf_err_hint(err, "look into the kernel log; on a very busy machine try again");
}

static void finish(const struct pf_subject *subject, struct pf_found *found, bool late,
		   const siginfo_t *how)
{
	for (uint32_t i = 0; i < subject->checks; i++) {
		if (found[i].result == PF_CHECK_BEGUN) {
			explain_end(&found[i].why, late, how);
			found[i].result = PF_CHECK_NO;
		} else if (found[i].result == PF_CHECK_PENDING) {
			pf_err_set(&found[i].why, PF_ERR_STATE,
				   "what was tried before it did not end");
			found[i].result = PF_CHECK_UNTRIED;
		}
	}
}

static void refuse_all(const struct pf_subject *subject, const char *doing, struct pf_found *found)
{
	struct pf_err err;

	pf_err_sys(&err, "%s", doing);
	for (uint32_t i = 0; i < subject->checks; i++) {
		found[i].why = err;
		found[i].result = PF_CHECK_UNTRIED;
	}
}

void pf_trial_run(const struct pf_subject *subject, const struct pf_probe_options *options,
		  uint64_t deadline_ns, struct pf_found *found)
{
	pf_auto_fd int pidfd = -1;
	siginfo_t how = {0};
	pid_t parent = getpid(), pid = fork();
	bool late;

	if (pid < 0) {
		refuse_all(subject, "starting a process for it", found);
		return;
	}
	if (pid == 0)
		child(subject, options, found, parent);
	pidfd = pidfd_open(pid, 0);
	late = pidfd < 0 || pf_wait_fd(pidfd, POLLIN, deadline_ns, -1) != 0;
	if (late)
		kill(pid, SIGKILL);
	while (waitid(P_PID, (id_t)pid, &how, WEXITED) != 0 && errno == EINTR)
		;
	finish(subject, found, late, &how);
}
