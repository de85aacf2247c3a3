/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-fault.c - what PAGEFERRY_FAULT may say, and what a hit does to a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"

static void every_point_has_a_name_of_its_own(void **state)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz-";

	(void)state;
	for (int i = 0; i < PF_FAULT_COUNT_; i++) {
		const struct pf_fault_row *row = &pf_fault_table[i];

		assert_int_equal(strspn(row->name, letters), strlen(row->name));
		assert_true(strcmp(row->side, "source") == 0 || strcmp(row->side, "both") == 0 ||
			    strcmp(row->side, "destination") == 0);
		assert_true(strlen(row->meaning) > 0);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(row->name, pf_fault_table[j].name);
	}
	assert_string_equal(pf_fault_table[PF_FAULT_COMMIT_SENT].name, "commit-sent");
	assert_string_equal(pf_fault_table[PF_FAULT_COMMIT_HEARD].name, "commit-heard");
	assert_string_equal(pf_fault_table[PF_FAULT_BULK_CLAIMED].name, "bulk-claimed");
	assert_string_equal(pf_fault_table[PF_FAULT_BULK_PAGES_HEARD].name, "bulk-pages-heard");
	assert_string_equal(pf_fault_table[PF_FAULT_PAGE_READ].name, "page-read");
}

static void what_can_be_armed_is_taken(void **state)
{
	static const char *const good[] = {
		"offered=stop", "claimed:1=kill", "bulk-pages-sent:18446744073709551615=cut",
		"run=stop,run:2=kill", NULL,
	};
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(good); i++)
		assert_int_equal(pf_fault_arm(good[i], &err), 0);
}

static void a_bad_value_is_a_usage_error_that_names_it(void **state)
{
	static const struct {
		const char *text, *said;
	} bad[] = {
		{"", "is not POINT"},		   {"offered", "is not POINT"},
		{"offered:2", "is not POINT"},	   {"=stop", "no fault point ''"},
		{"offered=", "none of"},	   {"offered=halt", "'halt'"},
		{"offerd=stop", "'offerd'"},	   {"offered:0=stop", "from 1"},
		{"offered:x=stop", "'x'"},	   {"offered:=stop", "''"},
		{"offered:-1=stop", "'-1'"},	   {"offered=stop,", "is not POINT"},
		{",offered=stop", "is not POINT"}, {"offered=stop;run=kill", "'stop;run=kill'"},
		{"offered =stop", "'offered '"},   {"offered=stop:2", "is not POINT"},
		{"a-name-that-is-longer-than-any-point-and-than-the-buffer-for-it=stop", "63 bytes"},
		{"run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,"
		 "run=cut,run=cut,run=cut,run=cut,run=cut,run=cut,run=cut", "16 entries"},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++) {
		struct pf_err err = {0};

		assert_int_equal(pf_fault_arm(bad[i].text, &err), -1);
		assert_int_equal(err.class, PF_ERR_USAGE);
		assert_non_null(strstr(err.text, "PAGEFERRY_FAULT: "));
		if (!strstr(err.text, bad[i].said))
			fail_msg("'%s' got: %s", bad[i].text, err.text);
	}
}

/* ---- hits, in a child ---- */

struct shared {
	_Atomic unsigned reached;
};

static struct shared *shared;

/* Runs act() in a child with the points armed; its wait status, also of a stop. */
static int run_child(const char *text, void (*act)(void), pid_t *out_pid)
{
	struct pf_err err;
	pid_t pid;
	int status;

	shared->reached = 0;
	pid = fork();
	if (pid == 0) {
		if (pf_fault_arm(text, &err))
			_exit(99);
		act();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	if (out_pid)
		*out_pid = pid;
	return status;
}

static void hit_five_times(void)
{
	for (int i = 0; i < 5; i++) {
		pf_fault(PF_FAULT_RUN);
		shared->reached++;
	}
}

static void the_hit_that_was_named_kills(void **state)
{
	int status = run_child("run:3=kill", hit_five_times, NULL);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(shared->reached, 2);
	status = run_child("run:6=kill,offered=kill", hit_five_times, NULL);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(shared->reached, 5);
}

static void *count_for_ever(void *opaque)
{
	(void)opaque;
	for (;;)
		shared->reached++;
	return NULL; /* for gcc, which does not see that nobody gets here */
}

static void stop_beside_a_busy_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, count_for_ever, NULL))
		_exit(98);
	while (shared->reached == 0)
		;
	pf_fault(PF_FAULT_OFFERED);
	_exit(7);
}

