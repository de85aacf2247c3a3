/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/keeper.c - see migrate/keeper.h; signalfd(2), waitpid(2), execve(2).
 *
 * A worker is executed and not only forked: its address space is laid out anew, so that what somebody
 * has learnt of one that he brought down is of no use against the next.  waitpid(2) returns once the last of its threads
 * is gone and its descriptors are closed: two of them are never at work at once.
 */
#include "migrate/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/pause.h"
#include "base/size.h"
#include "base/unixsock.h"
#include "migrate/faults.h"
#include "migrate/manager.h"
#include "migrate/oom.h"
#include "migrate/report.h"
#include "migrate/sandbox.h"
#include "migrate/signals.h"

#define STEADY_NS PF_NS_PER_S		   /* a worker that lived so long was a good one */
#define BEGIN_NS (10 * PF_NS_PER_S)	   /* for a worker to take everything up */
#define PAUSE_NS (10 * PF_NS_PER_MS)	   /* before the third in a row that did not, and doubled */
#define PAUSE_MAX_NS (500 * PF_NS_PER_MS)
#define UNHEARD_NS (10 * PF_NS_PER_S)	   /* before its end: what a worker was passed then it may not have read */
#define TALK_BYTES (1 << 20) /* what a guest's descriptors, all at once, need of a socket's buffer */

struct keeper {
	char **argv;
	const char *role;
	enum pf_side side;
	struct pf_fdstore store;
	sigset_t before; /* signals that were blocked when the program began */
	int signals;	 /* signalfd */
	int talk;	 /* the worker's messages come here */
	pid_t worker;	 /* -1: there is none just now */
	uint64_t started_ns;
	struct pf_oom oom;
	uint64_t oom_kills; /* in its control group, before it was started */
	char why[96]; /* there was need of it; "": it is the first */
	unsigned hasty; /* workers in a row that ended soon */
	uint64_t silence_ns; /* a worker that has said nothing for so long is ended; 0: never */
	uint64_t heard_ns;   /* when it last said that all its threads answer */
	bool up;     /* it has said that it serves: before that it has BEGIN_NS */
	bool silent; /* so it was ended */
	uint64_t passed; /* signals, by number, that it may not have heard */
	uint64_t passed_ns; /* the last of them */
	bool ready; /* some worker has been */
	bool stopping; /* this one has said that it ends, with this status */
	int status;
};

/* ---- the worker's start ---- */

static void child_fail(const struct keeper *keeper, const struct pf_err *err)
{
	pf_report(keeper->role, err);
	_exit(71);
}

/*
 * In the child.  The signals that it hears stay blocked until its event loop reads them: one that comes early
 * waits, instead of ending it.  It has a process group of its own, since the terminal's keys are the keeper's to hear.
 */
static void run_worker(struct keeper *keeper, int talk)
{
	sigset_t heard, mask;
	struct pf_err err;

	pf_signals_heard(&heard);
	sigorset(&mask, &keeper->before, &heard);
	/* First of all: what the kernel takes from here on is this process, and not its keeper. */
	pf_oom_go_first();
	(void)setpgid(0, 0);
	pf_manager_forget();
	if (pf_manager_keeps())
		(void)setenv(PF_KEPT_STORED, "1", 1);
	if (keeper->why[0])
		(void)setenv(PF_KEPT_RESTARTED, keeper->why, 1);
	if (pf_fdstore_put(&keeper->store, PF_KEPT_KEEPER, talk, &err) ||
	    pf_fdstore_hand_on(&keeper->store, &err))
		child_fail(keeper, &err);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	execv("/proc/self/exe", keeper->argv);
	pf_err_sys(&err, "running this program again as the worker");
	child_fail(keeper, &err);
}

