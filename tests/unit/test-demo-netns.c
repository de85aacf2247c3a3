/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-demo-netns.c - the demo's namespaces and processes, real ones.
 *
 * The namespaces need root (CAP_SYS_ADMIN) and are skipped without; the processes do not.  This
 * program is its own child: with an argument it does what that says (see child_main()).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/demo/children.h"
#include "migrate/demo/netns.h"
#include "migrate/demo/workdir.h"

#define PATIENCE (20 * PF_NS_PER_S)
#define GREETING "from the other namespace"

static const char *self;

static int connect_to_destination(const char *port)
{
	struct sockaddr_in peer = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	pf_auto_fd int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, PF_NETNS_DESTINATION, &peer.sin_addr);
	if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)) != 0)
		return errno;
	return write(fd, GREETING, sizeof(GREETING)) == sizeof(GREETING) ? 0 : 1;
}

/* A child of its own, whose pid it says; its status is the signal that ended that. */
static int nest(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the test fails */
		for (;;)
			pause();
	}
	printf("%d\n", (int)pid);
	fflush(stdout);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return 1;
	return WTERMSIG(status) == SIGKILL ? 0 : 2;
}

static int child_main(char **argv)
{
	if (strcmp(argv[1], "connect") == 0)
		return connect_to_destination(argv[2]);
	if (strcmp(argv[1], "exit") == 0) {
		fprintf(stderr, "first words\nlast words\n");
		return (int)strtol(argv[2], NULL, 10);
	}
	if (strcmp(argv[1], "nest") == 0)
		return nest();
	if (strcmp(argv[1], "stubborn") == 0)
		signal(SIGTERM, SIG_IGN);
	puts("here");
	fflush(stdout);
	for (;;)
		pause();
}

struct stage {
	struct pf_workdir dir;
	struct pf_children children;
};

static int setup(void **state)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	struct pf_err err;

	*state = stage;
	return pf_workdir_make(&stage->dir, &err) ||
	       pf_children_open(&stage->children, stage->dir.path, &err);
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	pf_children_close(&stage->children);
	pf_workdir_remove(&stage->dir);
	free(stage);
	return 0;
}

static struct pf_child *start(struct stage *stage, const char *what, const char *argument,
			      int netns, bool pipes)
{
	const char *const argv[] = {self, what, argument, NULL};
	const struct pf_spawn spawn = {.name = "test child",
				       .log = "child.log",
				       .argv = argv,
				       .netns = netns,
				       .pipes = pipes};
	struct pf_child *child = NULL;
	struct pf_err err;

	if (pf_children_start(&stage->children, &spawn, &child, &err))
		fail_msg("%s", err.text);
	return child;
}

/* Waits until the child has said that it is there. */
static void await_here(struct stage *stage, struct pf_child *child)
{
	struct pf_err err;
	char said[8];

	assert_int_equal(
		pf_children_wait(&stage->children, &child->from, 1, pf_now_ns() + PATIENCE, &err),
		0);
	assert_int_equal(read(child->from, said, sizeof(said)), 5);
	assert_memory_equal(said, "here\n", 5);
}

/* A socket that listens in the namespace; this thread comes back. */
static int listen_inside(int netns, char *port, size_t size)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	pf_auto_fd int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	inet_pton(AF_INET, PF_NETNS_DESTINATION, &address.sin_addr);
	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(port, size, "%u", ntohs(address.sin_port));
	return fd;
}

static void test_a_process_in_one_namespace_reaches_the_other(void **state)
{
	struct stage *stage = *state;
	struct pf_netns netns;
	struct pf_err err;
	char port[8], said[sizeof(GREETING)];
	int made = pf_netns_make(&netns, &err), listener, connection;

	if (made == 1 && geteuid() != 0) {
		fprintf(stderr, "skip %s: making network namespaces needs root\n", __func__);
		skip();
	}
	if (made != 0)
		fail_msg("%s", err.text);
	listener = listen_inside(netns.destination, port, sizeof(port));
	start(stage, "connect", port, netns.source, false)->end = PF_END_SUCCESS;
	assert_int_equal(
		pf_children_wait(&stage->children, &listener, 1, pf_now_ns() + PATIENCE, &err), 0);
	connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(connection >= 0);
	assert_int_equal(recv(connection, said, sizeof(said), MSG_WAITALL), sizeof(said));
	assert_string_equal(said, GREETING);
	close(connection);
	close(listener);
	pf_netns_done(&netns);
}

