/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-fdstore.c - descriptors by name: in a store, on their way into it, and across execve(2).
 *
 * Run as "test-fdstore inherit" it is the program that was started with a store: it writes the name of
 * each descriptor into it.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "migrate/kept.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void put(struct pf_fdstore *store, const char *name, int fd)
{
	struct pf_err err;

	if (pf_fdstore_put(store, name, fd, &err))
		fail_msg("%s", err.text);
}

static void a_name_is_one_descriptor(void **state)
{
	struct pf_fdstore store = {.count = 0};
	int first = new_fd(), second = new_fd(), other = new_fd();

	(void)state;
	put(&store, "vmm", first);
	put(&store, "listen", other);
	put(&store, "vmm", second);
	assert_false(is_open(first));
	assert_int_equal(pf_fdstore_look(&store, "vmm"), second);
	assert_int_equal(pf_fdstore_take(&store, "vmm"), second);
	assert_int_equal(pf_fdstore_take(&store, "vmm"), -1);
	assert_true(is_open(second));
	close(second);
	pf_fdstore_remove(&store, "nothing");
	pf_fdstore_remove(&store, "listen");
	assert_false(is_open(other));
	assert_int_equal(store.count, 0);
}

static void a_store_has_its_limits_and_closes_what_it_refuses(void **state)
{
	static const char *const bad[] = {"", "a:b", "A", "a b", "x\n",
					  "a-name-of-more-than-thirty-one-bytes"};
	struct pf_fdstore store = {.count = 0};
	struct pf_err err;
	char name[16];
	int fd;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++) {
		fd = new_fd();
		assert_int_equal(pf_fdstore_put(&store, bad[i], fd, &err), -1);
		assert_false(is_open(fd));
	}
	for (unsigned i = 0; i < PF_FDSTORE_MAX; i++) {
		snprintf(name, sizeof(name), "n-%u", i);
		put(&store, name, new_fd());
	}
	fd = new_fd();
	assert_int_equal(pf_fdstore_put(&store, "one-more", fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_false(is_open(fd));
	put(&store, "n-0", new_fd());
	pf_fdstore_close(&store);
	assert_int_equal(store.count, 0);
}

static const struct {
	const char *text;
	bool right;
	struct pf_notice notice;
} notices[] = {
	{"FDSTORE=1\nFDNAME=regions-7\nFDPOLL=0", true, {.store = true, .name = "regions-7"}},
	{"FDNAME=vmm\nFDSTOREREMOVE=1\n", true, {.remove = true, .name = "vmm"}},
	{"READY=1\nSTATUS=x=y", true, {.ready = true}},
	{"STOPPING=1\nEXIT_STATUS=130", true, {.stopping = true, .has_status = true, .status = 130}},
	{"WATCHDOG=1", true, {.watchdog = true}},
	{"WATCHDOG=trigger\nREADY=0\nMAINPID=1", true, {.ready = false}},
	{"FDSTORE=1", false, {0}},
	{"FDSTOREREMOVE=1", false, {0}},
	{"FDSTORE=1\nFDNAME=", false, {0}},
	{"FDSTORE=1\nFDNAME=../x", false, {0}},
	{"FDNAME=a-name-of-more-than-thirty-one-bytes\nFDSTORE=1", false, {0}},
	{"EXIT_STATUS=256", false, {0}},
	{"EXIT_STATUS=-1", false, {0}},
	{"", false, {0}},
};

static void messages_are_read_strictly(void **state)
{
	char large[PF_NOTICE_MAX + 1];
	struct pf_notice notice;
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(notices); i++) {
		const struct pf_notice *right = &notices[i].notice;
		int failed = pf_notice_parse(notices[i].text, strlen(notices[i].text), &notice, &err);

		if ((failed == 0) != notices[i].right)
			fail_msg("'%s': %d", notices[i].text, failed);
		if (failed)
			continue;
		assert_int_equal(notice.store, right->store);
		assert_int_equal(notice.remove, right->remove);
		assert_int_equal(notice.ready, right->ready);
		assert_int_equal(notice.stopping, right->stopping);
		assert_int_equal(notice.watchdog, right->watchdog);
		assert_int_equal(notice.has_status, right->has_status);
		assert_int_equal(notice.status, right->status);
		assert_string_equal(notice.name, right->name);
	}
	memset(large, 'x', sizeof(large));
	assert_int_equal(pf_notice_parse(large, PF_NOTICE_MAX, &notice, &err), 0);
	assert_int_equal(pf_notice_parse(large, PF_NOTICE_MAX + 1, &notice, &err), -1);
	assert_int_equal(pf_notice_parse("READY=1\0x", 9, &notice, &err), -1);
}