static int open_talk(int out[2], struct pf_err *err)
{
	int bytes = TALK_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out) != 0)
		return pf_err_sys(err, "making the worker's socket");
	/* Best effort: the kernel takes what net.core.wmem_max allows. */
	(void)setsockopt(out[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}

/*
 * To the worker that was just forked: blocked as they are, they wait until it reads them.  kill(2) of a process that is
 * on its way out succeeds, and that may take long, as much memory as it has.  One that had heard has acted on it, or
 * said that it does not: to hear it twice changes nothing.
 */
static void pass_again(struct keeper *keeper)
{
	uint64_t passed = keeper->passed;

	if (pf_now_ns() - keeper->passed_ns > UNHEARD_NS)
		passed = keeper->passed = 0;
	for (int number = 1; passed >> number; number++)
		if (passed >> number & 1)
			(void)kill(keeper->worker, number);
}

static int start_worker(struct keeper *keeper, struct pf_err *err)
{
	int pair[2];

	if (open_talk(pair, err))
		return -1;
	keeper->stopping = false;
	keeper->up = keeper->silent = false;
	keeper->started_ns = keeper->heard_ns = pf_now_ns();
	keeper->oom_kills = pf_oom_kills(&keeper->oom);
	keeper->worker = fork();
	if (keeper->worker == 0)
		run_worker(keeper, pair[1]);
	if (keeper->worker > 0)
		pass_again(keeper);
	close(pair[1]);
	if (keeper->worker < 0) {
		close(pair[0]);
		return pf_err_sys(err, "starting the worker");
	}
	keeper->talk = pair[0];
	return 0;
}

/* ---- what it says ---- */

static void store(struct keeper *keeper, const char *name, int fd)
{
	struct pf_err err;

	pf_manager_store(name, fd);
	if (pf_fdstore_put(&keeper->store, name, fd, &err))
		pf_report(keeper->role, &err);
}

static void heed(struct keeper *keeper, const struct pf_notice *notice, int *fds, size_t count)
{
	if (notice->remove) {
		pf_manager_remove(notice->name);
		pf_fdstore_remove(&keeper->store, notice->name);
	}
	if (notice->store && count == 1)
		store(keeper, notice->name, pf_steal_fd(&fds[0]));
	if (notice->ready) {
		pf_manager_ready();
		keeper->ready = keeper->up = true;
		keeper->oom_kills = pf_oom_kills(&keeper->oom); /* of the group that it is in by now */
		keeper->heard_ns = pf_now_ns();
	}
	if (notice->watchdog) {
		pf_manager_alive();
		keeper->heard_ns = pf_now_ns();
	}
	if (notice->stopping && notice->has_status) {
		pf_manager_stopping();
		keeper->stopping = true;
		keeper->status = notice->status;
	}
}

/* Everything that waits.  What cannot be understood changes nothing. */
static void hear(struct keeper *keeper)
{
	char text[PF_NOTICE_MAX];
	int fds[PF_UNIX_FDS_MAX];
	struct pf_notice notice;
	size_t count = 0;
	struct pf_err err;
	ssize_t length;

	/* -1 is also a message that is too long, and was taken off the socket. */
	while ((length = pf_unix_recv(keeper->talk, text, sizeof(text), MSG_DONTWAIT, fds, &count,
				      &err)) != 0) {
		if (length < 0 && errno == EAGAIN)
			return;
		if (length > 0 && pf_notice_parse(text, (size_t)length, &notice, &err) == 0)
			heed(keeper, &notice, fds, count);
		else
			pf_report(keeper->role, &err);
		for (size_t i = 0; i < count; i++)
			pf_close_fd(&fds[i]);
	}
}

/* ---- its life and end ---- */

/* true: the worker is gone, all of it, and *out_how is how it ended.  What comes then is the next one's. */
static bool take_signals(struct keeper *keeper, int *out_how)
{
	struct signalfd_siginfo info;

	while (read(keeper->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		keeper->passed |= UINT64_C(1) << info.ssi_signo;
		keeper->passed_ns = pf_now_ns();
		(void)kill(keeper->worker, (int)info.ssi_signo);
	}
	if (waitpid(keeper->worker, out_how, WNOHANG) != keeper->worker)
		return false;
	keeper->worker = -1;
	return true;
}

/* One of its threads does not answer, or the worker itself: another one may. */
static void watch(struct keeper *keeper)
{
	uint64_t limit = keeper->up || keeper->silence_ns > BEGIN_NS ? keeper->silence_ns : BEGIN_NS;

	if (keeper->silence_ns == 0 || keeper->silent)
		return;
	if (pf_now_ns() - keeper->heard_ns < limit) {
		if (!keeper->up)
			pf_manager_alive();
		return;
	}
	keeper->silent = true;
	(void)kill(keeper->worker, SIGKILL);
}

static int serve(struct keeper *keeper)
{
	int how = 0, look_ms = keeper->silence_ns ? (int)(keeper->silence_ns / 4 / PF_NS_PER_MS) : -1;

	for (;;) {
		struct pollfd pfd[2] = {{.fd = keeper->signals, .events = POLLIN},
					{.fd = keeper->talk, .events = POLLIN}};

		(void)poll(pfd, 2, look_ms);
		watch(keeper);
		if (pfd[1].revents & POLLIN)
			hear(keeper);
		if (pfd[0].revents && take_signals(keeper, &how))
			break;
		/* Its end of the socket is closed, and all was heard: the next thing is SIGCHLD. */
		if (pfd[1].revents & POLLHUP)
			pf_close_fd(&keeper->talk);
	}
	if (keeper->talk >= 0)
		hear(keeper); /* its last words */
	pf_close_fd(&keeper->talk);
	return how;
}

/* ---- the next worker ---- */

/* Whether that was the agent's end: it said so, or it never began.  A destination may leave its guest
 * (exit code 75) to a manager that keeps what this process has, and to no other. */
static bool is_over(const struct keeper *keeper)
{
	bool leaves = keeper->stopping && keeper->status == 75 && keeper->side == PF_DESTINATION;

	return leaves ? pf_manager_keeps() : keeper->stopping || !keeper->ready;
}

/* For the next one to tell (WORKER_RESTARTED), and for who reads stderr. */
static void note_why(struct keeper *keeper, int how)
{
	size_t size = sizeof(keeper->why);

	if (keeper->silent)
		snprintf(keeper->why, size, "it did not answer, and was killed");
	else if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL &&
		 pf_oom_kills(&keeper->oom) > keeper->oom_kills)
		snprintf(keeper->why, size, "%s", PF_KEPT_NO_MEMORY);
	else if (WIFSIGNALED(how))
		snprintf(keeper->why, size, "it was killed by signal %d (%s)", WTERMSIG(how),
			 strsignal(WTERMSIG(how)));
	else
		snprintf(keeper->why, size, "it ended with status %d", WEXITSTATUS(how));
}

static uint64_t pause_ns(struct keeper *keeper)
{
	keeper->hasty++;
	return keeper->hasty < 3 ? 0 : pf_doubled_ns(PAUSE_NS, keeper->hasty - 3, PAUSE_MAX_NS);
}

static int try_again(struct keeper *keeper, struct pf_err *err)
{
	if (pf_oom_room(&keeper->oom))
		return start_worker(keeper, err);
	pf_err_set(err, PF_ERR_SYSTEM, "its control group leaves no memory to start another worker");
	return pf_err_hint(err, "raise the limit: the guest is kept, and waits");
}

/*
 * Signals wait meanwhile: they are the next worker's.  The manager hears from this process instead, or would end it.
 * In a full group nobody else does: whoever asks for memory there, when nobody else is left to be killed, goes himself.
 */
static void start_again(struct keeper *keeper)
{
	struct pf_err err = {0}, told = {0};
	bool said = false;

	/* Once, and not at each turn: one that waits for room would not pause any more. */
	if (pf_now_ns() - keeper->started_ns >= STEADY_NS)
		keeper->hasty = 0;
	for (;;) {
		uint64_t pause = pause_ns(keeper);
		struct timespec time = {.tv_sec = (time_t)(pause / PF_NS_PER_S),
					.tv_nsec = (long)(pause % PF_NS_PER_S)};

		if (keeper->silence_ns)
			pf_manager_alive();
		if (pf_oom_may_speak(&keeper->oom)) {
			if (!said)
				fprintf(stderr, "pageferry %s: the worker is gone, %s; another one is started\n",
					keeper->role, keeper->why);
			said = true;
			if (strcmp(told.text, err.text) != 0)
				pf_report(keeper->role, &err);
			told = err;
		}
		(void)ppoll(NULL, 0, &time, NULL);
		if (try_again(keeper, &err) == 0)
			return;
	}
}

/* As the worker ended, to whoever waits for this process. */
static int end_like(const struct keeper *keeper, int how)
{
	struct sigaction as_usual = {.sa_handler = SIG_DFL};

	if (WIFEXITED(how))
		return WEXITSTATUS(how);
	if (keeper->stopping) /* killed behind its last word */
		return keeper->status;
	sigaction(WTERMSIG(how), &as_usual, NULL);
	sigprocmask(SIG_SETMASK, &keeper->before, NULL);
	raise(WTERMSIG(how));
	return 71;
}

static int open_signals(struct keeper *keeper, struct pf_err *err)
{
	sigset_t mine;

	pf_signals_ignore_strays();
	pf_signals_heard(&mine);
	sigaddset(&mine, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mine, &keeper->before);
	keeper->signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
	return keeper->signals < 0 ? pf_err_sys(err, "making a signalfd") : 0;
}

/* --events fd:N is a number of this process's; the worker's are others. */
static int keep_sink(struct keeper *keeper, const char *sink, struct pf_err *err)
{
	struct pf_err ignored;
	uint64_t number;
	int fd;

	if (!sink || strncmp(sink, "fd:", 3) != 0 || pf_fdstore_look(&keeper->store, "events") >= 0)
		return 0;
	/* The worker says what is wrong with it, as with any other sink. */
	if (pf_number_parse(sink + 3, 0, INT_MAX, &number, &ignored))
		return 0;
	fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? 0 : pf_fdstore_put(&keeper->store, "events", fd, err);
}

/*
 * The manager's patience is with this process, which has half of it with its worker.  What it was given to keep
 * is that of a keeper before: then the worker that is started goes on, and its failure is no end.
 */
static int begin(struct keeper *keeper, struct pf_err *err)
{
	uint64_t patience_ns;
	char text[24];

	if (pf_manager_begin(&patience_ns, err))
		return -1;
	keeper->silence_ns = patience_ns / 2;
	keeper->ready = keeper->store.count > 0;
	if (keeper->ready)
		snprintf(keeper->why, sizeof(keeper->why), "its keeper was gone");
	if (keeper->silence_ns == 0)
		return 0;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)keeper->silence_ns);
	return setenv(PF_KEPT_SILENCE, text, 1) == 0 ? 0 : pf_err_sys(err, "setting the environment");
}