/* Every thread of it stands, and the one that hit the point is not past it. */
static void stop_stops_the_whole_process_there(void **state)
{
	pid_t pid;
	int status = run_child("offered=stop", stop_beside_a_busy_thread, &pid);
	unsigned before = shared->reached;

	(void)state;
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	assert_int_equal(shared->reached, before);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void hit_while_flushing(void)
{
	struct pf_fault_due due = {0};

	pf_fault_later(&due, PF_FAULT_REQUEST_SENT);
	pf_fault_later(&due, PF_FAULT_REQUEST_SENT);
	shared->reached = 1;
	pf_fault_now(&due);
	shared->reached = 2;
}

static void what_is_due_is_hit_at_the_flush(void **state)
{
	(void)state;
	assert_true(WIFSIGNALED(run_child("request-sent:2=kill", hit_while_flushing, NULL)));
	assert_int_equal(shared->reached, 1);
	assert_true(WIFEXITED(run_child("request-sent:3=kill", hit_while_flushing, NULL)));
	assert_int_equal(shared->reached, 2);
}

static void hit_in_bulk(void)
{
	pf_fault_in_bulk();
	pf_fault(PF_FAULT_CLAIMED);
	shared->reached = 1;
	pf_fault(PF_FAULT_RUN); /* has no twin */
	shared->reached = 2;
}

static void a_bulk_thread_has_points_of_its_own(void **state)
{
	(void)state;
	assert_true(WIFEXITED(run_child("claimed=kill", hit_in_bulk, NULL)));
	assert_true(WIFSIGNALED(run_child("bulk-claimed=kill", hit_in_bulk, NULL)));
	assert_int_equal(shared->reached, 0);
	assert_true(WIFSIGNALED(run_child("run=kill", hit_in_bulk, NULL)));
	assert_int_equal(shared->reached, 1);
}

/* ---- cut ---- */

static int tcp_listener(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)address, length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
	return fd;
}

static int tcp_connect(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
	return fd;
}

/* The other end is another process's: one that sends a byte, and hears whatever this one has been given. */
static pid_t tcp_peer(int fd)
{
	pid_t pid = fork();
	char byte;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	_exit(send(fd, "w", 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 0
		      ? 0 : 1);
}

static void cut_ends_tcp_connections_and_nothing_else(void **state)
{
	struct sockaddr_in address;
	pf_auto_fd int listener = tcp_listener(&address);
	pf_auto_fd int ours = tcp_connect(&address);
	pf_auto_fd int later = -1;
	int theirs = accept4(listener, NULL, NULL, SOCK_CLOEXEC), pair[2], status;
	pid_t peer = tcp_peer(theirs);
	struct pf_err err;
	char byte;

	(void)state;
	close(theirs);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(recv(ours, &byte, 1, MSG_PEEK), 1); /* it has come */
	assert_int_equal(send(ours, "x", 1, 0), 1);
	assert_int_equal(pf_fault_arm("push=cut", &err), 0);
	errno = EDOM;
	pf_fault(PF_FAULT_PUSH);
	assert_int_equal(errno, EDOM);
	assert_int_equal(recv(ours, &byte, 1, 0), 0); /* and is lost */
	assert_int_equal(send(ours, "y", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(waitpid(peer, &status, 0), peer);
	assert_int_equal(status, 0); /* what was given before has arrived */
	assert_int_equal(send(pair[0], "z", 1, MSG_NOSIGNAL), 1);
	later = tcp_connect(&address); /* it still listens */
	assert_true(later >= 0);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_point_has_a_name_of_its_own),
		cmocka_unit_test(what_can_be_armed_is_taken),
		cmocka_unit_test(a_bad_value_is_a_usage_error_that_names_it),
		cmocka_unit_test(the_hit_that_was_named_kills),
		cmocka_unit_test(stop_stops_the_whole_process_there),
		cmocka_unit_test(what_is_due_is_hit_at_the_flush),
		cmocka_unit_test(a_bulk_thread_has_points_of_its_own),
		cmocka_unit_test(cut_ends_tcp_connections_and_nothing_else),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