/* What a worker says arrives as what the keeper reads. */
static void a_worker_is_understood(void **state)
{
	struct pf_kept kept = {.keeper_fd = -1};
	int pair[2], fds[PF_UNIX_FDS_MAX], fd = new_fd();
	struct pf_notice notice;
	char text[PF_NOTICE_MAX];
	size_t count = 0;
	struct pf_err err;
	ssize_t length;

	(void)state;
	assert_int_equal(pf_kept_store(&kept, "vmm", fd, &err), 0); /* nobody keeps anything */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	kept.keeper_fd = pair[1];
	assert_int_equal(pf_kept_store(&kept, "regions-0", fd, &err), 0);
	pf_kept_forget(&kept, "regions-0");
	pf_kept_ready(&kept);
	pf_kept_stopping(&kept, 65);
	for (unsigned i = 0; i < 4; i++) {
		length = pf_unix_recv(pair[0], text, sizeof(text), 0, fds, &count, &err);
		assert_true(length > 0);
		assert_int_equal(count, i == 0 ? 1 : 0);
		if (count)
			close(fds[0]);
		assert_int_equal(pf_notice_parse(text, (size_t)length, &notice, &err), 0);
		assert_string_equal(notice.name, i < 2 ? "regions-0" : "");
		assert_int_equal(notice.store, i == 0);
		assert_int_equal(notice.remove, i == 1);
		assert_int_equal(notice.ready, i == 2);
		assert_int_equal(notice.has_status && notice.status == 65, i == 3);
	}
	close(pair[0]);
	assert_int_equal(pf_kept_store(&kept, "vmm", fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	pf_kept_close(&kept);
	close(fd);
}

/* ---- across execve(2) ---- */

static int inherit(void)
{
	struct pf_fdstore store;
	struct pf_err err;

	if (pf_fdstore_inherit(&store, &err) || getenv("LISTEN_FDS"))
		return 1;
	for (size_t i = 0; i < store.count; i++) {
		const char *name = store.entry[i].name;

		if (!(fcntl(store.entry[i].fd, F_GETFD) & FD_CLOEXEC) ||
		    write(store.entry[i].fd, name, strlen(name)) < 0)
			return 2;
	}
	return (int)store.count + 10;
}

static pid_t start_heir(struct pf_fdstore *store)
{
	char *argv[] = {(char *)(uintptr_t)"test-fdstore", (char *)(uintptr_t)"inherit", NULL};
	pid_t pid = fork();
	struct pf_err err;

	if (pid == 0) {
		if (pf_fdstore_hand_on(store, &err) == 0)
			execv("/proc/self/exe", argv);
		_exit(3);
	}
	assert_true(pid > 0);
	return pid;
}

static void a_program_that_is_started_finds_them_by_name(void **state)
{
	static const char *const names[] = {"lock", "listen", "regions-0", "vmm"};
	struct pf_fdstore store = {.count = 0};
	int from[4], status;
	pid_t pid;

	(void)state;
	/* Pipes have low numbers here, which are those that they get, in another order. */
	for (size_t i = 4; i-- > 0;) {
		int pair[2];

		assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
		from[i] = pair[0];
		put(&store, names[i], pair[1]);
	}
	pid = start_heir(&store);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 14);
	pf_fdstore_close(&store);
	for (size_t i = 0; i < 4; i++) {
		char name[32] = "";

		assert_int_equal(read(from[i], name, sizeof(name)), strlen(names[i]));
		assert_string_equal(name, names[i]);
		close(from[i]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_one_descriptor),
		cmocka_unit_test(a_store_has_its_limits_and_closes_what_it_refuses),
		cmocka_unit_test(messages_are_read_strictly),
		cmocka_unit_test(a_worker_is_understood),
		cmocka_unit_test(a_program_that_is_started_finds_them_by_name),
	};

	if (argc > 1 && strcmp(argv[1], "inherit") == 0)
		return inherit();
	return cmocka_run_group_tests_name("fdstore", tests, NULL, NULL);
}