static int keep(struct keeper *keeper, const struct pf_options *options, struct pf_err *err)
{
	/* Both need what it gives up then: what it holds is the guest's memory. */
	pf_oom_stay();
	pf_oom_open(&keeper->oom);
	if (pf_sandbox_keep(err))
		return -1;
	if (open_signals(keeper, err) || begin(keeper, err) || keep_sink(keeper, options->events, err) ||
	    start_worker(keeper, err))
		return -1;
	for (;;) {
		int how = serve(keeper);

		if (is_over(keeper))
			return how;
		note_why(keeper, how);
		pf_faults_next();
		start_again(keeper);
	}
}

int pf_keeper_main(char **argv, const struct pf_options *options, struct pf_kept *kept)
{
	struct keeper keeper = {
		.argv = argv,
		.side = options->side,
		.role = options->side == PF_SOURCE ? "source" : "destination",
		.store = kept->store,
		.signals = -1,
		.talk = -1,
		.worker = -1,
		.oom = {.kills = -1, .groups = -1},
	};
	struct pf_err err;
	int how = keep(&keeper, options, &err);

	if (how < 0)
		pf_report(keeper.role, &err);
	pf_fdstore_close(&keeper.store);
	pf_oom_close(&keeper.oom);
	pf_close_fd(&keeper.signals);
	return how < 0 ? pf_err_exit_code(&err) : end_like(&keeper, how);
}
