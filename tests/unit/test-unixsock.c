/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-unixsock.c - listening, leftovers, descriptors that travel, and what is too long. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/unixsock.h"

static char folder[] = "/tmp/pageferry-unixsock-XXXXXX";
static char path[sizeof(folder) + sizeof("/socket")];

static int make_folder(void **state)
{
	(void)state;
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void a_listener_is_private_and_does_not_block(void **state)
{
	struct pf_err err;
	struct stat st;
	int fd = pf_unix_listen(path, SOCK_STREAM, &err);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(accept(fd, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	close(fd);
}

static void a_leftover_socket_is_replaced(void **state)
{
	struct pf_err err;
	int first = pf_unix_listen(path, SOCK_SEQPACKET, &err), second, client;

	(void)state;
	assert_true(first >= 0);
	close(first);
	assert_int_equal(access(path, F_OK), 0);
	second = pf_unix_listen(path, SOCK_SEQPACKET, &err);
	assert_true(second >= 0);
	client = pf_unix_connect(path, SOCK_SEQPACKET, &err);
	assert_true(client >= 0);
	close(client);
	close(second);
}

static void an_answered_socket_is_left_alone(void **state)
{
	struct pf_err err = {0};
	int fd = pf_unix_listen(path, SOCK_STREAM, &err), client;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(pf_unix_listen(path, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_non_null(strstr(err.text, "another process answers"));
	assert_non_null(strstr(err.text, path));
	client = pf_unix_connect(path, SOCK_STREAM, &err);
	assert_true(client >= 0);
	close(client);
	close(fd);
}

static void a_file_in_the_way_is_left_alone(void **state)
{
	struct pf_err err = {0};
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct stat st;

	(void)state;
	assert_true(file >= 0);
	close(file);
	assert_int_equal(pf_unix_listen(path, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void a_path_that_does_not_fit_is_a_usage_error(void **state)
{
	struct pf_err err = {0};
	char longest[200];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(pf_unix_listen(longest, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_USAGE);
	err.class = PF_ERR_NONE;
	assert_int_equal(pf_unix_connect(longest, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_USAGE);
}

static void nobody_there_is_unreachable(void **state)
{
	struct pf_err err = {0};
	int fd;

	(void)state;
	assert_int_equal(pf_unix_connect(path, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ENOENT);
	fd = pf_unix_listen(path, SOCK_STREAM, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pf_unix_connect(path, SOCK_STREAM, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ECONNREFUSED);
}

static void the_peer_is_us(void **state)
{
	struct pf_err err;
	pid_t pid = 0;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(pf_unix_check_peer(pair[0], &pid, &err), 0);
	assert_int_equal(pid, getpid());
	close(pair[0]);
	close(pair[1]);
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void descriptors_arrive_with_their_message(void **state)
{
	int pair[2], given[2], got[PF_UNIX_FDS_MAX];
	char data[16] = {0};
	size_t count = 99;
	struct pf_err err;

	(void)state;
	make_pair(pair);
	assert_int_equal(pipe(given), 0);
	assert_int_equal(pf_unix_send(pair[0], "hello", 5, given, 2, &err), 0);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), 5);
	assert_string_equal(data, "hello");
	assert_int_equal(count, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	/* They are the same pipe: what goes in at one end comes out at the other. */
	close(given[1]);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(given[0], data, 1), 1);
	assert_int_equal(data[0], 'x');
	close(given[0]);
	close(got[0]);
	close(got[1]);
	close(pair[0]);
	close(pair[1]);
}

static void the_most_descriptors_fit_and_one_more_does_not(void **state)
{
	int pair[2], given[PF_UNIX_FDS_MAX + 1], got[PF_UNIX_FDS_MAX];
	struct pf_err err = {0};
	size_t count = 0;
	char data[4];

	(void)state;
	make_pair(pair);
	for (size_t i = 0; i < PF_ARRAY_LEN(given); i++)
		given[i] = pair[0];
	assert_int_equal(pf_unix_send(pair[0], "a", 1, given, PF_UNIX_FDS_MAX, &err), 0);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), 1);
	assert_int_equal(count, PF_UNIX_FDS_MAX);
	while (count > 0)
		close(got[--count]);
	assert_int_equal(pf_unix_send(pair[0], "a", 1, given, PF_UNIX_FDS_MAX + 1, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	close(pair[0]);
	close(pair[1]);
}

static int lowest_free_fd(void)
{
	int fd = dup(0);

	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static void a_message_that_is_cut_is_refused_and_its_descriptors_closed(void **state)
{
	int pair[2], got[PF_UNIX_FDS_MAX], given[2] = {0, 0}, free_before;
	struct pf_err err = {0};
	size_t count = 99;
	char data[4];

	(void)state;
	make_pair(pair);
	free_before = lowest_free_fd();
	assert_int_equal(pf_unix_send(pair[0], "too long", 8, given, 2, &err), 0);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(count, 0);
	assert_int_equal(lowest_free_fd(), free_before);
	close(pair[0]);
	close(pair[1]);
}

/* More descriptors than pf_unix_recv() has room for, sent past pf_unix_send()'s own limit. */
static void send_raw(int fd, const int *fds, size_t fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 200)];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (char[]){'a'}, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
	memcpy(CMSG_DATA(head), fds, sizeof(int) * fd_count);
	assert_int_equal(sendmsg(fd, &msg, 0), 1);
}

static void too_many_descriptors_are_refused_and_closed(void **state)
{
	int pair[2], got[PF_UNIX_FDS_MAX], given[PF_UNIX_FDS_MAX + 8] = {0}, free_before;
	struct pf_err err = {0};
	size_t count = 99;
	char data[4];

	(void)state;
	make_pair(pair);
	free_before = lowest_free_fd();
	send_raw(pair[0], given, PF_ARRAY_LEN(given));
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), -1);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
	assert_int_equal(count, 0);
	assert_int_equal(lowest_free_fd(), free_before);
	close(pair[0]);
	close(pair[1]);
}

static void the_last_word_of_a_peer_that_did_not_listen_is_heard(void **state)
{
	int pair[2], got[PF_UNIX_FDS_MAX];
	struct pf_err err = {0};
	size_t count = 99;
	char data[8];

	(void)state;
	make_pair(pair);
	assert_int_equal(pf_unix_send(pair[0], "last", 4, NULL, 0, &err), 0);
	assert_int_equal(pf_unix_send(pair[1], "unread", 6, NULL, 0, &err), 0);
	close(pair[0]);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), 4);
	assert_memory_equal(data, "last", 4);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), 0);
	close(pair[1]);
}

static void nothing_there_and_nobody_there_are_told_apart(void **state)
{
	int pair[2], got[PF_UNIX_FDS_MAX];
	struct pf_err err = {.class = PF_ERR_NONE};
	size_t count;
	char data[4];

	(void)state;
	make_pair(pair);
	assert_int_equal(
		pf_unix_recv(pair[1], data, sizeof(data), MSG_DONTWAIT, got, &count, &err), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(err.class, PF_ERR_NONE);
	close(pair[0]);
	assert_int_equal(pf_unix_recv(pair[1], data, sizeof(data), 0, got, &count, &err), 0);
	assert_int_equal(pf_unix_send(pair[1], "a", 1, NULL, 0, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	close(pair[1]);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(a_listener_is_private_and_does_not_block),
		IN_FOLDER(a_leftover_socket_is_replaced),
		IN_FOLDER(an_answered_socket_is_left_alone),
		IN_FOLDER(a_file_in_the_way_is_left_alone),
		cmocka_unit_test(a_path_that_does_not_fit_is_a_usage_error),
		IN_FOLDER(nobody_there_is_unreachable),
		cmocka_unit_test(the_peer_is_us),
		cmocka_unit_test(descriptors_arrive_with_their_message),
		cmocka_unit_test(the_most_descriptors_fit_and_one_more_does_not),
		cmocka_unit_test(a_message_that_is_cut_is_refused_and_its_descriptors_closed),
		cmocka_unit_test(too_many_descriptors_are_refused_and_closed),
		cmocka_unit_test(the_last_word_of_a_peer_that_did_not_listen_is_heard),
		cmocka_unit_test(nothing_there_and_nobody_there_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
