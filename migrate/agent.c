/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/agent.c - what both agents are made of; see migrate/agent.h. */
#include "migrate/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "core/switchover.h"
#include "migrate/commands.h"
#include "migrate/orders.h"
#include "migrate/report.h"
#include "migrate/sandbox.h"
#include "migrate/signals.h"
#include "migrate/status.h"
#include "net/credentials.h"

#define PROGRESS_US 200000u
#define RETRY_US 200000u
#define OUTCOME_FILE "outcome.json"

const char *pf_agent_role(const struct pf_agent *agent)
{
	return agent->options->side == PF_SOURCE ? "source" : "destination";
}

void pf_agent_emit(struct pf_agent *agent, const char *name, json_t *data)
{
	pf_events_emit(agent->events, name, data);
}

static void emit_state(struct pf_agent *agent, const char *why)
{
	enum pf_phase phase = agent->machine->phase[agent->state];

	pf_agent_emit(agent, "STATE",
		      json_pack("{s:s, s:s, s:s, s:s}", "state", pf_phase_name(phase), "detail",
				agent->machine->state_name[agent->state], "record",
				pf_record_name(agent->record), "why", why));
}

static int write_record(struct pf_agent *agent, enum pf_record record, struct pf_err *err)
{
	if (record == 0 || record == agent->record)
		return 0;
	if (!pf_record_may_follow(agent->options->side, agent->record, record))
		return pf_err_set(err, PF_ERR_STATE, "the record %s cannot follow %s",
				  pf_record_name(record), pf_record_name(agent->record));
	pf_fault(PF_FAULT_RECORDING);
	if (pf_statedir_write_record(&agent->dir, record, agent->epoch, err))
		return pf_err_prefix(err, "writing the record %s", pf_record_name(record));
	agent->record = record;
	return 0;
}

static void act(struct pf_agent *agent, uint8_t action)
{
	bool nested = agent->acting;

	agent->acting = true;
	agent->ops->act(agent->engine, action);
	agent->acting = nested;
}

static int follow(struct pf_agent *agent, uint8_t event, struct pf_err *err)
{
	const struct pf_machine *machine = agent->machine;
	enum pf_phase before = machine->phase[agent->state];
	const char *why = "";
	const struct pf_transition *row = pf_machine_look(machine, agent->state, event, &why);

	if (!row)
		return pf_err_set(err, PF_ERR_STATE, "not possible now (%s): %s",
				  pf_phase_name(before), why);
	if (write_record(agent, machine->action_record[row->action], err))
		return -1;
	agent->state = row->to;
	/* A VMM that stands does not wait until it is told that it need not. */
	pf_events_hold(agent->events);
	if (machine->phase[row->to] != before) {
		emit_state(agent, row->why);
		pf_outage_unwatch(agent);
	}
	act(agent, row->action);
	pf_events_let_go(agent->events);
	return 0;
}

/* As far as records can be written. */
static void catch_up(struct pf_agent *agent)
{
	const struct pf_late *first;
	struct pf_err err = {0};

	while (!agent->ending && (first = pf_backlog_first(&agent->backlog))) {
		if (first->failed)
			agent->why = first->why;
		if (follow(agent, first->event, &err) && err.class != PF_ERR_STATE)
			return;
		pf_backlog_drop_first(&agent->backlog);
	}
}

/* Who decides something shall decide on all that was heard. */
int pf_agent_raise(struct pf_agent *agent, uint8_t event, struct pf_err *err)
{
	catch_up(agent);
	return follow(agent, event, err);
}

int pf_agent_raise_in_turn(struct pf_agent *agent, uint8_t event, struct pf_err *err)
{
	const struct pf_late *first = pf_backlog_first(&agent->backlog);

	if (first)
		return pf_err_set(err, PF_ERR_STATE, "%s came first, and its record cannot be written",
				  agent->machine->event_name[first->event]);
	return follow(agent, event, err);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque);