static void test_the_link_between_them_goes_down_and_up(void **state)
{
	struct stage *stage = *state;
	struct pf_netns netns;
	struct pf_err err;
	char port[8];
	int made = pf_netns_make(&netns, &err), listener;

	if (made == 1 && geteuid() != 0) {
		fprintf(stderr, "skip %s: making network namespaces needs root\n", __func__);
		skip();
	}
	if (made != 0)
		fail_msg("%s", err.text);
	listener = listen_inside(netns.destination, port, sizeof(port));
	for (unsigned i = 0; i < 2; i++) {
		struct pf_child *child;

		assert_int_equal(pf_netns_switch(&netns, i == 1, &err), 0);
		child = start(stage, "connect", port, netns.source, false);
		child->end = PF_END_ANY;
		while (!child->ended)
			assert_int_equal(pf_children_wait(&stage->children, NULL, 0,
							  pf_now_ns() + PATIENCE, &err),
					 0);
		assert_int_equal(child->how.si_code, CLD_EXITED);
		assert_int_equal(child->how.si_status, i == 1 ? 0 : ENETUNREACH);
	}
	close(listener);
	pf_netns_done(&netns);
}

static void test_only_a_childs_own_child_is_killed(void **state)
{
	struct stage *stage = *state;
	struct pf_child *child = start(stage, "nest", "", -1, true);
	struct pf_err err;
	char said[32] = "";
	int64_t pid;

	child->end = PF_END_SUCCESS;
	assert_int_equal(pf_children_wait(&stage->children, &child->from, 1,
					  pf_now_ns() + PATIENCE, &err),
			 0);
	assert_true(read(child->from, said, sizeof(said) - 1) > 0);
	pid = strtol(said, NULL, 10);
	for (int64_t wrong = -1; wrong < 2; wrong++)
		assert_int_equal(pf_child_kill_grandchild(child, wrong, &err), -1);
	assert_int_equal(pf_child_kill_grandchild(child, pid + (INT64_C(1) << 32), &err), -1);
	assert_int_equal(pf_child_kill_grandchild(child, child->pid, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_non_null(strstr(err.text, "is not the test child's"));
	if (pf_child_kill_grandchild(child, pid, &err))
		fail_msg("%s", err.text);
	while (!child->ended)
		assert_int_equal(pf_children_wait(&stage->children, NULL, 0,
						  pf_now_ns() + PATIENCE, &err),
				 0);
}

static void test_this_process_stays_in_its_own_namespace(void **state)
{
	struct pf_netns netns;
	struct pf_err err;
	struct stat before, after, inside;
	int made;

	(void)state;
	assert_int_equal(stat("/proc/self/ns/net", &before), 0);
	made = pf_netns_make(&netns, &err);
	assert_int_equal(stat("/proc/self/ns/net", &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	if (made == 1 && geteuid() != 0) {
		fprintf(stderr, "skip %s: making network namespaces needs root\n", __func__);
		skip();
	}
	assert_int_equal(made, 0);
	assert_int_equal(fstat(netns.source, &inside), 0);
	assert_int_not_equal(inside.st_ino, before.st_ino);
	pf_netns_done(&netns);
	assert_int_equal(netns.source, -1);
}

/* In a process of its own, as nobody; its exit status says what it saw. */
static int make_without_a_right(void)
{
	struct pf_netns netns;
	struct pf_err err = {0};

	if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
		return 2;
	if (pf_netns_make(&netns, &err) != 1)
		return 3;
	return strstr(err.text, "Operation not permitted") ? 0 : 4;
}

static void test_without_a_right_the_reason_is_given(void **state)
{
	int status = -1;
	pid_t child = fork();

	(void)state;
	assert_int_not_equal(child, -1);
	if (child == 0)
		_exit(make_without_a_right());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_child_that_may_not_end_is_an_error_with_its_exit_code(void **state)
{
	struct stage *stage = *state;
	struct pf_err err;
	char told[4096] = "";
	FILE *out = fmemopen(told, sizeof(told), "w");

	start(stage, "exit", "76", -1, false);
	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, pf_now_ns() + PATIENCE, &err),
			 -1);
	assert_non_null(strstr(err.text, "test child"));
	assert_non_null(strstr(err.text, "exit 76"));
	assert_int_equal(stage->children.caught, 0);
	pf_children_tell(&stage->children, out);
	fclose(out);
	assert_non_null(strstr(told, "exit 76"));
	assert_non_null(strstr(told, "    first words\n    last words\n"));
}

static void test_success_is_only_status_zero(void **state)
{
	struct stage *stage = *state;
	struct pf_err err;
	struct pf_child *good = start(stage, "exit", "0", -1, false);

	good->end = PF_END_SUCCESS;
	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, pf_now_ns() + PATIENCE, &err),
			 0);
	assert_true(good->ended);
	start(stage, "exit", "65", -1, false)->end = PF_END_SUCCESS;
	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, pf_now_ns() + PATIENCE, &err),
			 -1);
	assert_non_null(strstr(err.text, "exit 65"));
	start(stage, "exit", "65", -1, false)->end = PF_END_ANY;
	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, pf_now_ns() + PATIENCE, &err),
			 0);
}

