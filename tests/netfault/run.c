/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/netfault/run.c - see tests/netfault/run.h; poll(2), signalfd(2). */
#include "tests/netfault/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/netfault/network.h"
#include "tests/netfault/programs.h"
#include "tests/netfault/relay.h"

#define POLLS_MAX (2 + NF_RELAYS_MAX * NF_RELAY_POLLS_MAX)

struct run {
	struct nf_network network;
	struct nf_relay relay[NF_RELAYS_MAX];
	struct nf_programs programs;
	FILE *out;
	int signals;
	sigset_t before;
	bool commands, ended; /* stdin is asked; there is nothing more to do */
	bool started;	      /* time 0 has come */
	uint64_t start_ns;
	pid_t awaited;		       /* an exec's program; 0: none */
	struct nf_statement statement; /* the one that is being done, while awaited */
	size_t have;
	char input[4 * NF_LINE_MAX];
};

/* ---- statements ---- */

static int do_relay(struct run *run, const struct nf_statement *statement,
		    const struct nf_target *target, struct pf_err *err)
{
	struct nf_relay *relay = &run->relay[target->relay];

	switch (statement->verb) {
	case NF_RELAY:
		return nf_relay_open(relay, &run->network.room[target->space],
				     &statement->endpoint[0], &statement->endpoint[1],
				     run->network.seed + target->relay, err);
	case NF_STALL:
		nf_relay_stall(relay, statement->way);
		return 0;
	case NF_GARBLE:
		nf_relay_garble(relay, statement->way, statement->number);
		return 0;
	default:
		nf_relay_flow(relay);
		return 0;
	}
}

static int do_program(struct run *run, const struct nf_statement *statement,
		      const struct nf_target *target, char *detail, struct pf_err *err)
{
	pid_t pid;

	if (nf_programs_start(&run->programs, &run->network.room[target->space], statement, &pid,
			      err))
		return -1;
	if (statement->verb == NF_EXEC)
		run->awaited = pid;
	else
		snprintf(detail, NF_DETAIL_MAX, "pid %d", pid);
	return 0;
}

static int do_statement(struct run *run, const struct nf_statement *statement, char *detail,
			struct pf_err *err)
{
	struct nf_target target;
	int failed = nf_network_do(&run->network, statement, &target, detail, err);

	if (failed)
		return -1;
	switch (statement->verb) {
	case NF_RELAY:
	case NF_STALL:
	case NF_GARBLE:
	case NF_FLOW:
		failed = do_relay(run, statement, &target, err);
		break;
	case NF_START:
	case NF_EXEC:
		failed = do_program(run, statement, &target, detail, err);
		break;
	case NF_END:
		run->ended = true;
		return 0;
	default:
		return 0;
	}
	if (failed && statement->verb == NF_RELAY)
		run->network.plan.relays--;
	return failed ? pf_err_prefix(err, "%s", nf_verb_name(statement->verb)) : 0;
}

/* ---- what there is to wait for ---- */