static void try_again_later(struct pf_agent *agent)
{
	agent->retry_timer = sd_event_source_disable_unref(agent->retry_timer);
	if (sd_event_add_time_relative(agent->loop, &agent->retry_timer, CLOCK_MONOTONIC, RETRY_US,
				       0, on_retry, agent) < 0)
		fprintf(stderr, "pageferry %s: no timer to try again\n", pf_agent_role(agent));
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_agent *agent = opaque;

	(void)source, (void)usec;
	catch_up(agent);
	if (!agent->ending && pf_backlog_first(&agent->backlog))
		try_again_later(agent);
	return 0;
}

/* why: NULL where nothing failed. */
static void raise_or_keep(struct pf_agent *agent, uint8_t event, const struct pf_err *why)
{
	bool first = !pf_backlog_first(&agent->backlog);
	struct pf_err err = {0};

	if (why)
		agent->why = *why;
	if (follow(agent, event, &err) == 0 || err.class == PF_ERR_STATE)
		return;
	pf_report(pf_agent_role(agent), &err);
	pf_backlog_add(&agent->backlog, event, why);
	if (first)
		try_again_later(agent);
}

static void raise_in_turn(struct pf_agent *agent, uint8_t event, const struct pf_err *why)
{
	if (pf_backlog_first(&agent->backlog) && !agent->acting)
		pf_backlog_add(&agent->backlog, event, why);
	else
		raise_or_keep(agent, event, why);
}

void pf_agent_note(struct pf_agent *agent, uint8_t event)
{
	raise_in_turn(agent, event, NULL);
}

void pf_agent_fail(struct pf_agent *agent, uint8_t event, const struct pf_err *why)
{
	raise_in_turn(agent, event, why);
}

void pf_agent_cut(struct pf_agent *agent, uint8_t event, const struct pf_err *why)
{
	raise_or_keep(agent, event, why);
}

void pf_agent_vmm_lost(struct pf_agent *agent, uint8_t event, const struct pf_err *why)
{
	struct pf_err err = *why;
	const char *ignored;

	/* 69 is for a peer that cannot be reached. */
	if (err.class == PF_ERR_UNREACHABLE)
		err.class = PF_ERR_SYSTEM;
	pf_err_prefix(&err, "the %s VMM", pf_agent_role(agent));
	if (pf_machine_look(agent->machine, agent->state, event, &ignored))
		pf_agent_emit(agent, "VMM_LOST",
			      json_pack("{s:s, s:s}", "side", pf_agent_role(agent), "reason",
					err.text));
	pf_agent_fail(agent, event, &err);
}

void pf_agent_vmm_refused(struct pf_agent *agent, const struct pf_err *why)
{
	pf_report(pf_agent_role(agent), why);
	pf_agent_emit(agent, "VMM_REFUSED",
		      json_pack("{s:s, s:s, s:s}", "side", pf_agent_role(agent), "reason", why->text,
				"hint", why->hint));
}

static json_t *outcome_object(const struct pf_agent *agent, bool final)
{
	json_t *object = json_pack("{s:s?, s:s?, s:b}", "outcome", agent->outcome, "owner",
				   agent->owner, "final", final);

	/* Not packed: a path that is no UTF-8 must cost the reason alone, and not the outcome. */
	if (agent->failed || agent->noted) {
		json_object_set_new(object, "reason", json_string(agent->why.text));
		json_object_set_new(object, "hint", json_string(agent->why.hint));
	}
	return object;
}

