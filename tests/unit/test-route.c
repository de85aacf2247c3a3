/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-route.c - the kernel's routes, by its loopback; and addresses of a name. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/route.h"
#include "net/tcp.h"

static struct sockaddr_storage ip4(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4444)};
	struct sockaddr_storage out = {0};

	assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
	memcpy(&out, &in, sizeof(in));
	return out;
}

static void test_loopback_is_on_the_link(void **state)
{
	struct sockaddr_storage to = ip4("127.0.0.1");
	struct pf_interface interface;
	struct pf_route route;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_route_to(&to, &route, &interface, &err), 0);
	assert_string_equal(interface.name, "lo");
	assert_string_equal(route.gateway, "");
	assert_true(interface.mtu >= 1280);
	assert_true(interface.carrier);
}

/* In a network namespace of its own, where nothing leads anywhere. */
static int without_routes(void)
{
	struct sockaddr_storage to = ip4("192.0.2.1");
	struct pf_interface interface;
	struct pf_route route;
	struct pf_err err;

	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return 77;
	return pf_route_to(&to, &route, &interface, &err) == -1 && err.class == PF_ERR_UNREACHABLE ? 0 : 1;
}

static void test_no_route_is_said(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(without_routes());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		fputs("skip test_no_route_is_said: no network namespace can be made\n", stderr);
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_number_is_its_own_address(void **state)
{
	struct pf_endpoint endpoint = {.host = "192.0.2.7", .port = 4444};
	struct sockaddr_storage addresses[2];
	char text[PF_ENDPOINT_TEXT_MAX];
	uint32_t count;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_tcp_resolve(&endpoint, addresses, 2, &count, &err), 0);
	assert_int_equal(count, 1);
	pf_sockaddr_print(&addresses[0], text);
	assert_string_equal(text, "192.0.2.7:4444");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loopback_is_on_the_link),
		cmocka_unit_test(test_no_route_is_said),
		cmocka_unit_test(test_a_number_is_its_own_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