static int reap(struct run *run, struct pf_err *err)
{
	int status;
	pid_t pid;

	while ((pid = nf_programs_reap(&run->programs, &status))) {
		if (pid != run->awaited)
			continue;
		run->awaited = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		return pf_err_set(err, PF_ERR_STATE, "exec: %.100s ended %s %d",
				  run->statement.text,
				  WIFEXITED(status) ? "with status" : "by signal",
				  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	}
	return 0;
}

static int take_signal(struct run *run, struct pf_err *err)
{
	struct signalfd_siginfo info;

	if (read(run->signals, &info, sizeof(info)) != sizeof(info))
		return pf_err_sys(err, "reading a signalfd");
	if (info.ssi_signo == SIGCHLD)
		return reap(run, err);
	run->ended = true;
	return pf_err_set(err, PF_ERR_STATE, "ended by signal %u; everything is removed",
			  info.ssi_signo);
}

static void turn_relays(struct run *run, const struct pollfd *polls)
{
	for (unsigned i = 0; i < run->network.plan.relays; i++) {
		unsigned count = 1 + 2 * run->relay[i].pairs;

		nf_relay_turn(&run->relay[i], polls);
		polls += count;
	}
}

static int timeout_ms(uint64_t until_ns)
{
	uint64_t now = pf_now_ns();

	if (until_ns == UINT64_MAX)
		return -1;
	return until_ns > now ? (int)((until_ns - now + PF_NS_PER_MS - 1) / PF_NS_PER_MS) : 0;
}

/*
 * Waits for one thing or until then, and does what relays and programs need.  1: stdin has
 * something (only if it was asked for).  -1: a signal, or the program of an exec failed.
 */
static int wait_once(struct run *run, uint64_t until_ns, bool input, struct pf_err *err)
{
	struct pollfd polls[POLLS_MAX] = {
		{.fd = run->signals, .events = POLLIN},
		{.fd = input ? STDIN_FILENO : -1, .events = POLLIN},
	};
	unsigned count = 2;

	for (unsigned i = 0; i < run->network.plan.relays; i++)
		count += nf_relay_polls(&run->relay[i], polls + count);
	if (poll(polls, count, timeout_ms(until_ns)) < 0)
		return errno == EINTR ? 0 : pf_err_sys(err, "waiting");
	turn_relays(run, polls + 2);
	if (polls[0].revents && take_signal(run, err))
		return -1;
	return polls[1].revents != 0;
}

static int do_whole(struct run *run, const struct nf_statement *statement, char *detail,
		    struct pf_err *err)
{
	run->statement = *statement;
	if (do_statement(run, statement, detail, err))
		return -1;
	while (run->awaited)
		if (wait_once(run, UINT64_MAX, false, err) < 0)
			return -1;
	return 0;
}

/* ---- the scenario ---- */

static int await_time(struct run *run, const struct nf_statement *statement, struct pf_err *err)
{
	if (!statement->timed)
		return 0;
	if (!run->started) {
		run->started = true;
		run->start_ns = pf_now_ns();
	}
	while (pf_now_ns() < run->start_ns + statement->at_ns)
		if (wait_once(run, run->start_ns + statement->at_ns, false, err) < 0)
			return -1;
	return 0;
}

static void tell(struct run *run, const struct nf_statement *statement, const char *detail)
{
	char text[NF_PRINT_MAX];
	uint64_t passed = run->started ? pf_now_ns() - run->start_ns : 0;

	nf_statement_print(statement, text);
	fprintf(run->out, "%" PRIu64 ".%03" PRIu64 " %s%s%s\n", passed / PF_NS_PER_S,
		passed % PF_NS_PER_S / PF_NS_PER_MS, text, detail[0] ? ": " : "", detail);
	fflush(run->out);
}

static int run_scenario(struct run *run, const struct nf_scenario *scenario, struct pf_err *err)
{
	char detail[NF_DETAIL_MAX];

	for (unsigned i = 0; i < scenario->count && !run->ended; i++) {
		const struct nf_statement *statement = &scenario->statement[i];

		if (await_time(run, statement, err))
			return -1;
		if (do_whole(run, statement, detail, err))
			return run->ended ? -1 : pf_err_prefix(err, "line %u", statement->line);
		tell(run, statement, detail);
	}
	return 0;
}

/* ---- commands ---- */

/* One answer to one line, in one line. */
static int answer(struct run *run, const char *line, size_t length, struct pf_err *err)
{
	struct nf_statement statement;
	char detail[NF_DETAIL_MAX] = "", text[sizeof(err->text) + sizeof(err->hint)];
	int failed = nf_statement_parse(line, length, &statement, err);

	if (failed == 1)
		return 0;
	if (!failed && statement.timed)
		failed = pf_err_set(err, PF_ERR_USAGE, "at: a command is done when it comes");
	if (!failed)
		failed = do_whole(run, &statement, detail, err);
	if (failed && run->ended)
		return -1;
	if (failed)
		pf_err_print(err, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%s", detail);
	fprintf(run->out, "%s%s%s\n", failed ? "error" : "ok", text[0] ? ": " : "", text);
	fflush(run->out);
	return 0;
}

/* 1: the end of stdin. */
static int take_input(struct run *run, struct pf_err *err)
{
	ssize_t got = read(STDIN_FILENO, run->input + run->have, sizeof(run->input) - run->have);
	char *line = run->input, *stop;

	if (got < 0)
		return pf_err_sys(err, "reading commands");
	run->have += (size_t)got;
	while (!run->ended &&
	       (stop = memchr(line, '\n', run->have - (size_t)(line - run->input)))) {
		if (answer(run, line, (size_t)(stop - line), err))
			return -1;
		line = stop + 1;
	}
	run->have -= (size_t)(line - run->input);
	memmove(run->input, line, run->have);
	if (run->have == sizeof(run->input))
		return pf_err_set(err, PF_ERR_USAGE, "a command has more than %zu bytes",
				  sizeof(run->input));
	return got == 0;
}

static int run_commands(struct run *run, struct pf_err *err)
{
	int done = 0;

	while (!run->ended && done == 0) {
		done = wait_once(run, UINT64_MAX, true, err);
		if (done > 0)
			done = take_input(run, err);
	}
	return done < 0 ? -1 : 0;
}

static int open_run(struct run *run, const struct nf_run_options *options, FILE *out,
		    struct pf_err *err)
{
	sigset_t ours;

	nf_network_open(&run->network, options->seed);
	for (unsigned i = 0; i < NF_RELAYS_MAX; i++)
		run->relay[i] = NF_RELAY_CLOSED;
	run->out = out;
	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &ours, &run->before);
	run->signals = signalfd(-1, &ours, SFD_CLOEXEC);
	return run->signals < 0 ? pf_err_sys(err, "making a signalfd") : 0;
}

static void close_run(struct run *run)
{
	nf_programs_end(&run->programs);
	for (unsigned i = 0; i < NF_RELAYS_MAX; i++)
		nf_relay_close(&run->relay[i]);
	nf_network_close(&run->network);
	pf_close_fd(&run->signals);
	sigprocmask(SIG_SETMASK, &run->before, NULL);
}

int nf_run(const struct nf_scenario *scenario, const struct nf_run_options *options, FILE *out,
	   struct pf_err *err)
{
	struct run *run = calloc(1, sizeof(*run));
	int failed;

	if (!run)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	failed = open_run(run, options, out, err);
	if (!failed)
		failed = run_scenario(run, scenario, err);
	if (!failed && options->commands)
		failed = run_commands(run, err);
	close_run(run);
	free(run);
	return failed;
}