static void write_outcome(struct pf_agent *agent, bool final)
{
	json_t *object = outcome_object(agent, final);
	struct pf_err err;
	char *text;

	json_object_set_new(object, "id", json_string(agent->options->id));
	json_object_set_new(object, "role", json_string(pf_agent_role(agent)));
	json_object_set_new(object, "record", json_string(pf_record_name(agent->record)));
	json_object_set_new(object, "epoch", json_integer(agent->epoch));
	if (final) {
		json_object_set_new(object, "exit-code", json_integer(agent->exit_code));
		json_object_set_new(object, "migrate", pf_status(agent));
	}
	text = json_dumps(object, JSON_INDENT(2));
	json_decref(object);
	if (text && pf_statedir_write(&agent->dir, OUTCOME_FILE, text, strlen(text), &err))
		fprintf(stderr, "pageferry %s: " OUTCOME_FILE ": %s\n", pf_agent_role(agent), err.text);
	free(text);
}

void pf_agent_outcome(struct pf_agent *agent, const char *outcome, const char *owner, bool final)
{
	agent->outcome = outcome;
	agent->owner = owner;
	write_outcome(agent, final);
	pf_agent_emit(agent, "OUTCOME", outcome_object(agent, final));
}

int pf_agent_keep(struct pf_agent *agent, const char *name, const json_t *object,
		  struct pf_err *err)
{
	pf_auto_free char *text = json_dumps(object, JSON_COMPACT);

	if (!text)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory for %s", name);
	return pf_statedir_write(&agent->dir, name, text, strlen(text), err);
}

void pf_agent_conflict(struct pf_agent *agent, const char *peer_record, const char *what)
{
	pf_agent_emit(agent, "RECORD_CONFLICT",
		      json_pack("{s:s, s:s?, s:s}", "record", pf_record_name(agent->record),
				"peer-record", peer_record, "reason", what));
}

/* Its VMM has heard all that it was told, or is gone. */
static void leave(void *opaque, bool all)
{
	struct pf_agent *agent = opaque;

	(void)all;
	sd_event_exit(agent->loop, agent->exit_code);
}

void pf_agent_finish(struct pf_agent *agent, int exit_code, const char *outcome, const char *owner)
{
	if (agent->ending)
		return;
	agent->ending = true;
	agent->exit_code = exit_code;
	pf_agent_outcome(agent, outcome, owner, true);
	pf_vmm_when_sent(agent->vmm, leave, agent);
}

void pf_agent_finish_failed(struct pf_agent *agent, const char *outcome, const char *owner)
{
	if (agent->ending)
		return;
	agent->failed = true;
	pf_report(pf_agent_role(agent), &agent->why);
	pf_agent_finish(agent, pf_err_exit_code(&agent->why), outcome, owner);
}

static int on_mail(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
	struct pf_agent *agent = opaque;
	struct pf_mail mail;

	(void)source, (void)fd, (void)events;
	while (!agent->ending && pf_mailbox_take(&agent->inbox, &mail)) {
		agent->ops->mail(agent->engine, &mail);
		free(mail.data);
	}
	return 0;
}

/* What helps instead of a signal, by the record. */
static const char *instead_of_signal(enum pf_record record)
{
	return record == PF_RECORD_OFFERED || record == PF_RECORD_READY
		       ? "the switch-over goes on; use cancel"
		       : "the guest needs this process; only cancel --lose-guest gives it up";
}

/* SIGTERM and the like cancel while nothing is offered; from then on the guest needs this process. */
static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
	struct pf_agent *agent = opaque;
	struct pf_err err = {0};

	(void)source;
	if (agent->record != PF_RECORD_NONE)
		pf_err_set(&err, PF_ERR_STATE, "the record is %s: %s", pf_record_name(agent->record),
			   instead_of_signal(agent->record));
	else if (pf_command_cancel(agent, false, &err) == 0)
		return 0;
	pf_agent_emit(agent, "SIGNAL_IGNORED",
		      json_pack("{s:i, s:s}", "signal", (int)info->ssi_signo, "reason", err.text));
	fprintf(stderr, "pageferry %s: SIG%s: %s\n", pf_agent_role(agent),
		sigabbrev_np((int)info->ssi_signo), err.text);
	return 0;
}