static void test_a_program_that_cannot_run_is_named(void **state)
{
	struct stage *stage = *state;
	const char *const argv[] = {"/nonexistent/program", NULL};
	const struct pf_spawn spawn = {
		.name = "ghost", .log = "ghost.log", .argv = argv, .netns = -1};
	struct pf_child *child;
	struct pf_err err;

	assert_int_equal(pf_children_start(&stage->children, &spawn, &child, &err), -1);
	assert_non_null(strstr(err.text, "/nonexistent/program"));
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(err.class, PF_ERR_SYSTEM);
	assert_true(child->ended);
	assert_int_equal(child->how.si_status, 127);
}

static void test_a_wait_ends_at_its_deadline(void **state)
{
	struct stage *stage = *state;
	struct pf_child *child = start(stage, "stay", "", -1, true);
	uint64_t before = pf_now_ns();
	struct pf_err err;

	await_here(stage, child);
	assert_int_equal(
		pf_children_wait(&stage->children, NULL, 0, before + 50 * PF_NS_PER_MS, &err), 1);
	assert_true(pf_now_ns() >= before + 50 * PF_NS_PER_MS);
}

static void test_a_signal_ends_every_wait(void **state)
{
	struct stage *stage = *state;
	struct pf_err err;

	kill(getpid(), SIGINT);
	assert_int_equal(pf_children_wait(&stage->children, NULL, 0, pf_now_ns() + PATIENCE, &err),
			 -1);
	assert_int_equal(stage->children.caught, SIGINT);
	assert_non_null(strstr(err.text, "SIGINT"));
}

static void test_closing_ends_even_who_ignores_sigterm(void **state)
{
	struct stage *stage = *state;
	struct pf_child *stubborn = start(stage, "stubborn", "", -1, true);
	struct pf_child *meek = start(stage, "stay", "", -1, true);
	pid_t pids[] = {stubborn->pid, meek->pid};

	await_here(stage, stubborn);
	await_here(stage, meek);
	pf_children_close(&stage->children);
	for (size_t i = 0; i < 2; i++) { /* reaped: the kernel knows them no more */
		assert_int_equal(kill(pids[i], 0), -1);
		assert_int_equal(errno, ESRCH);
	}
	assert_int_equal(stubborn->how.si_status, SIGKILL);
	assert_int_equal(meek->how.si_status, SIGTERM);
}

static void test_the_directories_are_ours_alone_and_removed(void **state)
{
	struct pf_workdir dir;
	struct pf_err err;
	struct stat st;
	char path[128], state_path[80];
	int fd;

	(void)state;
	assert_int_equal(pf_workdir_make(&dir, &err), 0);
	assert_int_equal(stat(dir.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(dir.state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/inner", dir.path);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/inner/file", dir.path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s", dir.path);
	snprintf(state_path, sizeof(state_path), "%s", dir.state);
	pf_workdir_remove(&dir);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(stat(state_path, &st), -1);
	pf_workdir_remove(&dir);
}

int main(int argc, char **argv)
{
	static char path[4096];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_process_in_one_namespace_reaches_the_other,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_link_between_them_goes_down_and_up, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_only_a_childs_own_child_is_killed, setup,
						teardown),
		cmocka_unit_test(test_this_process_stays_in_its_own_namespace),
		cmocka_unit_test(test_without_a_right_the_reason_is_given),
		cmocka_unit_test_setup_teardown(
			test_a_child_that_may_not_end_is_an_error_with_its_exit_code, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_success_is_only_status_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_program_that_cannot_run_is_named, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_wait_ends_at_its_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_signal_ends_every_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closing_ends_even_who_ignores_sigterm, setup,
						teardown),
		cmocka_unit_test(test_the_directories_are_ours_alone_and_removed),
	};

	if (argc > 1)
		return child_main(argv);
	if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
		return 1;
	self = path;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