static int on_progress(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_agent *agent = opaque;
	json_t *status = pf_status(agent);
	char line[160];

	pf_progress_line(&agent->progress, status, pf_now_ns(), line, sizeof(line));
	fprintf(stderr, "\r%s\033[K", line);
	json_decref(status);
	sd_event_source_set_time(source, usec + PROGRESS_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int check(int r, struct pf_err *err, const char *what)
{
	if (r >= 0)
		return 0;
	errno = -r;
	return pf_err_sys(err, "%s", what);
}

static int hear_signals(struct pf_agent *agent, struct pf_err *err)
{
	sigset_t heard;

	pf_signals_heard(&heard);
	pthread_sigmask(SIG_BLOCK, &heard, NULL);
	for (int number = 1; number < SIGRTMIN; number++)
		if (sigismember(&heard, number) == 1 &&
		    check(sd_event_add_signal(agent->loop, NULL, number, on_signal, agent), err,
			  "watching a signal"))
			return -1;
	return 0;
}

static int open_loop(struct pf_agent *agent, struct pf_err *err)
{
	if (check(sd_event_new(&agent->loop), err, "creating the event loop") ||
	    hear_signals(agent, err))
		return -1;
	if (pf_mailbox_init(&agent->inbox, err) ||
	    check(sd_event_add_io(agent->loop, NULL, agent->inbox.event_fd, EPOLLIN, on_mail,
				  agent),
		  err, "watching the mailbox"))
		return -1;
	if (isatty(STDERR_FILENO))
		return check(sd_event_add_time_relative(agent->loop, &agent->progress_timer,
							CLOCK_MONOTONIC, PROGRESS_US, 0,
							on_progress, agent),
			     err, "creating the progress timer");
	return 0;
}

/*
 * What every handshake will read again is looked at before anybody waits for one.  Not where a migration goes on: a
 * certificate that has expired meanwhile keeps the peer away until it is replaced, and the guest needs
 * this process for what has come already.
 */
static int check_credentials(const struct pf_agent *agent, struct pf_err *err)
{
	const struct pf_options *options = agent->options;
	SSL_CTX *ctx = NULL;

	if (agent->kept->restarted || agent->record != PF_RECORD_NONE)
		return 0;
	if (pf_credentials_load(options->tls_dir, options->side, &ctx, err))
		return -1;
	SSL_CTX_free(ctx);
	return 0;
}

static void on_path(void *opaque, unsigned news, const struct pf_path *path)
{
	struct pf_agent *agent = opaque;

	if (agent->ending)
		return;
	pf_agent_emit(agent, "PATH", pf_paths_json(agent->paths));
	if (agent->ops->path)
		agent->ops->path(agent->engine, news, path);
}

/* Before the sandbox, which needs not let more through for it. */
static int open_paths(struct pf_agent *agent, struct pf_err *err)
{
	agent->paths = pf_paths_open(agent->loop, on_path, agent);
	return agent->paths ? 0 : pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
}

static const struct {
	enum pf_mark mark;
	const char *file;
} marks[] = {{PF_MARK_SEEN, "seen"}, {PF_MARK_COMPLETE, "complete"}, {PF_MARK_TOLD, "told"}};

int pf_agent_mark(struct pf_agent *agent, enum pf_mark mark)
{
	struct pf_err err;

	for (size_t i = 0; i < PF_ARRAY_LEN(marks); i++) {
		if (marks[i].mark != mark ||
		    pf_statedir_write(&agent->dir, marks[i].file, "1", 1, &err) == 0)
			continue;
		pf_report(pf_agent_role(agent), &err);
		return -1;
	}
	return 0;
}

static int read_marks(struct pf_agent *agent, unsigned *out, struct pf_err *err)
{
	char ignored;

	*out = 0;
	for (size_t i = 0; i < PF_ARRAY_LEN(marks); i++) {
		int found = pf_statedir_read(&agent->dir, marks[i].file, &ignored, 1, err);

		if (found < 0)
			return -1;
		if (found == 0)
			*out |= marks[i].mark;
	}
	return 0;
}

static int open_statedir(struct pf_agent *agent, struct pf_err *err)
{
	const struct pf_options *options = agent->options;
	int lock_fd = pf_kept_take(agent->kept, "lock");

	if (pf_statedir_open_kept(&agent->dir, options->state_dir, options->side, options->id,
				  lock_fd, err))
		return -1;
	return pf_kept_store(agent->kept, "lock", agent->dir.lock_fd, err);
}

/* fd:N is a number of the keeper's, which has kept the descriptor for this process. */
static int open_events(struct pf_agent *agent, struct pf_err *err)
{
	pf_auto_fd int fd = pf_kept_take(agent->kept, "events");

	return pf_events_open_kept(&agent->dir, agent->options->events, fd, &agent->events, err);
}

static int open_sockets(struct pf_agent *agent, const struct pf_vmm_callbacks *vmm,
			struct pf_err *err)
{
	const struct pf_options *options = agent->options;
	int fd = pf_kept_listen(agent->kept, "vmm-listen", options->vmm_socket, SOCK_SEQPACKET,
				err);

	if (fd < 0)
		return pf_err_prefix(err, "--vmm-socket");
	if (pf_vmm_open(agent->loop, fd, options->vmm_socket, options->side, vmm, agent->engine,
			agent->kept, &agent->dir, &agent->vmm, err))
		return -1;
	fd = pf_kept_listen(agent->kept, "control-listen", options->control, SOCK_STREAM, err);
	if (fd < 0)
		return pf_err_prefix(err, "--control");
	return pf_control_open(agent->loop, fd, options->control, options->side, options->id,
			       pf_commands, agent, agent->events, &agent->control, err);
}

static int open_all(struct pf_agent *agent, const struct pf_vmm_callbacks *vmm, struct pf_err *err)
{
	const struct pf_start *start;
	unsigned held = 0;

	if (open_loop(agent, err) || open_statedir(agent, err) ||
	    pf_statedir_read_record(&agent->dir, &agent->record, &agent->epoch, err) ||
	    check_credentials(agent, err) || read_marks(agent, &held, err))
		return -1;
	start = pf_machine_start(agent->machine, agent->record, held);
	agent->state = start->state;
	agent->start_action = start->action;
	if (pf_watchdog_open(agent->loop, agent->kept, agent->ops->boxes, agent->ops->late,
			     agent->engine, &agent->watchdog, err))
		return -1;
	return open_events(agent, err) || open_paths(agent, err) || open_sockets(agent, vmm, err) ? -1 : 0;
}

static void tell_restarted(struct pf_agent *agent, const char *why)
{
	pf_agent_emit(agent, "WORKER_RESTARTED",
		      json_pack("{s:i, s:s}", "pid", (int)getpid(), "reason", why));
	/* Which page it was about to write nobody knows. */
	if (strcmp(why, PF_KEPT_NO_MEMORY) == 0)
		pf_agent_emit(agent, "OUT_OF_MEMORY",
			      json_pack("{s:n, s:n, s:i, s:s}", "region", "page", "errno", ENOMEM,
					"error", why));
}

int pf_agent_open(struct pf_agent *agent, const struct pf_options *options,
		  struct pf_kept *kept, const struct pf_machine *machine, const struct pf_agent_ops *ops, void *engine,
		  const struct pf_vmm_callbacks *vmm, struct pf_err *err)
{
	memset(agent, 0, sizeof(*agent));
	agent->spin_ns = PF_SPIN_US_DEFAULT * PF_NS_PER_US;
	agent->options = options;
	agent->kept = kept;
	agent->machine = machine;
	agent->ops = ops;
	agent->engine = engine;
	agent->dir.fd = agent->dir.lock_fd = -1;
	agent->outage.deadline_ms = options->outage_deadline_ms;
	agent->link_timeout_ns = options->link_timeout_ms * PF_NS_PER_MS;
	if (open_all(agent, vmm, err)) {
		pf_agent_close(agent);
		return -1;
	}
	if (kept->restarted)
		tell_restarted(agent, kept->restarted);
	emit_state(agent, kept->restarted ? "started again" : "started");
	return 0;
}

int pf_agent_confine(struct pf_agent *agent, struct pf_err *err)
{
	if (pf_sandbox_enter(err))
		return -1;
	/* Every handshake reads them again, and from here on without the rights of root. */
	if (check_credentials(agent, err))
		return pf_err_prefix(err, "without capabilities");
	return 0;
}

/*
 * A process before has given the guest up, or seen it die with its VMM, and said so as its last word: the record cannot
 * say that, and this one must not say that it runs.
 */
static bool was_lost(const struct pf_agent *agent)
{
	pf_auto_fd int fd = openat(agent->dir.fd, OUTCOME_FILE, O_RDONLY | O_CLOEXEC);
	json_t *object = fd < 0 ? NULL : json_loadfd(fd, 0, NULL);
	const char *outcome = json_string_value(json_object_get(object, "outcome"));
	bool lost;

	lost = outcome && strcmp(outcome, "lost") == 0 && json_is_true(json_object_get(object, "final"));
	json_decref(object);
	return lost;
}

static void stay_lost(struct pf_agent *agent)
{
	pf_err_set(&agent->why, PF_ERR_STATE, "this guest was lost: a process before has ended with that, see %s/%s",
		   agent->dir.path, OUTCOME_FILE);
	pf_report(pf_agent_role(agent), &agent->why);
	agent->noted = agent->ending = true;
	agent->exit_code = 65;
	agent->outcome = "lost";
	/* Only told: what that process has written is why. */
	pf_agent_emit(agent, "OUTCOME", outcome_object(agent, true));
	pf_vmm_when_sent(agent->vmm, leave, agent);
}

void pf_agent_begin(struct pf_agent *agent)
{
	if (agent->record != PF_RECORD_NONE)
		pf_err_set(&agent->why, PF_ERR_STATE, "the agent was started again: %s",
			   agent->kept->restarted ? agent->kept->restarted : "its keeper was gone");
	pf_commands_restore(agent);
	pf_orders_restore(agent);
	if (was_lost(agent))
		stay_lost(agent);
	else
		act(agent, agent->start_action);
	pf_kept_ready(agent->kept);
}

/* A loop that fails is no end of the migration: the keeper starts another worker. */
int pf_agent_run(struct pf_agent *agent)
{
	int code = sd_event_loop(agent->loop);

	if (agent->progress_timer)
		fputc('\n', stderr);
	if (code < 0)
		fprintf(stderr, "pageferry %s: the event loop: %s\n", pf_agent_role(agent),
			strerror(-code));
	if (code < 0)
		return 71;
	pf_kept_stopping(agent->kept, code);
	return code;
}

/* DESIGN.md section 6: the two ends after which somebody may go on. */
static bool goes_on(int exit_code)
{
	return exit_code == 72 || exit_code == 75;
}

void pf_agent_close(struct pf_agent *agent)
{
	/* Not for good: it could not begin, and another one is to try; or the next one has what is kept. */
	bool leave = agent->ending ? agent->kept->stored && goes_on(agent->exit_code) :
				     agent->kept->restarted != NULL;

	pf_control_close(agent->control, leave);
	pf_vmm_close(agent->vmm, leave);
	pf_paths_close(agent->paths);
	pf_watchdog_close(agent->watchdog);
	json_decref(agent->parameters);
	json_decref(agent->orders);
	pf_events_close(agent->events);
	pf_mailbox_done(&agent->inbox);
	sd_event_source_disable_unref(agent->progress_timer);
	pf_outage_unwatch(agent);
	sd_event_source_disable_unref(agent->retry_timer);
	sd_event_unref(agent->loop);
	pf_statedir_close(&agent->dir);
}
